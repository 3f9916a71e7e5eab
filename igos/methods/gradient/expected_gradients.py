"""Expected gradients. Erion, Janizek, Sturmfels, Lundberg, Lee 2019, https://arxiv.org/abs/1906.10670
GradientSHAP: Lundberg, Lee 2017, https://arxiv.org/abs/1705.07874

    exp_grad       E over x' ~ references, a ~ U(0,1) of   (x - x') * grad f(x' + a (x - x'))
    gradient_shap  the same with x + e, e ~ N(0, s^2), in the place of x

exp_grad takes every reference once before any comes again, and one a from each n-th of [0,1], which changes the
variance and not the mean; gradient_shap draws both freely. In the mean complete: the sum tends to f(x) - E f(x').
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.methods.gradient.attribution import Attribution, AttributionMethod, Make, sweep
from igos.methods.map_method import noise, seeds, spread
from igos.types import ConfigError, Problem


@dataclass(frozen=True)
class ExpGrad(AttributionMethod):
    """n_samples: network images."""

    n_samples: int = 50

    name: ClassVar[str] = "exp_grad"
    paper: ClassVar[str] = "Erion et al. 2019"
    complete: ClassVar[str] = "in the mean"
    ingredients: ClassVar[tuple[str, ...]] = ("references",)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(1, "n_samples")

    @property
    def cost(self) -> str:
        return str(self.n_samples)

    def attribute(self, problem: Problem) -> Attribution:
        """Raises ConfigError where the problem holds no references."""
        references = problem.ingredients.get("references")
        if references is None:
            raise ConfigError(f"{self.name} compares with other pictures: Problem.ingredients has no references")
        x, r, n = problem.x, references.to(problem.x), self.n_samples
        drawn = [self.draw(len(r), g) for g in problem.generators]
        which = torch.stack([i for i, _ in drawn]).to(x.device)
        a = torch.stack([t for _, t in drawn]).to(x)[..., None, None, None]
        noisy = self._noisy(problem)

        def pictures(row: Tensor, i: Tensor) -> Tensor:
            return torch.lerp(r[which[row, i]], noisy(row, i), a[row, i])

        total = x.new_zeros(x.shape)
        for row, i, _, g in sweep(problem, n, pictures):
            total.index_add_(0, row, (noisy(row, i) - r[which[row, i]]) * g.to(x) / n)
        return Attribution(total)

    def draw(self, references: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Indices of references and places on the path, (n_samples,) each."""
        n = self.n_samples
        rounds = [torch.randperm(references, generator=generator) for _ in range(-(-n // references))]
        a = (torch.arange(n) + torch.rand(n, generator=generator, dtype=torch.float64)) / n
        return torch.cat(rounds)[:n], a[torch.randperm(n, generator=generator)]

    def _noisy(self, problem: Problem) -> Make:
        return lambda row, i: problem.x[row]


@dataclass(frozen=True)
class GradientShap(ExpGrad):
    """stdev: of the noise, as a share of each picture's own max - min."""

    stdev: float = 0.15

    name: ClassVar[str] = "gradient_shap"
    paper: ClassVar[str] = "Lundberg, Lee 2017 (NeurIPS)"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(0, "stdev")

    def draw(self, references: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        n = self.n_samples
        which = torch.randint(references, (n,), generator=generator)
        return which, torch.rand(n, generator=generator, dtype=torch.float64)

    def _noisy(self, problem: Problem) -> Make:
        x, seed = problem.x, seeds(problem)
        s = self.stdev * spread(x)
        return lambda row, i: x[row] + s[row] * noise(seed[row] + i, x)
