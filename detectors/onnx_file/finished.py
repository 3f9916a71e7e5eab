"""Finished detections of a graph with its own suppression: layout end2end.

Rows of x1, y1, x2, y2 in px or in 0..1, then score and class, or class and score; of seven numbers the first is the
picture's. Which of the two is the class its numbers tell: whole ones.
"""

from __future__ import annotations

from torch import Tensor

from detectors.inputs import Input
from detectors.onnx_file.graph import Session
from igos.types import ConfigError


def detections(session: Session, way: Input, pictures: Tensor) -> list[dict[str, Tensor]]:
    """Of each of the pictures (N,3,H,W) in [0,1]. Raises ConfigError for rows that are of another form."""
    return [finished(session(way.prepare(p[None]))[0][0], way.size) for p in pictures]


def finished(rows: Tensor, size: tuple[int, int]) -> dict[str, Tensor]:
    """Of rows (n,6 or 7) of one picture; those without a score are left out. Raises ConfigError."""
    rows = rows[:, 1:] if rows.shape[1] == 7 else rows
    score, label = (4, 5) if _whole(rows[:, 5]) or not _whole(rows[:, 4]) else (5, 4)
    rows = rows[rows[:, score] > 0]
    boxes, labels = rows[:, :4], rows[:, label]
    if not _whole(labels):
        raise ConfigError("its detections hold no column of whole numbers, the class; adapt it in Python")
    if len(rows) and not bool((boxes[:, 2:] >= boxes[:, :2]).all(1).any()):
        raise ConfigError("its boxes are not x1, y1, x2, y2: each ends before it begins; adapt it in Python")
    if len(rows) and float(boxes.max()) < 2:
        boxes = boxes * boxes.new_tensor([size[1], size[0]] * 2)
    return {"boxes": boxes, "scores": rows[:, score], "labels": labels.long()}


def _whole(numbers: Tensor) -> bool:
    return bool((numbers == numbers.round()).all())
