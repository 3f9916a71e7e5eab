"""Max-sensitivity. Yeh et al.: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019,
https://arxiv.org/abs/1901.09392

    max over d, |d|_inf <= r, of || a(x + d) - a(x) || / || a(x) ||      over random d: a bound from below

Every explanation uses the seeds of the first; `_floor` is what other seeds alone change, with d = 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.settings import setting
from igos.metrics.metric import NEEDS, Context, Metric, afresh, score, seeded
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class MaxSensitivity(Metric):
    """radius: r, in units of the picture [0,1], in which x + d is kept; samples: how many d. The baseline x0 stays.

    NaN for a map of zeros, or with nothing to explain again with.
    """

    radius: float = setting(0.02, above=0)
    samples: int = setting(10, least=1)

    name: ClassVar[str] = "max_sensitivity"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, inf)"
    needs: ClassVar[tuple[str, ...]] = ("explain",)
    paper: ClassVar[str] = "Yeh et al. 2019"
    seed_floor: ClassVar[bool] = True

    @property
    def cost(self) -> str:
        return f"{self.samples + 1} x method"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        if context is None or context.explain is None:
            return [score(self, NAN, NEEDS["explain"]) for _ in explanations]
        near = []
        for sample in range(self.samples):
            x = torch.stack([self.moved(problem, i, sample) for i in range(len(explanations))])
            near.append(context.explain(afresh(problem, problem, x=x)))
        again = context.explain(afresh(problem, problem, shift=1))
        made = []
        for i, e in enumerate(explanations):
            change = max(_distance(e, others[i]) for others in near)
            made.append(score(self, change, "the map is zero", floor=_distance(e, again[i])))
        return made

    def moved(self, problem: Problem, row: int, sample: int) -> Tensor:
        """x + d (3,H,W), d uniform in the box of half side r."""
        x = problem.x[row]
        d = torch.rand(x.shape, generator=seeded(problem, row, f"{self.name}|{sample}"), dtype=torch.float64)
        return (x + self.radius * (2 * d - 1).to(x)).clamp(0, 1)


def _distance(e: Explanation, other: Explanation) -> float:
    a, b = e.saliency.double().cpu(), other.saliency.double().cpu()
    return float((b - a).norm() / a.norm()) if a.norm() > 0 else NAN
