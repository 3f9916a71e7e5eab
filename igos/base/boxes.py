"""Boxes (4,) xyxy: how far they overlap."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pairwise_iou(box: Tensor, boxes: Tensor) -> Tensor:
    """IoU of a box (4,) with each of (n,4) -> (n,)."""
    box = box.to(boxes)
    both = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod()
    return both / (areas - both).clamp(min=1e-9)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,) xyxy."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(sides.clip(min=0)))
    return both / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both, 1e-9)
