"""IDGI. Yang, Wang, Bilgic: IDGI: A Framework to Eliminate Explanation Noise from Integrated Gradients, CVPR 2023.
https://arxiv.org/abs/2303.14242

    attribution = sum_j (f_{j+1} - f_j) * g_j^2 / ||g_j||^2,    f_j, g_j at x' + j/(n-1) (x - x')

Each step's change of the score is shared out by the squared gradient: complete for any number of steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.baselines import BASELINES, baseline
from igos.base.settings import setting
from igos.methods.gradient.attribution import Attribution, AttributionMethod, sweep
from igos.types import Problem


@dataclass(frozen=True)
class IDGI(AttributionMethod):
    """n_steps: network images, both ends of the path included; baseline: one of BASELINES."""

    n_steps: int = setting(60, least=2)
    baseline: str = setting("black", choices=BASELINES)

    name: ClassVar[str] = "idgi"
    paper: ClassVar[str] = "Yang, Wang, Bilgic 2023 (CVPR)"
    complete: ClassVar[str] = "yes"

    @property
    def cost(self) -> str:
        return str(self.n_steps)

    def attribute(self, problem: Problem) -> Attribution:
        x, last = problem.x, self.n_steps - 1
        x0 = baseline(self.baseline, x)
        values, share = x.new_zeros(x.shape), x.new_zeros(x.shape)
        first, before = x.new_zeros(len(x)), x.new_zeros(len(x))

        def pictures(row: Tensor, j: Tensor) -> Tensor:
            return torch.lerp(x0[row], x[row], (j.to(x) / last)[:, None, None, None])

        for row, step, f, g in sweep(problem, self.n_steps, pictures):
            for k, j, f_j, g_j in zip(row.tolist(), step.tolist(), f, g.to(x), strict=True):
                if j:
                    values[k] += (f_j - before[k]) * share[k]
                else:
                    first[k] = f_j
                before[k], share[k] = f_j, shares(g_j)
        return Attribution(values, before - first)


def shares(g: Tensor) -> Tensor:
    """g^2 / ||g||^2, which sums to 1; 0 where there is no gradient to share by."""
    scaled = g / g.abs().max().clamp(min=torch.finfo(g.dtype).tiny)  # g^2 alone would leave the range of float32
    return scaled**2 / (scaled**2).sum().clamp(min=1)
