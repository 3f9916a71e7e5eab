"""A detector of which nothing is known but its answers: any callable pictures -> detections.

A detection is scored in a changed picture by the best match there, as in D-RISE (Petsiuk et al., CVPR 2021,
https://arxiv.org/abs/2006.03204): IoU of the boxes x same class x score. There are no gradients.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from detectors.pictures import read_rgb, to_device
from detectors.targets import boxes_of, check, overlap, rivals
from igos.base.geometry import Geometry
from igos.base.names import DETECTION_THRESHOLD
from igos.types import MARGIN, Candidates, ConfigError, Detections, Image, Scorer, Target, logits_of, one_hot, summary


def read_whole(source: Any, size: tuple[int, int] | None) -> Image:
    """At size (height, width), or as it is. Raises ImageError."""
    rgb, path = read_rgb(source)
    (h0, w0), (h, w) = rgb.shape[:2], size or rgb.shape[:2]
    pixels = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    if (h, w) != (h0, w0):
        pixels = F.interpolate(pixels[None], (h, w), mode="bilinear", antialias=True)[0].clamp(0, 1)
    return Image(pixels, Geometry((h0, w0), (h, w), (h / h0, w / w0)), rgb, path)


class BlackBoxAdapter:
    """call(pictures (N,3,H,W) in [0,1]) -> per picture a dict of boxes (n,4) xyxy px, scores (n,) and labels (n,).

    size (H,W): what pictures are stretched to; by default they stay as they are. reader: in place of that, what reads a
    picture.
    """

    preset = "detect-yolo"
    patterns: str | None = None
    default_target = "all"
    threshold = DETECTION_THRESHOLD
    parts = ("class",)

    def __init__(
        self,
        call: Callable[[Tensor], Any],
        labels: Sequence[str],
        *,
        name: str = "black box",
        size: tuple[int, int] | None = None,
        device: str | torch.device | None = None,
        reader: Callable[[Any], Image] | None = None,
        notes: Sequence[str] = (),
    ) -> None:
        self.call, self.labels, self.name, self.size = call, list(labels), name, size
        self.reader = reader or partial(read_whole, size=size)  # of a picture without the model: another process may
        self.notes = list(notes)
        self.device = torch.device(device or "cpu")
        self.module = nn.Module()

    def __repr__(self) -> str:
        return summary(self, "pictures as they are" if self.size is None else f"{self.size[1]} x {self.size[0]} px")

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """Raises ImageError."""
        return to_device(self.reader(source), self.device)

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """Its detections with score >= threshold, best first."""
        ((boxes, scores, labels),) = self._ask(image.pixels[None])
        sound = (scores >= threshold) & (boxes[:, 2:] > boxes[:, :2]).all(1)
        order = [i for i in scores.argsort(descending=True, stable=True).tolist() if sound[i]]
        own = [float(_match(boxes[i], int(labels[i]), boxes, scores, labels)) for i in order]
        return [
            Target(
                int(labels[i]), self.labels[int(labels[i])], float(scores[i]), boxes[i], index=i, own={"prob": score}
            )
            for i, score in zip(order, own, strict=True)
        ]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """Its detections, all of them, each with its one class."""
        ((boxes, scores, labels),) = self._ask(image.pixels[None])
        return Candidates(boxes[None], one_hot(labels, scores, len(self.labels))[None])

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob: IoU x same class x score of the best match; logodds, margin: its log-odds, prob taken to lie in
        [1e-6, 1 - 1e-6]. Raises ConfigError for logit, and where a gradient is asked for.
        """
        check(self.name, self.parts, len(self.labels), targets, score)
        if score == "logit" or any(t.box is None for t in targets):
            raise ConfigError(f"{self.name} is a black box: it has no score logit, and every target needs its box")
        boxes, against, other = boxes_of(targets, torch.zeros(1, dtype=torch.float32, device=self.device)), None, None
        if score == MARGIN:
            other = rivals(targets, self.device).label
            against = boxes_of([t.rival for t in targets if t.rival is not None], boxes)

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            if pictures.requires_grad:
                raise ConfigError(f"{self.name} is a black box without gradients: take --method rise or drise")
            asked = list(zip(rows.tolist(), self._ask(pictures), strict=True))
            p = torch.stack([_match(boxes[k], targets[k].label, *seen) for k, seen in asked])
            if against is None or other is None:
                return p if score == "prob" else logits_of(p)
            q = torch.stack([_match(against[k], int(other[k]), *seen) for k, seen in asked])
            return logits_of(p) - logits_of(q)

        return Scorer(forward, len(targets), batch or 8)

    def detections(self, pictures: Tensor) -> list[Detections]:
        """Boxes, the class as certain, the score in place of objectness."""
        return [(b, F.one_hot(labels, len(self.labels)).to(b), s) for b, s, labels in self._ask(pictures)]

    @torch.no_grad()
    def _ask(self, pictures: Tensor) -> list[tuple[Tensor, Tensor, Tensor]]:
        """(boxes (n,4), scores (n,), labels (n,)) per picture. Raises ConfigError for another answer."""
        answers = self.call(pictures.contiguous())
        if not isinstance(answers, (list, tuple)) or len(answers) != len(pictures):
            raise ConfigError(f"{self.name} must answer a list of {len(pictures)} dicts, one per picture")
        made = []
        for answer in answers:
            if not isinstance(answer, dict) or not {"boxes", "scores", "labels"} <= answer.keys():
                raise ConfigError(f"{self.name} must answer a dict of boxes, scores and labels per picture")
            boxes, scores = (torch.as_tensor(answer[k], device=self.device).float() for k in ("boxes", "scores"))
            labels = torch.as_tensor(answer["labels"], device=self.device).long().reshape(-1)
            boxes, scores, n = boxes.reshape(-1, 4), scores.reshape(-1), len(labels)
            if not len(boxes) == len(scores) == n:
                raise ConfigError(f"{self.name} answers {len(boxes)} boxes, {len(scores)} scores and {n} labels")
            unknown = labels[(labels < 0) | (labels >= len(self.labels))]
            if len(unknown):
                raise ConfigError(
                    f"{self.name} answers class {int(unknown[0])}, not among its {len(self.labels)} labels"
                )
            made.append((boxes, scores, labels))
        return made


def _match(box: Tensor, label: int, boxes: Tensor, scores: Tensor, labels: Tensor) -> Tensor:
    """The best of IoU with the box (4,) x same class x score, () in [0,1]; 0 where nothing was seen."""
    match = overlap(box.expand(len(boxes), 4), boxes) * scores * (labels == label)
    return match.max() if len(match) else scores.new_zeros(())
