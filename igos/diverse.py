"""Diverse starts: several different explanations of one object. Jiang, Khorram, Li, BMVC 2023.

The target's box is cut into K x K cells, row-major from 0; explanation n starts with the mask at 1 - init_val in
cell n (for Mask R-CNN: the instance within that cell, or the whole cell where the instance misses it) and at 1
everywhere else. For a classifier the box is the whole picture.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos.ops import pool, top_area
from igos.truth import Truth, peak_on
from igos.types import Explanation, Target


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


def diversity(explanations: Sequence[Explanation], truth: Truth | None = None) -> dict[str, Any]:
    """How different the maps are: pairwise Pearson correlation and overlap (IoU) of the top areas.

    The top area is the top 10 % of the box's area (a classifier: of the picture's). Where the truth is known,
    evidence_covered counts the emblems that hold the maximum of at least one map.
    """
    maps = np.stack([e.saliency.double().numpy().ravel() for e in explanations])
    maps = maps - maps.mean(axis=1, keepdims=True)
    norm = np.linalg.norm(maps, axis=1)
    correlation = maps @ maps.T / np.maximum(np.outer(norm, norm), 1e-12)
    tops = np.stack([top_area(e.on_source(), e.box_on_source()).ravel() for e in explanations]).astype(float)
    both = tops @ tops.T
    area = tops.sum(axis=1)
    overlap = both / np.maximum(area[:, None] + area[None] - both, 1)
    off = ~np.eye(len(explanations), dtype=bool)
    return {
        "starts": [e.start for e in explanations],
        "correlation": np.round(correlation, 4).tolist(),
        "top_area_overlap": np.round(overlap, 4).tolist(),
        "mean_correlation": float(correlation[off].mean()) if off.any() else None,
        "mean_top_area_overlap": float(overlap[off].mean()) if off.any() else None,
        "evidence": len(truth.evidence) if truth else None,
        "evidence_covered": covered(explanations, truth) if truth else None,
    }


def covered(explanations: Sequence[Explanation], truth: Truth) -> int:
    """How many of the object's emblems hold the maximum of at least one map."""
    return sum(any(peak_on(e, region) > 0 for e in explanations) for region in truth.evidence)
