"""How different the maps of one object's diverse starts are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from igos.base.ops import top_area
from igos.data.truth import Truth, peak_on
from igos.types import Explanation

FILE = "diversity.json"  # in the folder of the object


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
