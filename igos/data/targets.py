"""Which of a picture's detections or classes are explained: all, top1, index:N, box:..., class:NAME, gt, ann:ID; and
objects that were expected and are no detections: expect:NAME@..., missed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igos.base.boxes import best_match, iou
from igos.base.settings import near_names
from igos.data.expected import expected, missed
from igos.data.truth import LEAST_IOU, NOTHING_KNOWN, Known, Truth, same_class, source_box, spellings
from igos.types import Adapter, ConfigError, Image, Target

FORMS = "all, top1, index:N, box:x1,y1,x2,y2, class:NAME, gt, ann:ID, expect:NAME@x1,y1,x2,y2 or missed"
PINNED = ("expect", "missed")  # of objects that need be no detections


@dataclass(frozen=True)
class Selector:
    """A parsed --target; kind "" leaves the choice to the model (detector: all, classifier: top1)."""

    kind: str = ""
    index: int = 0
    box: tuple[float, ...] = ()
    name: str = ""

    @classmethod
    def parse(cls, text: str | None) -> Selector:
        """Raises ConfigError unless the text has one of FORMS."""
        if text is None:
            return cls()
        kind, _, value = text.partition(":")
        if text in ("all", "top1", "gt", "missed"):
            return cls(text)
        if kind == "index" and re.fullmatch("[0-9]{1,9}", value):
            return cls(kind, index=int(value))
        if kind in ("class", "ann") and value.strip():
            return cls(kind, name=value.strip())
        name, at, corners = value.rpartition("@")
        if kind == "box" or (kind == "expect" and at and name.strip()):
            try:
                x1, y1, x2, y2 = (float(v) for v in corners.split(","))
            except ValueError:
                form = "box:x1,y1,x2,y2" if kind == "box" else "expect:NAME@x1,y1,x2,y2"
                raise ConfigError(f"--target {text!r}: a box is {form} in source pixels") from None
            if not (0 <= x1 < x2 < float("inf") and 0 <= y1 < y2 < float("inf")):
                raise ConfigError(f"--target {text!r}: a box needs 0 <= x1 < x2 and 0 <= y1 < y2")
            return cls(kind, box=(x1, y1, x2, y2), name=name.strip())
        raise ConfigError(f"--target {text!r} is not one of {FORMS}")

    @property
    def asks(self) -> bool:
        """Whether a picture is expected to hold something: that it does not is a mistake where it is so of all."""
        return self.kind not in ("", "all", "missed")

    def check(self, adapter: Adapter) -> None:
        """Refuse what can match in no picture. Raises ConfigError."""
        if self.kind in ("class", "expect"):
            known = {n for label in adapter.labels for n in spellings(label)}
            if spellings(self.name).isdisjoint(known):
                near = near_names(self.name.lower(), sorted(known))
                hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {len(adapter.labels)} classes"
                raise ConfigError(f"--target {self.kind}:{self.name}: {adapter.name} has no such class; {hint}")
        if adapter.default_target == "top1" and self.kind in ("box", *PINNED):
            raise ConfigError(f"--target {self.kind}: {adapter.name} is a classifier and finds no boxes")
        if adapter.default_target == "top1" and self.kind == "index" and self.index >= len(adapter.labels):
            raise ConfigError(f"--target index:{self.index}: {adapter.name} has {len(adapter.labels)} classes")

    def concerned(self, truths: Sequence[Truth]) -> list[Truth]:
        """What is known of the objects asked for: under ann:ID of that one alone."""
        return [t for t in truths if self.kind != "ann" or t.id == self.name]

    def select(
        self,
        adapter: Adapter,
        image: Image,
        threshold: float | None,
        known: Known = NOTHING_KNOWN,
    ) -> tuple[list[Target], str]:
        """The targets, and why there are none; known: of the picture, what gt, ann:ID and missed look for. Raises
        ConfigError for an expected box outside of the picture.
        """
        truths, crowds = self.concerned(known.objects), known.crowds
        kind = self.kind or adapter.default_target
        classes = adapter.default_target == "top1"
        usual = 0.0 if classes and kind != "all" else adapter.threshold
        least = usual if threshold is None else threshold
        seen = adapter.detect(image, least)
        if kind == "all":
            found = seen
        elif kind == "top1":
            found = seen[:1]
        elif kind == "class":
            found = [t for t in seen if same_class(self.name, t.name)]
        elif kind == "box":
            found = _best_overlap(seen, image.geometry.to_network(torch.tensor(self.box, dtype=torch.float32)))
        elif kind == "expect":
            found = [expected(adapter, image, self.name, self.box, least, truths, crowds, seen)]
        elif kind == "missed":
            found = missed(adapter, image, truths, least, crowds, seen)
        elif kind in ("gt", "ann"):
            found = annotated(seen, image, truths)
            if classes and kind == "gt":
                found += [t for t in seen if t.label in known.classes and t not in found]
        elif classes:
            found = [t for t in seen if t.label == self.index]
        else:
            found = seen[self.index : self.index + 1]
        what = "classes" if classes else "detections"
        names = ", ".join(f"{t.name} {t.score:.2f}" for t in seen[:5])
        summary = f"{len(seen)} {what} with score >= {least:g}" + (f" ({names})" if seen else "")
        if kind in ("gt", "ann", "missed"):
            summary += f" for {len(truths)} annotated objects (class, IoU >= {LEAST_IOU})"
            summary += "" if known.told else "; no annotations tell of this picture"
            if classes and known.classes:
                lost = [n for n in known.classes if n >= len(adapter.labels)]
                few = f"; {adapter.name} has {len(adapter.labels)} classes, from 0" if lost else ""
                summary += f" and for class {', '.join(map(str, known.classes))}{few}"
        return found, summary


def annotated(seen: Sequence[Target], image: Image, truths: Sequence[Truth]) -> list[Target]:
    """The detections that are one of these objects, one for each: same class, IoU >= 0.5, the best overlap first.

    Of a classifier, which sees no boxes: the classes of the objects.
    """
    alike = [(i, j) for i, t in enumerate(seen) for j, truth in enumerate(truths) if same_class(t.name, truth.name)]
    overlap = {(i, j): 1.0 if seen[i].box is None else iou(source_box(seen[i], image), truths[j].box) for i, j in alike}
    chosen: set[int] = set()
    taken: set[int] = set()
    for i, j in sorted(alike, key=lambda pair: -overlap[pair]):
        if overlap[i, j] >= LEAST_IOU and i not in chosen and (j not in taken or seen[i].box is None):
            chosen.add(i)
            taken.add(j)
    return [t for i, t in enumerate(seen) if i in chosen]


def _best_overlap(targets: Sequence[Target], box: Tensor) -> list[Target]:
    boxed = [t for t in targets if t.box is not None]
    best = best_match(
        box.double().numpy(), [t.box.double().cpu().numpy() for t in boxed if t.box is not None], LEAST_IOU
    )
    return [] if best is None else [boxed[best]]
