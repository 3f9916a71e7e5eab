"""Image degradation. Schulz et al.: Restricting the Flow (IBA), ICLR 2020, https://arxiv.org/abs/2001.00396; and
Schwarzenberg, Castle: Pattern-Guided Integrated Gradients (PGIG), 2020, https://arxiv.org/abs/2007.10685

Tiles are replaced for good, the most (MoRF) or the least relevant (LeRF) first, by the map's sum on each.

    degradation = area(LeRF) - area(MoRF)        trapezoid over the share of tiles, both ends scored
    normalised  = degradation / (t - b)          t: score of the picture, b: of the fully degraded one

    degradation_pgig = mean over k of p_0 - p_k  the area over the curve of p_k, the score with k tiles replaced (MoRF)

Over many pictures IBA's paper normalises once: mean of degradation / (mean t - mean b); t and b are in the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import SUBSTRATES, baseline
from igos.base.ops import Blend
from igos.base.settings import setting
from igos.drawing.shown import MeanCurve
from igos.metrics.metric import Metric, score, scores
from igos.metrics.regions import pixels, tile_sums, tiles
from igos.metrics.statistics import NAN, trapezoid
from igos.types import Explanation, Problem, Score

REPLACE = (*SUBSTRATES, "tile_mean")
SHOWN_AT = (10, 50, 100)  # tiles replaced


@dataclass(frozen=True)
class Degradation(Metric):
    """tile: its side in network pixels (the last ones of a row or column take the rest); replace: one of SUBSTRATES,
    or tile_mean, each tile's own mean colour; steps: equal shares of the tiles.

    Curve: share of tiles over LeRF - MoRF. Random maps score about 0.
    """

    tile: int = setting(8, least=1)
    replace: str = setting("zero", choices=REPLACE)
    steps: int = setting(50, least=1)

    name: ClassVar[str] = "degradation"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-1, 1]"
    paper: ClassVar[str] = "Schulz et al. 2020 (IBA)"
    mean_curve: ClassVar[MeanCurve | None] = MeanCurve(
        "share of tiles replaced", "score, least relevant first - most relevant first", "area under", signed=True
    )

    @property
    def cost(self) -> str:
        return str(2 * (self.steps + 1))

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        tile = tiles(problem.size, (self.tile, self.tile))
        count = np.rint(np.linspace(0, int(tile.max()) + 1, self.steps + 1)).astype(int)
        made, x = [], count / count[-1]
        for most, least in degraded(problem, explanations, tile, self.replace, count, ("morf", "lerf")):
            between, (t, b) = trapezoid(least, x) - trapezoid(most, x), (float(most[0]), float(most[-1]))
            detail: dict[str, Any] = {
                "normalised": between / (t - b) if t != b else NAN,
                "morf": trapezoid(most, x),
                "lerf": trapezoid(least, x),
                "start": t,
                "end": b,
            }
            made.append(score(self, between, curve=np.stack([x, least - most]), **detail))
        return made


@dataclass(frozen=True)
class DegradationPGIG(Metric):
    """The area over the curve of the score while the most relevant `steps` tiles of `tile` px turn into their mean
    colours one by one.

    Curve: tiles replaced over score; `at_10`, `at_50`, `at_100`: the score with so many tiles replaced. compat {none,
    pgig}: the authors' code never replaces the first tile, nor a tile's channel that is darker than the data's mean, so
    its curves lie higher.
    """

    tile: int = setting(9, least=1)
    steps: int = setting(100, least=1)
    compat: str = setting("none", choices=("none", "pgig"))

    name: ClassVar[str] = "degradation_pgig"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-1, 1]"
    paper: ClassVar[str] = "Schwarzenberg, Castle 2020 (PGIG)"
    mean_curve: ClassVar[MeanCurve | None] = MeanCurve(
        "most relevant tiles replaced by their mean colour", "score", "area over", counts=True
    )

    @property
    def cost(self) -> str:
        return str(self.steps + 1)

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        tile, theirs = tiles(problem.size, (self.tile, self.tile)), self.compat == "pgig"
        count = np.arange(min(self.steps, int(tile.max()) + 1 - theirs) + 1)
        replace = "bright_tile_mean" if theirs else "tile_mean"
        made = []
        for y in degraded(problem, explanations, tile, replace, count, ("morf",), first=int(theirs))[:, 0]:
            detail: dict[str, Any] = {f"at_{k}": float(y[k]) for k in SHOWN_AT if k < len(y)}
            made.append(score(self, area_over(y), curve=np.stack([count, y]), **detail))
        return made


def area_over(curve: np.ndarray) -> float:
    """The mean of p_0 - p_k over a curve (1 + L,) of scores p."""
    return float((curve[0] - curve).mean())


def degraded(
    problem: Problem,
    explanations: Sequence[Explanation],
    tile: Tensor,
    replace: str,
    count: np.ndarray,
    orders: Sequence[str],
    first: int = 0,
) -> np.ndarray:
    """Scores (K, orders, points) with count[j] tiles replaced from the `first` on, in the order morf or lerf."""
    x = problem.x
    heat = torch.stack([tile_sums(pixels(e, problem.size), tile) for e in explanations])
    place = (-heat).argsort(dim=1, stable=True).argsort(dim=1)  # of each tile, 0 the most relevant
    place = torch.stack([place if o == "morf" else heat.shape[1] - 1 - place for o in orders], dim=1)
    points, number = len(count), len(orders)
    job = torch.arange(len(explanations) * number * points)
    row, order, done = job // (number * points), job // points % number, torch.from_numpy(count)[job % points]
    blend = Blend(x, TILE_MEANS[replace](x, tile) if replace in TILE_MEANS else baseline(replace, x))

    def pictures(part: slice) -> Tensor:
        at = place[row[part], order[part]] - first
        gone = (at >= 0) & (at < done[part, None])
        return blend(row[part].to(x.device), gone[:, tile].to(x))

    return scores(problem, row.to(x.device), pictures).reshape(-1, number, points)


def _tile_means(x: Tensor, tile: Tensor) -> Tensor:
    """Each pixel's tile's mean colour (K,3,H,W)."""
    one = x[:1] if x.stride(0) == 0 else x
    place = tile.to(x.device)
    means = tile_sums(one, place) / tile_sums(torch.ones_like(one[0, 0]), place)
    return means[..., place].expand_as(x)


def _bright_tile_means(x: Tensor, tile: Tensor) -> Tensor:
    """As _tile_means where that is brighter than the data's mean colour; elsewhere the picture's own pixels."""
    means = _tile_means(x, tile)
    return torch.where(means > baseline("mean", x), means, x)


TILE_MEANS = {"tile_mean": _tile_means, "bright_tile_mean": _bright_tile_means}
