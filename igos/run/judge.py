"""How explanations are judged: the score that metrics ask, the same object as another network sees it, the figures."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch

from igos.base.boxes import best_match
from igos.base.names import CLASS_THRESHOLD, MARGIN
from igos.data.truth import LEAST_IOU, same_class, source_box
from igos.metrics.metric import Context
from igos.metrics.randomise import cascade
from igos.run.given import scores_of
from igos.run.problem import make_problem
from igos.types import Adapter, ConfigError, Explanation, Image, Problem, Scorer, Target


def judge_of(adapter: Adapter, problem: Problem, score: str | None, own: str) -> Scorer | None:
    """Metrics ask the score that the user named, else the probability, in full precision; own: what is explained."""
    asked = own if score and own != MARGIN else "prob"
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
    best = best_match(source_box(target, image), [source_box(t, shown) for t in alike], LEAST_IOU)
    return None if best is None else alike[best]


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
        own = getattr(method, "unwatched", method)
        return own(replace(p, score=scorer) if p.score is asked.score else p)

    context = context or Context()
    context = context if context.explain else replace(context, explain=again)
    begin = time.perf_counter()
    scores = [scores_of(metric, metric(asked, explanations, context), len(explanations)) for metric in metrics]
    seconds = (time.perf_counter() - begin) / max(len(explanations), 1) if metrics else None
    return [
        replace(e, scores=(*e.scores, *(s[i] for s in scores)), metric_seconds=seconds)
        for i, e in enumerate(explanations)
    ]


def completed(context: Context, metrics: Sequence[Any], adapter: Adapter, problem: Problem, score: str) -> Context:
    """The context with randomised networks, where a metric needs them and none are given."""
    if context.randomised or not any("randomised" in getattr(m, "needs", ()) for m in metrics):
        return context
    layers, randomised = cascade(adapter, problem, score)
    return replace(context, layers=layers, randomised=randomised)
