"""One explanation to make, and several of them made in one batch."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos.base.files import unique
from igos.base.names import DEFAULT_METRICS
from igos.base.ops import Blend
from igos.data.annotations import known
from igos.data.truth import Truth, match
from igos.methods import build_method, default_score
from igos.methods.ingredients import NOTHING, Extras, extras
from igos.methods.mask import starts
from igos.metrics import build_metrics
from igos.metrics.metric import Context
from igos.metrics.randomise import cascade
from igos.run.judge import judge_of, views
from igos.run.plan import Plan
from igos.run.presets import pick_preset
from igos.run.problem import make_problem
from igos.run.settings import Run, memory_size
from igos.types import Adapter, ConfigError, Explanation, Image, Problem, Scorer, Statistics, Target

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
    return None if run.diverse_k is None else starts.positions(run.diverse_k, run.init_posi or ["all"])


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
    config, start_masks = plan.run, None
    if config.diverse_k is not None:
        k, value = config.diverse_k, config.init_val or 0
        cells = [(j.target, j.image.geometry.network, plan.method.size, k, j.start or 0, value) for j in jobs]
        start_masks = torch.stack([starts.start_mask(*cell) for cell in cells])
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
        start_masks=start_masks,
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


def explain_problem(
    problem: Problem,
    method: Any,
    metrics: Sequence[Any] = (),
    context: Context | None = None,
    judge: Scorer | None = None,
) -> list[Explanation]:
    """Run the method and the metrics; fill in what only the run knows: pictures pushed, scores at both ends.

    judge is the score that the metrics ask, where it is not the one that is explained.
    """
    scorer = problem.score
    before = scorer.forward_images.copy(), scorer.backward_images.copy()
    begin = time.perf_counter()
    explanations = method(problem)
    seconds = (time.perf_counter() - begin) / len(explanations)
    forward, backward = scorer.forward_images - before[0], scorer.backward_images - before[1]
    ends = _ends(problem)
    made = [
        replace(
            e,
            seed=problem.generators[i].initial_seed(),
            seconds=seconds,
            network_images=int(forward[i]),
            backward_images=int(backward[i]),
            score_original=float(ends[i, 0]),
            score_blurred=float(ends[i, 1]),
            start=problem.starts[i] if problem.starts else None,
            arrays=e.arrays if problem.start is None else {**e.arrays, "start_mask": problem.start[i].cpu().numpy()},
            status=e.status if ends[i].isfinite().all() else "not-finite",
        )
        for i, e in enumerate(explanations)
    ]
    return judged(problem, made, method, metrics, context, judge)


def judged(
    problem: Problem,
    explanations: Sequence[Explanation],
    method: Any,
    metrics: Sequence[Any],
    context: Context | None = None,
    judge: Scorer | None = None,
) -> list[Explanation]:
    """The explanations, new or read back, with the metrics' figures beside those that they bring.

    Metrics that explain again do it with the same method and score, unless the context holds another.
    """
    scorer = problem.score
    asked = problem if judge is None else replace(problem, score=judge)

    def again(p: Problem) -> list[Explanation]:
        return method(replace(p, score=scorer) if p.score is asked.score else p)

    context = context or Context()
    context = context if context.explain else replace(context, explain=again)
    scores = [metric(asked, explanations, context) for metric in metrics]
    return [replace(e, scores=(*e.scores, *(s[i] for s in scores))) for i, e in enumerate(explanations)]


def _ends(problem: Problem) -> Tensor:
    """Scores (K,2) of the picture and of its baseline."""
    job = torch.arange(2 * len(problem.x), device=problem.x.device)
    row, shown = job // 2, (1 - job % 2).to(problem.x)
    blend, scores = Blend(problem.x0, problem.x), problem.x.new_zeros(len(job))
    for part, s, _ in problem.score.stream(row, lambda p: blend(row[p], shown[p, None, None])):
        scores[part] = s.to(scores)
    return scores.view(-1, 2).double().cpu()


def completed(context: Context, metrics: Sequence[Any], adapter: Adapter, problem: Problem, score: str) -> Context:
    """The context with randomised networks, where a metric needs them and none are given."""
    if context.randomised or not any("randomised" in getattr(m, "needs", ()) for m in metrics):
        return context
    layers, randomised = cascade(adapter, problem, score)
    return replace(context, layers=layers, randomised=randomised)


def explain(
    adapter: Adapter,
    image: Image,
    targets: Sequence[Target],
    method: Any = "iGOS++",
    opt: str | None = None,
    *,
    metrics: Sequence[Any] = DEFAULT_METRICS,
    score: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | None = None,
    precision: str = "float32",
    config: str | None = None,
    context: Context | None = None,
    references: Tensor | None = None,
    judge: Adapter | None = None,
    patterns: Mapping[str, Tensor] | str | Path | None = None,
    stats: Statistics | str | Path | None = None,
    **settings: Any,
) -> list[Explanation]:
    """Explain targets of one image, all in one batch; settings are the method's own (igos.METHODS).

    method is a name of METHODS or a callable Problem -> [Explanation], metrics names of METRICS or callables;
    config names a preset, by default the model's, for the method's settings; context holds what is known of the
    targets, one Truth each, by default from instances.json beside the picture; judge is another network, for the
    metric transfer. score {prob, logit} is by default the method's own; batch, max_memory (bytes) and precision
    {float32, bfloat16} say how the network is run (make_problem). What methods need beside (igos/extras.py):
    references (R,3,H,W) in [0,1], pictures to compare with, by default generated ones; patterns, by layer or a file of
    fit-patterns, and stats, of igos.estimate or its file, by default those that ship with the model. Raises
    ConfigError for what the method does not know.
    """
    if not targets:
        return []
    if isinstance(method, str):
        given = {k: v for k, v in {"opt": opt, **settings}.items() if v is not None}
        call = build_method(method, given, pick_preset(config, adapter.preset, given))
    elif opt is not None or config is not None or settings:
        raise ConfigError("a method that is an object has its settings already; give opt and the like to it")
    else:
        call = method
    made = [m for name in metrics for m in ([name] if callable(name) else build_metrics([name])[0])]
    asked = score or default_score(call, [t.part for t in targets])
    problem = make_problem(
        adapter,
        image,
        targets,
        score=asked,
        seed=seed,
        batch=batch,
        max_memory=max_memory,
        precision=precision,
        extras=extras([call], adapter, references=references, patterns=patterns, stats=stats)[0],
    )
    if context is None:
        truths = known(image.path, size=image.geometry.source) if image.path else []
        context = Context([match(t, image, truths) for t in targets])
    if judge is not None:
        context = replace(context, other=views(judge, image, targets, batch))
    context = completed(context, made, adapter, problem, asked)
    return explain_problem(problem, call, made, context, judge_of(adapter, problem, score, call))
