"""Integrated Gradients. Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017.
https://arxiv.org/abs/1703.01365

    IG(x) = (x - x') * sum_k w_k grad f(x' + a_k (x - x'))

with nodes a_k and weights w_k of a quadrature rule over [0,1]. Complete: the sum tends to f(x) - f(x').
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.baselines import BASELINES, baseline
from igos.ops import LARGEST_GRID, to_grid
from igos.path import QUADRATURE, quadrature
from igos.types import ConfigError, Explanation, Problem

AGGREGATES = {
    "sum": lambda a: a.sum(dim=-3),
    "abs_sum": lambda a: a.sum(dim=-3).abs(),
    "sum_abs": lambda a: a.abs().sum(dim=-3),
}


@dataclass(frozen=True)
class IntegratedGradients:
    """n_steps: network images; rule: one of QUADRATURE; baseline: one of BASELINES; size: cells of the map;
    aggregate {sum, abs_sum, sum_abs}: how (C,H,W) becomes a map.

    Under `sum` the saliency is signed: evidence against the target is negative and ranks last.
    """

    n_steps: int = 60
    rule: str = "gausslegendre"
    baseline: str = "black"
    aggregate: str = "sum"
    size: int = 28

    name: ClassVar[str] = "integrated_gradients"
    paper: ClassVar[str] = "Sundararajan, Taly, Yan 2017 (ICML)"
    needs: ClassVar[str] = "gradients"
    diverse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        for key, allowed in (("rule", QUADRATURE), ("baseline", BASELINES), ("aggregate", AGGREGATES)):
            if getattr(self, key) not in allowed:
                raise ConfigError(f"{key} {getattr(self, key)!r} is not one of {', '.join(allowed)}")
        least = 2 if "trapezoid" in self.rule else 1
        if self.n_steps < least:
            raise ConfigError(f"n_steps must be at least {least}, got {self.n_steps}")
        if not 1 <= self.size <= LARGEST_GRID:
            raise ConfigError(f"size must lie in 1..{LARGEST_GRID}, got {self.size}")

    @property
    def cost(self) -> str:
        return str(self.n_steps)

    def warnings(self) -> list[str]:
        return []

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; attribution (3,H,W) signed, saliency its aggregate as area means on the grid."""
        k, n = len(problem.x), self.n_steps
        x0 = baseline(self.baseline, problem.x)
        d = problem.x - x0
        a, w = (v.to(problem.x) for v in quadrature(self.rule, n))
        job = torch.arange(k * n, device=d.device)
        row, step = job // n, job % n

        def pictures(part: slice) -> Tensor:
            return x0[row[part]] + a[step[part], None, None, None] * d[row[part]]

        g_mean = torch.zeros_like(d)
        for part, _, g in problem.score.stream(row, pictures, gradient=True):
            assert g is not None
            g_mean.index_add_(0, row[part], w[step[part], None, None, None] * g)
        attribution = d * g_mean
        saliency = to_grid(AGGREGATES[self.aggregate](attribution)[:, None], (self.size, self.size))[:, 0]
        return [
            Explanation(
                saliency=torch.nan_to_num(saliency[i]).float().cpu(),
                target=problem.targets[i],
                image=problem.images[i],
                method=self.name,
                status=_status(attribution[i]),
                attribution=torch.nan_to_num(attribution[i]).float().cpu(),
                settings=asdict(self),
            )
            for i in range(k)
        ]


def _status(attribution: Tensor) -> str:
    if not attribution.isfinite().all():
        return "not-finite"
    return "ok" if attribution.any() else "no-effect"
