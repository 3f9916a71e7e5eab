"""Many values of one metric: their mean over explanations and over classes, and how many are not known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from igos.metrics.parts import NAN


class Summary(NamedTuple):
    """mean over the `known` values, class_mean the mean of the classes' means; unknown: values that are NaN."""

    mean: float
    class_mean: float
    known: int
    unknown: int


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
