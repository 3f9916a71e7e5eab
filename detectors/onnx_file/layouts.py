"""What the outputs of a detector's graph mean: LAYOUTS, each a way from outputs to candidates, recognised by shapes.

yolox     (N,A,5+C)         cx, cy in cells, log w, log h, objectness, classes; YOLOX, https://arxiv.org/abs/2107.08430
yolov5    (N,A,5+C)         cx, cy, w, h in px, objectness, classes; YOLOv5 to 7
yolov8    (N,4+C,A)         cx, cy, w, h in px, classes; YOLOv8 and 11
gfl       S x (N,A,C), S x (N,A,4m)  per stride classes and distributions of the four distances: NanoDet, PicoDet;
          generalised focal loss, https://arxiv.org/abs/2006.04388
fastestdet (N,5+C,h,w)      objectness, tanh x, tanh y, sigmoid w, sigmoid h, classes; FastestDet
ssd       (N,A,C), (N,A,4)  classes with the background first, offsets from priors (or boxes); SSD
detr      (N,Q,C), (N,Q,4)  classes, cx, cy, w, h in 0..1; DETR and its kin
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from igos.types import Candidates, ConfigError, logits_of

STRIDES = (8, 16, 32)
YOLO_SIZES = ((8, 16, 32), (8, 16, 32, 64))


@dataclass(frozen=True)
class Outputs:
    """The graph's outputs for N pictures of a size, and each before the activation that ends it, if one does."""

    made: Sequence[Tensor]
    before: Sequence[Tensor]
    size: tuple[int, int]


@dataclass(frozen=True)
class Scores:
    """How numbers of the graph become logits. kind: sigmoid or softmax (the graph applies it, and the tensor before it
    is at hand), logits (the graph applies none) or probabilities (it applies something that cannot be taken off).
    """

    kind: str = "logits"
    activation: str = "sigmoid"

    def told(self) -> str:
        """For the notes."""
        how = {
            "logits": f"logits, of which {self.activation} makes probabilities",
            "probabilities": f"probabilities by {self.activation}",
        }
        return f"scores: {how.get(self.kind, f'{self.activation} by the graph; the logits before it are read')}"

    def logits(self, made: Tensor, before: Tensor) -> Tensor:
        """(N,A,C) as answered, and before the activation."""
        if self.kind == "probabilities":
            return logits_of(made) if self.activation == "sigmoid" else made.clamp(min=1e-6).log()
        return made if self.kind == "logits" else before


def recognise_scores(made: Tensor, before: Tensor, activation: str | None) -> Scores:
    """Of scores (N,A,C) of a probe: which activation the graph applies; activation: what the user says."""
    if torch.allclose(made, before.sigmoid(), atol=1e-5) and not torch.allclose(made, before, atol=1e-5):
        return Scores("sigmoid", "sigmoid")
    if torch.allclose(made, before.softmax(-1), atol=1e-5) and made.shape[-1] > 1:
        return Scores("softmax", "softmax")
    if float(made.min()) >= 0 and float(made.max()) <= 1:
        sums = made.shape[-1] > 1 and torch.allclose(made.sum(-1), torch.ones(()), atol=1e-3)
        return Scores("probabilities", activation or ("softmax" if sums else "sigmoid"))
    return Scores("logits", activation or "sigmoid")


