"""What the methods that draw a map from the network's answers share: settings, gradients by the chunk, noise.

A MapMethod makes one map over the picture's pixels; an AttributionMethod makes one signed number per pixel and
channel, (3,H,W), which `aggregate` turns into the map.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.ops import LARGEST_GRID, to_grid
from igos.types import ConfigError, Explanation, Problem, Score

AGGREGATES: dict[str, Callable[[Tensor], Tensor]] = {
    "sum": lambda a: a.sum(dim=-3),
    "abs_sum": lambda a: a.sum(dim=-3).abs(),
    "sum_abs": lambda a: a.abs().sum(dim=-3),
}
TOLERANCE = 0.05  # the largest completeness error that passes without a warning
BY_THEORY = ("yes", "in the limit")  # what `complete` says where the error should vanish
LEAST_MOVE = 1e-4  # what a score must move by for its error to be a share of that

Make = Callable[[Tensor, Tensor], Tensor]  # (explanation (n,), step (n,)) -> pictures (n,3,H,W)


@dataclass(frozen=True)
class MapMethod:
    """size: the map has size x size cells."""

    size: int = 28

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[str] = "gradients"  # or "backward rules", or "black box"
    complete: ClassVar[str] = "no"  # does the attribution sum to what the score moved: yes, no, in the mean or limit
    score: ClassVar[str] = "prob"  # what is explained where the user does not say
    references: ClassVar[bool] = False  # whether it needs Problem.references
    diverse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if not 1 <= self.size <= LARGEST_GRID:
            raise ConfigError(f"size must lie in 1..{LARGEST_GRID}, got {self.size}")

    def one_of(self, key: str, allowed: Collection[str]) -> None:
        if getattr(self, key) not in allowed:
            raise ConfigError(f"{key} {getattr(self, key)!r} is not one of {', '.join(allowed)}")

    def at_least(self, least: float, *keys: str) -> None:
        """Raises ConfigError unless each is a finite number of at least so much."""
        for key in keys:
            if not least <= getattr(self, key) < float("inf"):
                raise ConfigError(f"{key} must be at least {least}, got {getattr(self, key)}")

    @property
    def closer(self) -> str:
        """What makes the attribution's sum come nearer to what the score moved."""
        return "more n_steps bring"

    def warnings(self) -> list[str]:
        return []

    def incomplete(self, error: Score) -> tuple[str, ...]:
        """A line where an attribution that should be complete misses the score's change by more than TOLERANCE."""
        if self.complete not in BY_THEORY or not error.value > TOLERANCE:
            return ()
        made, moved = error.detail["attribution_sum"], error.detail["score_change"]
        return (
            f"{self.name}: the attribution sums to {made:.3g} where the score moves by {moved:.3g} "
            f"(error {error.value:.0%}): {self.closer} them together",
        )

    def explain(
        self,
        problem: Problem,
        maps: Tensor,
        attribution: Tensor | None = None,
        scores: Sequence[tuple[Score, ...]] | None = None,
        warnings: Sequence[tuple[str, ...]] | None = None,
        arrays: Sequence[dict[str, np.ndarray]] | None = None,
    ) -> list[Explanation]:
        """K explanations from maps (K,h,w) over the picture, which come to lie on the grid as area means."""
        saliency = to_grid(maps[:, None], (self.size, self.size))[:, 0]
        raw = maps if attribution is None else attribution
        return [
            Explanation(
                saliency=torch.nan_to_num(saliency[i]).float().cpu(),
                target=problem.targets[i],
                image=problem.images[i],
                method=self.name,
                status=_status(raw[i]),
                attribution=None if attribution is None else torch.nan_to_num(attribution[i]).float().cpu(),
                settings=asdict(self),
                scores=scores[i] if scores else (),
                warnings=warnings[i] if warnings else (),
                arrays=arrays[i] if arrays else {},
            )
            for i in range(len(maps))
        ]


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

    aggregate: str = "sum"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.one_of("aggregate", AGGREGATES)

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


def each(pictures: Tensor) -> Make:
    """Picture k of (K,3,H,W) for explanation k, at every step."""
    return lambda row, _: pictures[row]


def mean_score(problem: Problem, n: int, make: Make) -> Tensor:
    """The mean score (K,) of n pictures for each explanation."""
    total = problem.x.new_zeros(len(problem.x))
    for row, _, s, _ in sweep(problem, n, make, gradient=False):
        total.index_add_(0, row, s / n)
    return total


def seeds(problem: Problem) -> Tensor:
    """A fresh seed (K,) from each explanation's generator; `noise` and `uniform` count on from it."""
    return torch.stack([torch.randint(2**62, (), generator=g) for g in problem.generators]).to(problem.x.device)


def noise(seed: Tensor, like: Tensor) -> Tensor:
    """Standard normal (n, *like.shape[1:]), each picture from its own seed (n,): the same in every batch."""
    return _draw(torch.randn, seed, like)


def uniform(seed: Tensor, like: Tensor) -> Tensor:
    """As `noise`, uniform in [0,1)."""
    return _draw(torch.rand, seed, like)


def spread(x: Tensor) -> Tensor:
    """max - min of each picture, (K,1,1,1)."""
    return x.amax(dim=(1, 2, 3), keepdim=True) - x.amin(dim=(1, 2, 3), keepdim=True)


def _draw(kind: Callable[..., Tensor], seed: Tensor, like: Tensor) -> Tensor:
    made = [kind(like.shape[1:], generator=torch.Generator().manual_seed(s)) for s in seed.tolist()]
    return torch.stack(made).to(like)


def _status(raw: Tensor) -> str:
    if not raw.isfinite().all():
        return "not-finite"
    return "ok" if raw.any() else "no-effect"
