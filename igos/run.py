"""The whole tool in one line:

file -> read -> Image -> detect -> [Target] -> select -> Problem -> method -> [Explanation] -> metrics -> results
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from igos import diverse, report, results
from igos.annotations import known
from igos.config import Plan, build_method, build_metrics
from igos.context import Context
from igos.data import unique
from igos.extras import NOTHING, Extras, extras, extras_of
from igos.methods import default_score
from igos.metrics import DEFAULT_METRICS
from igos.presets import Run, memory_size, pick_preset
from igos.problem import completed, explain_problem, judge_of, judged, make_problem, views
from igos.results import RunFolder
from igos.statistics import Statistics
from igos.truth import Truth, match
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, ImageError, Problem, Target


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


LARGEST_GROUP = 16  # objects in one batch: memory grows with them, the maps do not depend on it


@dataclass(frozen=True)
class Job:
    """One explanation to make: what, from which start cell (None: from ones), and into which folder; view: the same
    object as the judge sees it.
    """

    target: Target
    start: int | None
    folder: str
    view: Problem | None = None


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture and what is to be explained in it: truths, what is known of its objects; seconds, what finding the
    targets took; answers, of the network for all methods (Context.answers).
    """

    image: Image
    truths: Sequence[Truth]
    jobs: Sequence[Job]
    seconds: float
    answers: dict[Any, np.ndarray] = field(default_factory=dict)


def run(
    plan: Plan, adapter: Adapter, folder: RunFolder, progress: bool | None = None, judge: Adapter | None = None
) -> float:
    """Explain every picture of the plan into the folder; answers the share of time spent in the network.

    A picture that cannot be read, or in which the target is not seen, becomes a row and the run goes on; judge is
    the other network of the metrics that ask one. Raises ImageError or ConfigError when that is so of every picture.
    """
    config = plan.run
    found = config.pictures()
    (needed,) = extras_of(config, [plan.method], adapter)
    begin, network = time.perf_counter(), 0.0
    with bar(progress) as shown:
        row = {"method": plan.method.name, "opt": getattr(plan.method, "opt", None)}
        for picture in pictures(plan, adapter, folder, found, judge, row):
            network += picture.seconds
            groups = _groups(config, picture.jobs)
            shown.total = (shown.total or 0) + sum(len(group) for group in groups)
            for group in groups:
                explanations, seconds = explain_group(plan, adapter, picture, group, needed)
                network += seconds
                _write(folder, group, explanations, picture.truths)
                shown.update(len(group))
                shown.set_postfix_str(_averages(folder.rows))
    return network / (time.perf_counter() - begin)


def bar(progress: bool | None) -> tqdm:
    """A bar of objects; None: on a terminal only."""
    return tqdm(total=0, unit="object", disable=None if progress is None else not progress, leave=False)


def pictures(
    plan: Plan,
    adapter: Adapter,
    folder: RunFolder,
    found: Sequence[tuple[str, str]],
    judge: Adapter | None = None,
    row: Mapping[str, Any] | None = None,
) -> Iterator[Picture]:
    """The pictures (path, name) in which there is something to explain; of the others each becomes a row with the
    values of `row`.

    Raises, at the end, ImageError or ConfigError when none could be read or held the target asked for.
    """
    config, selector = plan.run, plan.selector
    selector.check(adapter)
    if config.part not in adapter.parts:
        raise ConfigError(f"--part {config.part}: {adapter.name} has no such part; it has {', '.join(adapter.parts)}")
    failures: list[IgosError] = []
    for path, name in found:
        try:
            image = adapter.read(path)
        except ImageError as error:
            failures.append(error)
            folder.add({"image": path, **(row or {}), "status": "unreadable", "error": str(error)})
            continue
        truths, begin = selector.concerned(known(path, config.annotations, image.geometry.source)), time.perf_counter()
        targets, seen = selector.select(adapter, image, config.threshold, truths)
        seconds = time.perf_counter() - begin
        if not targets:
            why = f"{path}: nothing to explain among {seen}"
            if selector.kind not in ("", "all"):
                failures.append(ConfigError(f"--target {config.target}: {why}"))
            folder.add({"image": path, **(row or {}), "status": "skipped", "error": why})
            continue
        targets = [replace(t, part=config.part) for t in targets]
        seen_too = views(judge, image, targets, config.batch) if judge else [None] * len(targets)
        taken: set[str] = set()
        places = [f"{name}/{unique(f'{i}-{t.name}', taken)}" for i, t in enumerate(targets)]
        jobs = [Job(t, None, place, view) for t, place, view in zip(targets, places, seen_too, strict=True)]
        yield Picture(image, truths, jobs, seconds)
    if found and len(failures) == len(found):
        more = f" (and so in all {len(failures)} pictures)" if len(failures) > 1 else ""
        raise type(failures[0])(f"{failures[0]}{more}")


