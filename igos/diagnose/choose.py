"""Which errors are explained, shared among their kinds, and the question that fits each; bounded, whatever the data.

false alarms, by score                  why is it there?
misses, nearest below the threshold     why-not (versus-row, where another detection removed it)
confusions, by score                    versus the class that is annotated there, where the model has it
detections that are right, by context   why: what beside the object carries it? (less what another candidate sees alone)
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from igos.base.hashing import number_of

GROUPS = ("false alarm", "missed", "confusion", "context")
ASKS = ("why", "why-not", "versus")
MOST_NULLS = 400  # null candidates from which those of like score are taken


class Key(NamedTuple):
    """An error: the picture's name, detection or object, and its place there."""

    picture: str
    kind: str
    place: int


@dataclass(frozen=True)
class Chosen:
    """What is explained: of which group, by which question, and the records of `look.py` it is made of."""

    key: Key
    path: str
    sha256: str
    group: str
    ask: str
    own: int | None
    record: Mapping[str, Any]

    @property
    def folder(self) -> str:
        """Of its target in the run's folder."""
        return f"{self.key.picture}/{self.key.kind}-{self.key.place}"


@dataclass
class Best:
    """The `most` items of highest value that were offered; of equal ones those that came first."""

    most: int
    _heap: list[tuple[float, int, Any]] = field(default_factory=list)
    _count: int = 0

    def offer(self, value: float, item: Any) -> None:
        self._count += 1
        push = heapq.heappush if len(self._heap) < self.most else heapq.heappushpop
        if self.most:
            push(self._heap, (value, -self._count, item))

    def items(self) -> list[Any]:
        return [item for _, _, item in sorted(self._heap, key=lambda e: (-e[0], -e[1]))]


def choose(facts: Iterable[Mapping[str, Any]], count: int) -> tuple[list[Chosen], list[Chosen]]:
    """The errors to explain, at most `count`, the groups by turns; and null candidates, at most MOST_NULLS."""
    best = {group: Best(count) for group in GROUPS}
    nulls = Best(MOST_NULLS)
    for picture in facts:
        for group, value, item in _offered(picture):
            best[group].offer(value, item)
        for n, record in enumerate(picture["nulls"]):
            made = Chosen(
                Key(picture["name"], "null", n), picture["path"], picture["sha256"], "null", "why-not", None,
                {"target": record, "score": record["score"]},
            )  # fmt: skip
            nulls.offer(number_of(f"{picture['sha256']}|{n}"), made)
    return _shared([best[g].items() for g in GROUPS], count), nulls.items()


def _offered(picture: Mapping[str, Any]) -> Iterator[tuple[str, float, Chosen]]:
    def made(kind: str, place: int, group: str, ask: str, own: int | None, record: Mapping[str, Any]) -> Chosen:
        return Chosen(Key(picture["name"], kind, place), picture["path"], picture["sha256"], group, ask, own, record)

    for n, d in enumerate(picture["detections"]):
        own = d["partner"] if d["outcome"] in ("correct", "localization", "duplicate") else None
        if d["outcome"] == "classification" and d["partner"] is not None:  # else of a class that the model lacks
            yield "confusion", d["score"], made("detection", n, "confusion", "versus", d["partner"], d)
        elif d["outcome"] in ("correct", None):
            if d["context"] is not None:
                yield "context", _leaning(d), made("detection", n, "context", "why", own, d)
        elif d["outcome"] != "ignored":
            yield "false alarm", d["score"], made("detection", n, "false alarm", "why", own, d)
    for o in picture["objects"]:
        if o["outcome"] == "missed" and o["reason"] != "shared":
            ask = "versus" if o["reason"] == "suppressed" and o["target"].get("rival") else "why-not"
            if ask == "why-not" and (o["reason"] == "suppressed" or o["score"] >= picture["threshold"]):
                continue  # a score that passes is not what is wrong
            distance = -abs(_odds(o["score"]) - _odds(picture["threshold"]))
            yield "missed", distance, made("object", o["place"], "missed", ask, o["place"], o)


def _leaning(d: Mapping[str, Any]) -> float:
    """The context of a detection, as if alone it had the score of whichever candidate sees the object there."""
    other = d.get("f_another")
    return float(d["context"] - (0.0 if other is None else max(other - d["f_object"], 0.0) / 2))


def _shared(groups: Sequence[Sequence[Chosen]], count: int) -> list[Chosen]:
    """The groups' first ones by turns, so that each has its share and what one lacks goes to the others."""
    made: list[Chosen] = []
    for rank in range(max(map(len, groups), default=0)):
        made += [group[rank] for group in groups if rank < len(group)][: count - len(made)]
    return made


def nulls_like(
    nulls: Sequence[Chosen], scores: Sequence[float], count: int, drawn: Container[str] = ()
) -> list[Chosen]:
    """Of the null candidates those that were drawn before (their folders), then those whose scores are nearest to
    these, by turns in log-odds.
    """
    made = [n for n in nulls if f"{n.folder}/{n.ask}" in drawn][:count]
    left = [n for n in nulls if n not in made]
    wanted = [_odds(s) for s in scores] or [_odds(n.record["score"]) for n in nulls]
    while left and len(made) < count and wanted:
        odds = wanted[len(made) % len(wanted)]
        nearest = min(left, key=lambda n: abs(_odds(n.record["score"]) - odds))
        left.remove(nearest)
        made.append(nearest)
    return made


def _odds(p: float) -> float:
    p = min(max(p, 1e-6), 1 - 1e-6)
    return math.log(p / (1 - p))
