"""Objects that were expected and are no detections: which candidate stands for each, and why it is no detection.

An object is missed if the one-to-one matching (matching.py) leaves it without a detection. Its candidate is the one of
its class with the best score among those with IoU >= 0.5, else that of the largest IoU. The reason is the first that
holds, in the order of `_reason`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from igos.base.boxes import clip_boxes, iou, pairwise_iou
from igos.data.matching import Matched, matched_targets
from igos.data.truth import LEAST_IOU, Truth, filled, same_class
from igos.types import Adapter, Candidates, ConfigError, Image, Target

NEAR_IOU = 0.1  # from which a false alarm lies badly rather than elsewhere
LEAST_SCORE = 0.01  # of a candidate that is one


def expected(
    adapter: Adapter,
    image: Image,
    name: str,
    box: Sequence[float],
    threshold: float,
    known: Sequence[Truth] = (),
    crowds: Sequence[Truth] = (),
    seen: Sequence[Target] | None = None,
) -> Target:
    """The target of an object that was expected: its class and its box xyxy in source pixels; its reason is "found"
    where it is a detection. known: the picture's objects, of which it may be one. seen: what the model detects.

    Raises ConfigError for a class that the model lacks, a classifier, and a box outside of the picture.
    """
    height, width = image.geometry.source
    x1, y1, x2, y2 = corners = [float(v) for v in box]
    told = f"expected {name} at {', '.join(f'{v:g}' for v in corners)}"
    if not (np.isfinite(corners).all() and x1 < x2 and y1 < y2):
        raise ConfigError(f"{told}: a box is x1, y1, x2, y2 in source pixels with x1 < x2 and y1 < y2")
    if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
        raise ConfigError(f"{told}: this box lies outside of the picture of {width} x {height} px")
    cut = np.array([max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)])
    own = Truth(name, cut, filled(cut, (height, width)))
    others = [t for t in known if not (same_class(t.name, name) and iou(t.box, cut) >= LEAST_IOU)]
    (made,) = _pinned(adapter, image, [own], [own, *others], threshold, crowds, seen, all_of=True)
    return made


def missed(
    adapter: Adapter,
    image: Image,
    known: Sequence[Truth],
    threshold: float,
    crowds: Sequence[Truth] = (),
    seen: Sequence[Target] | None = None,
) -> list[Target]:
    """A target for each object of the picture that the model misses at the threshold, in the order of `known`; objects
    of classes that the model lacks, and difficult ones, are left out. seen: what the model detects there.
    """
    wanted = [t for t in known if not t.difficult and label_of(adapter, t.name) is not None]
    return _pinned(adapter, image, wanted, known, threshold, crowds, seen)


def label_of(adapter: Adapter, name: str) -> int | None:
    """The model's label for a class name."""
    return next((i for i, label in enumerate(adapter.labels) if same_class(label, name)), None)


class Every:
    """The candidates of one picture, by class where boxes are decoded for each class, and otherwise once."""

    def __init__(self, adapter: Adapter, image: Image) -> None:
        self.adapter, self.image = adapter, image
        self._by_label: dict[int, Candidates] = {}
        self._all: Candidates | None = None

    def of(self, label: int) -> Candidates:
        """Those of a class, boxes cut at the network's picture."""
        if self._all is not None:
            return self._all
        if label not in self._by_label:
            made = self.adapter.candidates(self.image, label)
            if made.boxes is None:
                raise ConfigError(f"{self.adapter.name} is a classifier and finds no boxes")
            made = replace(made, boxes=clip_boxes(made.boxes, self.image.geometry.network))
            self._by_label[label] = made
            self._all = made if made.proposals is None else None
        return self._by_label[label]


