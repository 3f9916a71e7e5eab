"""Interior gradients. Sundararajan, Taly, Yan: Gradients of Counterfactuals, 2016. https://arxiv.org/abs/1611.02639

    f(a), g(a)  = the score and its gradient at x' + a (x - x'),  a = 0, 1/(n-1), ..., 1
    map         = sum over channels of int |g(a)| da              without the factor x - x'
    attribution = (x - x') int g(a) da                            integrated gradients

both integrals by the trapezoid rule. Where a score saturates, the gradient at the picture itself (a = 1) shows little;
those inside the path show what the score came from.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import BASELINES, baseline
from igos.base.ops import to_grid
from igos.base.settings import setting
from igos.methods.gradient.attribution import completeness, sweep
from igos.methods.gradient.quadrature import quadrature
from igos.methods.map_method import MapMethod
from igos.types import Explanation, Problem

LARGEST_FRAME = 224  # pixels a side: frames of larger pictures are kept as area means


@dataclass(frozen=True)
class Interior(MapMethod):
    """n_steps: network images, both ends of the path included; baseline: one of BASELINES.

    Arrays of the explanation: interior_alpha, interior_score, interior_norm (n,), the latter the gradient's 2-norm;
    interior (n,h,w), sum over channels of |g(a)|, sides at most LARGEST_FRAME.
    """

    n_steps: int = setting(51, least=2)
    baseline: str = setting("black", choices=BASELINES)

    name: ClassVar[str] = "interior"
    paper: ClassVar[str] = "Sundararajan, Taly, Yan 2016"
    complete: ClassVar[str] = "yes"

    @property
    def cost(self) -> str:
        return str(self.n_steps)

    def __call__(self, problem: Problem) -> list[Explanation]:
        x, n, k = problem.x, self.n_steps, len(problem.x)
        x0 = baseline(self.baseline, x)
        a, w = (v.to(x) for v in quadrature("trapezoid", n))
        size = min(problem.size[0], LARGEST_FRAME), min(problem.size[1], LARGEST_FRAME)
        maps, mean = x.new_zeros(k, *problem.size), x.new_zeros(x.shape)
        f, norm, frames = x.new_zeros(k, n), x.new_zeros(k, n), torch.zeros(k, n, *size, dtype=torch.float32)

        def pictures(row: Tensor, step: Tensor) -> Tensor:
            return torch.lerp(x0[row], x[row], a[step, None, None, None])

        for row, step, s, g in sweep(problem, n, pictures):
            strength = g.abs().sum(dim=1)
            maps.index_add_(0, row, (w[step, None, None] * strength).to(x))
            mean.index_add_(0, row, (w[step, None, None, None] * g).to(x))
            f[row, step], norm[row, step] = s, g.flatten(1).norm(dim=1).to(x)
            frames[row.cpu(), step.cpu()] = to_grid(strength[:, None], size)[:, 0].float().cpu()
        values, curves = (x - x0) * mean, torch.nan_to_num(torch.stack([a.expand(k, n), f, norm])).float().cpu().numpy()
        names = ("interior_alpha", "interior_score", "interior_norm")
        arrays: list[dict[str, np.ndarray]] = [
            {**dict(zip(names, curves[:, i], strict=True)), "interior": torch.nan_to_num(frames[i]).numpy()}
            for i in range(k)
        ]
        scores = [(completeness(values[i], f[i, -1] - f[i, 0]),) for i in range(k)]
        return self.explain(problem, maps, values, scores, [self.incomplete(s) for (s,) in scores], arrays)
