"""What a data set's facts come to: counts, AP50, a table of classes, on whose objects the heat lies. Facts stream."""

from __future__ import annotations

from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from igos.base.names import REASONS
from igos.diagnose.answer import heat_of
from igos.diagnose.choose import Chosen, Key
from igos.diagnose.outcomes import DETECTED, FALSE
from igos.metrics.statistics import interval

POINTS = np.linspace(0, 1, 101)  # of recall, as COCO's evaluation has them
LEAN = 0.05  # of the heat of a class, from which it is told


class Summary:
    """Filled picture by picture; what it keeps are numbers."""

    def __init__(self) -> None:
        self.pictures = 0
        self.not_looked_at = 0
        self.damaged = 0
        self.annotated = 0
        self.threshold: float | None = None
        self.detections: Counter[str] = Counter()
        self.objects: Counter[str] = Counter()
        self.reasons: dict[str, Counter[str]] = defaultdict(Counter)
        self.false: dict[str, Counter[str]] = defaultdict(Counter)
        self.counts: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()
        self.unjudged: Counter[str] = Counter()
        self.shared = False
        self.tide_missed = 0
        self.dependent = 0
        self._hits: dict[str, tuple[array[float], array[int]]] = defaultdict(lambda: (array("f"), array("b")))
        self._context: dict[str, tuple[array[float], array[int]]] = defaultdict(lambda: (array("f"), array("l")))

    def add(self, facts: Mapping[str, Any]) -> None:
        """The facts of a picture (look.py)."""
        self.pictures += 1
        self.annotated += facts["annotated"]
        self.threshold = facts["threshold"]
        self.counts.update(facts["counts"])
        self.unknown.update(facts["unknown"])
        self.shared |= facts.get("shared", False)
        self.unjudged.update(facts.get("unjudged", {}))
        for name, score, hit in facts["ap"]:
            if hit >= 0:
                scores, hits = self._hits[name]
                scores.append(score)
                hits.append(hit)
        for d in facts["detections"]:
            self.detections[d["outcome"] or "detection"] += 1
            if d["outcome"] in FALSE:
                self.false[d["name"]][d["outcome"]] += 1
            if d["context"] is not None and d["outcome"] in ("correct", None):
                values, where = self._context[d["name"]]
                values.append(d["context"])
                where.append(self.pictures)
                self.dependent += bool(d["substrate_dependent"])
        for o in facts["objects"]:
            self.objects[o["outcome"]] += 1
            if o["outcome"] == "missed":
                self.reasons[o["name"]][o["reason"]] += 1
                self.tide_missed += bool(o["tide_missed"])

    @property
    def strange(self) -> bool:
        """Whether there are annotated objects, and no class of the annotations is one of the model's."""
        return bool(self.unknown) and not self.counts and not self.shared

    def ap50(self) -> dict[str, float]:
        """By class that has objects."""
        return {name: average_precision(*self._hits[name], n) for name, n in sorted(self.counts.items()) if n}

    def data(self, answered: Sequence[tuple[Chosen, Mapping[str, Any]]], seed: int = 0) -> dict[str, Any]:
        """diagnosis.json without the cards. answered: what was explained, with its row."""
        ap = self.ap50()
        matrix = heat_matrix(answered)
        names = sorted({*self.counts, *self.false, *self._context, *self.reasons})
        classes = []
        for name in names:
            values, where = self._context[name]
            low, high = interval(list(values), [str(w) for w in where], seed) if len(values) else (np.nan, np.nan)
            on = matrix.get(name, {})
            leans = [(n, round(s, 4)) for n, s in on.items() if n not in ("own", "elsewhere") and s >= LEAN]
            classes.append(
                {
                    "name": name,
                    "objects": self.counts[name],
                    "ap50": _round(ap.get(name)),
                    "missed": {r: n for r in REASONS if (n := self.reasons[name][r])},
                    "false": {k: n for k in FALSE if (n := self.false[name][k])},
                    "context": _round(float(np.mean(values)) if len(values) else None),
                    "context_interval": [_round(low), _round(high)],
                    "context_pictures": len(set(where)),
                    "detections": len(values),
                    "leans_on": [list(e) for e in sorted(leans, key=lambda e: -e[1])],
                }
            )
        every = Counter[str]()
        for counted in self.reasons.values():
            every.update(counted)
        return {
            "pictures": self.pictures,
            "annotated": self.annotated > 0,
            "not_looked_at": self.not_looked_at,
            "damaged_annotations": self.damaged,
            "not_annotated": self.pictures - self.annotated if self.annotated else 0,
            "threshold": self.threshold,
            "detections": {k: self.detections[k] for k in (*DETECTED, "detection") if self.detections[k]},
            "objects": dict(self.objects),
            "reasons": {r: every[r] for r in REASONS if every[r]},
            "tide_missed": self.tide_missed,
            "substrate_dependent": self.dependent,
            "ap50": _round(float(np.mean(list(ap.values()))) if ap else None),
            "unknown_classes": dict(self.unknown),
            "classes_not_annotated": dict(self.unjudged),
            "classes": classes,
            "heat": matrix,
        }


def average_precision(scores: Iterable[float], hits: Iterable[int], objects: int) -> float:
    """AP at one IoU of detections (n,) with their hits, as pycocotools accumulates it: the mean of the best precision
    at or beyond each of 101 recalls.
    """
    s, h = np.asarray(list(scores), np.float64), np.asarray(list(hits), bool)
    order = np.argsort(-s, kind="mergesort")
    right = np.cumsum(h[order])
    if not objects or not len(s):
        return 0.0
    recall, precision = right / objects, right / np.arange(1, len(s) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.searchsorted(recall, POINTS, side="left")
    return float(np.where(at < len(s), precision[at.clip(max=len(s) - 1)], 0).mean())


def heat_matrix(answered: Sequence[tuple[Chosen, Mapping[str, Any]]]) -> dict[str, dict[str, float]]:
    """By class that was explained (why): the mean share of heat on its own object, on others by class, elsewhere."""
    sums: dict[str, Counter[str]] = defaultdict(Counter)
    count: Counter[str] = Counter()
    for chosen, row in answered:
        heat = heat_of(row)
        if heat is None or row.get("ask") != "why":
            continue
        name = chosen.record["name"]
        count[name] += 1
        sums[name].update({"own": heat["own"], "elsewhere": heat["elsewhere"]})
        for other, share in heat["on"]:
            sums[name][other] += share
    return {n: {k: round(v / count[n], 4) for k, v in sums[n].items()} for n in sorted(sums)}


def by_key(answered: Sequence[tuple[Chosen, Mapping[str, Any]]]) -> dict[Key, tuple[Chosen, Mapping[str, Any]]]:
    return {c.key: (c, row) for c, row in answered}


def _round(value: float | None) -> float | None:
    return None if value is None or not np.isfinite(value) else round(float(value), 5)
