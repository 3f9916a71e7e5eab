"""What the methods that draw a map from the network's answers share: settings, gradients by the chunk, noise.

A MapMethod makes one map over the picture's pixels; an AttributionMethod makes one signed number per pixel and
channel, (3,H,W), which `aggregate` turns into the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from igos.base.settings import setting
from igos.methods.map_method import MapMethod
from igos.types import Explanation, Problem, Score

AGGREGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda a: a.sum(dim=-3),
    "abs_sum": lambda a: a.sum(dim=-3).abs(),
    "sum_abs": lambda a: a.abs().sum(dim=-3),
}
LEAST_MOVE = 1e-4  # what a score must move by for its error to be a share of that
Make = Callable[[Tensor, Tensor], Tensor]  # (explanation (n,), step (n,)) -> pictures (n,3,H,W)


@dataclass(frozen=True, eq=False)
class Attribution:
    """values (K,3,H,W), signed; total (K,): what they should sum to, if anything; warnings of the run."""

    values: Tensor
    total: Tensor | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class AttributionMethod(MapMethod):
    """aggregate {sum, abs_sum, sum_abs}: how (3,H,W) becomes a map.

    Under `sum` the map is signed: evidence against the target is negative and ranks last.
    """

    aggregate: str = setting("sum", choices=AGGREGATES)

    def attribute(self, problem: Problem) -> Attribution:
        raise NotImplementedError

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; attribution (3,H,W) signed, saliency its aggregate, completeness_error where it has one."""
        made = self.attribute(problem)
        k = len(problem.x)
        scores = [(completeness(made.values[i], made.total[i]),) for i in range(k)] if made.total is not None else None
        warnings = [made.warnings + (self.incomplete(scores[i][0]) if scores else ()) for i in range(k)]
        return self.explain(problem, AGGREGATES[self.aggregate](made.values), made.values, scores, warnings)


def completeness(attribution: Tensor, total: Tensor) -> Score:
    """|sum - total| / |total|, lower is better; detail: both and convergence_delta, their difference."""
    made, wanted = float(attribution.cpu().double().sum()), float(total)
    detail = {"attribution_sum": made, "score_change": wanted, "convergence_delta": made - wanted}
    return Score("completeness_error", abs(made - wanted) / max(abs(wanted), LEAST_MOVE), "lower", detail=detail)


def sweep(
    problem: Problem, n: int, make: Make, gradient: bool = True
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor]]:
    """n pictures for each explanation, scored chunk by chunk, each explanation's in order.

    make(row (m,), step (m,)) gives pictures (m,3,H,W). Yields row, step, scores (m,) and their gradients
    (m,3,H,W), or scores twice where no gradient is asked for.
    """
    job = torch.arange(len(problem.x) * n, device=problem.x.device)
    row, step = job // n, job % n
    for part, s, g in problem.score.stream(row, lambda p: make(row[p], step[p]), gradient):
        yield row[part], step[part], s.to(problem.x), s if g is None else g
        if n > 1:  # a method that comes here for each of its steps tells them itself
            problem.tell(part.stop, len(job))


def each(pictures: Tensor) -> Make:
    """Picture k of (K,3,H,W) for explanation k, at every step."""
    return lambda row, _: pictures[row]


def mean_score(problem: Problem, n: int, make: Make) -> Tensor:
    """The mean score (K,) of n pictures for each explanation."""
    total = problem.x.new_zeros(len(problem.x))
    for row, _, s, _ in sweep(problem, n, make, gradient=False):
        total.index_add_(0, row, s / n)
    return total
