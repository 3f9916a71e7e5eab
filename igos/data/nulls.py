"""Null candidates: how far scores rise that should not rise, of classes that are nowhere in their picture.

A candidate of a class that a picture does not show is asked `why-not` like a missed object. What such candidates rise
by is what hiding does to any score. They are drawn once for a model and a data set whose annotations are complete;
configs/nulls.json holds a list for all other cases, drawn with one detector on photos.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from igos.base import resources

COUNT = 50
NEAR = 1.0  # the spread in log-odds within which scores are alike


class Null(NamedTuple):
    """score: f(x) of the candidate; medians: its median scores on the ladder of shares."""

    score: float
    medians: tuple[float, ...]


@lru_cache(maxsize=1)
def bundled() -> tuple[Null, ...]:
    """Those that ship with the project."""
    path = resources.folder("configs") / "nulls.json"
    return tuple(nulls_of(json.loads(path.read_text(encoding="utf-8"))["nulls"]))


def nulls_of(plain: Sequence[Sequence[float]]) -> list[Null]:
    """From rows [score, median, median, ...]."""
    return [Null(float(row[0]), tuple(float(v) for v in row[1:])) for row in plain]


def lift(score: float, medians: Sequence[float] | np.ndarray, rungs: int) -> float:
    """How far a score rises with how little: its mean rise over the first `rungs` shares of the ladder, in probability.
    The ladder's shares lie in equal ratios, so that small ones count as much as large ones.
    """
    return float(np.mean(np.asarray(medians[:rungs], float) - score))


def share_alike(score: float, medians: np.ndarray, rungs: int, nulls: Sequence[Null]) -> float:
    """The share of the nulls, by how near their score is, that rise as far with as little (lift). As one figure is
    compared, not the best of many, a null one itself comes to 0.1 or less in about one case of ten.
    """
    own = lift(score, medians, rungs)
    weight = np.array([math.exp(-(((_odds(n.score) - _odds(score)) / NEAR) ** 2) / 2) for n in nulls])
    risen = np.array([lift(n.score, n.medians, rungs) >= own for n in nulls])
    weight = np.maximum(weight, 1e-9)
    return float((weight * risen).sum() / weight.sum())


def _odds(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))
