"""The whole tool in one line:

file -> read -> Image -> detect -> [Target] -> select -> Problem -> method -> [Explanation] -> metrics -> results
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from igos import diverse, report, results
from igos.baselines import baseline
from igos.config import Plan, build_method, build_metrics
from igos.context import Context
from igos.data import find_pictures, unique
from igos.methods import default_score, needs_references
from igos.metrics import DEFAULT_METRICS
from igos.ops import Blend
from igos.presets import Run, pick_preset
from igos.randomise import cascade
from igos.references import Source, generated, source
from igos.results import RunFolder
from igos.targets import check_boxes
from igos.truth import Truth, known, match
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, ImageError, Problem, Scorer, Target


def make_problem(
    adapter: Adapter,
    image: Image,
    targets: Sequence[Target],
    *,
    score: str = "prob",
    seed: int = 0,
    batch: int | None = None,
    starts: Sequence[int | None] | None = None,
    start_masks: Tensor | None = None,
    references: Tensor | None = None,
) -> Problem:
    """One image and K targets (a target may stand several times, once per start) as a Problem.

    Raises ConfigError for a target that cannot be scored, such as a box without area or outside of the picture.
    """
    check_boxes(targets, image)
    k = len(targets)
    x = image.pixels.expand(k, -1, -1, -1)
    picture = hashlib.sha256(image.pixels.cpu().numpy().tobytes()).hexdigest()
    generators = []
    for target, start in zip(targets, starts or [None] * k, strict=True):
        key = f"{seed}|{picture}|{target.label}|{target.index}|{target.part}|{start}"
        digest = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1
        generators.append(torch.Generator().manual_seed(digest))
    return Problem(
        x=x,
        x0=baseline("blur", x),
        score=adapter.scorer(targets, score, batch),
        targets=targets,
        generators=generators,
        images=[image] * k,
        start=start_masks,
        starts=starts,
        references=references,
        detect=adapter.detections,
    )


def explain_problem(
    problem: Problem,
    method: Any,
    metrics: Sequence[Any] = (),
    context: Context | None = None,
    judge: Scorer | None = None,
) -> list[Explanation]:
    """Run the method and the metrics; fill in what only the run knows: pictures pushed, scores at both ends.

    judge is the score that the metrics ask, where it is not the one that is explained. Metrics that explain again
    do it with the same method and score, unless the context holds another.
    """
    scorer = problem.score
    before = scorer.forward_images.copy(), scorer.backward_images.copy()
    begin = time.perf_counter()
    explanations = method(problem)
    seconds = (time.perf_counter() - begin) / len(explanations)
    forward, backward = scorer.forward_images - before[0], scorer.backward_images - before[1]
    ends = _ends(problem)
    judged = problem if judge is None else replace(problem, score=judge)

    def again(p: Problem) -> list[Explanation]:
        return method(replace(p, score=scorer) if p.score is judged.score else p)

    context = context or Context()
    context = context if context.explain else replace(context, explain=again)
    scores = [metric(judged, explanations, context) for metric in metrics]
    return [
        replace(
            e,
            seed=problem.generators[i].initial_seed(),
            seconds=seconds,
            network_images=int(forward[i]),
            backward_images=int(backward[i]),
            score_original=float(ends[i, 0]),
            score_blurred=float(ends[i, 1]),
            scores=(*e.scores, *(s[i] for s in scores)),
            start=problem.starts[i] if problem.starts else None,
            arrays=e.arrays if problem.start is None else {**e.arrays, "start_mask": problem.start[i].cpu().numpy()},
            status=e.status if ends[i].isfinite().all() else "not-finite",
        )
        for i, e in enumerate(explanations)
    ]


def _ends(problem: Problem) -> Tensor:
    """Scores (K,2) of the picture and of its baseline."""
    job = torch.arange(2 * len(problem.x), device=problem.x.device)
    row, shown = job // 2, (1 - job % 2).to(problem.x)
    blend, scores = Blend(problem.x0, problem.x), problem.x.new_zeros(len(job))
    for part, s, _ in problem.score.stream(row, lambda p: blend(row[p], shown[p, None, None])):
        scores[part] = s.to(scores)
    return scores.view(-1, 2).double().cpu()


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
    config: str | None = None,
    context: Context | None = None,
    references: Tensor | None = None,
    **settings: Any,
) -> list[Explanation]:
    """Explain targets of one image, all in one batch; settings are the method's own (igos.METHODS).

    method is a name of METHODS or a callable Problem -> [Explanation], metrics names of METRICS or callables;
    config names a preset, by default the model's, for the method's settings; context holds what is known of the
    targets, one Truth each, for the metrics that ask for it. score {prob, logit} is by default the method's own;
    references (R,3,H,W) in [0,1] are pictures to compare with, by default generated ones, for the methods that want
    them. Raises ConfigError for what the method does not know.
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
    problem = make_problem(adapter, image, targets, score=asked, seed=seed, batch=batch, references=references)
    context = _completed(context or Context(), made, adapter, problem, asked)
    return explain_problem(problem, call, made, context, _judge(adapter, targets, score, call, batch))


def _judge(
    adapter: Adapter, targets: Sequence[Target], score: str | None, method: Any, batch: int | None
) -> Scorer | None:
    """Metrics ask the probability, also of a method that by its own choice explains the logit."""
    own = score or default_score(method, [t.part for t in targets])
    return adapter.scorer(targets, "prob", batch) if score is None and own != "prob" else None


def _completed(context: Context, metrics: Sequence[Any], adapter: Adapter, problem: Problem, score: str) -> Context:
    """The context with randomised networks, where a metric needs them and none are given."""
    if context.randomised or not any("randomised" in getattr(m, "needs", ()) for m in metrics):
        return context
    layers, randomised = cascade(adapter, problem, score)
    return replace(context, layers=layers, randomised=randomised)


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
    pictures = find_pictures(config.data, config.shuffle, config.manual_seed, config.num_samples)
    plan.selector.check(adapter)
    if config.part not in adapter.parts:
        raise ConfigError(f"--part {config.part}: {adapter.name} has no such part; it has {', '.join(adapter.parts)}")
    compare = source(adapter, config.references, config.data)[0] if needs_references(plan.method) else None
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
                explanations, seconds = _explain_group(plan, adapter, image, group, truths, compare)
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
        starts=[j.start for j in jobs],
        start_masks=starts,
        references=compare(image) if compare else None,
    )
    context = Context([match(j.target, image, truths) for j in jobs])
    context = _completed(context, plan.metrics, adapter, problem, plan.score)
    judge = _judge(adapter, targets, config.score, plan.method, config.batch)
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
