"""What the outputs of a detector's graph mean: LAYOUTS, each a way from outputs to candidates, recognised by shapes.

yolox     (N,A,5+C)         cx, cy in cells, log w, log h, objectness, classes; YOLOX, https://arxiv.org/abs/2107.08430
yolov5    (N,A,5+C)         cx, cy, w, h in px, objectness, classes; YOLOv5 to 7, YOLOX with its boxes decoded
yolov8    (N,4+C,A)         cx, cy, w, h in px, classes; YOLOv8 and 11
gfl       S x (N,A,C), S x (N,A,4m)  per stride classes and distributions of the four distances: NanoDet, PicoDet;
          or (N,A,C+4m) of all strides: NanoDet-Plus; generalised focal loss, https://arxiv.org/abs/2006.04388
fastestdet (N,5+C,h,w)      objectness, tanh x, tanh y, sigmoid w, sigmoid h, classes; FastestDet
ssd, detr                   classes and boxes side by side: pairs.py
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from detectors.onnx_file.pairs import DETR, SSD
from detectors.onnx_file.parts import STRIDES, Outputs, Part, Scores, centres, corners, recognise_scores, whole
from igos.types import Candidates


@dataclass(frozen=True)
class Yolo:
    """yolox, yolov5 and yolov8: one output, a row per cell or anchor. at: which; turned: it is (N,columns,A);
    masks: how many columns at its end are the parts of a mask, which are left out; unit: its boxes lie in 0..1.
    """

    name: str
    strides: Sequence[int] = STRIDES
    classes: Scores = field(default_factory=Scores)
    objectness: Scores = field(default_factory=Scores)
    at: int = 0
    turned: bool = False
    masks: int = 0
    unit: bool = False

    @property
    def first(self) -> int:
        return 4 if self.name == "yolov8" else 5

    def rows(self, outs: Sequence[Tensor]) -> Tensor:
        """(N,A,columns) of all outputs."""
        return Part(self.at, self.turned, end=-self.masks or None)(outs)

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
        elif self.unit:
            box = box * whole(out.size, box)
        logits = self.classes.logits(made[..., self.first :], before[..., self.first :])
        sure = self.objectness.logits(made[..., 4:5], before[..., 4:5])[..., 0] if self.first == 5 else None
        return Candidates(corners(box), logits, sure, self.classes.activation)


@dataclass(frozen=True)
class GFL:
    """Distances as means of distributions over 0..m-1 strides. names, boxes: of all strides, or one for each;
    offset: of a cell's centre in cells; shift: in px.
    """

    strides: Sequence[int]
    names: Sequence[Part]
    boxes: Sequence[Part]
    offset: float = 0.5
    shift: float = 0.0
    classes: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "gfl"

    def settle(self, out: Outputs, activation: str | None) -> GFL:
        made, before = (torch.cat([p(o).flatten(1) for p in self.names], 1)[..., None] for o in (out.made, out.before))
        found = recognise_scores(made, before, activation)
        return GFL(self.strides, self.names, self.boxes, self.offset, self.shift, found)

    def count(self, out: Outputs) -> int:
        return self.names[0](out.made).shape[-1]

    def decode(self, out: Outputs) -> Candidates:
        made, before = (torch.cat([p(o) for p in self.names], 1) for o in (out.made, out.before))
        parts = torch.cat([p(out.made) for p in self.boxes], 1)
        cell, stride = centres(out.size, self.strides, parts)
        place = (cell + self.offset) * stride + self.shift
        parts = parts.unflatten(-1, (4, -1)).softmax(-1)
        far = (parts * torch.arange(parts.shape[-1], device=parts.device)).sum(-1) * stride
        boxes = torch.cat([place - far[..., :2], place + far[..., 2:]], -1)
        boxes = torch.minimum(boxes.clamp(min=0), whole(out.size, boxes))
        return Candidates(boxes, self.classes.logits(made, before), activation=self.classes.activation)


@dataclass(frozen=True)
class FastestDet:
    """One scale; score = objectness^0.6 * class^0.4."""

    classes: Scores = field(default_factory=Scores)
    objectness: Scores = field(default_factory=Scores)

    name: ClassVar[str] = "fastestdet"

    def settle(self, out: Outputs, activation: str | None) -> FastestDet:
        made, before = (o[0].flatten(2).mT for o in (out.made, out.before))
        classes = recognise_scores(made[..., 5:], before[..., 5:], activation, "softmax")
        return FastestDet(classes, recognise_scores(made[..., :1], before[..., :1], None))

    def count(self, out: Outputs) -> int:
        return out.made[0].shape[1] - 5

    def decode(self, out: Outputs) -> Candidates:
        h, w = out.made[0].shape[2:]
        made, before = (o[0].flatten(2).mT for o in (out.made, out.before))
        y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        cell = torch.stack([x, y], -1).view(-1, 2).to(made)
        centre = (made[..., 1:3].tanh() + cell) / made.new_tensor([w, h])
        box = torch.cat([centre, made[..., 3:5].sigmoid()], -1) * whole(out.size, made)
        logits = self.classes.logits(made[..., 5:], before[..., 5:])
        sure = self.objectness.logits(made[..., :1], before[..., :1])[..., 0]
        return Candidates(corners(box), logits, sure, self.classes.activation, powers=(0.6, 0.4))


Layout = Yolo | GFL | FastestDet | SSD | DETR
LAYOUTS = ("yolox", "yolov5", "yolov8", "gfl", "fastestdet", "ssd", "detr", "end2end")
