"""Sensitivity-n. Ancona et al.: Towards better understanding of gradient-based attribution methods, ICLR 2018,
https://arxiv.org/abs/1711.06104

    corr_S( sum_{i in S} a_i , f(x) - f(x with S replaced) ),    S random sets of n features

Features are tiles, a_i the sum of the attribution on one (of the map, where a method gives no attribution). Its
mean over n, n log-spaced from 1 to 0.8 of the tiles. Judge it on logits (`--score logit`): probabilities saturate.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import SUBSTRATES, baseline
from igos.base.ops import Blend
from igos.base.settings import setting
from igos.metrics.metric import Context, Metric, asked_once, score, scores, seeded
from igos.metrics.regions import contributions, tile_sums, tiles
from igos.metrics.statistics import NAN, pearson
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class SensitivityN(Metric):
    """side: about so many tiles along each side of the picture; sizes: how many n; subsets: sets of each; substrate:
    one of SUBSTRATES.

    1 for exact contributions to an additive score, about 0 for random maps. `_undefined` counts the n at which the
    map's sums or the changes of the score are all alike; NaN where that is so at every n. Curve: n / tiles over
    correlation.
    """

    side: int = setting(14, least=1)
    sizes: int = setting(6, least=1)
    subsets: int = setting(50, least=3)
    substrate: str = setting("zero", choices=SUBSTRATES)

    name: ClassVar[str] = "sensitivity_n"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-1, 1]"
    paper: ClassVar[str] = "Ancona et al. 2018"

    @property
    def cost(self) -> str:
        return f"{self.sizes * self.subsets + 1}"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        x, (height, width) = problem.x, problem.size
        tile = tiles(problem.size, (max(height // self.side, 1), max(width // self.side, 1)))
        number = int(tile.max()) + 1
        sizes = np.unique(np.rint(np.geomspace(1, max(0.8 * number, 1), self.sizes)).astype(int))
        chosen = torch.stack([self._sets(problem, i, sizes, number) for i in range(len(explanations))])
        points = chosen.shape[1]
        job = torch.arange(len(explanations) * points)
        blend = Blend(x, baseline(self.substrate, x))

        def pictures(part: slice) -> Tensor:
            gone = chosen.flatten(0, 1)[part]
            return blend((job[part] // points).to(x.device), gone[:, tile].to(x))

        def ask() -> np.ndarray:
            return scores(problem, (job // points).to(x.device), pictures).reshape(-1, points)

        y = asked_once(self, problem, context, ask)
        made = []
        for e, sets, s in zip(explanations, chosen, y, strict=True):
            sums = (sets.double() @ tile_sums(contributions(e, problem.size), tile)).numpy()
            change = s[0] - s
            parts = [slice(1 + i * self.subsets, 1 + (i + 1) * self.subsets) for i in range(len(sizes))]
            found = np.array([pearson(sums[p], change[p]) for p in parts])
            known = found[np.isfinite(found)]
            value = float(known.mean()) if len(known) else NAN
            why = "the map's sums or the changes of the score are all alike"
            undefined = len(found) - len(known)
            made.append(score(self, value, why, np.stack([sizes / number, found]), undefined=undefined))
        return made

    def _sets(self, problem: Problem, row: int, sizes: np.ndarray, number: int) -> Tensor:
        """(1 + sizes * subsets, number) bool: the empty set, then the random ones."""
        generator = seeded(problem, row, self.name)
        sets = torch.zeros(1 + len(sizes) * self.subsets, number, dtype=torch.bool)
        for i, n in enumerate(np.repeat(sizes, self.subsets).tolist(), start=1):
            sets[i, torch.randperm(number, generator=generator)[:n]] = True
        return sets
