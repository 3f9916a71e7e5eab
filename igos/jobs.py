"""One explanation to make, and several of them made in one batch."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos import diverse
from igos.config import Plan
from igos.context import Context
from igos.data import unique
from igos.extras import NOTHING, Extras
from igos.presets import Run, memory_size
from igos.problem import completed, explain_problem, judge_of, judged, make_problem
from igos.truth import Truth, match
from igos.types import Adapter, Explanation, Image, Problem, Target

LARGEST_GROUP = 16  # objects in one batch: memory grows with them, the maps do not depend on it


@dataclass(frozen=True)
class Job:
    """One explanation to make: what, from which start cell (None: from ones), into which folder, of which picture;
    truths, what is known of its objects; view: the same object as the judge sees it; key: what else decides the result.
    """

    target: Target
    start: int | None
    folder: str
    image: Image
    truths: Sequence[Truth] = ()
    view: Problem | None = None
    blurred: Tensor | None = None
    key: str = ""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what is to be explained in it; answers, of the network for all methods (Context.answers)."""

    image: Image
    jobs: Sequence[Job]
    answers: dict[Any, np.ndarray] = field(default_factory=dict)


def look(plan: Plan, adapter: Adapter, image: Image, truths: Sequence[Truth]) -> tuple[list[Target], str, float]:
    """The targets in a picture, what was seen in words, and the seconds that took."""
    begin = time.perf_counter()
    targets, seen = plan.selector.select(adapter, image, plan.run.threshold, truths)
    return [replace(t, part=plan.run.part) for t in targets], seen, time.perf_counter() - begin


def places(name: str, targets: Sequence[Target]) -> list[str]:
    """A folder for each target of the picture of that name."""
    taken: set[str] = set()
    return [f"{name}/{unique(f'{i}-{t.name}', taken)}" for i, t in enumerate(targets)]


def starts_of(run: Run) -> list[int] | None:
    """The cells from which each target is explained, or None: from ones, once."""
    return None if run.diverse_k is None else diverse.positions(run.diverse_k, run.init_posi or ["all"])


def grouped(jobs: Sequence[Job]) -> list[list[Job]]:
    return [list(jobs[i : i + LARGEST_GROUP]) for i in range(0, len(jobs), LARGEST_GROUP)]


def explain_group(
    plan: Plan,
    adapter: Adapter,
    jobs: Sequence[Job],
    needed: Extras = NOTHING,
    saved: Sequence[Explanation] | None = None,
    answers: dict[Any, np.ndarray] | None = None,
) -> tuple[list[Explanation], float]:
    """The jobs' explanations, made in one batch or, where saved ones are given, these with the plan's metrics; and
    the seconds spent inside the network. needed: what the method needs beside the problem; answers: Context.answers.
    """
    config, starts = plan.run, None
    if config.diverse_k is not None:
        k, value = config.diverse_k, config.init_val or 0
        cells = [(j.target, j.image.geometry.network, plan.method.size, k, j.start or 0, value) for j in jobs]
        starts = torch.stack([diverse.start_mask(*cell) for cell in cells])
    problem = make_problem(
        adapter,
        [j.image for j in jobs],
        [j.target for j in jobs],
        blurred=_blurred(jobs),
        score=plan.score,
        seed=config.manual_seed,
        batch=config.batch,
        max_memory=memory_size(config.max_memory),
        precision=config.precision,
        starts=[j.start for j in jobs],
        start_masks=starts,
        extras=needed,
    )
    truths = [match(j.target, j.image, j.truths) for j in jobs]
    context = Context(truths, other=[j.view for j in jobs], answers=answers)
    context = completed(context, plan.metrics, adapter, problem, plan.score)
    judge = judge_of(adapter, problem, config.score, plan.method)
    if saved is None:
        explanations = explain_problem(problem, plan.method, plan.metrics, context, judge)
    else:
        explanations = judged(problem, saved, plan.method, plan.metrics, context, judge)
    return explanations, problem.score.seconds + (judge.seconds if judge else 0)


def _blurred(jobs: Sequence[Job]) -> Tensor | None:
    """The pictures' blurs (K,3,H,W), one expanded where they are of one picture."""
    made = [j.blurred for j in jobs if j.blurred is not None]
    if len(made) < len(jobs):
        return None
    if all(b is made[0] for b in made):
        return made[0].expand(len(jobs), -1, -1, -1)
    return torch.cat(made)
