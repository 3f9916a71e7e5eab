"""Which parts of the map stand in for each other, and which need each other: Shapley interactions of its top regions.

    I(i,j) = f() - f(i) - f(j) + f(i,j),    f(S) the score with the regions S blurred

f() is the whole picture. I < 0: either region is enough, they are redundant; I > 0: both are needed.
Grabisch, Roubens 1999, https://doi.org/10.1007/s001820050125, at the full set. The 8 regions are squares around the
map's peaks, so 37 network images: none, 8 single ones and 28 pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.ops import upscale
from igos.metrics.curves import on_cells
from igos.metrics.ladder import FINEST, Ladder, climbed
from igos.metrics.metric import Context, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score

REGIONS = 8
REACH = 12  # a region is a square of the map's side over this, to each side of its peak
TELLING = 0.1  # of f(x): interactions below are not told


@dataclass(frozen=True)
class Interactions(Ladder):
    """The value is the sum of the interactions over f(x): below 0 where parts are redundant, above where needed."""

    label: ClassVar[str] = "interactions"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-28, 28]"
    paper: ClassVar[str] = "Grabisch, Roubens 1999"

    @property
    def cost(self) -> str:
        return str(1 + REGIONS + REGIONS * (REGIONS - 1) // 2)

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        areas, places = regions(on_cells(e.saliency, FINEST))
        if len(areas) < 2:
            return score(self, NAN, "the map has fewer than two regions")
        pairs = list(combinations(range(len(areas)), 2))
        sets = [(), *((i,) for i in range(len(areas))), *pairs]
        cells = torch.stack([areas[list(s)].amax(dim=0) if s else torch.zeros_like(areas[0]) for s in sets])
        f = climbed(problem, row, problem.x0[row], 1 - upscale(cells, problem.size))
        value = dict(zip(sets, f.tolist(), strict=True))
        made = {(i, j): value[()] - value[i,] - value[j,] + value[i, j] for i, j in pairs}
        if not np.isfinite(f).all() or not abs(value[()]) > 1e-6:
            return score(self, NAN)
        strongest = max(made, key=lambda p: abs(made[p]))
        i, j = strongest
        matrix = np.array([[i, j, v] for (i, j), v in made.items()]).T
        told = ""
        if abs(made[strongest]) >= TELLING * abs(value[()]):
            word = "are redundant: either is enough" if made[strongest] < 0 else "are needed together"
            told = f"the regions at {places[i]} and {places[j]} {word}"
        out = score(self, sum(made.values()) / abs(value[()]), strongest=made[strongest])
        out.detail["interactions_told"] = told
        out.detail["interactions_pairs"] = [[int(a), int(b), round(float(v), 4)] for a, b, v in matrix.T]
        return out


def regions(map_: Tensor) -> tuple[Tensor, list[str]]:
    """At most 8 squares (n,h,w) of 0 and 1 around the map's highest cells, none on another, and where they lie."""
    h, w = map_.shape
    reach = max(round(max(h, w) / REACH / 2), 0)
    left, made, places = map_.clone().double(), list[Tensor](), list[str]()
    floor = float(map_.min())
    while len(made) < REGIONS and float(left.max()) > floor:
        y, x = divmod(int(left.argmax()), w)
        area = torch.zeros(h, w, dtype=torch.float32)
        area[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1] = 1
        taken = torch.stack(made).amax(dim=0) if made else torch.zeros(h, w)
        made.append(area * (1 - taken))
        far = 2 * reach + 1
        left[max(y - far + 1, 0) : y + far, max(x - far + 1, 0) : x + far] = -torch.inf
        places.append(f"{(x + 0.5) / w:.0%} across, {(y + 0.5) / h:.0%} down")
    return (torch.stack(made) if made else torch.zeros(0, h, w)), places
