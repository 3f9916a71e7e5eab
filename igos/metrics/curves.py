"""Deletion and insertion. Petsiuk, Das, Saenko: RISE, BMVC 2018, https://arxiv.org/abs/1806.07421; on a mask
grid with a blurred substrate as in I-GOS, https://arxiv.org/abs/1905.00954.

Cells are taken by importance in `steps` equal shares of the budget: replaced by the substrate (deletion) or
revealed from it (insertion). The area is the trapezoid over x = fraction of the budget, both ends scored:
a constant score c gives exactly c. `<name>_normalised` is the area between the curve's own ends,

    (area - low) / (high - low)       low: the score with everything hidden, high: with nothing hidden

A map finer than `resolution` cells a side is brought to that grid by least squares (the map there whose upsampling is
nearest to it), so that methods are ranked on one grid. `tie_fraction` is the share of cells whose rank a tie left to
chance.

With `within` not every share is scored: the curve holds the points that were, more of them where it bends (refine.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import SUBSTRATES, baseline
from igos.base.ops import LARGEST_GRID, Blend, downscale, rank, upscale
from igos.base.settings import setting
from igos.metrics.metric import Metric, score, scores
from igos.metrics.refine import first, following
from igos.metrics.regions import pixels
from igos.metrics.statistics import NAN, trapezoid
from igos.types import Explanation, Problem, Score

BUDGETS = ("image", "object")
UNITS = ("cells", "pixels")


@dataclass(frozen=True)
class Curve(Metric):
    """substrate: one of SUBSTRATES; budget "image" = everything, "object" = 3 x the object's area (its mask, else
    its box), at most everything; units: what is ranked and changed, the map's cells or the network's pixels; steps:
    equal shares of the budget, unless step > 0 says how many units a step takes; resolution: most
    cells a side; within: score points only until the area is, for a curve that rises or falls throughout, within
    this of the one that all points give, in units of the score (0: score all).
    """

    substrate: str = setting("blur", choices=SUBSTRATES)
    steps: int = setting(50, least=1)
    budget: str = setting("image", choices=BUDGETS)
    units: str = setting("cells", choices=UNITS)
    step: int = setting(0, least=0)
    resolution: int = setting(28, least=1, most=LARGEST_GRID)
    within: float = setting(0.0, least=0)

    insert: ClassVar[bool]
    label: ClassVar[str]
    range: ClassVar[str] = "[0, 1]"
    paper: ClassVar[str] = "Petsiuk, Das, Saenko 2018 (RISE)"
    in_table: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.label if self.budget == type(self).budget else f"{self.label}_{self.budget}"

    @property
    def cost(self) -> str:
        every = f"{self.units} / {self.step} + 1" if self.step else str(self.steps + 1)
        return f"{every}, or fewer" if self.within else every

    @property
    def hides(self) -> tuple[str, int] | None:
        """What hides cells, and how many a map has a side; None where the curve is of something else."""
        return (self.substrate, self.resolution) if self.replayed else None

    @property
    def replayed(self) -> bool:
        """Whether a page can redraw the picture of each step: cells of the whole map, 255 steps at most, all scored."""
        whole = self.name == self.plot and self.units == "cells" and not self.within
        return whole and not self.step and self.steps <= 255

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        """One Score per explanation, curve (2, points): fraction of the budget over score."""
        x, made = problem.x, baseline(self.substrate, problem.x)
        cells = self.units == "cells"
        maps = [on_cells(e.saliency, self.resolution) if cells else pixels(e, problem.size) for e in explanations]
        orders, ties = zip(*(rank(m) for m in maps), strict=True)
        counts = [self.counts(_budget(self.budget, e, m.numel())) for e, m in zip(explanations, maps, strict=True)]
        blend = Blend(made, x) if self.insert else Blend(x, made)
        curves = [np.zeros(len(c)) for c in counts]
        asked = [first(len(c)) if self.within else np.arange(len(c)) for c in counts]
        known = [a[:0] for a in asked]
        while any(map(len, asked)):
            row = torch.arange(len(x)).repeat_interleave(torch.tensor([len(a) for a in asked])).to(x.device)
            count = np.concatenate([c[a] for c, a in zip(counts, asked, strict=True)])

            def pictures(part: slice, row: Tensor = row, count: np.ndarray = count) -> Tensor:
                changed = [
                    _first(maps[r].shape, orders[r], n) for r, n in zip(row[part].tolist(), count[part], strict=True)
                ]
                return blend(row[part], upscale(torch.stack(changed).to(x), problem.size))

            found = np.split(scores(problem, row, pictures), np.cumsum([len(a) for a in asked])[:-1])
            for curve, a, y in zip(curves, asked, found, strict=True):
                curve[a] = y
            known = [np.union1d(k, a) for k, a in zip(known, asked, strict=True)]
            asked = [following(c / c[-1], y, k, self.within) for c, y, k in zip(counts, curves, known, strict=True)]
        return [self._score(c[k], y[k], tie) for c, y, k, tie in zip(counts, curves, known, ties, strict=True)]

    def counts(self, budget: int) -> np.ndarray:
        """Units changed at each point, from 0 to the budget."""
        if self.step:
            return np.append(np.arange(0, budget, self.step), budget)
        return np.rint(np.linspace(0, budget, self.steps + 1)).astype(int)

    def _score(self, count: np.ndarray, y: np.ndarray, tie: float) -> Score:
        fraction = count / count[-1]
        area = trapezoid(y, fraction)
        low, high = (y[0], y[-1]) if self.insert else (y[-1], y[0])
        normalised = float((area - low) / (high - low)) if high != low else NAN
        made = score(self, area, curve=np.stack([fraction, y]), normalised=normalised)
        made.detail["tie_fraction" if self.units == "cells" else f"{self.name}_tie_fraction"] = tie
        return replace(made, hides=self.hides)


@dataclass(frozen=True)
class Deletion(Curve):
    """How fast the score falls when the most important cells are blurred away; in [0,1] for prob, lower better."""

    insert = False
    better = "lower"
    label = plot = "deletion"
    means = "how much score is left, on average, while the most important parts are hidden one by one"


@dataclass(frozen=True)
class Insertion(Curve):
    """How fast the score rises when the most important cells are revealed; in [0,1] for prob, higher better."""

    insert = True
    better = "higher"
    label = plot = "insertion"
    means = "how soon the score comes back while the most important parts are shown one by one"


def on_cells(saliency: Tensor, size: int) -> Tensor:
    """The map (h,w) as it is ranked: on at most size x size cells."""
    h, w = saliency.shape
    return saliency if max(h, w) <= size else downscale(saliency.double().cpu(), (min(h, size), min(w, size)))


def _first(shape: torch.Size, order: np.ndarray, count: int) -> Tensor:
    """1 at the first `count` units of the order, else 0."""
    cells = np.zeros(order.size)
    cells[order[:count]] = 1
    return torch.from_numpy(cells).view(shape)


def _budget(kind: str, e: Explanation, units: int) -> int:
    """Units that the curve may change, at least 1."""
    target, (height, width) = e.target, e.image.pixels.shape[1:]
    if kind == "image" or target.box is None:
        return units
    if target.mask is not None:
        share = float(target.mask.float().mean())
    else:
        x1, y1, x2, y2 = target.box.tolist()
        share = (x2 - x1) * (y2 - y1) / (height * width)
    return int(np.clip(round(3 * share * units), 1, units))
