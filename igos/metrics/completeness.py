"""Completeness error. Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017,
https://arxiv.org/abs/1703.01365

    | sum_i a_i - (f(x) - f(x')) | / | f(x) - f(x') |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from igos.data.truth import Truth
from igos.metrics.metric import NEEDS, PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score

NO_TOTAL = "the method says of no score's change that its attribution should sum to it"


@dataclass(frozen=True)
class Completeness(PerExplanation):
    """The method's own `completeness_error`: f is the score that it explained, probability or logit, and x' where its
    own path starts. NaN for a method that has none.
    """

    name: ClassVar[str] = "completeness"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, inf)"
    needs: ClassVar[tuple[str, ...]] = ("attribution",)
    paper: ClassVar[str] = "Sundararajan, Taly, Yan 2017"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        own = [s.value for s in e.scores if s.name == "completeness_error"]
        if own:
            return score(self, own[0])
        return score(self, NAN, NEEDS["attribution"] if e.attribution is None else NO_TOTAL)
