"""What Python hands over, checked in its words: metrics, settings, targets, and what methods and metrics answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from torch import Tensor

from igos.base.errors import a_kind
from igos.base.names import ASK_METRICS, DEFAULT_METRICS, PRECISIONS, SCORES
from igos.base.settings import check_value, lookup
from igos.metrics import METRICS, build_metrics
from igos.metrics.metric import Context
from igos.types import Adapter, ConfigError, Explanation, Image, Score, Target


def metrics_of(given: Any) -> list[Any]:
    """Metrics from names, also in one text as the command takes them, and callables. Raises ConfigError."""
    if callable(given):
        return [given]
    if isinstance(given, str):
        given = given.replace(",", " ").split()
    if not isinstance(given, Sequence):
        raise ConfigError(f"metrics: names or callables in a list are needed, got {type(given).__name__}")
    names = [m if callable(m) else lookup(str(m), [*METRICS, "none"], "metric") for m in given]
    if "none" in names:
        if len(names) > 1:
            raise ConfigError("metrics none stands alone")
        return []
    return [m for name in names for m in ([name] if callable(name) else build_metrics([name])[0])]


def metrics_for(kind: str, given: Any = None) -> list[Any]:
    """The metrics for a kind of question, by default its own. Raises ConfigError for one that judges no such maps."""
    made = metrics_of(ASK_METRICS.get(kind, DEFAULT_METRICS) if given is None else given)
    check_asks(kind, made)
    return made


def check_asks(kind: str, metrics: Sequence[Any]) -> None:
    """Refuse metrics that judge no maps of that question. Raises ConfigError."""
    for m in metrics:
        asks = getattr(m, "asks", (kind,))
        if kind.partition("-row")[0] not in asks:
            raise ConfigError(f"metric {m.name} judges maps of {' and '.join(asks)}, not of {kind}")


def check_settings(score: Any, precision: Any, batch: Any, seed: Any = 0) -> None:
    """Raises ConfigError for what is not one of the choices, and for a batch or a seed that is no whole number."""
    check_value("score", score, {"choices": SCORES})
    check_value("precision", precision, {"choices": PRECISIONS})
    for name, value, least in (("batch", batch, 1), ("seed", seed, 0)):
        whole = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
        if value is not None and not (whole and least <= value < 2**63):
            raise ConfigError(f"{name} must be a whole number of at least {least}, got {value!r}")


def check_threshold(threshold: Any) -> None:
    """The least score of what is seen. Raises ConfigError for what is no number in [0,1]."""
    check_value("threshold", threshold, {"least": 0, "most": 1})


def check_parts(method: Any, context: Any) -> None:
    """Raises ConfigError for a method that is neither a name nor callable, and a context that is none."""
    if not isinstance(method, str) and not callable(method):
        raise ConfigError(f"method: a name of igos.METHODS or a callable is needed, got {a_kind(method)}")
    if context is not None and not isinstance(context, Context):
        raise ConfigError(f"context: a Context of igos.metrics.metric is needed, got {a_kind(context)}")


def check_judge(metrics: Sequence[Any], judge: Adapter | None, context: Context | None) -> None:
    """Refuse a metric that asks another network where there is none. Raises ConfigError."""
    asking = [m.name for m in metrics if "other" in getattr(m, "needs", ())]
    if asking and judge is None and not (context is not None and context.other):
        raise ConfigError(f"metric {asking[0]} needs another network: give judge=MODEL")


def check_targets(adapter: Adapter, image: Any, targets: Any) -> None:
    """Refuse what adapter.read and adapter.detect do not give, and targets of another model. Raises ConfigError."""
    if not isinstance(image, Image):
        raise ConfigError(f"image must be what adapter.read gives, got {type(image).__name__}")
    if not isinstance(targets, Sequence):
        raise ConfigError(f"targets must be a list, as adapter.detect gives it, got {type(targets).__name__}")
    for n, target in enumerate(targets):
        if not isinstance(target, Target):
            raise ConfigError(f"targets[{n}] must be a Target, as adapter.detect gives it, got {type(target).__name__}")
        told, labels = f"targets[{n}] {target.name!r} is class {target.label} of another model", adapter.labels
        if not 0 <= target.label < len(labels):
            raise ConfigError(f"{told}: {adapter.name} has {len(labels)} classes")
        if labels[target.label] != target.name:
            raise ConfigError(f"{told}: that of {adapter.name} is {labels[target.label]!r}")
        if target.box is not None and adapter.detections is None:
            raise ConfigError(f"targets[{n}] {target.name!r} has a box, and {adapter.name} is a classifier")


def check_references(references: Any) -> None:
    """Refuse reference pictures that are not (R,3,H,W) in [0,1]. Raises ConfigError."""
    if references is None:
        return
    if not isinstance(references, Tensor) or references.ndim != 4 or not references.numel():
        raise ConfigError(f"references must be a tensor (R,3,H,W) in [0,1], got {_what(references)}")
    if not (references.min() >= 0 and references.max() <= 1):
        raise ConfigError(f"references must lie in [0,1], got {references.min():.3g} to {references.max():.3g}")


def explanations_of(method: Callable[..., Any], answer: Any, count: int) -> list[Explanation]:
    """What a method answers for `count` targets. Raises ConfigError unless that is as many Explanations."""
    return _list(f"the method {_named(method)}", answer, count, Explanation)


def scores_of(metric: Callable[..., Any], answer: Any, count: int) -> list[Score]:
    """What a metric answers for `count` explanations. Raises ConfigError unless that is as many Scores."""
    told = f"the metric {_named(metric)}"
    scores = _list(told, answer, count, Score)
    for n, score in enumerate(scores):
        if isinstance(score.value, bool) or not isinstance(score.value, (int, float, np.integer, np.floating)):
            raise ConfigError(f"{told} answers {_what(score.value)} as the value of Score {n}, not a number")
    return scores


def _list(told: str, answer: Any, count: int, kind: type[Any]) -> list[Any]:
    wanted = f"a list of {count} {kind.__name__}{'s' * (count > 1)}, one for each target"
    if not isinstance(answer, (list, tuple)):
        raise ConfigError(f"{told} answers {_what(answer)}, not {wanted}")
    odd = next((a for a in answer if not isinstance(a, kind)), None)
    if len(answer) != count or odd is not None:
        found = _what(odd) if odd is not None else f"{len(answer)}"
        raise ConfigError(f"{told} answers {found}{' in its list' if odd is not None else ''}, not {wanted}")
    return list(answer)


def _named(call: Any) -> str:
    return str(getattr(call, "name", getattr(call, "__name__", type(call).__name__)))


def _what(value: Any) -> str:
    return a_kind(value) + (f" of shape {tuple(value.shape)}" if isinstance(value, (Tensor, np.ndarray)) else "")
