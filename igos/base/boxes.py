"""Boxes (4,) xyxy: how far they overlap, and which of several is the same object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor


def pairwise_iou(box: Tensor, boxes: Tensor) -> Tensor:
    """Intersection over union of a box (4,) with each of (n,4) -> (n,)."""
    box = box.to(boxes)
    both = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod()
    return both / (areas - both).clamp(min=1e-9)


def clip_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes (..., 4) xyxy cut at the edges of a picture (height, width)."""
    height, width = size
    return torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,) xyxy."""
    one, other = (torch.as_tensor(np.asarray(box, np.float64)) for box in (a, b))
    return float(pairwise_iou(one, other[None]))


def best_match(box: np.ndarray, boxes: Sequence[np.ndarray], least: float) -> int | None:
    """Which of the boxes overlaps most with the box, the first of those alike; None where none has an IoU >= least."""
    overlap = [iou(box, other) for other in boxes]
    best = max(range(len(overlap)), key=overlap.__getitem__, default=None)
    return best if best is not None and overlap[best] >= least else None
