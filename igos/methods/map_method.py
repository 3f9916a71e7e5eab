"""MapMethod: one map over the picture's pixels, and the noise that does not depend on the batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.ops import LARGEST_GRID, to_grid
from igos.base.settings import check_settings, setting
from igos.types import Explanation, Problem, Score

STILL = 1e-5  # relative: scores that differ by less do not move
TOLERANCE = 0.05  # the largest completeness error that passes without a warning
BY_THEORY = ("yes", "in the limit")  # what `complete` says where the error should vanish


@dataclass(frozen=True)
class MapMethod:
    """size: the map has size x size cells."""

    size: int = setting(28, least=1, most=LARGEST_GRID)

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[str] = "gradients"  # or "backward rules", or "black box"
    complete: ClassVar[str] = "no"  # does the attribution sum to what the score moved: yes, no, in the mean or limit
    score: ClassVar[str] = "prob"  # what is explained where the user does not say
    ingredients: ClassVar[tuple[str, ...]] = ()  # of INGREDIENTS, what it needs in Problem.ingredients
    diverse: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_settings(self)

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
        moved: Sequence[bool] | None = None,
    ) -> list[Explanation]:
        """K explanations from maps (K,h,w) over the picture, which come to lie on the grid as area means.

        moved: whether the score did at all; the map of one that did not is that of the method's own noise.
        """
        saliency = to_grid(maps[:, None], (self.size, self.size))[:, 0]
        raw = maps if attribution is None else attribution
        return [
            Explanation(
                saliency=torch.nan_to_num(saliency[i]).float().cpu(),
                target=problem.targets[i],
                image=problem.images[i],
                method=self.name,
                status=status_of(raw[i], moved is None or moved[i]),
                attribution=None if attribution is None else torch.nan_to_num(attribution[i]).float().cpu(),
                settings=asdict(self),
                scores=scores[i] if scores else (),
                warnings=warnings[i] if warnings else (),
                arrays=arrays[i] if arrays else {},
            )
            for i in range(len(maps))
        ]


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
    made = [
        kind(like.shape[1:], generator=torch.Generator().manual_seed(s), dtype=torch.float32) for s in seed.tolist()
    ]
    return torch.stack(made).to(like)


def status_of(raw: Tensor, moved: bool = True) -> str:
    if not raw.isfinite().all():
        return "not-finite"
    return "ok" if moved and raw.any() else "no-effect"


class Range:
    """The least and the largest of the scores of K explanations, seen one chunk after the other."""

    def __init__(self, count: int) -> None:
        self.low, self.high = (torch.full((count,), v, dtype=torch.float32) for v in (math.inf, -math.inf))
        self.seen = torch.zeros(count, dtype=torch.long)

    def add(self, rows: Tensor, scores: Tensor) -> None:
        """Scores (n,) of the explanations rows (n,)."""
        rows, scores = rows.cpu(), scores.detach().float().cpu()
        self.low.scatter_reduce_(0, rows, scores, "amin")
        self.high.scatter_reduce_(0, rows, scores, "amax")
        self.seen += torch.bincount(rows, minlength=len(self.seen))

    def moved(self) -> list[bool]:
        """Whether each explanation's scores differ by more than rounding; True where one is not a number, or alone."""
        largest = torch.maximum(self.low.abs(), self.high.abs())
        return ((self.seen < 2) | ~(self.high - self.low <= STILL * largest)).tolist()
