"""Diverse starts: several different explanations of one object. Jiang, Khorram, Li, BMVC 2023.

The target's box is cut into K x K cells, row-major from 0; explanation n starts with the mask at 1 - init_val in
cell n (for Mask R-CNN: the instance within that cell, or the whole cell where the instance misses it) and at 1
everywhere else. For a classifier the box is the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from igos.base.ops import pool
from igos.types import Target


def positions(k: int, init_posi: Sequence[str]) -> list[int]:
    """The chosen cells, in order: all K*K, or those named."""
    return list(range(k * k)) if "all" in init_posi else list(dict.fromkeys(int(p) for p in init_posi))


def start_mask(target: Target, picture: tuple[int, int], size: int, k: int, cell: int, value: float) -> Tensor:
    """(size, size) mask to start from. picture is (H, W) in network pixels; every cell holds >= 1 mask cell."""
    height, width = picture
    box = torch.tensor([0.0, 0.0, width, height]) if target.box is None else target.box.float().cpu()
    rows = _span(float(box[1]) / height, float(box[3]) / height, cell // k, k, size)
    columns = _span(float(box[0]) / width, float(box[2]) / width, cell % k, k, size)
    chosen = torch.zeros(size, size, dtype=torch.bool)
    chosen[rows, columns] = True
    if target.mask is not None:
        instance = pool(target.mask[None, None].float().cpu(), (size, size))[0, 0] > 0.5
        if (chosen & instance).any():
            chosen &= instance
    return 1 - value * chosen.double()


def _span(low: float, high: float, n: int, k: int, size: int) -> slice:
    """Mask nodes in the n-th of k parts of [low, high] (fractions of the picture), or the one nearest to it.

    The nodes lie on the picture's corners and evenly between, as the masks are upsampled.
    """
    first, last = ((size - 1) * (low + (high - low) * (n + j) / k) for j in (0, 1))
    begin, end = math.ceil(first - 1e-6), math.ceil(last - 1e-6) + (n == k - 1 and last > size - 1.000001)
    if begin >= end:
        begin = min(round((first + last) / 2), size - 1)
    return slice(begin, max(end, begin + 1))