def _groups(config: Run, jobs: Sequence[Job]) -> list[list[Job]]:
    """What goes through the network together: all objects of a picture, or all starts of one object."""
    if config.diverse_k is None:
        return grouped(jobs)
    starts = diverse.positions(config.diverse_k, config.init_posi or ["all"])
    return [[replace(job, start=start, folder=f"{job.folder}/start-{start}") for start in starts] for job in jobs]


def grouped(jobs: Sequence[Job]) -> list[list[Job]]:
    return [list(jobs[i : i + LARGEST_GROUP]) for i in range(0, len(jobs), LARGEST_GROUP)]


def explain_group(
    plan: Plan,
    adapter: Adapter,
    picture: Picture,
    jobs: Sequence[Job],
    needed: Extras = NOTHING,
    saved: Sequence[Explanation] | None = None,
) -> tuple[list[Explanation], float]:
    """The jobs' explanations, made in one batch or, where saved ones are given, these with the plan's metrics; and
    the seconds spent inside the network. needed: what the method needs beside the problem.
    """
    config, image, starts = plan.run, picture.image, None
    if config.diverse_k is not None:
        size = image.geometry.network
        starts = torch.stack(
            [
                diverse.start_mask(
                    j.target, size, plan.method.size, config.diverse_k, j.start or 0, config.init_val or 0
                )
                for j in jobs
            ]
        )
    targets = [j.target for j in jobs]
    problem = make_problem(
        adapter,
        image,
        targets,
        score=plan.score,
        seed=config.manual_seed,
        batch=config.batch,
        max_memory=memory_size(config.max_memory),
        precision=config.precision,
        starts=[j.start for j in jobs],
        start_masks=starts,
        extras=needed,
    )
    context = Context(
        [match(t, image, picture.truths) for t in targets], other=[j.view for j in jobs], answers=picture.answers
    )
    context = completed(context, plan.metrics, adapter, problem, plan.score)
    judge = judge_of(adapter, problem, config.score, plan.method)
    if saved is None:
        explanations = explain_problem(problem, plan.method, plan.metrics, context, judge)
    else:
        explanations = judged(problem, saved, plan.method, plan.metrics, context, judge)
    return explanations, problem.score.seconds + (judge.seconds if judge else 0)


def _write(
    folder: RunFolder, jobs: Sequence[Job], explanations: Sequence[Explanation], truths: Sequence[Truth]
) -> None:
    """Arrays and pictures, drawn on all cores at once; a row is added when its files are whole."""
    writers = (results.write_arrays, *report.WRITERS)
    pool, whole = ThreadPoolExecutor(), 0
    try:
        made = [
            [pool.submit(write, folder.path / job.folder, e) for write in writers]
            for job, e in zip(jobs, explanations, strict=True)
        ]
        for job, e, files in zip(jobs, explanations, made, strict=True):
            for file in files:
                file.result()
            report.write_masks(folder.path, job.folder, e)
            folder.add(results.row(e, job.folder))
            whole += 1
        if jobs[0].start is not None:
            place = jobs[0].folder.rpartition("/")[0]
            truth = match(jobs[0].target, explanations[0].image, truths)
            folder.write_json(f"{place}/diversity.json", diverse.diversity(explanations, truth))
            report.write_starts(folder.path / place, explanations)
    except OSError as error:
        raise ConfigError(f"--output {folder.path}: cannot be written ({error.strerror or error})") from error
    finally:
        pool.shutdown(cancel_futures=True)
        for job in jobs[whole:]:
            folder.remove(job.folder)


def _averages(rows: Sequence[dict[str, Any]]) -> str:
    means = []
    for key in ("deletion", "insertion"):
        values = [r[key] for r in rows if r[key] is not None]
        means += [f"{key} {sum(values) / len(values):.3f}"] if values else []
    return ", ".join(means)
