"""Which detection is which object: one to one within a class, the best score first, IoU >= 0.5.

As COCO's evaluation does it (https://github.com/cocodataset/cocoapi): each detection, in the order of scores, takes the
object of its class that it overlaps most among those that are left. Objects that do not count (crowds, and those that
VOC marks as difficult) are taken after all others, a crowd as often as it fits; their detections do not count either.
What of a detection lies in a crowd is the part of its own area.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from igos.data.truth import LEAST_IOU, Truth, same_class, source_box
from igos.types import Image, Target


@dataclass(frozen=True, eq=False)
class Matched:
    """n detections and m objects of one picture: iou (n,m); alike (n,m), whether they are of one class; object (n,),
    the object that each detection is, and detection (m,), the reverse, -1 for none; ignored (n,), whether a detection
    does not count.
    """

    iou: np.ndarray
    alike: np.ndarray
    object: np.ndarray
    detection: np.ndarray
    ignored: np.ndarray

    @property
    def false(self) -> np.ndarray:
        """Which detections (n,) are false alarms."""
        return (self.object < 0) & ~self.ignored


def matched(
    names: Sequence[str],
    scores: Sequence[float],
    boxes: Sequence[np.ndarray],
    objects: Sequence[Truth],
    crowds: Sequence[Truth] = (),
) -> Matched:
    """Detections by class name, score in [0,1] and box (4,) xyxy in source pixels, and what is known of a picture."""
    known, n, m = [*objects, *crowds], len(names), len(objects)
    crowd = np.arange(len(known)) >= m
    out = crowd | np.array([t.difficult for t in known], dtype=bool)
    iou = overlaps(np.reshape(boxes, (-1, 4)), np.reshape([t.box for t in known], (-1, 4)), crowd)
    alike = np.array([[one_class(a, t.name) for t in known] for a in names], dtype=bool).reshape(n, len(known))
    object_, taken, ignored = np.full(n, -1), np.full(len(known), -1), np.zeros(n, dtype=bool)
    order = sorted(range(len(known)), key=out.__getitem__)
    for i in np.argsort(-np.asarray(scores, float), kind="stable"):
        best, at = LEAST_IOU - 1e-10, -1
        for j in order:
            if not alike[i, j] or (taken[j] >= 0 and not crowd[j]):
                continue
            if at >= 0 and out[j] and not out[at]:
                break
            if iou[i, j] >= best:
                best, at = iou[i, j], j
        if at >= 0:
            taken[at] = i
            ignored[i] = out[at]
            object_[i] = at if at < m else -1
    return Matched(iou[:, :m], alike[:, :m], object_, taken[:m], ignored)


def matched_targets(
    seen: Sequence[Target], image: Image, objects: Sequence[Truth], crowds: Sequence[Truth] = ()
) -> Matched:
    """`matched` of detections that have boxes."""
    boxes = [source_box(t, image) for t in seen]
    return matched([t.name for t in seen], [t.score for t in seen], boxes, objects, crowds)


def overlaps(a: np.ndarray, b: np.ndarray, crowd: np.ndarray) -> np.ndarray:
    """IoU (n,m) of boxes a (n,4) and b (m,4) xyxy; of those b that are crowds (m,) the part of a that lies in them."""
    sides = np.minimum(a[:, None, 2:], b[None, :, 2:]) - np.maximum(a[:, None, :2], b[None, :, :2])
    both = sides.clip(min=0).prod(axis=2)
    of_a, of_b = ((box[:, 2:] - box[:, :2]).clip(min=0).prod(axis=1) for box in (a, b))
    union = of_a[:, None] + np.where(crowd, 0, of_b - both)
    return both / np.maximum(union, 1e-12)


@lru_cache(maxsize=100_000)
def one_class(name: str, other: str) -> bool:
    """same_class, remembered."""
    return same_class(name, other)
