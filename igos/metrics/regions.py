"""Maps on pixels, tiles and boxes."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from igos.base.ops import upscale
from igos.data.truth import Truth
from igos.types import Explanation


def pixels(e: Explanation, size: tuple[int, int]) -> Tensor:
    """The map on the network's pixels (H,W) float64, as the masks are spread."""
    return upscale(e.saliency.double().cpu(), size)


def contributions(e: Explanation, size: tuple[int, int]) -> Tensor:
    """What each pixel adds (H,W) float64: the attribution summed over channels, where there is none the map."""
    a = e.attribution
    return a.double().cpu().sum(dim=0) if a is not None and tuple(a.shape[1:]) == size else pixels(e, size)


def tiles(size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """The tile (H,W) int64 that each pixel lies in, rows x columns of sides (h,w) px; the last take the rest."""
    y, x = ((torch.arange(n) // side).clamp(max=max(n // side, 1) - 1) for n, side in zip(size, sides, strict=True))
    return y[:, None] * (int(x[-1]) + 1) + x[None, :]


def tile_sums(values: Tensor, tile: Tensor) -> Tensor:
    """Sums (..., n) of values (..., H, W) over each of n tiles."""
    flat = values.flatten(-2)
    out = flat.new_zeros(*flat.shape[:-1], int(tile.max()) + 1)
    return out.index_add_(-1, tile.flatten().to(flat.device), flat)


def box_pixels(e: Explanation, truth: Truth | None) -> np.ndarray | None:
    """The source pixels (H0,W0) bool whose centres lie in the target's box, or for a class, which has none, in the
    box of its objects, if that is known; else None.
    """
    box = e.box_on_source()
    if box is None:
        if truth is None:
            return None
        box = truth.box
    height, width = e.geometry.source
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    return (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])
