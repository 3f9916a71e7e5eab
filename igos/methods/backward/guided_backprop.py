"""Guided backprop, and guided non-linearity: integrated gradients through backward rules (see rules.py).
Springenberg, Dosovitskiy, Brox, Riedmiller: Striving for Simplicity, ICLR 2015 workshop, https://arxiv.org/abs/1412.6806
Kwon, Koo, Cho: Guided Non-Linearity, ICPR 2020, https://aurora.ajou.ac.kr/handle/2018.oak/36581

    guided_backprop               R(x), the gradient that activations clamp at 0 on its way back
    guided_integrated_gradients   (x - x') * sum_k w_k R(x' + a_k (x - x')), max-pools clamping too

The second is not Kapishnikov's Guided IG, which bends the path instead (`guided_ig`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from igos.base.settings import setting
from igos.methods.backward.rules import ACTIVATIONS, POOL_RULES, Rules
from igos.methods.gradient.attribution import Attribution, AttributionMethod
from igos.methods.gradient.gradients import gradient
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.types import Problem


@dataclass(frozen=True)
class GuidedBackprop(AttributionMethod):
    """activations {relu, all}: whether the rule also holds for leaky, SiLU, Mish and their like."""

    activations: str = setting("relu", choices=ACTIVATIONS)

    name: ClassVar[str] = "guided_backprop"
    paper: ClassVar[str] = "Springenberg et al. 2015"
    needs: ClassVar[str] = "backward rules"
    cost: ClassVar[str] = "1"

    def attribute(self, problem: Problem) -> Attribution:
        with Rules(self.activations) as rules:
            g = gradient(problem)
        return Attribution(g, warnings=rules.warnings(self.name))


@dataclass(frozen=True)
class GuidedIntegratedGradients(IntegratedGradients):
    """pool_rule {clamp, reference, none}: what max-pools let pass; activations as in GuidedBackprop.

    Not complete: completeness_error tells how much the rules add.
    """

    aggregate: str = "abs_sum"
    n_steps: int = 50
    baseline: str = "mean"
    pool_rule: str = setting("clamp", choices=POOL_RULES)
    activations: str = setting("relu", choices=ACTIVATIONS)

    name: ClassVar[str] = "guided_integrated_gradients"
    paper: ClassVar[str] = "Kwon, Koo, Cho 2020 (ICPR)"
    needs: ClassVar[str] = "backward rules"
    complete: ClassVar[str] = "no"
    score: ClassVar[str] = "logit"

    def attribute(self, problem: Problem) -> Attribution:
        with Rules(self.activations, self.pool_rule) as rules:
            made = super().attribute(problem)
        return Attribution(made.values, made.total, rules.warnings(self.name))
