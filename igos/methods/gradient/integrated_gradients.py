"""Integrated Gradients. Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017.
https://arxiv.org/abs/1703.01365

    IG(x) = (x - x') * sum_k w_k grad f(x' + a_k (x - x'))

with nodes a_k and weights w_k of a quadrature rule over [0,1]. Complete: the sum tends to f(x) - f(x').
"""

from __future__ import annotations

from collections import ChainMap
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from igos.base.baselines import BASELINES, baseline
from igos.base.names import SCORES
from igos.base.settings import setting
from igos.methods.gradient.attribution import Attribution, AttributionMethod, Make, each, mean_score, sweep
from igos.methods.gradient.quadrature import QUADRATURE, check_points, quadrature
from igos.methods.map_method import seeds, uniform
from igos.types import ConfigError, Problem

STARTS: ChainMap[str, Any] = ChainMap({"noise": uniform}, BASELINES)  # what a path may start from


@dataclass(frozen=True)
class IntegratedGradients(AttributionMethod):
    """n_steps: network images; rule: one of QUADRATURE; baseline: one of BASELINES, or noise: `draws` pictures of
    uniform noise share the steps, at best 20 or more each, and the result is their mean. explained {prob, logit}: the
    score where --score does not say, by default the method's own; metrics ask the probability all the same.
    """

    n_steps: int = setting(60, least=1)
    rule: str = setting("gausslegendre", choices=QUADRATURE)
    baseline: str = setting("black", choices=STARTS)
    draws: int = setting(3, least=1)
    explained: str | None = setting(None, choices=SCORES)

    name: ClassVar[str] = "integrated_gradients"
    paper: ClassVar[str] = "Sundararajan, Taly, Yan 2017 (ICML)"
    complete: ClassVar[str] = "yes"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_points(self.rule, self.n_steps, self._draws)
        if self.n_steps % self._draws:
            next_ = -(-self.n_steps // self.draws) * self.draws
            raise ConfigError(f"n_steps must be a multiple of draws ({self.draws}), as {next_} is; got {self.n_steps}")

    @property
    def _draws(self) -> int:
        return self.draws if self.baseline == "noise" else 1

    @property
    def cost(self) -> str:
        return f"{self.n_steps} + {1 + self._draws} forward"

    def attribute(self, problem: Problem) -> Attribution:
        """(K,3,H,W), and f(x) - f(x'), the mean over draws of it."""
        x, points = problem.x, self.n_steps // self._draws
        a, w = (v.to(x) for v in quadrature(self.rule, points))
        start = self._starts(problem)

        def pictures(row: Tensor, job: Tensor) -> Tensor:
            return torch.lerp(start(row, job // points), x[row], a[job % points, None, None, None])

        total = x.new_zeros(x.shape)
        for row, job, _, g in sweep(problem, self.n_steps, pictures):
            d = x[row] - start(row, job // points)
            total.index_add_(0, row, w[job % points, None, None, None] * d * g)
        moved = mean_score(problem, 1, each(x)) - mean_score(problem, self._draws, start)
        return Attribution(total / self._draws, moved)

    def _starts(self, problem: Problem) -> Make:
        """(explanation (n,), draw (n,)) -> x' (n,3,H,W)."""
        x = problem.x
        if self.baseline == "noise":
            seed = seeds(problem)
            return lambda row, draw: uniform(seed[row] + draw, x)
        x0 = baseline(self.baseline, x)
        return lambda row, draw: x0[row]


@dataclass(frozen=True)
class IntegrateGrad(IntegratedGradients):
    """Integrated gradients as the comparison of PGIG sets it: 25 steps of the right rule from the mean colour.

    Schwarzenberg et al. 2020, https://arxiv.org/abs/2007.10685; with all 25 steps, so that the weights sum to 1.
    """

    n_steps: int = 25
    rule: str = "right"
    baseline: str = "mean"

    name: ClassVar[str] = "integrate_grad"
    paper: ClassVar[str] = "Sundararajan et al. 2017, as in PGIG (2020)"
