"""What a page says of all its maps: where the heat of each lies, and methods in pairs on objects that both explain."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from igos.base.geometry import Geometry
from igos.metrics.statistics import ENOUGH, interval
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
) -> list[dict[str, Any]]:
    """The first method less each other one over the objects that both explain. Of each figure: the mean, its 95 %
    interval over pictures, and on how many objects each is better; `few` pictures, 0 where there are enough of them.
    """
    names = list(dict.fromkeys(name for (name, _, _), row in zip(sources, rows, strict=True) if row.get("folder")))
    values: dict[tuple[str, str], dict[int, list[tuple[float, int]]]] = {}
    for (name, thing, picture), row in zip(sources, rows, strict=True):
        for key in better if row.get("folder") else ():
            if (value := number(row.get(key))) is not None:
                values.setdefault((name, key), {}).setdefault(thing, []).append((value, picture))
    made = []
    for other in names[1:]:
        told, seen = [], 0
        for key, side in better.items():
            first, second = values.get((names[0], key), {}), values.get((other, key), {})
            common = [thing for thing in first if thing in second]
            if len(common) < 2:
                continue
            apart = [float(np.mean([v for v, _ in first[t]]) - np.mean([v for v, _ in second[t]])) for t in common]
            pictures = [str(first[t][0][1]) for t in common]
            low, high = interval(apart, pictures)
            seen = max(seen, len(set(pictures)))
            way_up = 1 if side == "higher" else -1
            wins = sum(way_up * d > 0 for d in apart), sum(way_up * d < 0 for d in apart)
            told.append(
                {
                    "key": key,
                    "better": side,
                    "mean": signed(float(np.mean(apart))),
                    "interval": "-" if math.isnan(low) else f"{signed(low)} to {signed(high)}",
                    "wins": f"{wins[0]} : {wins[1]} of {len(common)}",
                }
            )
        if told:
            made.append({"a": names[0], "b": other, "figures": told, "few": seen if seen < ENOUGH else 0})
    return made


def signed(value: float) -> str:
    """A difference in few letters: three places, more where they would all be 0."""
    if value == 0:
        return "0"
    size = abs(value)
    places = f"{value:+.3f}" if size >= 0.001 else f"{value:+.4f}" if size >= 0.0001 else f"{value:+.0e}"
    return places.replace("-", "\N{MINUS SIGN}")  # no line ends behind it
