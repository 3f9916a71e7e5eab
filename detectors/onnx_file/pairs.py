"""Layouts that answer classes and boxes side by side, and how they are recognised.

ssd       (N,A,C), (N,A,4)  classes, offsets from priors, SSD; or finished boxes: YOLO-NAS, DAMO-YOLO, PP-YOLOE, YOLOv4
detr      (N,Q,C), (N,Q,4)  classes, boxes in 0..1; DETR and its kin; or (N,Q,4+C): RT-DETR of Ultralytics

Either of the two may stand first, and may be turned: (N,C,A). Finished boxes are corners or centre and sides (Way).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from detectors.onnx_file.parts import (
    YOLO_SIZES,
    Outputs,
    Part,
    Scores,
    centres,
    corners,
    count,
    is_unit,
    recognise_scores,
    whole,
)
from igos.types import Candidates, ConfigError

MOST_QUERIES = 1000
MOSTLY = 0.8
CELLS = YOLO_SIZES[:3]  # of boxes that need a suppression still


@dataclass(frozen=True)
class Way:
    """How a finished box is written. form: corners (x1, y1, x2, y2) or centre (cx, cy, w, h); unit: in 0..1, not px."""

    form: str = "centre"
    unit: bool = True

    def corners(self, boxes: Tensor, size: tuple[int, int]) -> Tensor:
        """x1, y1, x2, y2 in px."""
        boxes = boxes * whole(size, boxes) if self.unit else boxes
        return boxes if self.form == "corners" else corners(boxes)

    def told(self) -> str:
        form = "corners" if self.form == "corners" else "centre and sides"
        return f"boxes: {form}, in {'0..1' if self.unit else 'px'}"


def way_of(boxes: Tensor, size: tuple[int, int]) -> Way | None:
    """Of boxes (1,A,4) of a probe, or None: they are not finished.

    Corners are in order. So may a centre and its sides be, of boxes as large as the picture; but those lie in it.
    """
    unit = is_unit(boxes)
    if bool((boxes[..., 2:] >= boxes[..., :2]).all()):
        ends = corners(boxes) / (1 if unit else whole(size, boxes))
        within = ((ends > -0.05) & (ends < 1.05)).all(-1).float().mean()
        return Way("corners" if within < MOSTLY else "centre", unit)
    return Way("centre", unit) if bool((boxes[..., 2:] >= 0).all()) else None


@dataclass(frozen=True)
class SSD:
    """Offsets from priors at the cells' centres, or, where sides is empty, finished boxes.

    sides: per stride the sides of a cell's priors, each a number of px or [w, h]; variances: of centre and size.
    """

    names: Part
    boxes: Part
    way: Way = Way()
    strides: Sequence[int] = ()
    sides: Sequence[Sequence[Any]] = ()
    variances: tuple[float, float] = (0.1, 0.2)
    none: int | None = 0
    classes: Scores = field(default_factory=lambda: Scores("logits", "softmax"))

    name: ClassVar[str] = "ssd"

    def settle(self, out: Outputs, activation: str | None) -> SSD:
        found = recognise_scores(self.names(out.made), self.names(out.before), activation, "softmax")
        made = replace(self, none=self.none if found.activation == "softmax" else None, classes=found)
        rows = self.boxes(out.made).shape[1]
        if self.sides and len(made.priors(out)) != rows:
            raise ConfigError(
                f"decode: strides and sides give {len(made.priors(out))} priors, but the graph has {rows}"
            )
        return made

    def count(self, out: Outputs) -> int:
        return self.names(out.made).shape[-1]

    def priors(self, out: Outputs) -> Tensor:
        """(A,4) cx, cy, w, h in px."""
        made = []
        for stride, sides in zip(self.strides, self.sides, strict=True):
            cell, _ = centres(out.size, [stride], self.boxes(out.made))
            pairs = [(s, s) if isinstance(s, (int, float)) else tuple(s) for s in sides]
            place = (cell + 0.5) * stride
            wh = cell.new_tensor(pairs).repeat(len(cell), 1)
            made.append(torch.cat([place.repeat_interleave(len(pairs), 0), wh], 1))
        return torch.cat(made)

    def decode(self, out: Outputs) -> Candidates:
        box = self.boxes(out.made)
        if self.sides:
            prior, (a, b) = self.priors(out), self.variances
            centre, wh = box[..., :2] * a * prior[:, 2:] + prior[:, :2], (box[..., 2:] * b).exp() * prior[:, 2:]
            box = corners(torch.cat([centre, wh], -1))
        else:
            box = self.way.corners(box, out.size)
        logits = self.classes.logits(self.names(out.made), self.names(out.before))
        return Candidates(box, logits, activation=self.classes.activation, none=self.none)


@dataclass(frozen=True)
class DETR:
    """Queries, no suppression. none: the column of softmaxed classes that stands for no object."""

    names: Part
    boxes: Part
    way: Way = Way()
    none: int | None = None
    classes: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "detr"

    def settle(self, out: Outputs, activation: str | None) -> DETR:
        usual = "sigmoid" if self.none is None else "softmax"
        found = recognise_scores(self.names(out.made), self.names(out.before), activation, usual)
        none = self.none if found.activation == "sigmoid" or self.none is not None else -1
        return replace(self, none=none, classes=found)

    def count(self, out: Outputs) -> int:
        return self.names(out.made).shape[-1]

    def decode(self, out: Outputs) -> Candidates:
        box = self.way.corners(self.boxes(out.made), out.size)
        logits = self.classes.logits(self.names(out.made), self.names(out.before))
        return Candidates(box, logits, activation=self.classes.activation, none=self.none)


class Unfinished(ConfigError):
    """The layout is recognised, but not all that it takes to decode it. columns: of its classes."""

    columns = 0


def pair(
    name: str, out: Outputs, classes: int | None, decode: Mapping[str, Any], asked: bool
) -> tuple[SSD | DETR, list[str]] | None:
    """ssd and detr: the layout if the outputs of a probe can be of it, and what is guessed; asked: the user says that
    they are. Raises Unfinished for an SSD whose priors are not known, and ConfigError.
    """
    found = _beside(out, classes) or (_in_one(out, classes) if name == DETR.name else None)
    if found is None:
        return None
    names, boxes, guess = found
    made = boxes(out.made)
    rows, columns, way = made.shape[1], names(out.made).shape[2], way_of(made, out.size)
    queries = rows <= MOST_QUERIES and not any(count(out.size, s) == rows for s in CELLS)
    if name == DETR.name:
        if not asked and (way is None or not way.unit or not queries):
            return None
        given = decode.get("background", "unsaid")
        none = None if given == "unsaid" else given
        if given == "unsaid" and (columns == 92 or (classes is not None and columns == classes + 1)):
            none, guess = -1, [*guess, f"decode: background -1: the last of {columns} columns stands for no object"]
        return DETR(names, boxes, way or Way(), none), guess
    sides, strides = decode.get("sides") or (), decode.get("strides") or ()
    if not asked and not sides and queries:
        return None
    if not sides and way is None:
        unfinished = Unfinished(
            f"outputs of {rows} rows, classes and offsets, look like ssd: it needs the priors, "
            "their sides in px per stride, in a model file, such as decode: {strides: [8, 16], sides: [[10, 16], [32]]}"
        )
        unfinished.columns = columns
        raise unfinished
    if len(sides) != len(strides):
        raise ConfigError(f"decode: {len(strides)} strides, but sides for {len(sides)}")
    variances, none = tuple(decode.get("variances", (0.1, 0.2))), decode.get("background", 0)
    return SSD(names, boxes, way or Way(), strides, sides, variances, none), guess


def _beside(out: Outputs, classes: int | None) -> tuple[Part, Part, list[str]] | None:
    """Classes and boxes of two outputs that have as many rows, and what is guessed."""
    if len(out.made) != 2 or any(o.ndim != 3 and (o.ndim != 4 or o.shape[2] != 1) for o in out.made):
        return None
    shapes = [(o.shape[1], o.shape[-1]) for o in out.made]
    fitting = []
    for at in (1, 0):  # where the boxes are
        for turned in (False, True):
            rows, four = shapes[at][::-1] if turned else shapes[at]
            other = [t for t in (False, True) if shapes[1 - at][t] == rows]
            if four != 4 or not other:
                continue
            columns = shapes[1 - at][not other[0]]
            if classes in (None, columns, columns - 1):
                fitting.append((Part(1 - at, other[0]), Part(at, turned)))
    if not fitting:
        return None
    both = {boxes.at for _, boxes in fitting} == {0, 1}
    return *fitting[0], ["boxes: the second of two outputs with four columns"] if both else []


def _in_one(out: Outputs, classes: int | None) -> tuple[Part, Part, list[str]] | None:
    """Boxes in 0..1, then probabilities, of one output with a row per query."""
    (one, *others) = out.made
    if others or one.ndim != 3 or not one.shape[2] > 4 or classes not in (None, one.shape[2] - 4, one.shape[2] - 5):
        return None
    return (Part(0, first=4), Part(0, end=4), []) if bool(((one >= 0) & (one <= 1)).all()) else None
