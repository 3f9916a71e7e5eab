"""PatternNet and PatternAttribution. Kindermans et al.: Learning how to explain neural networks, ICLR 2018,
https://arxiv.org/abs/1705.05598; and Pattern-Guided Integrated Gradients (PGIG). Schwarzenberg, Castle 2020,
https://arxiv.org/abs/2007.10685

    B_V                     the backward pass in which every layer's weights W are replaced by V (see substitute.py)
    pattern_net             B_A(x)          the signal: A, the patterns of pattern_fit.py, in the place of W
    pattern_vanilla_grad    B_(W*A)(x)      PatternAttribution: how much each pixel's signal contributes
    pattern_integrate_grad  (x - x') * sum_k w_k B_(W*A)(x' + a_k (x - x'))

PGIG's published map is the signed sum over channels; where something dark speaks for the class, that turns its sign: on
the bundled emblem-vgg such maps degrade a picture less than random ones, and aggregate=sum_abs mends it.

backward_seed, what the score passes back first: one; score, its own value; softmax, the class probability.
The picture's normalisation keeps its ordinary gradient, a constant factor per channel in the first two.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.settings import setting
from igos.methods.backward.substitute import Substitute, substitutable
from igos.methods.gradient.attribution import Attribution, AttributionMethod
from igos.methods.gradient.gradients import gradient
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.types import ConfigError, Problem, Scorer

BACKWARD_SEEDS = ("one", "score", "softmax")
FIT = "`python -m igos fit-patterns --model M --data DIR --out FILE`, then --patterns FILE"


def backward_through(problem: Problem, v: Callable[[Tensor, Tensor], Tensor]) -> Substitute:
    """The block in which V = v(W, A) takes the place of W on the way back. Raises ConfigError without patterns."""
    module = problem.score.module
    if module is None:
        raise ConfigError("this model is a black box: it has no layers to have patterns")
    patterns = problem.ingredients.get("patterns")
    if patterns is None:
        raise ConfigError(f"this network has no patterns; fit them: {FIT}")
    layers = substitutable(module)
    made = {n: v(layers[n].weight, a.to(layers[n].weight)) for n, a in patterns.items() if n in layers}
    return Substitute(module, made)


def seeded(problem: Problem, seed: str) -> Problem:
    """The problem whose score passes its gradient back times the seed, which is itself taken for a constant."""
    if seed == "one":
        return problem
    score: Scorer = problem.score
    source = score if seed == "score" else problem.probability or score

    def forward(pictures: Tensor, rows: Tensor) -> Tensor:
        made = score.forward(pictures, rows)
        if source is score:
            return made * made.detach()
        with torch.no_grad():
            p = source.forward(pictures, rows)
        return made * p

    return replace(problem, score=score.scoring(forward))


@dataclass(frozen=True)
class PatternAttribution(AttributionMethod):
    """backward_seed {one, score, softmax}: what the score passes back first."""

    backward_seed: str = setting("score", choices=BACKWARD_SEEDS)

    name: ClassVar[str] = "pattern_vanilla_grad"
    paper: ClassVar[str] = "Kindermans et al. 2018 (ICLR), PatternAttribution"
    needs: ClassVar[str] = "backward rules"
    cost: ClassVar[str] = "1"
    ingredients: ClassVar[tuple[str, ...]] = ("patterns",)

    @staticmethod
    def back(w: Tensor, a: Tensor) -> Tensor:
        """V, what takes the place of W on the way back."""
        return w * a

    def attribute(self, problem: Problem) -> Attribution:
        with backward_through(problem, self.back):
            return Attribution(gradient(seeded(problem, self.backward_seed)))


@dataclass(frozen=True)
class PatternNet(PatternAttribution):
    """As PatternAttribution, of the signal itself."""

    name: ClassVar[str] = "pattern_net"
    paper: ClassVar[str] = "Kindermans et al. 2018 (ICLR), PatternNet"

    @staticmethod
    def back(w: Tensor, a: Tensor) -> Tensor:
        return a


@dataclass(frozen=True)
class PatternIntegrateGrad(IntegratedGradients):
    """backward_seed as in PatternAttribution, at every path point.

    The authors' code takes `rule: pgig` with `n_steps: 24`, whose weights sum to 24/25, and `backward_seed: score`.
    Not complete: completeness_error, under the seed one, tells how much the patterns change.
    """

    n_steps: int = 50
    baseline: str = "mean"
    backward_seed: str = setting("one", choices=BACKWARD_SEEDS)

    name: ClassVar[str] = "pattern_integrate_grad"
    paper: ClassVar[str] = "Schwarzenberg, Castle 2020 (PGIG)"
    needs: ClassVar[str] = "backward rules"
    complete: ClassVar[str] = "no"
    ingredients: ClassVar[tuple[str, ...]] = ("patterns",)

    def attribute(self, problem: Problem) -> Attribution:
        with backward_through(problem, PatternAttribution.back):
            made = super().attribute(seeded(problem, self.backward_seed))
        return Attribution(made.values, made.total if self.backward_seed == "one" else None)
