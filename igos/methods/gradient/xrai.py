"""XRAI. Kapishnikov, Bolukbasi, Viegas, Terry: XRAI: Better Attributions Through Regions, ICCV 2019.
https://arxiv.org/abs/1906.02825

Segments of the picture at several scales, dilated, are taken one after the other, each time the one with the highest
mean attribution over the pixels that none has covered yet; that mean is the value of these pixels. What no segment
covers gets its own mean. The attribution is integrated gradients, averaged over two baselines of one value, the least
and the largest of the picture, and of a pixel's three channels the largest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.ops import pool
from igos.methods.gradient.attribution import Make
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.methods.map_method import MapMethod
from igos.types import ConfigError, Explanation, Problem

SIDE = 224  # px, the longer side on which the picture is segmented; the numbers below hold there
SCALES, SIGMA, SMALLEST, RADIUS, LEAST_NEW = (50, 100, 150, 250, 500, 1200), 0.8, 150, 5, 50


@dataclass(frozen=True)
class XRAI(MapMethod):
    """n_steps: network images, half of them for each baseline."""

    n_steps: int = 200

    name: ClassVar[str] = "xrai"
    paper: ClassVar[str] = "Kapishnikov et al. 2019 (ICCV)"
    aggregate: ClassVar[str] = "max"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.at_least(2, "n_steps")
        if self.n_steps % 2:
            raise ConfigError(f"n_steps must be even, half for each baseline, got {self.n_steps}")

    @property
    def cost(self) -> str:
        return f"{self.n_steps} + 4 forward"

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; attribution (3,H,W) of the two baselines' mean, arrays: ranks (h,w), the order in which the
        regions were taken, 1 the most important.
        """
        ends = [FromConstant(n_steps=self.n_steps // 2, largest=largest) for largest in (False, True)]
        attribution = torch.stack([ig.attribute(problem).values for ig in ends]).mean(dim=0)
        height, width = problem.size
        size = (max(1, round(height * SIDE / max(height, width))), max(1, round(width * SIDE / max(height, width))))
        heat = pool(attribution.amax(dim=1), size).double().cpu().numpy()
        one = problem.x.stride(0) == 0
        found = [segments(x, size) for x in (problem.x[:1] if one else problem.x)]
        maps, ranks = zip(*(regions(h, found[0 if one else i]) for i, h in enumerate(np.nan_to_num(heat))), strict=True)
        bad = ~torch.isfinite(attribution).flatten(1).all(dim=1).cpu()
        made = torch.from_numpy(np.stack(maps))
        made[bad] = float("nan")
        return self.explain(problem, made, attribution, arrays=[{"ranks": r} for r in ranks])


@dataclass(frozen=True)
class FromConstant(IntegratedGradients):
    """From each picture's least value, or its largest."""

    largest: bool = False

    def _starts(self, problem: Problem) -> Make:
        x = problem.x
        value = x.amax(dim=(1, 2, 3)) if self.largest else x.amin(dim=(1, 2, 3))
        return lambda row, _: value[row, None, None, None].expand_as(x[row])


def segments(x: Tensor, size: tuple[int, int]) -> np.ndarray:
    """Dilated segments (m,h,w) bool of a picture (3,H,W) in [0,1], every scale's one after the other."""
    from skimage.segmentation import felzenszwalb  # slow to import

    picture = F.interpolate(x[None].float(), size, mode="bilinear", antialias=True, align_corners=False)[0]
    pixels = (2 * picture - 1).permute(1, 2, 0).cpu().numpy()
    y, x_ = np.ogrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]
    disk = torch.from_numpy((y**2 + x_**2 <= RADIUS**2).astype(np.float32))[None, None]
    made = []
    for scale in SCALES:
        labels = torch.from_numpy(felzenszwalb(pixels, scale=scale, sigma=SIGMA, min_size=SMALLEST))
        masks = (labels == torch.arange(int(labels.max()) + 1)[:, None, None]).float()
        made.append(F.conv2d(masks[:, None], disk, padding=RADIUS)[:, 0].numpy() > 0.5)
    return np.concatenate(made)


def regions(
    heat: np.ndarray, masks: Sequence[np.ndarray] | np.ndarray, least_new: int = LEAST_NEW
) -> tuple[np.ndarray, np.ndarray]:
    """The means (h,w) of heat (h,w) over the regions that are taken, whose sum stays the same, and the regions' ranks
    (h,w) int32, 1 for the first and the last for what none covers; masks (m,h,w) bool.
    """
    flat, masks = heat.ravel(), np.asarray(masks).reshape(len(masks), -1)
    out, free = np.zeros_like(flat), np.ones(flat.size, dtype=bool)
    ranks = np.zeros(flat.size, dtype=np.int32)
    total, count = masks @ flat, masks.sum(axis=1)
    while (count >= max(least_new, 1)).any():
        mean = np.where(count >= max(least_new, 1), total / np.maximum(count, 1), -np.inf)
        new = masks[int(mean.argmax())] & free
        out[new], ranks[new] = flat[new].mean(), ranks.max() + 1
        free &= ~new
        total, count = total - masks[:, new] @ flat[new], count - masks[:, new].sum(axis=1)
    if free.any():
        out[free], ranks[free] = flat[free].mean(), ranks.max() + 1
    return out.reshape(heat.shape), ranks.reshape(heat.shape)
