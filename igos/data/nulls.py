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
NEAR = 1.0  # the spread in log-odds within which scores are alike, where enough of them are
ENOUGH = 10  # of so many, one alone is no more than a tenth


class Null(NamedTuple):
    """score: f(x) of the candidate; medians: its median scores on the ladder of shares; best: the best score that its
    row has, of any class, in the untouched picture.
    """

    score: float
    medians: tuple[float, ...]
    best: float = 0.0


@lru_cache(maxsize=1)
def bundled() -> tuple[Null, ...]:
    """Those that ship with the project."""
    path = resources.folder("configs") / "nulls.json"
    return tuple(nulls_of(json.loads(path.read_text(encoding="utf-8"))["nulls"]))


def nulls_of(plain: Sequence[Sequence[float]]) -> list[Null]:
    """From rows [score, best, median, median, ...]."""
    return [Null(float(row[0]), tuple(float(v) for v in row[2:]), float(row[1])) for row in plain]


def row_of(null: Null, digits: int) -> list[float]:
    """As nulls_of reads it."""
    return [round(float(v), digits) for v in (null.score, null.best, *null.medians)]


def lift(null: Null, rungs: int) -> float:
    """How far a score rises with how little: how far it lies, in the mean over the first `rungs` shares of the ladder,
    above the best that its row had, in probability. Below that the row only takes another name. The ladder's shares lie
    in equal ratios, so that small ones count as much as large ones.
    """
    over = np.asarray(null.medians[:rungs], float) - max(null.score, null.best)
    return float(np.mean(over.clip(min=0)))


def share_alike(asked: Null, rungs: int, nulls: Sequence[Null]) -> float:
    """The share of the nulls that rise as far with as little (lift) as what was asked: of all alike, or by how near
    their score is, the larger one. As one figure is compared, not the best of many, a null one itself comes to 0.1 or
    less in at most about one case of ten.
    """
    own = lift(asked, rungs)
    weight = alike(asked.score, nulls)
    risen = np.array([lift(n, rungs) >= own for n in nulls])
    return max(float((weight * risen).sum() / weight.sum()), float(risen.mean()))


def alike(score: float, nulls: Sequence[Null]) -> np.ndarray:
    """The weight of each null by how near its score is: exp(-d^2 / 2 s^2), d in log-odds, s NEAR or, where there are
    ENOUGH nulls, as much wider as it takes until none alone weighs more than a tenth of all. Else one null that happens
    to be near would decide.
    """
    away = np.array([_odds(n.score) - _odds(score) for n in nulls])
    for spread in NEAR * 2 ** np.arange(0, 8, 0.5):
        weight = np.maximum(np.exp(-((away / spread) ** 2) / 2), 1e-9)
        if weight.max() * ENOUGH <= weight.sum() or len(nulls) < ENOUGH:
            break
    return weight


def _odds(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))
