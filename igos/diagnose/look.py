"""What is to be seen in one picture: detections and objects matched, the causes of each, and what stands for a miss.

A Looker is a Worker (igos/run/workers) that explains nothing: of each picture it answers facts, plain data:

    {"name", "path", "sha256", "size", "annotated", "known", "threshold", "detections": [RECORD], "objects": [RECORD],
     "ap": [[class, score, hit]], "counts": {class: objects}, "unknown": {class: objects of classes that the model
     lacks}, "shared", "unjudged": {class: detections of classes that are not annotated}, "nulls": [TARGET]}

annotated: whether annotations tell of the picture; where they do not, no detection has an outcome. known: a hash of
what they tell; shared: whether a class of theirs is one of the model's. Names of classes are the model's. An object of
a class that the model lacks is no miss, but it is there: a detection may lie on it. A detection of a class that is
annotated nowhere may be right, and is ignored. A RECORD holds outcome, partner, the figures of causal.py and `target`,
by which it can be explained later without looking again; hit is 1, 0, or -1 for a detection that does not count.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.addresses import is_address
from igos.base.boxes import pairwise_iou
from igos.base.hashing import identity, number_of
from igos.data.annotations import class_names, known_of
from igos.data.expected import LEAST_SCORE, Every, label_of, missed
from igos.data.matching import matched_targets, one_class
from igos.data.references import generated
from igos.data.truth import Known, Truth, source_box
from igos.diagnose.causal import causes
from igos.diagnose.outcomes import Outcome, outcomes, unexplained
from igos.methods.asked import posed
from igos.results.manifest import Item, target_record
from igos.run.cells import Cell
from igos.run.workers.events import Event, Seen, Told
from igos.run.workers.worker import Worker
from igos.types import Adapter, ConfigError, Image, ImageError, Target

FAINTEST = 0.001  # the least score that counts for AP50
NULLS = 4  # null candidates of a picture


class Looker(Worker):
    """others: paths of pictures to put objects into."""

    def __init__(
        self,
        cells: Sequence[Cell],
        adapter: Adapter,
        judge: Adapter | None = None,
        weights: str = "",
        *,
        others: Sequence[str] = (),
    ) -> None:
        super().__init__(cells, adapter, None, weights, draw=False)
        self.others = others
        self._pool: dict[str, Tensor] | None = None
        self._seconds = 0.0
        check_model(adapter, self.config.annotations)

    def work(self, items: Sequence[Item], ahead: Sequence[str] = (), single: bool = False) -> Iterator[Event]:
        for n, item in enumerate(items):
            self.reader.ahead([*(i.path for i in items[n:]), *ahead])
            try:
                yield from self._looked(item)
            except Exception as error:
                yield self._failed(item.path, item.name, error)

    def _looked(self, item: Item) -> Iterator[Event]:
        image, sha256, _, waited = self._read(item)
        known = known_of(item.path, self.config.annotations, image.geometry.source)
        names = class_names(item.path, self.config.annotations)
        self._seconds = 0.0
        with torch.no_grad():
            facts = self.facts(image, known, names)
        facts |= {"name": item.name, "path": item.path, "sha256": sha256}
        yield Seen(item.name, None, self._seconds, waited)
        row = {"image": item.path, "item": item.name, "status": "ok", "warning": "; ".join(known.warnings) or None}
        yield Told(row, facts)

    def facts(self, image: Image, known: Known, names: Sequence[str] = ()) -> dict[str, Any]:
        """All but the picture's name, path and hash. names: the classes that its annotations annotate, () for all."""
        adapter = self.adapter
        least = adapter.threshold if self.config.threshold is None else self.config.threshold
        objects = known_to(adapter, known.objects)
        there = [*objects, *(t for t in known.objects if label_of(adapter, t.name) is None)]
        every = self._timed(adapter.detect, image, min(FAINTEST, least))
        seen = [t for t in every if t.score >= least]
        m = matched_targets(seen, image, there, known.crowds)
        unjudged = [bool(known.told and names) and not any(one_class(t.name, n) for n in names) for t in seen]
        m = replace(m, ignored=m.ignored | np.array(unjudged, dtype=bool))
        kinds = outcomes(m) if known.told else [Outcome("", None, 0.0)] * len(seen)
        lost = self._timed(missed, adapter, image, objects, least, known.crowds, seen) if known.told else []
        lost_at = [j for j, t in enumerate(objects) if m.detection[j] < 0 and not t.difficult]
        masks = [_mask(o, there) for o in kinds] + [objects[j].mask for j in lost_at]
        found, seconds = causes(adapter, image, [*seen, *lost], masks, self._contexts(image), self.config.batch)
        self._seconds += seconds
        alone = unexplained(m, kinds)
        detections = [
            self._detection(t, image, o, there, len(objects), c)
            for t, o, c in zip(seen, kinds, found[: len(seen)], strict=True)
        ]
        by_place = dict(zip(lost_at, zip(lost, found[len(seen) :], strict=True), strict=True))
        made = [
            _object(t, j, int(m.detection[j]), by_place.get(j), bool(alone[j]), m.iou)
            for j, t in enumerate(objects)
            if not t.difficult
        ]
        full = matched_targets(every, image, objects, known.crowds)
        hits = np.where(full.ignored, -1, (full.object >= 0).astype(int)).tolist()
        height, width = image.geometry.source
        counts = Counter(t.name for t in objects if not t.difficult)
        return {
            "size": [width, height],
            "annotated": known.told,
            "known": fingerprint(known),
            "threshold": least,
            "detections": detections,
            "objects": made,
            "ap": [[t.name, round(t.score, 5), h] for t, h in zip(every, hits, strict=True)] if known.told else [],
            "counts": dict(counts),
            "unknown": dict(Counter(t.name for t in there[len(objects) :])),
            "shared": bool(objects) or any(label_of(adapter, n) is not None for n in names if len(there)),
            "unjudged": dict(Counter(t.name for t, out in zip(seen, unjudged, strict=True) if out)),
            "nulls": self._nulls(image, known, least, names) if known.told else [],
        }

    def _detection(
        self, t: Target, image: Image, o: Outcome, objects: Sequence[Truth], known: int, figures: dict[str, Any]
    ) -> dict[str, Any]:
        """objects: all that are there; the first `known` of them have classes of the model."""
        asked, partner = t, o.partner if o.partner is not None and o.partner < known else None
        if o.kind == "classification" and partner is not None:
            (asked,) = posed(f"versus:{objects[partner].name}", self.adapter, [t])
        return {
            "label": t.label,
            "name": t.name,
            "score": round(t.score, 5),
            "box": [round(float(v), 2) for v in source_box(t, image)],
            "outcome": o.kind or None,
            "partner": partner,
            "partner_name": None if o.partner is None else objects[o.partner].name,
            "iou": round(o.iou, 4),
            "also": None if o.also is None else [objects[o.also[0]].name, round(o.also[1], 4)],
            **figures,
            "target": target_record(replace(asked, mask=None), ""),
        }

    def _timed(self, ask: Callable[..., Any], *args: Any) -> Any:
        """What the network answers, its seconds counted."""
        begin = time.perf_counter()
        made = ask(*args)
        self._seconds += time.perf_counter() - begin
        return made

    def _contexts(self, image: Image) -> Tensor:
        """(n,3,H,W): other pictures of the data at the size of this one, else generated ones."""
        if self._pool is None:
            self._pool = {path: p for path in self.others if (p := self._pixels(path)) is not None}
        chosen = [path for path in self._pool if path != image.path]
        first = number_of(image.sha256) % max(len(chosen), 1)
        made = [_sized(self._pool[p], image) for p in (chosen[first:] + chosen[:first])[:4]]
        return torch.stack(made) if len(made) >= 2 else generated(image)[:4]

    def _pixels(self, path: str) -> Tensor | None:
        try:
            return self.adapter.read(path).pixels
        except ImageError:
            return None

    def _nulls(self, image: Image, known: Known, least: float, asked: Sequence[str]) -> list[dict[str, Any]]:
        """Candidates of classes that are nowhere in the picture, by the best of each class; some of them, by chance."""
        there = [t.name for t in (*known.objects, *known.crowds)]
        names = [n for n in self.adapter.labels if not asked or any(one_class(n, v) for v in asked)]
        absent = [n for n in names if not any(one_class(n, t) for t in there)]
        c = self._timed(Every(self.adapter, image).of, 0)
        if c.boxes is None or not c.logits.shape[1]:
            return []
        scores, made = c.without_none(c.scores(), -1.0)[0], list[Target]()
        for name in sorted(absent, key=lambda n: number_of(f"{image.sha256}|{n}")):
            label = list(self.adapter.labels).index(name)
            usable = scores[:, label].masked_fill(scores[:, label] >= least, -1.0)
            if c.proposals is not None:  # whose boxes are of another class each
                usable = usable.masked_fill(scores.argmax(dim=1) != label, -1.0)
            row = int(usable.argmax())
            box, score = c.boxes[0, row], float(usable[row])
            if score > LEAST_SCORE and bool((box[2:] > box[:2]).all()) and len(made) < NULLS:
                made.append(Target(label, name, score, box, index=row, pins=c.pins, reason="below-threshold"))
        return [target_record(t, "") for t in made]


