"""What every metric shares: its facts and looks, what it may ask (Context), scores of pictures, values not known."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.hashing import seed_of
from igos.base.settings import check_settings
from igos.data.nulls import Null
from igos.data.truth import Truth
from igos.drawing.shown import MeanCurve
from igos.types import Adapter, Explanation, Problem, Score, Target


@dataclass(frozen=True)
class Context:
    """Everything here is optional.

    truth: what is known of each explanation's object, None where nothing is. explain: the method, to explain again.
    other: for each explanation a problem of one row, another network's view of the same object, None where it does
    not see it. randomised(depth): the same problem for a copy of the network whose first `depth` of `layers` (named
    from the top down) are drawn anew; igos.metrics.randomise.cascade makes both. answers: the network's scores of
    pictures that do not depend on the map, kept for further methods on the same targets, picture and score. adapter:
    the model, for what it would detect, at this threshold; nulls: candidates that should not rise (igos/data/nulls.py).
    """

    truth: Sequence[Truth | None] = ()
    explain: Callable[[Problem], Sequence[Explanation]] | None = None
    other: Sequence[Problem | None] = ()
    layers: Sequence[str] = ()
    randomised: Callable[[int], Problem] | None = None
    answers: dict[Any, np.ndarray] | None = None
    adapter: Adapter | None = None
    threshold: float | None = None
    nulls: Sequence[Null] = ()


NEEDS = {
    "box": "the target has no box, and its object's truth is not known",
    "attribution": "the method gives no attribution",
    "truth": "the object's truth is not known",
    "evidence": "the evidence for the object is not known",
    "rivals": "no other object of the class is known in the picture",
    "explain": "nothing to explain again with (Context.explain)",
    "other": "no other network sees the object (Context.other)",
    "randomised": "no randomised network (Context.randomised and layers)",
}
CONSTANT = "the map is constant"
NO_HEAT = "the map has no positive value"


@dataclass(frozen=True)
class Metric:
    """A figure about explanations. A metric is a frozen dataclass of its settings, with their bounds, and a call.

    range is where its values lie, needs are keys of NEEDS. What it looks like is asked here: plot says as what its
    curves are drawn over an explanation's cells, "deletion" or "insertion"; mean_curve how the methods' mean curves are
    drawn; in_table whether a run's closing table has a column for it; seed_floor whether its detail `_floor` is what
    other seeds alone change, 0 unless a method is random; bare_details are details without its name in front; means is
    one line for a person who has not read the paper.
    """

    better: ClassVar[str]
    range: ClassVar[str]
    paper: ClassVar[str]
    means: ClassVar[str] = ""
    needs: ClassVar[tuple[str, ...]] = ()
    plot: ClassVar[str | None] = None
    mean_curve: ClassVar[MeanCurve | None] = None
    in_table: ClassVar[bool] = False
    seed_floor: ClassVar[bool] = False
    bare_details: ClassVar[tuple[str, ...]] = ()
    asks: ClassVar[tuple[str, ...]] = ("why", "versus")  # the questions whose maps it judges

    def __post_init__(self) -> None:
        check_settings(self)

    @property
    def name(self) -> str:
        raise NotImplementedError

    @property
    def cost(self) -> str:
        """Its network images."""
        return "0"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        """One Score per explanation, NaN with a reason where a value is not known (see `score`)."""
        raise NotImplementedError


@dataclass(frozen=True)
class PerExplanation(Metric):
    """A metric that judges one explanation at a time, by its map and what is known of its object."""

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        raise NotImplementedError

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        truths = context.truth if context is not None and context.truth else [None] * len(explanations)
        return [self.measure(problem, e, truth) for e, truth in zip(explanations, truths, strict=True)]


def score(
    metric: Metric,
    value: float,
    why: str = "a score of the network is not finite",
    curve: np.ndarray | None = None,
    **detail: Any,
) -> Score:
    """The metric's figure; detail keys get its name in front, and NaN the reason why."""
    named = {f"{metric.name}_{key}": v for key, v in detail.items()}
    if math.isnan(value):
        named[f"{metric.name}_reason"] = why
    return Score(metric.name, float(value), metric.better, curve, named, metric.plot)


def seeded(problem: Problem, row: int, salt: str) -> torch.Generator:
    """A generator that depends on the row's seed and the salt alone; the problem's own is not touched."""
    key = f"{problem.generators[row].initial_seed()}|{salt}"
    return torch.Generator().manual_seed(seed_of(key))


def afresh(problem: Problem, seeds: Problem, shift: int = 0, **changes: Any) -> Problem:
    """The problem with generators as those of `seeds` were at first (or `shift` seeds further on)."""
    generators = [torch.Generator(g.device).manual_seed((g.initial_seed() + shift) % 2**63) for g in seeds.generators]
    return replace(problem, generators=generators, **changes)


def scores(problem: Problem, rows: Tensor, pictures: Callable[[slice], Tensor]) -> np.ndarray:
    """Scores (N,) float64 of N pictures made chunk by chunk, rows (N,) their targets."""
    out = torch.zeros(len(rows), dtype=torch.float64)
    for part, s, _ in problem.score.stream(rows, pictures):
        out[part] = s.double().cpu()
    return out.numpy()


def asked_once(metric: Metric, problem: Problem, context: Context | None, ask: Callable[[], np.ndarray]) -> np.ndarray:
    """ask(), scores of pictures that follow from the metric's settings and the targets' seeds alone, or what it
    answered before, where the context keeps answers.
    """
    if context is None or context.answers is None:
        return ask()
    key = metric, *map(_told_apart, problem.targets, (g.initial_seed() for g in problem.generators))
    if key not in context.answers:
        context.answers[key] = ask()
    return context.answers[key]


def _told_apart(target: Target, seed: int) -> tuple[Any, ...]:
    """What tells a target from others of its run; objects of a class in one picture share their seed."""
    box = None if target.box is None else tuple(target.box.tolist())
    return seed, target.label, target.index, target.part, box
