"""RISE on a pinned score. Petsiuk, Das, Saenko: RISE, BMVC 2018. https://arxiv.org/abs/1806.07421
For detections with the masks of D-RISE (Petsiuk et al., CVPR 2021, https://arxiv.org/abs/2006.03204).

    S = sum_i f(I * M_i) * M_i / (N * p),    M_i: an s x s grid of Bernoulli(p), upsampled, randomly shifted

The score of the fixed detection replaces the classifier's probability; drise.py matches detections instead.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.ops import upscale
from igos.base.settings import setting
from igos.methods.map_method import MapMethod, Range, seeds
from igos.types import Explanation, Problem


@dataclass(frozen=True)
class RISE(MapMethod):
    """n_masks: network images; grid: s cells a side; p: chance that a cell is kept."""

    n_masks: int = setting(500, least=1)
    grid: int = setting(16, least=1)
    p: float = setting(0.5, above=0, below=1)

    name: ClassVar[str] = "rise"
    paper: ClassVar[str] = "Petsiuk, Das, Saenko 2018 (BMVC)"
    needs: ClassVar[str] = "black box"

    @property
    def cost(self) -> str:
        return f"{self.n_masks} forward"

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; saliency is the score-weighted mean mask, arrays nothing."""
        k, n = len(problem.x), self.n_masks
        seed = seeds(problem).cpu()
        job = torch.arange(k * n)
        row, draw = job // n, job % n
        made: dict[int, Tensor] = {}

        def pictures(part: slice) -> Tensor:
            made[part.start] = self._masks(problem, (seed[row[part]] + draw[part]).tolist())
            return problem.x[row[part]] * made[part.start][:, None]

        total, range_ = problem.x.new_zeros(k, *problem.size), Range(k)
        sums = problem.x.new_zeros(k)
        for part, scores, _ in problem.score.stream(row.to(problem.x.device), pictures):
            weighted = scores.to(total)[:, None, None] * made.pop(part.start)
            total.index_add_(0, row[part].to(total.device), weighted)
            sums.index_add_(0, row[part].to(total.device), scores.to(total))
            range_.add(row[part], scores)
            problem.tell(part.stop, len(row))
        return self.explain(problem, self.made(total, sums), moved=range_.moved())

    def made(self, total: Tensor, scores: Tensor) -> Tensor:
        """The maps (K,H,W) of the sums over the masks, of score x mask (K,H,W) and of scores (K,)."""
        return total / (self.n_masks * self.p)

    def _masks(self, problem: Problem, each: list[int]) -> Tensor:
        """One mask (n,H,W) per seed."""
        return torch.stack([self._mask(*problem.size, seed) for seed in each]).to(problem.x)

    def _mask(self, height: int, width: int, seed: int) -> Tensor:
        """One smooth mask (H,W) in [0,1]: cells of ceil(H/s) x ceil(W/s) px, shifted by less than a cell."""
        g = torch.Generator().manual_seed(seed)
        cells = (torch.rand(self.grid + 1, self.grid + 1, generator=g, dtype=torch.float32) < self.p).float()
        ch, cw = -(-height // self.grid), -(-width // self.grid)
        y, x = (int(torch.randint(n, (), generator=g)) for n in (ch, cw))
        return upscale(cells, ((self.grid + 1) * ch, (self.grid + 1) * cw))[y : y + height, x : x + width]
