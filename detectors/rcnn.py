"""torchvision's Faster R-CNN and Mask R-CNN behind the Adapter interface, built on torchvision's own modules.

Ren et al., Faster R-CNN, https://arxiv.org/abs/1506.01497; He et al., Mask R-CNN, https://arxiv.org/abs/1703.06870.
The score of a detection is that of its class at its own box: backbone, box pooling, box head, box predictor,
softmax. No proposal, threshold, NMS or matching is in the way. Box and mask branches are scored at that box too.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import maskrcnn_inference, paste_masks_in_image
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import clip_boxes_to_image

from detectors.fold import fold
from detectors.pictures import read_rgb, to_device
from detectors.regions import cover, proposals_of, pyramid, windowed
from detectors.shortcuts import channels_last, frozen, probe, sharing
from detectors.targets import box_parts, boxes_of, by_part, check, rivals
from igos.base.geometry import Geometry
from igos.base.names import BOXES, DETECTION_THRESHOLD
from igos.types import MARGIN, Candidates, ConfigError, Detections, Image, Scorer, Target, locked, odds_of, summary

INSIDE = 0.5  # a pixel whose mask probability is higher belongs to the instance


def read_resized(source: Any, transform: GeneralizedRCNNTransform) -> Image:
    """At the size that a network's transform gives it. Raises ImageError."""
    rgb, path = read_rgb(source)
    picture = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
    pixels = transform.resize(picture, None)[0].contiguous()
    (h0, w0), (h, w) = rgb.shape[:2], pixels.shape[1:]
    return Image(pixels, Geometry((h0, w0), (h, w), (h / h0, w / w0)), rgb, path)


