"""YOLO behind the Adapter interface: the full YOLOv3-SPP and any Darknet pair of .cfg and .weights.

The score of a detection is objectness x class at the row that made it, or the IoU of the row's box with the target's:
no threshold, no NMS, no matching.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor
from torchvision.ops import batched_nms, clip_boxes_to_image

from detectors import labels as names_of
from detectors.checkpoint import Undrawn, check_finite, load_into, load_state_dict
from detectors.darknet import BATCH_NORM_EPS, Darknet, parse_cfg
from detectors.pictures import read_rgb, to_device
from detectors.shortcuts import alike, channels_last, frozen, probe, sharing, untouched
from detectors.targets import box_parts, boxes_of, by_part, check, rivals
from igos.base import resources
from igos.base.geometry import Geometry
from igos.base.names import BOXES, DETECTION_THRESHOLD
from igos.types import MARGIN, Candidates, ConfigError, Detections, Image, Scorer, Target, WeightsError, locked, summary

FITS = ("stretch", "letterbox")
NMS_IOU = 0.45
MOST_NUMBERS = 2**29  # of the map of one layer
GREY = 114 / 255  # the letterbox colour YOLOv3-SPP was trained with
ULTRALYTICS_EPS = 1e-4


def read_yolo(source: Any, size: tuple[int, int], fit: str) -> Image:
    """Stretched or letterboxed to size (height, width). Raises ImageError."""
    rgb, path = read_rgb(source)
    (h0, w0), (height, width) = rgb.shape[:2], size
    h, w = height, width
    if fit == "letterbox":
        scale = min(height / h0, width / w0)
        h, w = max(round(h0 * scale), 1), max(round(w0 * scale), 1)
    top, left = (height - h) // 2, (width - w) // 2
    picture = np.full((height, width, 3), GREY, dtype=np.float32)
    shrunk = PIL.Image.fromarray(rgb).resize((w, h), PIL.Image.Resampling.BILINEAR)
    picture[top : top + h, left : left + w] = np.asarray(shrunk, dtype=np.float32) / 255
    geometry = Geometry((h0, w0), (height, width), (h / h0, w / w0), (float(top), float(left)))
    return Image(torch.from_numpy(picture).permute(2, 0, 1).contiguous(), geometry, rgb, path)


class YOLOAdapter:
    """A Darknet network in eval mode, owned by the adapter; pictures go in as RGB in [0,1].

    module is the network with shortcuts (folded norms, channels_last, only the heads that hold a target's row); plain
    the same adapter on the network as it was given, which detects; None for that one itself.
    """

    default_target = "all"
    threshold = DETECTION_THRESHOLD
    notes: Sequence[str] = ()
    patterns: str | None = None  # a file of them, where one ships
    parts = BOXES

    def __init__(
        self,
        network: Darknet,
        labels: Sequence[str],
        *,
        name: str = "darknet",
        size: tuple[int, int] = (416, 416),
        fit: str = "stretch",
        device: str | torch.device | None = None,
        preset: str = "detect-yolo",
    ) -> None:
        self.preset = preset
        self.name, self.labels, self.size, self.fit = name, list(labels), size, fit
        self.device = torch.device(device or "cpu")
        self.module: Any = frozen(network, self.device)
        self.plain: YOLOAdapter | None = None
        self._format = torch.contiguous_format
        self._take_shortcuts()

    @torch.no_grad()
    def _take_shortcuts(self) -> None:
        """Fold the norms and take channels_last memory, each where a random probe shows that it changes nothing: on a
        copy; the network itself becomes that of `plain`.
        """
        quick: Any = sharing(self.module)
        if quick is None:
            return
        self.plain, self.module = copy.copy(self), quick
        x = probe(2 * quick.stride, self.device)
        before, after = quick(x), quick.fold()(x)
        if not alike(before, after):
            quick, after = sharing(self.plain.module), before
            self.module = quick
        self._format = channels_last(quick, lambda memory: quick(x.contiguous(memory_format=memory)), after)

    def __repr__(self) -> str:
        return summary(self, f"{self.size[1]} x {self.size[0]} px, {self.fit}")

    @property
    def reader(self) -> Callable[[Any], Image]:
        """What reads a picture without the network, so that another process can."""
        return partial(read_yolo, size=self.size, fit=self.fit)

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """Stretch or letterbox to the network's size. Raises ImageError."""
        return to_device(self.reader(source), self.device)

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """Every (row, class) with objectness x class >= threshold, after NMS per class at IoU 0.45."""
        return (self.plain or self)._detect(image, threshold)

    @locked
    @torch.no_grad()
    def _detect(self, image: Image, threshold: float) -> list[Target]:
        x = image.pixels[None].contiguous(memory_format=self._format)
        rows = self.module(x)
        boxes = clip_boxes_to_image(self.module.decode(rows, self.size)[0], self.size)
        scores = rows[0, :, 4:5].sigmoid() * rows[0, :, 5:].sigmoid()
        sound = (boxes[:, 2] > boxes[:, 0]) & (boxes[:, 3] > boxes[:, 1])
        row, label = torch.nonzero((scores >= threshold) & sound[:, None], as_tuple=True)
        keep = batched_nms(boxes[row], scores[row, label], label, NMS_IOU)
        logits = log_odds(rows[0, row, 4], rows[0, row, 5 + label])
        return [
            Target(
                label=int(label[i]),
                name=self.labels[int(label[i])],
                score=float(scores[row[i], label[i]]),
                box=boxes[row[i]],
                index=int(row[i]),
                own={"prob": float(scores[row[i], label[i]]), **dict.fromkeys(("logit", "logodds"), float(logits[i]))},
            )
            for i in keep
        ]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """Every row of the picture, before the threshold and NMS."""
        return (self.plain or self)._candidates(image)

    @locked
    @torch.no_grad()
    def _candidates(self, image: Image) -> Candidates:
        rows = self.module(image.pixels[None].contiguous(memory_format=self._format))
        return Candidates(self.module.decode(rows, self.size), rows[..., 5:], rows[..., 4])

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob: objectness x class; logit and logodds: its log-odds, log p/(1-p); margin: over the rival; box: IoU of
        the row's box with the target's.

        Only the heads that hold rows of the targets in a chunk are run. Raises ConfigError.
        """
        check(self.name, self.parts, self.module.classes, targets, score)
        counts = self.module.counts(self.size)
        for t in targets:
            if t.index is None or not 0 <= t.index < sum(counts):
                raise ConfigError(
                    f"target {t.name!r}: row {t.index} is not among the {sum(counts)} rows of {self.name}"
                )
        every = torch.tensor([t.index for t in targets], device=self.device)
        heads = [self._head(t) for t in targets]
        rival = rivals(targets, self.device) if score == MARGIN else None
        theirs = heads if rival is None else [self._head(t.rival) for t in targets if t.rival is not None]
        begins = [sum(counts[:h]) for h in range(len(counts))]
        label = torch.tensor([t.label for t in targets], device=self.device)
        boxes = boxes_of(targets, torch.zeros(1, dtype=torch.float32, device=self.device))
        parts = [t.part for t in targets]
        prune = self.plain is not None and type(self.module) is Darknet and untouched(self.module)

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            own = [heads[k] for k in rows.tolist()]
            others = [theirs[k] for k in rows.tolist()]
            used = sorted({*own, *others}) if prune else list(range(len(counts)))
            run = [self.module.heads[h] for h in used]
            x = pictures.contiguous(memory_format=self._format)
            out = self.module(x, run) if prune else self.module(x)

            def rows_at(index: Tensor, of: list[int]) -> Tensor:
                left_out = [begins[h] - sum(counts[u] for u in used if u < h) for h in of]
                place = index[rows] - torch.tensor(left_out, device=out.device)
                return out[torch.arange(len(out), device=out.device), place]

            row = rows_at(every, own)
            if rival is not None:
                both = torch.stack([row, rows_at(rival.row, others)], dim=1)
                c = Candidates(None, both[..., 5:], both[..., 4])
                return c.margin(label[rows], rival.label[rows], rival.same[rows])
            a, b = row[:, 4], row.gather(1, 5 + label[rows, None])[:, 0]
            if score != "prob":
                return log_odds(a, b)
            p = a.sigmoid() * b.sigmoid()
            if parts.count("class") == len(parts):
                return p
            made = clip_boxes_to_image(self.module.decode(row[:, None], self.size, every[rows, None])[:, 0], self.size)
            return by_part(parts, rows, {"class": p, **box_parts(made, boxes[rows].to(made), p)})

        names = [self.feature_layer(t) for t in targets]
        return Scorer(forward, len(targets), batch or 8, module=self.module, layers=lambda _: names)

    def feature_layer(self, target: Target) -> str:
        """The layer before the convolution that makes the target's row: the last with features of its own."""
        return f"module_list.{max(self.module.heads[self._head(target)] - 2, 0)}"

    def _head(self, target: Target) -> int:
        """Which of the heads holds the target's row."""
        ends = np.cumsum(self.module.counts(self.size))
        return int(np.searchsorted(ends, target.index or 0, side="right"))

    @locked
    @torch.no_grad()
    def detections(self, pictures: Tensor) -> list[Detections]:
        """Every row of pictures (N,3,H,W): its box clipped to the picture, class probabilities, objectness."""
        rows = self.module(pictures.contiguous(memory_format=self._format))
        boxes = clip_boxes_to_image(self.module.decode(rows, self.size), self.size)
        p = rows[..., 4:].sigmoid()
        return list(zip(boxes, p[..., 1:], p[..., 0], strict=True))


def log_odds(a: Tensor, b: Tensor) -> Tensor:
    """log p/(1-p) of p = sigmoid(a) sigmoid(b), of objectness and class before their sigmoid."""
    return -torch.stack([-a, -b, -a - b]).logsumexp(dim=0)  # 1/p = (1 + exp(-a)) (1 + exp(-b))


def picture_size(network: Darknet, input_size: int | None) -> tuple[int, int]:
    """(height, width) of the network's picture: the cfg's, or a square. Raises ConfigError off the stride."""
    size = (network.net.get("height", 416), network.net.get("width", 416))
    if input_size is not None:
        size = (input_size, input_size)
    where = f"--cfg {network.path}: height x width" if input_size is None else "--input_size"
    if any(not isinstance(side, int) or side <= 0 or side % network.stride for side in size):
        raise ConfigError(f"{where} {size[0]} x {size[1]}: a multiple of {network.stride} is needed")
    if network.densest * size[0] * size[1] > MOST_NUMBERS:
        raise ConfigError(f"{where} {size[0]} x {size[1]}: one layer's map alone would have more than 2^29 numbers")
    return size


def load_yolo(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    cfg: str | Path | None = None,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    fit: str | None = None,
) -> YOLOAdapter:
    """A Darknet detector. weights: a .weights file, or a state dict with Ultralytics' names.

    yolov3spp has its own cfg (512 px, letterbox); darknet needs cfg and stretches unless that says
    letter_box=1. Raises ConfigError and WeightsError.
    """
    own = name == "yolov3spp"
    if cfg is None and not own:
        beside = f" ({Path(weights).stem}.cfg beside {weights} is taken too)" if weights else ""
        raise ConfigError(f"--model darknet needs --cfg FILE.cfg, the network's description{beside}")
    if weights is None:
        raise WeightsError(f"--model {name} needs --model_file FILE (.weights, .pt or .safetensors)")
    if not Path(weights).is_file():
        raise WeightsError(f"{weights}: no such file")
    path = Path(cfg) if cfg is not None else resources.folder("configs") / "yolov3-spp.cfg"
    darknet_file = Path(weights).suffix == ".weights"
    # storage only for a network that fits its weights: a .cfg may tell of any size
    with torch.device("meta"), Undrawn():
        network = Darknet(parse_cfg(path), path, BATCH_NORM_EPS if darknet_file else ULTRALYTICS_EPS)
    fit = fit or ("letterbox" if own or network.net.get("letter_box", 0) == 1 else "stretch")
    if fit not in FITS:
        raise ConfigError(f"--fit {fit!r} is not one of {', '.join(FITS)}")
    size = picture_size(network, input_size)
    asked = names_of.choose(names, dataset)
    usual = names_of.coco() if network.classes == 80 else None
    labels = names_of.of_classes(asked, network.classes, str(names or dataset), usual)
    if darknet_file:
        network.load_weights(weights)
        check_finite(network, weights)
    else:
        load_into(network, load_state_dict(weights), weights)
    return YOLOAdapter(network, labels, name=name, size=size, fit=fit, device=device)
