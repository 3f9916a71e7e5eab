"""What may be asked of a score, and which method answers.

why              what speaks for the score: every method
why-not          what holds it down: one mask of its own for every mask method, 500 masks for rise and drise
versus:NAME      why this class and not that one: the margin of two classes of one row
versus-row       why another detection was kept: the margin of a suppressed candidate and its winner
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from igos.base.boxes import pairwise_iou
from igos.base.names import MARGIN
from igos.base.settings import near_names
from igos.data.expected import label_of
from igos.data.truth import same_class
from igos.methods import ASKED, METHODS, default_score
from igos.methods.mask.loop import MaskMethod
from igos.types import Adapter, ConfigError, Target

SUPPRESSED = "seen as {0} {1}, but removed for the {2} {3} beside it (overlap {4})"


def kind_of(ask: str) -> str:
    """why, why-not, versus or versus-row. Raises ConfigError for what is no question."""
    kind, colon, name = ask.partition(":")
    if ask in ("why", "why-not", "versus-row") or (kind == "versus" and name.strip()):
        return kind
    raise ConfigError(f"ask {ask!r} is not one of why, why-not, versus:NAME, versus-row")


def answering(name: str, ask: str) -> str:
    """The name of the method that answers a question where this one is named. Raises ConfigError where none does."""
    kind, method = kind_of(ask), METHODS.get(name)
    if method is None or kind == "why":
        return name
    masks, black_box = issubclass(method, MaskMethod), method.needs == "black box"
    if black_box:
        return "why-not-masks" if kind == "why-not" else "versus-masks"
    if kind == "why-not" and not masks:
        able = [n for n, m in METHODS.items() if issubclass(m, MaskMethod) or m.needs == "black box"]
        raise ConfigError(f"{name} does not answer why-not; {', '.join(able)} do")
    return "why-not" if kind == "why-not" else name


def question_of(method: Any) -> str:
    """The kind of question that a method answers by itself: why-not or versus of ASKED, else why."""
    name = getattr(method, "name", "")
    return name.removesuffix("-masks") if name in ASKED else "why"


def explained_score(method: Any, targets: Sequence[Target], score: str | None = None, ask: str = "why") -> str:
    """The score that answers a question: the margin, what the user named, the log-odds of what is no detection, else
    the method's own.
    """
    if ask.startswith("versus"):
        return MARGIN
    parts = {t.part for t in targets}
    if score is None and parts == {"class"} and (ask == "why-not" or any(t.reason for t in targets)):
        return "logodds"
    return score or default_score(method, parts)


def posed(ask: str, adapter: Adapter, targets: Sequence[Target]) -> list[Target]:
    """The targets with what they are compared with. Raises ConfigError for one of which the question makes no sense."""
    kind, _, name = ask.partition(":")
    kind_of(ask)
    return [_posed(kind, name.strip(), adapter, t) for t in targets]


def _posed(kind: str, name: str, adapter: Adapter, t: Target) -> Target:
    if kind != "why" and t.part != "class":
        raise ConfigError(f"ask {kind}: it is asked of a class; part {t.part} answers why")
    if kind == "why-not" and t.reason == "suppressed":
        raise ConfigError(f"ask why-not: {suppressed(t)}; ask versus-row")
    if kind == "versus-row":
        if t.reason != "suppressed" or t.rival is None:
            raise ConfigError(f"ask versus-row: {t.name} {short(t.score)} was not removed for another detection")
        return t
    if kind != "versus":
        return t
    label = label_of(adapter, name)
    if label is None:
        near = near_names(name.lower(), adapter.labels)
        hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {len(adapter.labels)} classes"
        raise ConfigError(f"ask versus:{name}: {adapter.name} has no such class; {hint}")
    if label == t.label or same_class(t.name, name):
        raise ConfigError(f"ask versus:{name}: the target is of that class itself")
    return replace(t, rival=replace(t, label=label, name=adapter.labels[label], own=None, reason=None, rival=None))


def suppressed(t: Target) -> str:
    """What became of a candidate that was removed, in a sentence."""
    if t.rival is None or t.box is None or t.rival.box is None:
        return f"seen as {t.name} {short(t.score)}, but removed"
    overlap = float(pairwise_iou(t.box, t.rival.box[None].to(t.box)))
    return SUPPRESSED.format(t.name, short(t.score), t.rival.name, short(t.rival.score), short(overlap))


def short(value: float) -> str:
    """.12 of 0.12."""
    return f"{value:.2f}".removeprefix("0") if value < 1 else f"{value:.2f}"