class RCNNAdapter:
    """A Faster or Mask R-CNN of torchvision in eval mode, owned by the adapter.

    module is the network with shortcuts (folded norms, channels_last, a pyramid made around the boxes only); plain the
    same adapter on the network as it was given, which detects; None for that one itself.
    labels (classes) begins with the background. A picture is resized so that its short side has the network's
    min_size (800 px), its long side at most max_size (1333 px).
    """

    default_target = "all"
    threshold = DETECTION_THRESHOLD
    notes: Sequence[str] = ()
    patterns: str | None = None  # a file of them, where one ships

    @property
    def parts(self) -> tuple[str, ...]:
        return (*BOXES, *(("mask",) if self.module.roi_heads.has_mask() else ()))

    def __init__(
        self,
        module: FasterRCNN,
        labels: Sequence[str],
        *,
        name: str = "rcnn",
        device: str | torch.device | None = None,
        preset: str = "detect-rcnn",
    ) -> None:
        self.preset = preset
        self.name, self.labels = name, list(labels)
        self.device = torch.device(device or "cpu")
        self.module: Any = frozen(module, self.device)
        self.plain: RCNNAdapter | None = None
        self._format = torch.contiguous_format
        self._set_scales()
        self._take_shortcuts()

    def __repr__(self) -> str:
        t = self.module.transform
        return summary(self, f"short side {min(t.min_size)} px, long side up to {t.max_size} px")

    @property
    def reader(self) -> Callable[[Any], Image]:
        """What reads a picture without the network, so that another process can."""
        return partial(read_resized, transform=self.module.transform)

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """Resized as the network's own transform does it. Raises ImageError."""
        return to_device(self.reader(source), self.device)

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """The network's detections with score >= threshold, best first, with masks from a Mask R-CNN.

        The network itself drops scores below its box_score_thresh (0.05) and keeps at most 100 boxes: a lower
        threshold cannot yield more. index is the proposal that became the box.
        """
        return (self.plain or self)._detect(image, threshold)

    @locked
    @torch.no_grad()
    def _detect(self, image: Image, threshold: float) -> list[Target]:
        heads, sizes = self.module.roi_heads, [image.geometry.network]
        batch, features = self._features(image.pixels[None])
        proposals, _ = self.module.rpn(ImageList(batch, sizes), features)
        logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, sizes)))
        every = [found[0] for found in heads.postprocess_detections(logits, deltas, proposals, sizes)]
        keep = every[1] >= threshold
        boxes, scores, labels = (found[keep] for found in every)
        made = clip_boxes_to_image(heads.box_coder.decode(deltas, proposals), sizes[0])
        places = proposals_of(made, logits.softmax(-1), boxes, scores, labels)
        masks = self._masks(features, boxes, labels, sizes[0])
        own = self._pinned(features, boxes, labels, sizes)
        return [
            Target(
                label=int(labels[i]),
                name=self.labels[int(labels[i])],
                score=float(scores[i]),
                box=boxes[i],
                mask=masks[i],
                index=places[i],
                own=own[i],
            )
            for i in range(len(boxes))
        ]

    def _pinned(
        self, features: dict[str, Tensor], boxes: Tensor, labels: Tensor, sizes: list[tuple[int, int]]
    ) -> list[dict[str, float]]:
        """What `scorer` gives for each of the boxes (N,4) of these features."""
        if len(boxes) == 0:
            return []
        heads, each = self.module.roi_heads, torch.arange(len(boxes), device=boxes.device)
        logits = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, [boxes], sizes)))[0]
        made = {"prob": logits.softmax(-1), "logit": logits, "logodds": odds_of(logits)}
        return [{name: float(v[n, labels[n]]) for name, v in made.items()} for n in each.tolist()]

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob: softmax probability of the target's class at the target's box; logit: its class logit; logodds: the
        log-odds of that probability.

        box: IoU of the target's box with the one regressed for its class from it; mask: mean probability of its
        class over the target's instance, on the grid of the mask branch. Raises ConfigError.
        """
        check(self.name, self.parts, len(self.labels), targets, score)
        if any(t.box is None for t in targets):
            raise ConfigError(f"{self.name} scores boxes: every target needs one")
        heads = self.module.roi_heads
        boxes = boxes_of(targets, torch.zeros(1, dtype=torch.float32, device=self.device))
        label = torch.tensor([t.label for t in targets], device=self.device)
        parts = [t.part for t in targets]
        covered = cover(targets, boxes) if "mask" in parts else None
        pools = [heads.box_roi_pool] + [heads.mask_roi_pool] * ("mask" in parts)
        needed = [{self._level(box, pool) for pool in pools} for box in boxes]
        rival = rivals(targets, self.device) if score == MARGIN else None
        against = None if rival is None else boxes_of([t.rival for t in targets if t.rival is not None], boxes)
        for own, box in zip(needed, () if against is None else against, strict=False):
            own |= {self._level(box, pool) for pool in pools}
        corners = boxes.cpu() if against is None else torch.cat([boxes, against]).cpu()
        prune = self.plain is not None and windowed(self.module.backbone, {level for own in needed for level in own})

        def forward(pictures: Tensor, rows: Tensor, whole: bool = False) -> Tensor:
            sizes = [(pictures.shape[-2], pictures.shape[-1])] * len(pictures)
            own = set(rows.tolist())
            around: dict[str, list[Tensor]] = {level: [] for k in own for level in needed[k]}
            for level, near in ({} if whole else around).items():
                near += [corners[k] for k in own if level in needed[k]]
                near += [corners[k + len(boxes)] for k in own if against is not None and level in needed[k]]
            _, features = self._features(pictures, around if prune else None)
            pinned, values = list(boxes[rows, None].to(pictures)), {}
            each = torch.arange(len(rows), device=rows.device)
            if rival is not None and against is not None:
                pairs = list(torch.stack([boxes[rows], against[rows]], dim=1).to(pictures))
                logits, _ = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, pairs, sizes)))
                both = Candidates(None, logits.view(len(rows), 2, -1), activation="softmax")
                return both.margin(label[rows], rival.label[rows], rival.same[rows])
            if set(parts) != {"mask"}:
                pooled = heads.box_roi_pool(features, pinned, sizes)
                logits, deltas = heads.box_predictor(heads.box_head(pooled))
                out = {"prob": lambda z: z.softmax(-1), "logodds": odds_of}.get(score, lambda z: z)(logits)
                values["class"] = out.gather(1, label[rows, None])[:, 0]
            if set(parts) - {"class", "mask"}:
                made = clip_boxes_to_image(heads.box_coder.decode(deltas, pinned)[each, label[rows]], sizes[0])
                values |= box_parts(made, boxes[rows].to(made), values["class"])
            if covered is not None:
                logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, pinned, sizes)))
                shown = logits[each, label[rows]].sigmoid()
                weight = F.adaptive_avg_pool2d(covered[rows], shown.shape[-2:]).to(shown)
                values["mask"] = (shown * weight).sum(dim=(1, 2)) / weight.sum(dim=(1, 2))
            return values["class"] if len(values) == 1 and "class" in values else by_part(parts, rows, values)

        names = [self.feature_layer(t) for t in targets]
        whole = partial(forward, whole=True)
        return Scorer(forward, len(targets), batch or 4, module=self.module, layers=lambda _: names, whole=whole)

    def feature_layer(self, target: Target) -> str:
        """The layer that makes the level of the pyramid from which the target's box is pooled."""
        assert target.box is not None
        return self._makers[self._level(target.box.to(self.device), self.module.roi_heads.box_roi_pool)]

    @locked
    @torch.no_grad()
    def detections(self, pictures: Tensor) -> list[Detections]:
        """Per proposal in pictures (N,3,H,W): its box for its best class, all class probabilities, objectness 1.

        The background is class 0, as in the labels; D-RISE takes objectness as 1 where a network has none.
        """
        return [(b, logits.softmax(-1), torch.ones_like(b[:, 0])) for b, logits, _ in self._proposed(pictures)]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """Every proposal with its box for that class, by default its best, before thresholds and NMS."""
        return (self.plain or self)._candidates(image, label)

    @locked
    @torch.no_grad()
    def _candidates(self, image: Image, label: int | None) -> Candidates:
        ((boxes, logits, proposals),) = self._proposed(image.pixels[None], label)
        return Candidates(boxes[None], logits[None], activation="softmax", none=0, proposals=proposals[None])

    def _proposed(self, pictures: Tensor, label: int | None = None) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Per picture the box (P,4) of each proposal for that class or its best one, the logits (P,C) of all, and the
        proposals (P,4).
        """
        heads, sizes = self.module.roi_heads, [(pictures.shape[-2], pictures.shape[-1])] * len(pictures)
        batch, features = self._features(pictures)
        proposals, _ = self.module.rpn(ImageList(batch, sizes), features)
        logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, proposals, sizes)))
        made = clip_boxes_to_image(heads.box_coder.decode(deltas, proposals), sizes[0])
        chosen = 1 + logits[:, 1:].argmax(1) if label is None else torch.full_like(logits[:, 0], label).long()
        boxes = made[torch.arange(len(made), device=made.device), chosen]
        parts = (part.split([len(p) for p in proposals]) for part in (boxes, logits, torch.cat(proposals)))
        return list(zip(*parts, strict=True))

    def _level(self, box: Tensor, pool: Any) -> str:
        """Which of the features a box (4,) is pooled from."""
        names = [name for name in self._makers if name in pool.featmap_names]
        return names[int(pool.map_levels([box[None]])) if len(names) > 1 else 0]

    def _features(
        self, pictures: Tensor, boxes: Mapping[str, Sequence[Tensor]] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Pictures (N,3,H,W) in [0,1] -> normalised and padded to the stride, and the pyramid of features.

        boxes: by level what is pooled from it; what that does not read may be left out.
        """
        transform = self.module.transform
        right, below = (-side % transform.size_divisible for side in (pictures.shape[-1], pictures.shape[-2]))
        batch = F.pad(transform.normalize(pictures), (0, right, 0, below))
        batch = batch.contiguous(memory_format=self._format)
        backbone = self.module.backbone
        if boxes is not None:
            return batch, pyramid(backbone, batch, boxes)
        features = backbone(batch)
        return batch, {"0": features} if isinstance(features, Tensor) else features

    def _masks(
        self, features: dict[str, Tensor], boxes: Tensor, labels: Tensor, size: tuple[int, int]
    ) -> list[Tensor | None]:
        """The instances (H,W) bool of boxes (N,4); None for each from a Faster R-CNN."""
        heads = self.module.roi_heads
        if not heads.has_mask() or len(boxes) == 0:
            return [None] * len(boxes)
        logits = heads.mask_predictor(heads.mask_head(heads.mask_roi_pool(features, [boxes], [size])))
        small = maskrcnn_inference(logits, [labels])[0]
        pairs = zip(small.split(1), boxes.split(1), strict=True)
        return [paste_masks_in_image(mask, box, size)[0, 0] > INSIDE for mask, box in pairs]

    @torch.no_grad()
    def _set_scales(self) -> None:
        """Let the poolers infer the strides of the pyramid from a picture that divides evenly.

        They do it once, from the first picture they see; an odd one (66 x 1333) would spoil all later ones.
        Notes which layer makes each of the features.
        """
        made: list[tuple[str, Any]] = []
        names = {m: n for n, m in self.module.named_modules()}
        handles = [
            m.register_forward_hook(lambda m, _, out: made.append((names[m], out)))
            for m in self.module.backbone.modules()
        ]
        side = 4 * self.module.transform.size_divisible
        try:
            _, features = self._features(torch.zeros(1, 3, side, side, dtype=torch.float32, device=self.device))
        finally:
            for handle in handles:
                handle.remove()
        box = torch.tensor([[0, 0, side, side]], dtype=torch.float32, device=self.device)
        heads = self.module.roi_heads
        for pool in (heads.box_roi_pool, heads.mask_roi_pool):
            if pool is not None:
                pool.scales = pool.map_levels = None
                pool(features, [box], [(side, side)])
        self._makers = {
            level: next((n for n, out in reversed(made) if out is feature), "backbone")
            for level, feature in features.items()
        }

    @torch.no_grad()
    def _take_shortcuts(self) -> None:
        """Fold the batch norms of the backbone and of the heads, and take channels_last memory, each where random
        probes show that it changes nothing: on a copy; the network itself becomes that of `plain`.
        """
        quick = sharing(self.module)
        if quick is None:
            return
        self.plain, self.module = copy.copy(self), quick
        heads = self.module.roi_heads
        side = 4 * self.module.transform.size_divisible
        picture = probe(side, self.device)
        _, features = fold(self.module.backbone, lambda: self._features(picture)[1])
        box = torch.tensor([[0.2, 0.1, 0.9, 0.8]], dtype=torch.float32, device=self.device) * side
        for pool, head in ((heads.box_roi_pool, heads.box_head), (heads.mask_roi_pool, heads.mask_head)):
            if pool is not None:
                pooled = pool(features, [box], [(side, side)])
                fold(head, partial(head, pooled))

        def run(memory: torch.memory_format) -> Any:
            self._format = memory
            _, features = self._features(picture)
            heads.box_predictor(heads.box_head(heads.box_roi_pool(features, [box], [(side, side)])))
            return features

        self._format = channels_last(self.module, run, features)