def centres(size: tuple[int, int], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows (A,2) of the cells, level by level and row by row, and each one's stride (A,1)."""
    cells, scale = [], []
    for s in strides:
        y, x = torch.meshgrid(torch.arange(-(-size[0] // s)), torch.arange(-(-size[1] // s)), indexing="ij")
        cells.append(torch.stack([x, y], -1).view(-1, 2))
        scale.append(torch.full((len(cells[-1]), 1), s))
    return torch.cat(cells).to(like), torch.cat(scale).to(like)


def count(size: tuple[int, int], strides: Sequence[int]) -> int:
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def corners(box: Tensor) -> Tensor:
    """(...,4) cx, cy, w, h -> xyxy."""
    return torch.cat([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], -1)


@dataclass(frozen=True)
class Yolo:
    """yolox, yolov5 and yolov8: one output, a row per cell or anchor. at: which; masks: how many columns at its end are
    the parts of a mask, which are left out.
    """

    name: str
    strides: Sequence[int] = STRIDES
    classes: Scores = field(default_factory=Scores)
    objectness: Scores = field(default_factory=Scores)
    at: int = 0
    masks: int = 0

    @property
    def first(self) -> int:
        return 4 if self.name == "yolov8" else 5

    def rows(self, outs: Sequence[Tensor]) -> Tensor:
        """(N,A,columns) of all outputs."""
        out = outs[self.at]
        rows = out.mT if self.name == "yolov8" else out
        return rows[..., : rows.shape[-1] - self.masks]

    def settle(self, out: Outputs, activation: str | None) -> Yolo:
        made, before = self.rows(out.made), self.rows(out.before)
        classes = recognise_scores(made[..., self.first :], before[..., self.first :], activation)
        return replace(self, classes=classes, objectness=recognise_scores(made[..., 4:5], before[..., 4:5], None))

    def count(self, out: Outputs) -> int:
        return self.rows(out.made).shape[-1] - self.first

    def decode(self, out: Outputs) -> Candidates:
        made, before = self.rows(out.made), self.rows(out.before)
        box = made[..., :4]
        if self.name == "yolox":
            cell, stride = centres(out.size, self.strides, box)
            box = torch.cat([(box[..., :2] + cell) * stride, box[..., 2:].exp() * stride], -1)
        logits = self.classes.logits(made[..., self.first :], before[..., self.first :])
        sure = self.objectness.logits(made[..., 4:5], before[..., 4:5])[..., 0] if self.first == 5 else None
        return Candidates(corners(box), logits, sure, self.classes.activation)


@dataclass(frozen=True)
class GFL:
    """Distances as means of distributions over 0..m-1 strides. offset: of a cell's centre in cells; shift: in px."""

    strides: Sequence[int]
    names: Sequence[int]  # which output holds the classes of each stride
    boxes: Sequence[int]
    offset: float = 0.5
    shift: float = 0.0
    classes: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "gfl"

    def settle(self, out: Outputs, activation: str | None) -> GFL:
        made, before = (torch.cat([o[i].flatten(1) for i in self.names], 1)[..., None] for o in (out.made, out.before))
        found = recognise_scores(made, before, activation)
        return GFL(self.strides, self.names, self.boxes, self.offset, self.shift, found)

    def count(self, out: Outputs) -> int:
        return out.made[self.names[0]].shape[-1]

    def decode(self, out: Outputs) -> Candidates:
        made, before = (torch.cat([o[i] for i in self.names], 1) for o in (out.made, out.before))
        parts = torch.cat([out.made[i] for i in self.boxes], 1)
        cell, stride = centres(out.size, self.strides, parts)
        place = (cell + self.offset) * stride + self.shift
        parts = parts.unflatten(-1, (4, -1)).softmax(-1)
        far = (parts * torch.arange(parts.shape[-1], device=parts.device)).sum(-1) * stride
        boxes = torch.cat([place - far[..., :2], place + far[..., 2:]], -1)
        height, width = out.size
        boxes = torch.minimum(boxes.clamp(min=0), boxes.new_tensor([width, height, width, height]))
        return Candidates(boxes, self.classes.logits(made, before), activation=self.classes.activation)


@dataclass(frozen=True)
class FastestDet:
    """One scale; score = objectness^0.6 * class^0.4."""

    classes: Scores = field(default_factory=Scores)
    objectness: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "fastestdet"

    def settle(self, out: Outputs, activation: str | None) -> FastestDet:
        made, before = (o[0].flatten(2).mT for o in (out.made, out.before))
        classes = recognise_scores(made[..., 5:], before[..., 5:], activation or "softmax")
        return FastestDet(classes, recognise_scores(made[..., :1], before[..., :1], None))

    def count(self, out: Outputs) -> int:
        return out.made[0].shape[1] - 5

    def decode(self, out: Outputs) -> Candidates:
        h, w = out.made[0].shape[2:]
        made, before = (o[0].flatten(2).mT for o in (out.made, out.before))
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        cell = torch.stack([x, y], -1).view(-1, 2).to(made)
        centre = (made[..., 1:3].tanh() + cell) / made.new_tensor([w, h])
        box = torch.cat([centre, made[..., 3:5].sigmoid()], -1) * made.new_tensor([*out.size[::-1]] * 2)
        logits = self.classes.logits(made[..., 5:], before[..., 5:])
        sure = self.objectness.logits(made[..., :1], before[..., :1])[..., 0]
        return Candidates(corners(box), logits, sure, self.classes.activation, powers=(0.6, 0.4))


@dataclass(frozen=True)
class SSD:
    """Offsets from priors at the cells' centres, or boxes x1, y1, x2, y2 in 0..1 where sides is empty.

    sides: per stride the sides of a cell's priors, each a number of px or [w, h]; variances: of centre and size.
    """

    names: int
    boxes: int
    strides: Sequence[int] = ()
    sides: Sequence[Sequence[Any]] = ()
    variances: tuple[float, float] = (0.1, 0.2)
    none: int | None = 0
    classes: Scores = field(default_factory=lambda: Scores("logits", "softmax"))

    name: ClassVar[str] = "ssd"

    def settle(self, out: Outputs, activation: str | None) -> SSD:
        found = recognise_scores(out.made[self.names], out.before[self.names], activation or "softmax")
        none = self.none if found.activation == "softmax" else None
        made = SSD(self.names, self.boxes, self.strides, self.sides, self.variances, none, found)
        if self.sides and len(made.priors(out)) != out.made[self.boxes].shape[1]:
            rows = out.made[self.boxes].shape[1]
            raise ConfigError(
                f"decode: strides and sides give {len(made.priors(out))} priors, but the graph has {rows}"
            )
        return made

    def count(self, out: Outputs) -> int:
        return out.made[self.names].shape[-1]

    def priors(self, out: Outputs) -> Tensor:
        """(A,4) cx, cy, w, h in px."""
        made = []
        for stride, sides in zip(self.strides, self.sides, strict=True):
            cell, _ = centres(out.size, [stride], out.made[self.boxes])
            pairs = [(s, s) if isinstance(s, (int, float)) else tuple(s) for s in sides]
            place = (cell + 0.5) * stride
            wh = cell.new_tensor(pairs).repeat(len(cell), 1)
            made.append(torch.cat([place.repeat_interleave(len(pairs), 0), wh], 1))
        return torch.cat(made)

    def decode(self, out: Outputs) -> Candidates:
        box = out.made[self.boxes]
        if self.sides:
            prior, (a, b) = self.priors(out), self.variances
            centre, wh = box[..., :2] * a * prior[:, 2:] + prior[:, :2], (box[..., 2:] * b).exp() * prior[:, 2:]
            box = corners(torch.cat([centre, wh], -1))
        else:
            box = box * box.new_tensor([*out.size[::-1]] * 2)
        logits = self.classes.logits(out.made[self.names], out.before[self.names])
        return Candidates(box, logits, activation=self.classes.activation, none=self.none)


@dataclass(frozen=True)
class DETR:
    """Queries, no suppression. none: the column of softmaxed classes that stands for no object."""

    names: int
    boxes: int
    none: int | None = None
    classes: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "detr"

    def settle(self, out: Outputs, activation: str | None) -> DETR:
        asked = activation or ("softmax" if self.none is not None else None)
        found = recognise_scores(out.made[self.names], out.before[self.names], asked)
        none = self.none if found.activation == "sigmoid" or self.none is not None else -1
        return DETR(self.names, self.boxes, none, found)

    def count(self, out: Outputs) -> int:
        return out.made[self.names].shape[-1]

    def decode(self, out: Outputs) -> Candidates:
        box = corners(out.made[self.boxes] * out.made[self.boxes].new_tensor([*out.size[::-1]] * 2))
        logits = self.classes.logits(out.made[self.names], out.before[self.names])
        return Candidates(box, logits, activation=self.classes.activation, none=self.none)


Layout = Yolo | GFL | FastestDet | SSD | DETR
LAYOUTS = ("yolox", "yolov5", "yolov8", "gfl", "fastestdet", "ssd", "detr", "end2end")