def known_to(adapter: Adapter, objects: Sequence[Truth]) -> list[Truth]:
    """Those whose classes the model has, under its names."""
    labels = [label_of(adapter, t.name) for t in objects]
    return [
        t if t.name == adapter.labels[n] else replace(t, name=adapter.labels[n])
        for t, n in zip(objects, labels, strict=True)
        if n is not None
    ]


def fingerprint(known: Known) -> str:
    """A hash of the annotated objects of a picture: classes, boxes, which count."""
    every = [(t.name, *(round(float(v), 2) for v in t.box), t.difficult) for t in (*known.objects, *known.crowds)]
    return identity(known.told, len(known.objects), every)


def _mask(o: Outcome, objects: Sequence[Truth]) -> np.ndarray | None:
    """The mask of the object that a detection is; of others it is their box."""
    return objects[o.partner].mask if o.kind == "correct" and o.partner is not None else None


def _object(
    t: Truth,
    place: int,
    detection: int,
    lost: tuple[Target, dict[str, Any]] | None,
    alone: bool,
    iou: np.ndarray,
) -> dict[str, Any]:
    box = [round(float(v), 2) for v in t.box]
    if lost is None:
        overlap = round(float(iou[detection, place]), 4)
        return {"place": place, "name": t.name, "box": box, "outcome": "found", "partner": detection, "iou": overlap}
    target, figures = lost
    rival = target.rival
    assert target.box is not None and target.wanted is not None
    covers = float(pairwise_iou(target.wanted, target.box[None])[0])
    told = None if rival is None else {"name": rival.name, "score": round(rival.score, 5)}
    return {
        "place": place,
        "label": target.label,
        "name": t.name,
        "score": round(target.score, 5),
        "box": box,
        "outcome": "missed",
        "reason": target.reason,
        "rival": told,
        "tide_missed": alone,
        "partner": None,
        "iou": round(covers, 4),
        **figures,
        "target": target_record(target, ""),
    }


