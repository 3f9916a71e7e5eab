"""The whole tool in one line:

file -> read -> Image -> detect -> [Target] -> select -> Problem -> method -> [Explanation] -> metrics -> results
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from igos import diverse, report, results
from igos.config import Plan, build_method, build_metrics
from igos.context import Context
from igos.data import find_pictures, unique
from igos.estimation import statistics_for
from igos.methods import default_score, needs_references, needs_statistics
from igos.metrics import DEFAULT_METRICS
from igos.presets import Run, memory_size, pick_preset
from igos.problem import completed, explain_problem, judge_of, make_problem
from igos.references import Source, generated, source
from igos.results import RunFolder
from igos.statistics import Statistics
from igos.truth import Truth, known, match
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, ImageError, Target


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
    stats: str | Statistics | None = None,
    **settings: Any,
) -> list[Explanation]:
    """Explain targets of one image, all in one batch; settings are the method's own (igos.METHODS).

    method is a name of METHODS or a callable Problem -> [Explanation], metrics names of METRICS or callables;
    config names a preset, by default the model's, for the method's settings; context holds what is known of the
    targets, one Truth each, by default from instances.json beside the picture. score {prob, logit} is by default the
    method's own; batch, max_memory (bytes) and precision {float32, bfloat16} say how the network is run (make_problem);
    references (R,3,H,W) in [0,1] are pictures to compare with, by default generated ones, for the
    methods that want them; stats, of igos.estimate or its file, the statistics of a layer, by default those that ship
    with the model. Raises ConfigError for what the method does not know.
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
    if references is None and needs_references(call):
        references = generated(image)
    asked = score or default_score(call, [t.part for t in targets])
    if needs_statistics(call) and not isinstance(stats, Statistics):
        stats = statistics_for(adapter, stats, call.layer)
    problem = make_problem(
        adapter,
        image,
        targets,
        score=asked,
        seed=seed,
        batch=batch,
        max_memory=max_memory,
        precision=precision,
        references=references,
        statistics=stats if isinstance(stats, Statistics) else None,
    )
    if context is None:
        truths = known(image.path) if image.path else []
        context = Context([match(t, image, truths) for t in targets])
    context = completed(context, made, adapter, problem, asked)
    return explain_problem(problem, call, made, context, judge_of(adapter, problem, score, call))


LARGEST_GROUP = 16  # objects in one batch: memory grows with them, the maps do not depend on it


@dataclass(frozen=True)
class Job:
    """One explanation to make: what, from which start cell (None: from ones), and into which folder."""

    target: Target
    start: int | None
    folder: str


def run(plan: Plan, adapter: Adapter, folder: RunFolder, progress: bool | None = None) -> float:
    """Explain every picture of the plan into the folder; answers the share of time spent in the network.

    A picture that cannot be read, or in which the target is not seen, becomes a row and the run goes on.
    Raises ImageError or ConfigError when that is so of every picture.
    """
    config = plan.run
    pictures = find_pictures(
        config.data, config.shuffle, config.manual_seed, config.num_samples, subset=config.subset_file
    )
    plan.selector.check(adapter)
    if config.part not in adapter.parts:
        raise ConfigError(f"--part {config.part}: {adapter.name} has no such part; it has {', '.join(adapter.parts)}")
    compare = source(adapter, config.references, config.data)[0] if needs_references(plan.method) else None
    known_layer = statistics_for(adapter, config.stats, plan.method.layer) if needs_statistics(plan.method) else None
    begin, network = time.perf_counter(), 0.0
    failures: list[IgosError] = []
    bar = tqdm(total=0, unit="object", disable=None if progress is None else not progress, leave=False)
    with bar:
        for path, name in pictures:
            row = {"image": path, "method": plan.method.name, "opt": getattr(plan.method, "opt", None)}
            try:
                image = adapter.read(path)
            except ImageError as error:
                failures.append(error)
                folder.add({**row, "status": "unreadable", "error": str(error)})
                continue
            entry = time.perf_counter()
            targets, seen = plan.selector.select(adapter, image, config.threshold)
            network += time.perf_counter() - entry
            if not targets:
                why = f"{path}: nothing to explain among {seen}"
                if plan.selector.kind not in ("", "all"):
                    failures.append(ConfigError(f"--target {config.target}: {why}"))
                folder.add({**row, "status": "skipped", "error": why})
                continue
            truths = known(path, config.annotations)
            groups = _jobs(config, [replace(t, part=config.part) for t in targets], name)
            bar.total = (bar.total or 0) + sum(len(group) for group in groups)
            for group in groups:
                explanations, seconds = _explain_group(plan, adapter, image, group, truths, compare, known_layer)
                network += seconds
                _write(folder, group, explanations, truths)
                bar.update(len(group))
                bar.set_postfix_str(_averages(folder.rows))
    if len(failures) == len(pictures):
        more = f" (and so in all {len(failures)} pictures)" if len(failures) > 1 else ""
        raise type(failures[0])(f"{failures[0]}{more}")
    return network / (time.perf_counter() - begin)


def _jobs(config: Run, targets: Sequence[Target], name: str) -> list[list[Job]]:
    """What goes through the network together: all objects of a picture, or all starts of one object."""
    taken: set[str] = set()
    places = [f"{name}/{unique(f'{i}-{t.name}', taken)}" for i, t in enumerate(targets)]
    if config.diverse_k is None:
        jobs = [Job(t, None, place) for t, place in zip(targets, places, strict=True)]
        return [jobs[i : i + LARGEST_GROUP] for i in range(0, len(jobs), LARGEST_GROUP)]
    starts = diverse.positions(config.diverse_k, config.init_posi or ["all"])
    return [
        [Job(t, start, f"{place}/start-{start}") for start in starts] for t, place in zip(targets, places, strict=True)
    ]


def _explain_group(
    plan: Plan,
    adapter: Adapter,
    image: Image,
    jobs: Sequence[Job],
    truths: Sequence[Truth],
    compare: Source | None,
    statistics: Statistics | None,
) -> tuple[list[Explanation], float]:
    """The jobs' explanations, made in one batch, and the seconds spent inside the network."""
    config, starts = plan.run, None
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
        references=compare(image) if compare else None,
        statistics=statistics,
    )
    context = Context([match(j.target, image, truths) for j in jobs])
    context = completed(context, plan.metrics, adapter, problem, plan.score)
    judge = judge_of(adapter, problem, config.score, plan.method)
    explanations = explain_problem(problem, plan.method, plan.metrics, context, judge)
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
