"""One image and its targets as a Problem, and a Problem explained and judged: what run and igos.explain share."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from igos.baselines import baseline
from igos.context import Context
from igos.extras import NOTHING, Extras
from igos.methods import default_score
from igos.ops import Blend
from igos.randomise import cascade
from igos.scorer import PRECISIONS
from igos.targets import check_boxes
from igos.truth import LEAST_IOU, iou, same_class, source_box
from igos.types import CLASS_THRESHOLD, Adapter, ConfigError, Explanation, Image, Problem, Scorer, Target

LARGEST_BATCH = 64  # pictures in one call; no network gets faster per picture beyond


def make_problem(
    adapter: Adapter,
    image: Image | Sequence[Image],
    targets: Sequence[Target],
    *,
    blurred: Tensor | None = None,
    score: str = "prob",
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | None = None,
    precision: str = "float32",
    starts: Sequence[int | None] | None = None,
    start_masks: Tensor | None = None,
    extras: Extras = NOTHING,
) -> Problem:
    """K targets (a target may stand several times, once per start) of one image, or each of its own, as a Problem.

    A network call takes `batch` pictures, by default what suits the model, fewer where those would keep more than
    max_memory bytes; where that is None a device with memory of its own is filled to half of what is free. extras: what
    the method needs beside. blurred (K,3,H,W) is the baseline, if it is made already.
    Raises ConfigError for a target that cannot be scored, such as a box without area or outside of the picture.
    """
    k = len(targets)
    images = [image] * k if isinstance(image, Image) else list(image)
    same = all(i is images[0] for i in images)
    for target, each in zip(targets, images, strict=True):
        check_boxes([target], each)
    x = images[0].pixels.expand(k, -1, -1, -1) if same else torch.stack([i.pixels for i in images])
    each_once = {id(i): i for i in images}
    hashes = {n: hashlib.sha256(i.pixels.cpu().numpy().tobytes()).hexdigest() for n, i in each_once.items()}
    generators = []
    for target, each, start in zip(targets, images, starts or [None] * k, strict=True):
        key = f"{seed}|{hashes[id(each)]}|{target.label}|{target.index}|{target.part}|{start}"
        generators.append(torch.Generator().manual_seed(_digest(key)))
    scorer = adapter.scorer(targets, score, batch)
    scorer.precision = PRECISIONS[precision]
    free = free_memory(x.device) if batch is None else None
    if max_memory is not None:
        scorer.fit(x[:1], max_memory, scorer.batch if free is None else LARGEST_BATCH)
    elif free is not None:
        scorer.fit(x[:1], free / 2, LARGEST_BATCH)
    return Problem(
        x=x,
        x0=baseline("blur", x) if blurred is None else blurred,
        score=scorer,
        targets=targets,
        generators=generators,
        images=images,
        start=start_masks,
        starts=starts,
        references=extras.references(images[0]) if extras.references else None,
        detect=adapter.detections,
        patterns=extras.patterns,
        statistics=extras.statistics,
        probability=adapter.scorer(targets, "prob", batch) if score != "prob" else None,
        picture_seeds=[_digest(f"{seed}|{hashes[id(i)]}") for i in images],
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device with memory of its own; None on the CPU and where that cannot be asked."""
    ask = None if device.type == "cpu" else getattr(torch.get_device_module(device), "mem_get_info", None)
    return ask(device)[0] if ask else None


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


def judge_of(adapter: Adapter, problem: Problem, score: str | None, method: Any) -> Scorer | None:
    """Metrics ask the probability in full precision, also of a method that by its own choice explains the logit."""
    own = score or default_score(method, [t.part for t in problem.targets])
    asked = own if score else "prob"
    if asked == own and problem.score.precision == torch.float32:
        return None
    return adapter.scorer(problem.targets, asked, problem.score.batch)


LEAST_SEEN = 0.1  # the score at which another detector is taken to see an object; a classifier's is CLASS_THRESHOLD


def views(other: Adapter, image: Image, targets: Sequence[Target], batch: int | None = None) -> list[Problem | None]:
    """For Context.other: for each target the same object as another model sees it, or None where it does not.

    The same object is a detection of the same class name with IoU >= 0.5 on source pixels; of a classifier, the class.
    Raises ConfigError for a classifier beside a detector.
    """
    shown = other.read(image.source)
    seen = other.detect(shown, CLASS_THRESHOLD if other.default_target == "top1" else LEAST_SEEN)
    if seen and targets and (seen[0].box is None) != (targets[0].box is None):
        raise ConfigError(f"{other.name} cannot judge: of it and the model explained, one is a classifier")
    twins = [_twin(t, image, shown, seen) for t in targets]
    return [None if twin is None else make_problem(other, shown, [twin], batch=batch) for twin in twins]


def _twin(target: Target, image: Image, shown: Image, seen: Sequence[Target]) -> Target | None:
    alike = [t for t in seen if same_class(t.name, target.name)]
    if target.box is None or not alike:
        return alike[0] if alike else None
    overlap = [iou(source_box(t, shown), source_box(target, image)) for t in alike]
    best = max(range(len(alike)), key=overlap.__getitem__)
    return alike[best] if overlap[best] >= LEAST_IOU else None


def completed(context: Context, metrics: Sequence[Any], adapter: Adapter, problem: Problem, score: str) -> Context:
    """The context with randomised networks, where a metric needs them and none are given."""
    if context.randomised or not any("randomised" in getattr(m, "needs", ()) for m in metrics):
        return context
    layers, randomised = cascade(adapter, problem, score)
    return replace(context, layers=layers, randomised=randomised)
