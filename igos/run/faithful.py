"""What is explained is what was detected: the score of the untouched picture is the model's own at that target.

An adapter may take shortcuts (detectors/shortcuts.py). Here their score of the untouched picture is held against what
the model itself gave when it detected (`Target.own`) or, where that is not known (a box, an object that was expected),
against the adapter without shortcuts, asked once. A target whose score differs is explained without shortcuts.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from igos.run.models import rounds_coarsely
from igos.types import Adapter, Explanation, Problem, Target, plain_of

CLOSE, COARSE = 1e-4, 2e-2  # in float32; in bfloat16 and TF32
TAKEN, LEFT = "taken", "left"
SLOWER = "this model's shortcuts changed the score, so it was explained without them, which takes longer"


@dataclass(frozen=True)
class Found:
    """Of each of K targets: shortcut {taken, left}, or None where the model has none; the network images that finding
    out has cost; what the user should know.
    """

    shortcut: Sequence[str | None]
    images: Sequence[int]
    warnings: Sequence[tuple[str, ...]]

    def ways(self, adapter: Adapter) -> list[tuple[Adapter, list[int]]]:
        """Which adapter explains which of the rows: the one given, or the same without its shortcuts."""
        plain, every = plain_of(adapter), range(len(self.shortcut))
        left = [i for i in every if self.shortcut[i] == LEFT and plain is not None]
        ways = ((adapter, [i for i in every if i not in left]), (plain, left))
        return [(way, rows) for way, rows in ways if way is not None and rows]

    def told(self, e: Explanation, row: int) -> Explanation:
        """The explanation of a row, with what was found out."""
        return replace(
            e,
            shortcut=self.shortcut[row],
            network_images=e.network_images + self.images[row],
            warnings=(*e.warnings, *self.warnings[row]),
        )


def hold(adapter: Adapter, problem: Problem, score: str, scores: Sequence[float]) -> Found:
    """Hold the scores (K,) of the problem's untouched pictures against the model's own. score: which one they are."""
    near, plain = tolerance(problem), plain_of(adapter)
    known = [_own(t, score) for t in problem.targets]
    differ = [i for i, (a, b) in enumerate(zip(scores, known, strict=True)) if b is None or not _close(a, b, near)]
    shortcut: list[str | None] = [None if plain is None else TAKEN] * len(scores)
    images, warnings, real = [0] * len(scores), [list[str]() for _ in scores], list(scores)
    if plain is not None and differ:
        rows = torch.tensor(differ, device=problem.x.device)
        scorer = plain.scorer(problem.targets, score, problem.score.batch)
        scorer.precision = problem.score.precision
        for part, s, _ in scorer.stream(rows, lambda p: problem.x[rows[p]]):
            for i, value in zip(rows[part].tolist(), s.tolist(), strict=True):
                real[i], images[i] = value, 1
                if not _close(scores[i], value, near):
                    shortcut[i] = LEFT
                    warnings[i].append(SLOWER)
    for i in differ:
        own = known[i]
        if own is not None and not _close(real[i], own, near):
            warnings[i].append(f"the model's score was {own:.4g} as it detected and is {real[i]:.4g} when asked again")
    return Found(shortcut, images, [tuple(w) for w in warnings])


def tolerance(problem: Problem) -> float:
    """How far two ways to one score may lie apart, relative to it where it is larger than 1."""
    if problem.score.precision != torch.float32:
        return COARSE
    return COARSE if rounds_coarsely(problem.x.device) else CLOSE


def _own(target: Target, score: str) -> float | None:
    """The model's own score of the target, where that is known."""
    return target.own.get(score) if target.own is not None and target.part == "class" else None


def _close(a: float, b: float, near: float) -> bool:
    if not (math.isfinite(a) and math.isfinite(b)):
        return a == b or (math.isnan(a) and math.isnan(b))
    return abs(a - b) <= near * max(1.0, abs(b))
