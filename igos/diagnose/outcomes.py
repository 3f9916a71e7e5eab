"""What each detection is, in the order of TIDE's code. Bolya et al. 2020, https://arxiv.org/abs/2008.08115

    correct          the one-to-one matching (igos/data/matching.py) makes it an object
    localization     an object of its class, found or not, overlaps it with 0.1 <= IoU < 0.5, and none with more
    classification   an object of another class overlaps it with IoU >= 0.5
    duplicate        an object of its class overlaps it with IoU >= 0.5, and has a better detection
    background       no object overlaps it with IoU >= 0.1
    both             the rest: wrong class and badly placed

A detection of a crowd or a difficult object does not count: ignored.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from igos.data.expected import NEAR_IOU
from igos.data.matching import Matched
from igos.data.truth import LEAST_IOU

FALSE = ("localization", "classification", "duplicate", "background", "both")
DETECTED = ("correct", *FALSE, "ignored")


class Outcome(NamedTuple):
    """kind, one of DETECTED; partner: the object that it is about, None without any; iou: the overlap with it; also: of
    a badly placed one an object of another class that it covers, with the overlap, None without any.
    """

    kind: str
    partner: int | None
    iou: float
    also: tuple[int, float] | None = None


def outcomes(m: Matched) -> list[Outcome]:
    """Of every detection of a picture."""
    return [_outcome(m, i) for i in range(len(m.object))]


def _outcome(m: Matched, i: int) -> Outcome:
    iou, alike = m.iou[i], m.alike[i]
    if m.object[i] >= 0 and not m.ignored[i]:
        return Outcome("correct", int(m.object[i]), float(iou[m.object[i]]))
    if m.ignored[i]:
        return Outcome("ignored", None, 0.0)
    (own, at_own), (other, at_other) = _best(iou, alike), _best(iou, ~alike)
    if NEAR_IOU <= own < LEAST_IOU:
        covers = (at_other, other) if at_other is not None and other >= LEAST_IOU else None
        return Outcome("localization", at_own, own, covers)
    if other >= LEAST_IOU:
        return Outcome("classification", at_other, other)
    if own >= LEAST_IOU:
        return Outcome("duplicate", at_own, own)
    best, at = _best(iou, np.ones(len(iou), dtype=bool))
    return Outcome("background", None, best) if best < NEAR_IOU else Outcome("both", at, best)


def unexplained(m: Matched, made: list[Outcome]) -> np.ndarray:
    """Which objects (m,) are missed and no classification or localization error explains: TIDE's missed."""
    blamed = {o.partner for o in made if o.kind in ("classification", "localization")}
    return np.array([d < 0 and j not in blamed for j, d in enumerate(m.detection)], dtype=bool)


def _best(iou: np.ndarray, among: np.ndarray) -> tuple[float, int | None]:
    if not among.any():
        return 0.0, None
    at = int(np.where(among, iou, -1.0).argmax())
    return float(iou[at]), at
