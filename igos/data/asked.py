"""What people ask for in Python, as targets: a class, a box, a number, what a detector answered, or Targets."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos.base.boxes import best_match
from igos.base.errors import a_kind
from igos.base.names import DETECTION_THRESHOLD
from igos.data.targets import Selector
from igos.data.truth import LEAST_IOU, NOTHING_KNOWN, Known, same_class, source_box
from igos.types import Adapter, ConfigError, Image, Target

KINDS = ("class", "index", "box", "ann", "expect")  # of Selector's forms, those with a value
LOWER = 0.9  # of the least score that a detector answered: what it saw is looked for among all that is seen so well
FORMS = "a class name, a box of four numbers, boxes (n,4), the number of a detection, a Target, or a detector's answer"


def targets_of(
    adapter: Adapter,
    image: Image,
    asked: Any = None,
    threshold: float | None = None,
    known: Known = NOTHING_KNOWN,
) -> tuple[list[Target], str]:
    """The targets that `asked` means in the picture and, where nothing is asked and nothing seen, why there are none.

    asked: None (a detector's detections, a classifier's best class); a class or a form of --target (all, top1,
    class:NAME, index:N, box:x1,y1,x2,y2, gt, ann:ID, expect:NAME@x1,y1,x2,y2, missed); four
    numbers, a box xyxy in source pixels; boxes (n,4); a whole
    number, the place in adapter.detect(image), of a classifier the class; a Target; a dict of boxes, labels and scores,
    as torchvision answers; supervision.Detections; or a list of these, but of whole numbers. What is looked for in the
    picture is the detection that overlaps most, IoU >= 0.5. threshold: the least score of what is seen. known: of the
    picture, what gt, ann:ID and missed look for. Raises ConfigError for what is no such thing, and for what the picture
    does not show.
    """
    if asked is None:
        return Selector().select(adapter, image, threshold, known)
    return Asked(adapter, image, threshold, known).find(asked, "targets"), ""


class Asked:
    """One picture, looked at once for each threshold."""

    def __init__(
        self,
        adapter: Adapter,
        image: Image,
        threshold: float | None,
        known: Known,
    ) -> None:
        self.adapter, self.image, self.least, self.known = adapter, image, threshold, known
        self.detect = lru_cache(maxsize=None)(lambda image, least: adapter.detect(image, least))

    def __getattr__(self, name: str) -> Any:
        """The adapter's, for Selector."""
        return getattr(self.adapter, name)

    def find(self, asked: Any, where: str) -> list[Target]:
        """Of one thing that is asked, or of a list."""
        if isinstance(asked, Target):
            return [asked]
        if isinstance(asked, str):
            return self._selected(_parsed(asked), where, asked)
        if isinstance(asked, Mapping):
            return self._answered(asked, where)
        if hasattr(asked, "xyxy"):
            return self._answered(_of_supervision(asked), where)
        if isinstance(asked, (Tensor, np.ndarray)):
            asked = asked.detach().cpu().numpy() if isinstance(asked, Tensor) else asked
            if asked.dtype == bool or asked.ndim > 2 or (asked.ndim == 2 and asked.shape[1] != 4 and asked.size):
                raise ConfigError(f"{where}: an array of boxes is (4,) or (n,4), got {asked.dtype} {asked.shape}")
            asked = asked.tolist()
        if _whole(asked):
            return self._numbered(int(asked), where)
        if isinstance(asked, (list, tuple)):
            if asked and all(_number(v) for v in asked):
                return self._boxed(asked, where)
            return [t for n, each in enumerate(asked) for t in self.find(each, f"{where}[{n}]")]
        raise ConfigError(f"{where}: {FORMS} is needed, got {_what(asked)}")

    def _numbered(self, index: int, where: str) -> list[Target]:
        if "[" in where:
            raise ConfigError(
                f"{where}: the number {index} in a list is refused: four numbers are a box; give detections as "
                "[found[0], found[2]] of found = adapter.detect(image)"
            )
        if index < 0:
            raise ConfigError(f"{where}: {index} is no place in what is detected; the first is 0")
        return self._selected(Selector("index", index=index), where, f"number {index}")

    def _boxed(self, values: Sequence[Any], where: str) -> list[Target]:
        if len(values) != 4:
            raise ConfigError(
                f"{where}: {len(values)} numbers in a list are no box of four; give detections by their place as "
                "[found[0], found[2]] of found = adapter.detect(image)"
            )
        x1, y1, x2, y2 = box = tuple(float(v) for v in values)
        told = ", ".join(f"{v:g}" for v in box)
        if not (all(map(math.isfinite, box)) and x1 < x2 and y1 < y2):
            raise ConfigError(f"{where}: a box is x1, y1, x2, y2 in source pixels with x1 < x2 and y1 < y2, got {told}")
        return self._selected(Selector("box", box=box), where, f"box {told}")

    def _selected(self, selector: Selector, where: str, told: str) -> list[Target]:
        """What the selector finds. Raises ConfigError for nothing."""
        own: Any = self
        selector.check(own)
        found, seen = selector.select(own, self.image, self.least, self.known)
        if not found and selector.kind not in ("all", "missed"):
            raise ConfigError(f"{where}: {told} is not in {_picture(self.image)}: {seen}{_near(selector, self.image)}")
        return found

    def _answered(self, answer: Mapping[str, Any], where: str) -> list[Target]:
        """The detections that rows of boxes (n,4) in source pixels, labels (n) or names (n), and scores (n) are."""
        adapter, image = self.adapter, self.image
        boxes = _column(answer, "boxes", where)
        if boxes is None or boxes.size and (boxes.ndim != 2 or boxes.shape[1] != 4):
            got = f"a dict of {', '.join(map(str, answer)) or 'nothing'}" if boxes is None else f"boxes {boxes.shape}"
            raise ConfigError(f"{where}: a detector's answer has boxes (n,4), got {got}")
        columns = {key: _column(answer, key, where) for key in ("labels", "names", "scores")}
        for key, column in columns.items():
            if column is not None and column.shape != (len(boxes),):
                raise ConfigError(f"{where}: {len(boxes)} boxes and {key} {column.shape} do not go together")
        if not len(boxes):
            return []
        if adapter.detections is None:
            raise ConfigError(f"{where}: {adapter.name} is a classifier and finds no boxes")
        labels, names, scores = columns.values()
        usual = float(getattr(adapter, "threshold", DETECTION_THRESHOLD))
        least = usual if scores is None else min(usual, LOWER * float(scores.min()))
        seen = self.detect(image, least if self.least is None else self.least)
        made = []
        for n, box in enumerate(boxes.astype(float)):
            named = None if names is None else str(names[n])
            label = int(labels[n]) if labels is not None and named is None else None
            if label is not None and not 0 <= label < len(adapter.labels):
                raise ConfigError(
                    f"{where}: label {label} of row {n}: {adapter.name} has {len(adapter.labels)} classes"
                )
            alike = [t for t in seen if label in (None, t.label) and (named is None or same_class(named, t.name))]
            best = best_match(box, [source_box(t, image) for t in alike], LEAST_IOU)
            if best is None:
                what = named or (adapter.labels[label] if label is not None else "box")
                told = f"{what} ({', '.join(f'{v:.0f}' for v in box)})"
                raise ConfigError(
                    f"{where}: row {n}, {told}, is none of the {len(seen)} detections of {adapter.name} in "
                    f"{_picture(image)}; boxes are xyxy in source pixels"
                )
            made.append(alike[best])
        return made


