"""Of series: area, correlation, ranks; of many values: their mean, its interval, and how many are not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ENOUGH = 10  # pictures from which an interval is trusted: of two it reaches from one picture's mean to the other's


class Summary(NamedTuple):
    """mean over n values, class_mean the mean of the classes' means; missing: how many more are NaN."""

    mean: float
    class_mean: float
    n: int
    missing: int


def summarise(values: Sequence[float], classes: Sequence[str | int]) -> Summary:
    """values (n), classes (n) what each one's target is; a class without a known value counts nowhere."""
    groups: dict[str | int, list[float]] = {}
    for value, name in zip(values, classes, strict=True):
        if not math.isnan(value):
            groups.setdefault(name, []).append(value)
    known = [v for group in groups.values() for v in group]
    means = [sum(group) / len(group) for group in groups.values()]
    count = len(known)
    return Summary(
        sum(known) / count if count else NAN, sum(means) / len(means) if means else NAN, count, len(values) - count
    )


def interval(
    values: Sequence[float], groups: Sequence[str], seed: int = 0, resamples: int = 2000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of the known values (n). Efron, Tibshirani 1993, chapter 13.

    Whole groups (n), the pictures, are drawn with replacement, since objects of one picture are alike. The draws
    depend on the seed and the number of groups alone, so methods judged on the same pictures see the same draws. NaN
    for fewer than two groups with a known value.
    """
    place = np.unique(np.asarray(groups), return_inverse=True)[1] if len(groups) else np.zeros(0, int)
    count = int(place.max(initial=-1)) + 1
    known = ~np.isnan(np.asarray(values, dtype=float))
    number = np.bincount(place[known], minlength=count)
    if (number > 0).sum() < 2:
        return NAN, NAN
    total = np.bincount(place[known], np.asarray(values, dtype=float)[known], minlength=count)
    times = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=resamples)
    drawn = times @ number
    means = (times @ total)[drawn > 0] / drawn[drawn > 0]
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


NAN = float("nan")


def trapezoid(y: np.ndarray, x: np.ndarray) -> float:
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two series; NaN where one of them is constant."""
    rest = [v - v.mean() for v in (a, b)]
    if any(not np.abs(r).max() > 1e-10 * np.abs(v).max() for r, v in zip(rest, (a, b), strict=True)):
        return NAN
    a, b = (r / np.linalg.norm(r) for r in rest)
    return float(np.clip(a @ b, -1, 1))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of a flat series, ties at their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return pearson(ranks(a.ravel()), ranks(b.ravel()))
