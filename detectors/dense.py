"""One adapter for every detector that answers all of its candidates at once: YOLO, SSD, RetinaNet, FCOS, DETR and kin.

    raw(module, pictures (N,3,H,W) in [0,1]) -> Candidates

is all that a family has to give, beside how it reads a picture and which candidates are its detections. What is
explained is one row (anchor, cell, query) and one class of it, at a fixed place: no threshold, suppression or matching.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.ops import clip_boxes_to_image

from detectors.cuts import last_cut
from detectors.pictures import to_device
from detectors.pins import choosing, noting
from detectors.shortcuts import channels_last, sharing
from detectors.suppress import Suppress
from detectors.targets import box_parts, boxes_of, by_part, check, rivals
from igos.base.names import BOXES, DETECTION_THRESHOLD
from igos.types import MARGIN, Candidates, ConfigError, Detections, Image, Scorer, Target, locked, summary

Raw = Callable[[nn.Module, Tensor], Candidates]
Own = Callable[[nn.Module, Tensor], tuple[Candidates, Tensor, Tensor, Tensor]]
ODDS = ("logit", "logodds")  # which are the same here
CELLS, QUERIES = "detect-dense", "detect-detr"  # presets, by what a row is
BLANK = np.full((64, 64, 3), 128, dtype=np.uint8)  # a picture that shows nothing


class DenseAdapter:
    """A detector in eval mode, owned by the adapter.

    raw: as above; the family's normalisation is inside. labels: one per column of the logits, that of no object too.
    reader: source -> Image, a function that another process can run. suppress: which candidates are detections
    (detectors/suppress.py). own(module, picture (1,3,H,W)) -> (candidates, boxes (n,4), scores (n,), labels (n,)), in
    place of suppress: the network's own post-processing, which a lower threshold than its own yields no more of.
    batch: pictures per call; blocked: why the module has no gradients, "" where it has; notes: what the user should
    know of how it was read; oracle: the same candidates by another runtime, to compare with.
    """

    default_target = "all"
    threshold = DETECTION_THRESHOLD
    patterns: str | None = None
    parts = BOXES

    def __init__(
        self,
        module: nn.Module,
        raw: Raw,
        labels: Sequence[str],
        *,
        reader: Callable[[Any], Image],
        suppress: Suppress | None = None,
        own: Own | None = None,
        name: str = "detector",
        device: str | torch.device | None = None,
        preset: str = CELLS,
        batch: int = 8,
        blocked: str = "",
        notes: Sequence[str] = (),
        oracle: Callable[[Tensor], Candidates] | None = None,
    ) -> None:
        if suppress is None and own is None:
            raise ConfigError(f"{name} needs suppress or own: what of its candidates is a detection")
        self.raw, self.labels, self.reader = raw, list(labels), reader
        self.suppress, self.own, self.name, self.preset, self.batch = suppress, own, name, preset, batch
        self.blocked, self.notes, self.oracle = blocked, list(notes), oracle
        self.device = torch.device(device or "cpu")
        self.module = module.eval().requires_grad_(False).to(self.device)
        self.plain: DenseAdapter | None = None
        self._format = torch.contiguous_format
        quick = None if blocked else sharing(self.module)
        if quick is not None:
            self.plain, self.module = copy.copy(self), quick
            x = self.read(BLANK).pixels[None]

            def run(memory: torch.memory_format) -> list[Tensor]:
                made = self.raw(quick, x.contiguous(memory_format=memory))
                return [t for t in (made.boxes, made.logits, made.objectness) if t is not None]

            self._format = channels_last(quick, run, run(torch.contiguous_format))

    def __repr__(self) -> str:
        height, width = self.reader(BLANK).geometry.network
        return summary(self, f"{width} x {height} px for a square picture")

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """At the network's size. Raises ImageError."""
        return to_device(self.reader(source), self.device)

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """Detections with score >= threshold, best first; index is the row, pins what the network chose here."""
        return (self.plain or self)._detect(image, threshold)

    @locked
    @torch.no_grad()
    def _detect(self, image: Image, threshold: float) -> list[Target]:
        size, picture = image.geometry.network, image.pixels[None].contiguous(memory_format=self._format)
        with noting() as chosen:
            if self.own is not None:
                candidates, boxes, scores, labels = self.own(self.module, picture)
                rows, labels = rows_of(candidates, boxes, scores, labels, threshold)
            else:
                candidates = self.raw(self.module, picture)
                assert self.suppress is not None
                rows, labels = self.suppress(candidates, threshold)
        self._check(candidates)
        assert candidates.boxes is not None
        scores, boxes = candidates.scores()[0], clip_boxes_to_image(candidates.boxes[0], size)
        logits = candidates.scores("logit")[0]
        return [
            Target(
                label=label,
                name=self.labels[label],
                score=float(scores[row, label]),
                box=boxes[row],
                index=row,
                pins=chosen.pins,
                own={"prob": float(scores[row, label])} | dict.fromkeys(ODDS, float(logits[row, label])),
            )
            for row, label in zip(rows.tolist(), labels.tolist(), strict=True)
            if bool((boxes[row, 2:] > boxes[row, :2]).all())
        ]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """All rows of the picture, before thresholds and suppression: N = 1."""
        return (self.plain or self)._candidates(image)

    @locked
    @torch.no_grad()
    def _candidates(self, image: Image) -> Candidates:
        with noting() as chosen:
            every = self.raw(self.module, image.pixels[None].contiguous(memory_format=self._format))
        return replace(every, pins=chosen.pins)

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob, or logit and logodds (its log-odds), of each target's class in its row; box: IoU of the row's box with
        the target's.

        What the network chose in the target's picture it chooses again. Raises ConfigError.
        """
        check(self.name, self.parts, len(self.labels), targets, score)
        for t in targets:
            if t.index is None or t.index < 0:
                raise ConfigError(f"target {t.name!r}: {self.name} scores a row, and row {t.index} is none")
        place = torch.tensor([t.index for t in targets], device=self.device)
        label = torch.tensor([t.label for t in targets], device=self.device)
        boxes, parts = boxes_of(targets, torch.zeros(1, device=self.device)), [t.part for t in targets]
        rival = rivals(targets, self.device) if score == MARGIN else None

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            if self.blocked and pictures.requires_grad:
                raise ConfigError(f"{self.name} has no gradients ({self.blocked}): take --method rise or drise")
            with choosing([targets[k].pins for k in rows.tolist()]):
                every = self.raw(self.module, pictures.contiguous(memory_format=self._format))
            row = place[rows]
            if int(row.max()) >= every.logits.shape[1]:
                raise ConfigError(f"row {int(row.max())} is not among the {every.logits.shape[1]} rows of {self.name}")
            if rival is not None:
                both = every.at(torch.stack([row, rival.row[rows]], dim=1))
                return both.margin(label[rows], rival.label[rows], rival.same[rows])
            one = every.at(row)
            p = one.scores(score)[:, 0].gather(1, label[rows, None])[:, 0]
            if parts.count("class") == len(parts):
                return p
            assert one.boxes is not None
            made = clip_boxes_to_image(one.boxes[:, 0], (pictures.shape[-2], pictures.shape[-1]))
            return by_part(parts, rows, {"class": p, **box_parts(made, boxes[rows].to(made), p)})

        def layers(pictures: Tensor) -> list[str]:
            return [self.feature_layer(t, p) for t, p in zip(targets, pictures, strict=True)]

        return Scorer(
            forward, len(targets), batch or self.batch, module=None if self.blocked else self.module, layers=layers
        )

    @locked
    def feature_layer(self, target: Target, picture: Tensor) -> str:
        """The layer that suits a target in its picture (3,H,W), detectors/cuts.py. Raises ConfigError."""
        scorer = self.scorer([target], "logit" if target.part == "class" else "prob")
        row = torch.zeros(1, dtype=torch.long, device=picture.device)
        name = last_cut(self.module, lambda x: scorer.whole(x, row).sum(), picture)
        if name is None:
            raise ConfigError(f"{self.name} has no layer that suits {target.name}; give one with --set layer=NAME")
        return name

    @locked
    @torch.no_grad()
    def detections(self, pictures: Tensor) -> list[Detections]:
        """Every row of pictures (N,3,H,W): its box clipped to the picture, class probabilities, and how sure it is."""
        every = self.raw(self.module, pictures.contiguous(memory_format=self._format))
        assert every.boxes is not None
        boxes = clip_boxes_to_image(every.boxes, (pictures.shape[-2], pictures.shape[-1]))
        return list(zip(boxes, every.classes(), every.certainty(), strict=True))

    def _check(self, candidates: Candidates) -> None:
        count = candidates.logits.shape[2]
        if count != len(self.labels):
            raise ConfigError(f"{self.name}: {len(self.labels)} labels, but its rows have {count} classes")


def rows_of(
    candidates: Candidates, boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float
) -> tuple[Tensor, Tensor]:
    """The rows and labels of the detections with score >= threshold that a network made of its candidates itself.

    Of the rows with a detection's box the one with the next score is taken.
    """
    assert candidates.boxes is not None
    keep = scores >= threshold
    boxes, scores, labels = boxes[keep], scores[keep], labels[keep]
    far = torch.cdist(boxes[None], candidates.boxes, p=1)[0] if len(boxes) else boxes.new_zeros(0, 1)
    far = far + (candidates.scores()[0][:, labels].T - scores[:, None]).abs() * 10
    return far.argmin(dim=1), labels