def _pinned(
    adapter: Adapter,
    image: Image,
    wanted: Sequence[Truth],
    known: Sequence[Truth],
    threshold: float,
    crowds: Sequence[Truth],
    seen: Sequence[Target] | None,
    all_of: bool = False,
) -> list[Target]:
    """The targets of those wanted that are missed; all_of: of the others too, which are detections."""
    seen = adapter.detect(image, threshold) if seen is None else seen
    found = matched_targets(seen, image, known, crowds)
    every, made = Every(adapter, image), []
    for truth in wanted:
        place = next(j for j, t in enumerate(known) if t is truth)
        box = image.geometry.to_network(torch.tensor(truth.box, dtype=torch.float32)).to(image.pixels.device)
        if found.detection[place] >= 0:
            if all_of:
                made.append(replace(seen[found.detection[place]], reason="found", wanted=box))
            continue
        label = label_of(adapter, truth.name)
        if label is None:
            raise ConfigError(f"expected {truth.name}: {adapter.name} has no such class")
        candidate = _candidate(every.of(label), label, box)
        reason, rival = _reason(candidate, seen, found, place, threshold)
        made.append(
            Target(
                label=label,
                name=adapter.labels[label],
                score=candidate.score,
                box=candidate.box,
                index=candidate.row,
                pins=candidate.pins,
                reason=reason,
                wanted=box,
                rival=None if rival is None else seen[rival],
            )
        )
    return made


class Candidate(NamedTuple):
    """The candidate that stands for an object: its row, box (4,), score, overlap with the object, and the largest
    overlap of any proposal, None where the network has none.
    """

    row: int | None
    box: Tensor
    score: float
    iou: float
    proposed: float | None
    pins: tuple[Tensor, ...]


def _candidate(every: Candidates, label: int, box: Tensor) -> Candidate:
    assert every.boxes is not None
    boxes = every.boxes[0]
    if not len(boxes):
        return Candidate(None, box, 0.0, 0.0, None if every.proposals is None else 0.0, every.pins)
    scores = every.scores()[0, :, label]
    iou = pairwise_iou(box, boxes)
    sound = (boxes[:, 2:] > boxes[:, :2]).all(dim=1)
    near = (iou >= LEAST_IOU) & sound
    row = int(torch.where(near, scores, -1.0).argmax() if bool(near.any()) else iou.argmax())
    proposed = None if every.proposals is None else float(pairwise_iou(box, every.proposals[0]).max())
    own = boxes[row] if float(iou[row]) > 0 else box  # of a model that scores boxes, one that lies elsewhere is no help
    return Candidate(row, own, float(scores[row]), float(iou[row]), proposed, every.pins)


def _reason(
    c: Candidate, seen: Sequence[Target], found: Matched, place: int, threshold: float
) -> tuple[str, int | None]:
    """Why the object at `place` is missed, and the detection that is to blame for it."""
    iou, alike, false = found.iou[:, place], found.alike[:, place], found.false
    covering = alike & (iou >= LEAST_IOU)
    if covering.any():
        return "shared", int(np.where(covering, iou, -1).argmax())
    if c.iou >= LEAST_IOU and c.score >= threshold:
        return "suppressed", _winner(c, seen, alike)
    other = false & ~alike & (iou >= LEAST_IOU)
    if other.any():
        return "classification", int(np.where(other, [t.score for t in seen], -1).argmax())
    beside = false & alike & (iou >= NEAR_IOU) & (iou < LEAST_IOU)
    if beside.any():
        return "localization", int(np.where(beside, iou, -1).argmax())
    if c.iou >= LEAST_IOU and c.score > LEAST_SCORE:
        return "below-threshold", None
    if c.proposed is not None and c.proposed < LEAST_IOU:
        return "no-proposal", None
    return "no-candidate", None


def _winner(c: Candidate, seen: Sequence[Target], alike: np.ndarray) -> int | None:
    """The detection that a candidate was removed for: of those with at least its score that of its class which it
    overlaps most, else of any.
    """
    overlap = [0.0 if t.box is None else float(pairwise_iou(c.box, t.box[None])) for t in seen]
    better = [t.score >= c.score - 1e-6 for t in seen]
    for of_class in (True, False):
        fitting = [i for i, o in enumerate(overlap) if o > 0 and better[i] and (alike[i] or not of_class)]
        if fitting:
            return max(fitting, key=overlap.__getitem__)
    return None
