"""Which of a picture's detections or classes are explained: all | top1 | index:N | box:... | class:NAME."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igos.types import CLASS_THRESHOLD, DETECTION_THRESHOLD, Adapter, ConfigError, Image, Target

FORMS = "all, top1, index:N, box:x1,y1,x2,y2 or class:NAME"
LEAST_IOU = 0.5


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
        if text in ("all", "top1"):
            return cls(text)
        if kind == "index" and re.fullmatch("[0-9]{1,9}", value):
            return cls(kind, index=int(value))
        if kind == "class" and value.strip():
            return cls(kind, name=value.strip())
        if kind == "box":
            try:
                x1, y1, x2, y2 = (float(v) for v in value.split(","))
            except ValueError:
                raise ConfigError(f"--target {text!r}: a box is box:x1,y1,x2,y2 in source pixels") from None
            if not (0 <= x1 < x2 < float("inf") and 0 <= y1 < y2 < float("inf")):
                raise ConfigError(f"--target {text!r}: a box needs 0 <= x1 < x2 and 0 <= y1 < y2")
            return cls(kind, box=(x1, y1, x2, y2))
        raise ConfigError(f"--target {text!r} is not one of {FORMS}")

    def check(self, adapter: Adapter) -> None:
        """Refuse what can match in no picture. Raises ConfigError."""
        if self.kind == "class":
            known = {_plain(n) for label in adapter.labels for n in (label, *label.split(","))}
            if _plain(self.name) not in known:
                import difflib

                near = difflib.get_close_matches(_plain(self.name), sorted(known), n=3)
                hint = f"did you mean {' or '.join(near)}?" if near else f"it knows {len(adapter.labels)} classes"
                raise ConfigError(f"--target class:{self.name}: {adapter.name} has no such class; {hint}")
        if adapter.default_target == "top1" and self.kind == "box":
            raise ConfigError(f"--target box: {adapter.name} is a classifier and finds no boxes")
        if adapter.default_target == "top1" and self.kind == "index" and self.index >= len(adapter.labels):
            raise ConfigError(f"--target index:{self.index}: {adapter.name} has {len(adapter.labels)} classes")

    def select(self, adapter: Adapter, image: Image, threshold: float | None) -> tuple[list[Target], str]:
        """The targets, and why there are none."""
        kind = self.kind or adapter.default_target
        classes = adapter.default_target == "top1"
        usual = CLASS_THRESHOLD if classes and kind == "all" else 0.0 if classes else DETECTION_THRESHOLD
        least = usual if threshold is None else threshold
        seen = adapter.detect(image, least)
        if kind == "all":
            found = seen
        elif kind == "top1":
            found = seen[:1]
        elif kind == "class":
            found = [t for t in seen if _plain(self.name) in {_plain(n) for n in (t.name, *t.name.split(","))}]
        elif kind == "box":
            found = _best_overlap(seen, image.geometry.to_network(torch.tensor(self.box)))
        elif classes:
            found = [t for t in seen if t.label == self.index]
        else:
            found = seen[self.index : self.index + 1]
        what = "classes" if classes else "detections"
        names = ", ".join(f"{t.name} {t.score:.2f}" for t in seen[:5])
        return found, f"{len(seen)} {what} with score >= {least:g}" + (f" ({names})" if seen else "")


def check_boxes(targets: Sequence[Target], image: Image) -> None:
    """Refuse boxes without area and boxes outside of the network's picture. Raises ConfigError."""
    height, width = image.geometry.network
    for target in targets:
        if target.box is None:
            continue
        x1, y1, x2, y2 = target.box.tolist()
        told = f"target {target.name!r}: its box ({x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f})"
        if not (x1 < x2 and y1 < y2 and bool(target.box.isfinite().all())):
            raise ConfigError(f"{told} has no area")
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ConfigError(f"{told} lies outside of the network's picture of {width} x {height} px")


def _plain(name: str) -> str:
    return name.strip().lower().replace("_", " ")


def _best_overlap(targets: Sequence[Target], box: Tensor) -> list[Target]:
    best, iou = None, LEAST_IOU
    for target in targets:
        if target.box is None:
            continue
        b = target.box.cpu()
        side = (torch.minimum(b[2:], box[2:]) - torch.maximum(b[:2], box[:2])).clamp(min=0)
        overlap = float(side.prod())
        union = float((b[2:] - b[:2]).prod() + (box[2:] - box[:2]).prod()) - overlap
        if overlap / max(union, 1e-9) >= iou:
            best, iou = target, overlap / union
    return [best] if best is not None else []
