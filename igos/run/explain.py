"""From a picture to its explanations: the file to read first.

file -> Adapter.read -> Image -> Adapter.detect -> [Target] -> select -> Problem -> method -> [Explanation] -> metrics

`explain` is that way in Python, for one picture; run/workers/worker.py walks it for the pictures of a run. Both end in
`explain_jobs`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos.base.names import DEFAULT_METRICS, EVIDENCE_METRICS
from igos.base.ops import flat
from igos.base.settings import lookup
from igos.data.annotations import known_of
from igos.data.nulls import Null, bundled
from igos.data.truth import Known, match
from igos.methods import ALIASES, METHODS, build_method
from igos.methods.asked import answering, explained_score, kind_of, posed
from igos.methods.ingredients import OfImage, load_ingredients
from igos.metrics.metric import Context
from igos.run.faithful import Found, hold
from igos.run.given import (
    check_judge,
    check_parts,
    check_references,
    check_settings,
    check_targets,
    check_threshold,
    explanations_of,
    metrics_for,
)
from igos.run.job import Job, blurred_of, lasting
from igos.run.judge import completed, judge_of, judged, views
from igos.run.presets import pick_preset
from igos.run.problem import NOTHING, make_problem
from igos.run.progress import Tell, Watched
from igos.run.settings import memory_size
from igos.types import Adapter, ConfigError, Explanation, Image, Problem, Scorer, Statistics, Target, plain_of


@torch.inference_mode(False)
def explain(
    adapter: Adapter,
    image: Image,
    targets: Sequence[Target],
    method: Any = "iGOS++",
    opt: str | None = None,
    *,
    metrics: Sequence[Any] | str | None = None,
    score: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | str | None = None,
    precision: str = "float32",
    config: str | None = None,
    context: Context | None = None,
    references: Tensor | None = None,
    judge: Adapter | None = None,
    ask: str = "why",
    threshold: float | None = None,
    patterns: Mapping[str, Tensor] | str | Path | None = None,
    stats: Statistics | str | Path | None = None,
    progress: Tell | None = None,
    **settings: Any,
) -> list[Explanation]:
    """Explain targets of one image, all in one batch; settings are the method's own (igos.METHODS). `igos.explain`
    (door.py) takes more and calls this.

    method is a name of METHODS or a callable Problem -> [Explanation], metrics names of METRICS or callables, or
    "none", by default those that can be known; config names a preset, by default the model's, for the method's
    settings; context holds what is known of the targets, one Truth each, by default from instances.json beside the
    picture; judge is another network, for the metric transfer. ask: the question, why, why-not, versus:NAME or
    versus-row (methods/asked.py); threshold: the least score of a detection, by default the model's. score {prob,
    logit, logodds} is by default the method's own, of objects that were expected logodds; batch, max_memory (bytes, or
    "2G") and precision {float32, bfloat16} say how the network is run (make_problem). What methods need beside
    (methods/ingredients.py): references (R,3,H,W) in [0,1], pictures to compare with, by default generated ones;
    patterns, by layer or a file of fit-patterns, and stats, of igos.estimate or its file, by default those that ship
    with the model. Raises ConfigError for what cannot be.
    """
    check_targets(adapter, image, targets)
    check_settings(score, precision, batch, seed)
    check_threshold(threshold)
    check_parts(method, context)
    check_references(references)
    kind = kind_of(ask)
    memory = memory_size(max_memory, "max_memory")
    asked = image.path if context is None else None
    known = known_of(asked, size=image.geometry.source) if asked else Known([], [])
    if metrics is None and kind == "why":
        truths = known.objects if context is None else context.truth
        known_evidence = any(t is not None and t.evidence for t in truths)
        metrics = (*DEFAULT_METRICS, *(EVIDENCE_METRICS if known_evidence else ()), *(("transfer",) if judge else ()))
    measures = metrics_for(kind, metrics)
    check_judge(measures, judge, context)
    targets = posed(ask, adapter, targets)
    if not targets:
        return []
    if isinstance(method, str):
        given = {k: v for k, v in {"opt": opt, **settings}.items() if v is not None}
        named = answering(lookup(method, METHODS, "method", ALIASES), ask)
        call = build_method(named, given, pick_preset(config, adapter.preset, given))
    elif opt is not None or config is not None or settings:
        raise ConfigError("a method that is an object has its settings already; give opt and the like to it")
    else:
        call = method
    call = call if progress is None else Watched(call, progress)
    seen = views(judge, image, targets, batch) if judge is not None else [None] * len(targets)
    if context is not None and judge is not None:
        context = replace(context, other=seen)
    (ingredients,) = load_ingredients([call], adapter, {"references": references, "patterns": patterns, "stats": stats})
    explanations, _ = explain_jobs(
        adapter,
        [
            Job(t, image, None, None, known.objects, v, warnings=tuple(known.warnings))
            for t, v in zip(targets, seen, strict=True)
        ],
        call,
        measures,
        score=score,
        seed=seed,
        batch=batch,
        max_memory=memory,
        precision=precision,
        ingredients=ingredients,
        context=context,
        ask=kind,
        threshold=threshold,
    )
    return explanations


@torch.inference_mode(False)
def explain_jobs(
    adapter: Adapter,
    jobs: Sequence[Job],
    method: Any,
    metrics: Sequence[Any],
    *,
    score: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | None = None,
    precision: str = "float32",
    ingredients: Mapping[str, OfImage] = NOTHING,
    context: Context | None = None,
    saved: Sequence[Explanation] | None = None,
    answers: dict[Any, np.ndarray] | None = None,
    ask: str = "why",
    threshold: float | None = None,
    nulls: Sequence[Null] | None = None,
) -> tuple[list[Explanation], float]:
    """The jobs' explanations, made in one batch or, where saved ones are given, these with the metrics' figures; and
    the seconds spent inside the network.

    score: what the user asked for, else the method's own. context: what metrics may ask, by default what the jobs
    tell; answers: Context.answers. ask: the kind of question that is asked of all of them; threshold: the least score
    of a detection, by default the model's; nulls: those of the data set, by default the bundled ones.
    """
    jobs = [lasting(j) for j in jobs]
    explained = explained_score(method, [j.target for j in jobs], score, ask)
    if context is None:
        truths = [match(j.target, j.image, j.truths) for j in jobs]
        context = Context(truths, other=[j.view for j in jobs], answers=answers)
    context = replace(context, adapter=adapter, threshold=threshold, nulls=bundled() if nulls is None else nulls)
    make = partial(
        _problem, score=explained, seed=seed, batch=batch, max_memory=max_memory, precision=precision,
        ingredients=ingredients,
    )  # fmt: skip
    problem = make(adapter, jobs)
    known = [e.shortcut for e in saved] if saved is not None else [None]
    ends = None if all(known) or (saved is not None and plain_of(adapter) is None) else problem.score_ends()
    if ends is None:
        found = Found(known, [0] * len(jobs), [()] * len(jobs))
    else:
        found = hold(adapter, problem, explained, ends[:, 0].tolist())
    made: dict[int, Explanation] = {}
    used = [problem.score]
    for way, rows in found.ways(adapter):
        if len(rows) < len(jobs) or way is not adapter:
            problem = make(way, [jobs[i] for i in rows])
            used.append(problem.score)
        own = None if ends is None or way is not adapter else ends[rows]
        asked = completed(_of_rows(context, rows, way is adapter), metrics, way, problem, explained)
        judge = judge_of(way, problem, score, explained)
        if saved is None:
            new = explain_problem(problem, method, metrics, asked, judge, own, ask, explained)
            new = [found.told(e, i) for i, e in zip(rows, new, strict=True)]
        else:
            new = judged(problem, [saved[i] for i in rows], method, metrics, asked, judge)
        new = [_warned(e, jobs[i].warnings) for i, e in zip(rows, new, strict=True)]
        made.update(zip(rows, new, strict=True))
        used += [judge] if judge else []
    return [made[i] for i in range(len(jobs))], sum(scorer.seconds for scorer in used)


def _problem(adapter: Adapter, jobs: Sequence[Job], **settings: Any) -> Problem:
    masks = [j.start_mask for j in jobs if j.start_mask is not None]
    return make_problem(
        adapter,
        [j.image for j in jobs],
        [j.target for j in jobs],
        blurred=blurred_of(jobs),
        starts=[j.start for j in jobs],
        start_masks=torch.stack(masks) if masks else None,
        **settings,
    )


def _of_rows(context: Context, rows: Sequence[int], answers: bool) -> Context:
    """What the context says of these of its rows; answers: whether those of the network are of the same one."""
    return replace(
        context,
        truth=[context.truth[i] for i in rows] if context.truth else (),
        other=[context.other[i] for i in rows] if context.other else (),
        answers=context.answers if answers else None,
    )


def _warned(e: Explanation, warnings: Sequence[str]) -> Explanation:
    """With warnings about its picture or object, each once."""
    return replace(e, warnings=tuple(dict.fromkeys((*e.warnings, *warnings))))


def explain_problem(
    problem: Problem,
    method: Any,
    metrics: Sequence[Any] = (),
    context: Context | None = None,
    judge: Scorer | None = None,
    ends: Tensor | None = None,
    ask: str = "why",
    explained: str | None = None,
) -> list[Explanation]:
    """Run the method and the metrics; fill in what only the run knows: pictures pushed, scores at both ends.

    judge is the score that the metrics ask, where it is not the one that is explained; ends: the `score_ends`,
    where they are known; ask and explained: the question, and the score that answers it.
    """
    scorer = problem.score
    ends = problem.score_ends() if ends is None else ends
    before = scorer.forward_images.copy(), scorer.backward_images.copy()
    begin = time.perf_counter()
    explanations = explanations_of(method, method(replace(problem, ends=ends)), len(problem.targets))
    seconds = (time.perf_counter() - begin) / len(explanations)
    forward, backward = scorer.forward_images - before[0], scorer.backward_images - before[1]
    complete = [
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
            status=_status(replace(e, ask=ask), ends[i]),
            ask=ask,
            explained=explained,
        )
        for i, e in enumerate(explanations)
    ]
    return judged(problem, complete, method, metrics, context, judge)


def _status(e: Explanation, ends: Tensor) -> str:
    """The method's own, unless a score or the map is not finite, or the map is the same everywhere."""
    if not (ends.isfinite().all() and e.saliency.isfinite().all()):
        return "not-finite"
    return "no-effect" if e.status == "ok" and e.ask != "why-not" and flat(e.saliency) else e.status