def _sized(pixels: Tensor, image: Image) -> Tensor:
    size = image.geometry.network
    if tuple(pixels.shape[-2:]) == tuple(size):
        return pixels.to(image.pixels)
    return F.interpolate(pixels[None].to(image.pixels), size, mode="bilinear", align_corners=False)[0]


def check_model(adapter: Adapter, annotations: str | None) -> None:
    """Refuse a classifier, and annotations that name no class of the model. Raises ConfigError."""
    if adapter.default_target == "top1":
        raise ConfigError(f"diagnose: {adapter.name} is a classifier; it needs a detector")
    vocabulary = class_names("", annotations) if annotations else []
    if vocabulary and all(label_of(adapter, name) is None for name in vocabulary):
        raise ConfigError(no_class(adapter.name, vocabulary, annotations))


def check_known(facts: Iterable[Mapping[str, Any]], annotations: str | None) -> None:
    """Refuse annotations that say something else now of pictures that were looked at. Raises ConfigError."""
    changed = []
    for f in facts:
        width, height = f["size"]
        if is_address(f["path"]) or not Path(f["path"]).is_file():  # what lies elsewhere is not fetched for this
            continue
        if f.get("known") not in (None, fingerprint(known_of(f["path"], annotations, (height, width)))):
            changed.append(Path(f["path"]).name)
    if changed:
        named = ", ".join(changed[:3]) + (", ..." if len(changed) > 3 else "")
        count = f"{len(changed)} picture{'s' * (len(changed) > 1)}"
        raise ConfigError(
            f"the annotations of {count} ({named}) have changed since these were looked at; diagnose in a new folder"
        )


def no_class(model: str, names: Sequence[str], annotations: str | None) -> str:
    """What is said of annotations whose classes the model lacks."""
    told = ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
    return f"--annotations {annotations}: none of its classes ({told}) is one of {model}"
