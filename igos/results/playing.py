"""What the page needs to play a curve: at which step each cell changes, and to what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from igos.base.baselines import SUBSTRATES
from igos.base.geometry import Geometry
from igos.base.ops import rank
from igos.metrics.curves import Curve
from igos.results import page


def playable(metrics: Sequence[Any]) -> list[Curve]:
    """The curves whose steps a page can redraw, all in the same steps and to the same substrate."""
    found = [m for m in metrics if isinstance(m, Curve) and m.replayed]
    return [m for m in found if (m.steps, m.substrate) == (found[0].steps, found[0].substrate)]


def steps(saliency: torch.Tensor, metric: Curve) -> np.ndarray:
    """(h,w) uint8: at which point of its curve each cell has changed."""
    order, _ = rank(saliency)
    made = np.empty(order.size, np.uint8)
    made[order] = np.searchsorted(metric.counts(order.size), np.arange(order.size), side="right")
    return made.reshape(saliency.shape)


def replaced(pixels: np.ndarray, g: Geometry, substrate: str) -> np.ndarray:
    """The whole source picture (h,w,3) uint8 as that substrate at the network's scale; a letterbox's bars are left
    out, so that near them it differs a little from what the network saw.
    """
    size = [max(round(n * s), 1) for n, s in zip(g.source, g.scale, strict=True)]
    x = torch.from_numpy(page.resized(pixels, (size[1], size[0]))).permute(2, 0, 1)[None] / 255
    return (SUBSTRATES[substrate](x)[0].permute(1, 2, 0) * 255).round().clamp(0, 255).to(torch.uint8).numpy()
