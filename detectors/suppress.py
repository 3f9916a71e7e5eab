"""Which rows of a detector's candidates are its detections: thresholds and suppression."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torchvision.ops import batched_nms, nms

from igos.types import Candidates


class Suppress(Protocol):
    """candidates (of one picture), least score -> rows (n,) and classes (n,) of its detections, best first."""

    def __call__(self, candidates: Candidates, threshold: float) -> tuple[Tensor, Tensor]: ...


def above(candidates: Candidates, threshold: float, best: bool = False) -> tuple[Tensor, Tensor, Tensor]:
    """Rows, classes and scores (n,) >= threshold of boxes with an area; best: of a row its best class alone."""
    assert candidates.boxes is not None
    boxes, scores = candidates.boxes[0], candidates.without_none(candidates.scores(), -1.0)[0]
    shown = scores >= threshold
    if best:
        shown &= torch.zeros_like(shown).scatter_(1, scores.argmax(1, keepdim=True), True)
    shown &= (boxes[:, 2:] > boxes[:, :2]).all(dim=1, keepdim=True)
    rows, labels = shown.nonzero(as_tuple=True)
    return rows, labels, scores[rows, labels]


@dataclass(frozen=True)
class NMS:
    """Of boxes that overlap by more than `iou` the best alone stays: of one class (per_class), or of any.

    best: a row counts as its best class alone; else as every class that reaches the threshold. most: detections kept.
    """

    iou: float = 0.5
    per_class: bool = True
    best: bool = False
    most: int | None = None

    def __call__(self, candidates: Candidates, threshold: float) -> tuple[Tensor, Tensor]:
        assert candidates.boxes is not None
        rows, labels, scores = above(candidates, threshold, self.best)
        boxes = candidates.boxes[0, rows].to(scores)
        kept = batched_nms(boxes, scores, labels, self.iou) if self.per_class else nms(boxes, scores, self.iou)
        return rows[kept[: self.most]], labels[kept[: self.most]]


@dataclass(frozen=True)
class Everything:
    """No suppression: every row and class that reaches the threshold (the DETR family).

    best: a row counts as its best class alone. most: how many are kept.
    """

    best: bool = False
    most: int | None = None

    def __call__(self, candidates: Candidates, threshold: float) -> tuple[Tensor, Tensor]:
        rows, labels, scores = above(candidates, threshold, self.best)
        order = scores.argsort(descending=True, stable=True)[: self.most]
        return rows[order], labels[order]
