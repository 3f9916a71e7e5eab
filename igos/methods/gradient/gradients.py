"""The gradient and its means under noise.

    vanilla_grad   g = df/dx               Simonyan, Vedaldi, Zisserman 2014, https://arxiv.org/abs/1312.6034
    grad_x_input   x * g                   Shrikumar et al. 2016, https://arxiv.org/abs/1605.01713
    smooth_grad    mean_i g_i              Smilkov et al. 2017, https://arxiv.org/abs/1706.03825
    smooth_grad2   mean_i g_i^2            Hooker et al. 2019, https://arxiv.org/abs/1806.10758
    var_grad       mean g^2 - (mean g)^2   Adebayo et al. 2018, https://arxiv.org/abs/1810.03292
    sg_ig          (x - x') * sum_k w_k mean_i grad f(x' + a_k (x - x') + e_ki)

g_i is the gradient at x + e_i, e_i ~ N(0, s^2), s = stdev * (max x - min x) of each picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from igos.base.baselines import BASELINES, baseline
from igos.base.settings import setting
from igos.methods.gradient.attribution import Attribution, AttributionMethod, each, sweep
from igos.methods.gradient.quadrature import QUADRATURE, check_points, quadrature
from igos.methods.map_method import noise, seeds, spread
from igos.types import Problem


def gradient(problem: Problem) -> Tensor:
    """df/dx (K,3,H,W)."""
    g = problem.x.new_zeros(problem.x.shape)
    for row, _, _, part in sweep(problem, 1, each(problem.x)):
        g[row] = part.to(g)
    return g


@dataclass(frozen=True)
class VanillaGrad(AttributionMethod):
    name: ClassVar[str] = "vanilla_grad"
    paper: ClassVar[str] = "Simonyan, Vedaldi, Zisserman 2014"
    cost: ClassVar[str] = "1"

    def attribute(self, problem: Problem) -> Attribution:
        return Attribution(gradient(problem))


@dataclass(frozen=True)
class GradXInput(AttributionMethod):
    name: ClassVar[str] = "grad_x_input"
    paper: ClassVar[str] = "Shrikumar et al. 2016"
    cost: ClassVar[str] = "1"

    def attribute(self, problem: Problem) -> Attribution:
        return Attribution(problem.x * gradient(problem))


@dataclass(frozen=True)
class SmoothGrad(AttributionMethod):
    """n_samples: network images; stdev: of the noise, as a share of each picture's own max - min."""

    n_samples: int = setting(25, least=1)
    stdev: float = setting(0.15, least=0)

    name: ClassVar[str] = "smooth_grad"
    paper: ClassVar[str] = "Smilkov et al. 2017"

    @property
    def cost(self) -> str:
        return str(self.n_samples)

    def attribute(self, problem: Problem) -> Attribution:
        return Attribution(self.moments(problem)[0])

    def moments(self, problem: Problem) -> tuple[Tensor, Tensor]:
        """Means (K,3,H,W) over the noisy copies of g and of g^2."""
        x, seed = problem.x, seeds(problem)
        s = self.stdev * spread(x)
        mean, square = x.new_zeros(x.shape), x.new_zeros(x.shape)
        for row, _, _, g in sweep(problem, self.n_samples, lambda row, i: x[row] + s[row] * noise(seed[row] + i, x)):
            mean.index_add_(0, row, g.to(x) / self.n_samples)
            square.index_add_(0, row, g.to(x) ** 2 / self.n_samples)
        return mean, square


@dataclass(frozen=True)
class SmoothGrad2(SmoothGrad):
    name: ClassVar[str] = "smooth_grad2"
    paper: ClassVar[str] = "Hooker et al. 2019 (NeurIPS)"

    def attribute(self, problem: Problem) -> Attribution:
        return Attribution(self.moments(problem)[1])


@dataclass(frozen=True)
class VarGrad(SmoothGrad):
    """The variance over n_samples, not over n_samples - 1: one sample has none."""

    n_samples: int = setting(25, least=2)

    name: ClassVar[str] = "var_grad"
    paper: ClassVar[str] = "Adebayo et al. 2018 (NeurIPS)"

    def attribute(self, problem: Problem) -> Attribution:
        mean, square = self.moments(problem)
        return Attribution((square - mean**2).clamp(min=0))


@dataclass(frozen=True)
class SmoothIntegratedGrad(SmoothGrad):
    """n_steps path points of n_samples noisy copies each; rule: one of QUADRATURE; baseline: one of BASELINES."""

    n_steps: int = setting(25, least=1)
    rule: str = setting("right", choices=QUADRATURE)
    baseline: str = setting("mean", choices=BASELINES)

    name: ClassVar[str] = "sg_ig"
    paper: ClassVar[str] = "Smilkov et al. 2017 with Sundararajan et al. 2017"

    def __post_init__(self) -> None:
        super().__post_init__()
        check_points(self.rule, self.n_steps)

    @property
    def cost(self) -> str:
        return f"{self.n_steps}*{self.n_samples} = {self.n_steps * self.n_samples}"

    def attribute(self, problem: Problem) -> Attribution:
        x, seed, samples = problem.x, seeds(problem), self.n_samples
        x0, s = baseline(self.baseline, x), self.stdev * spread(x)
        a, w = (v.to(x)[:, None, None, None] for v in quadrature(self.rule, self.n_steps))

        def pictures(row: Tensor, job: Tensor) -> Tensor:
            return x0[row] + a[job // samples] * (x[row] - x0[row]) + s[row] * noise(seed[row] + job, x)

        mean = x.new_zeros(x.shape)
        for row, job, _, g in sweep(problem, self.n_steps * samples, pictures):
            mean.index_add_(0, row, w[job // samples] * g.to(x) / samples)
        return Attribution((x - x0) * mean)
