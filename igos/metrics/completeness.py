"""Completeness error. Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017,
https://arxiv.org/abs/1703.01365

    | sum_i a_i - (f(x) - f(x')) |       `_relative`: that over |f(x) - f(x')|
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from igos.baselines import BASELINES, baseline
from igos.metrics.parts import NAN, NEEDS, score, scores
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class Completeness:
    """In units of the score. x' is the baseline that the method's settings name, else the problem's x0. NaN for
    a method that gives no attribution.
    """

    name: ClassVar[str] = "completeness"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, inf)"
    needs: ClassVar[tuple[str, ...]] = ("attribution",)
    cost: ClassVar[str] = "2"
    paper: ClassVar[str] = "Sundararajan, Taly, Yan 2017"

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        asked = [i for i, e in enumerate(explanations) if e.attribution is not None]
        made = [score(self, NAN, NEEDS["attribution"]) for _ in explanations]
        if not asked:
            return made
        ends = torch.cat([v for i in asked for v in (problem.x[i : i + 1], _baseline(problem, explanations[i], i))])
        y = scores(problem, torch.tensor(asked, device=ends.device).repeat_interleave(2), lambda part: ends[part])
        for n, i in enumerate(asked):
            attribution, change = explanations[i].attribution, y[2 * n] - y[2 * n + 1]
            assert attribution is not None
            error = abs(float(attribution.double().sum()) - change)
            made[i] = score(self, error, relative=float(error / abs(change)) if change else NAN)
        return made


def _baseline(problem: Problem, e: Explanation, row: int) -> torch.Tensor:
    name = e.settings.get("baseline")
    return baseline(name, problem.x[row : row + 1]) if name in BASELINES else problem.x0[row : row + 1]