def _parsed(text: str) -> Selector:
    kind, colon, _ = text.partition(":")
    known = text in ("all", "top1", "gt", "missed") or (colon and kind in KINDS)
    return Selector.parse(text if known else f"class:{text}")


def _near(selector: Selector, image: Image) -> str:
    """A hint where a box was perhaps meant otherwise."""
    if selector.kind != "box":
        return ""
    height, width = image.geometry.source
    if max(selector.box) <= 1:
        return f"; boxes are in source pixels, of {width} x {height} here, not in shares"
    return f"; a box is x1, y1, x2, y2 in source pixels, of {width} x {height} here, and overlaps one with IoU >= 0.5"


def _of_supervision(detections: Any) -> dict[str, Any]:
    """supervision.Detections as boxes, labels or, where it knows them, names, and scores."""
    names = (getattr(detections, "data", None) or {}).get("class_name")
    labels, scores = (getattr(detections, name, None) for name in ("class_id", "confidence"))
    return {"boxes": detections.xyxy, "labels": labels, "names": names, "scores": scores}


def _column(answer: Mapping[str, Any], key: str, where: str) -> np.ndarray | None:
    value = answer.get(key)
    if value is None:
        return None
    try:
        column = value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value)
    except ValueError:
        raise ConfigError(f"{where}: {key} is no array of numbers") from None
    if key != "names" and column.size and column.dtype.kind not in "iuf":
        raise ConfigError(f"{where}: {key} must be numbers, got {column.dtype}")
    return column


def _picture(image: Image) -> str:
    return image.path or "the picture"


def _whole(value: Any) -> bool:
    return isinstance(value, numbers.Integral) and not isinstance(value, bool)


def _number(value: Any) -> bool:
    if isinstance(value, Tensor):
        return value.ndim == 0 and value.dtype != torch.bool
    return isinstance(value, numbers.Real) and not isinstance(value, (bool, np.bool_))


def _what(value: Any) -> str:
    return "a truth value" if isinstance(value, (bool, np.bool_)) else a_kind(value)
