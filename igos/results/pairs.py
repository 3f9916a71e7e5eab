"""What a page says of all its maps: where the heat of each lies, and methods in pairs on objects that both explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from igos.base.geometry import Geometry
from igos.metrics.statistics import interval
from igos.results.packed import number


def within(heat: np.ndarray, g: Geometry, box: Sequence[float]) -> float | None:
    """The share of a map's heat (h,w) on nodes that lie in the box (4,) xyxy in source pixels; None without any."""
    whole = float(heat.sum())
    if not whole > 0:
        return None
    sides = []
    for n, size, scale, offset, ends in zip(heat.shape, g.network, g.scale, g.offset, ((1, 3), (0, 2)), strict=True):
        at = (np.linspace(0.5, size - 0.5, n) - offset) / scale
        sides.append((at >= box[ends[0]]) & (at <= box[ends[1]]))
    return round(float(heat[np.ix_(*sides)].sum()) / whole, 3)


def pairs(
    sources: Sequence[tuple[str, int, int]], better: Mapping[str, str], rows: Sequence[Mapping[str, Any]]
) -> list[dict[str, str]]:
    """Of each figure, the first method less each other one over the objects that both explain: mean, 95 % interval over
    pictures, and on how many each is better.
    """
    names = list(dict.fromkeys(name for (name, _, _), row in zip(sources, rows, strict=True) if row.get("folder")))
    made = []
    for key, side in better.items():
        values: dict[str, dict[int, list[tuple[float, int]]]] = {name: {} for name in names}
        for (name, thing, picture), row in zip(sources, rows, strict=True):
            value = number(row.get(key))
            if value is not None and row.get("folder"):
                values[name].setdefault(thing, []).append((value, picture))
        for other in names[1:]:
            first, second = values[names[0]], values[other]
            common = [thing for thing in first if thing in second]
            if len(common) < 2:
                continue
            apart = [float(np.mean([v for v, _ in first[t]]) - np.mean([v for v, _ in second[t]])) for t in common]
            low, high = interval(apart, [str(first[t][0][1]) for t in common])
            way_up = 1 if side == "higher" else -1
            wins = sum(way_up * d > 0 for d in apart), sum(way_up * d < 0 for d in apart)
            made.append(
                {
                    "key": key,
                    "better": side,
                    "a": names[0],
                    "b": other,
                    "mean": f"{np.mean(apart):+.3f}",
                    "interval": "-" if math.isnan(low) else f"{low:+.3f} to {high:+.3f}",
                    "wins": f"{wins[0]} : {wins[1]} of {len(common)}",
                }
            )
    return made
