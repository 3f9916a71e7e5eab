"""An explanation as one row of a run, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from igos.arrays import OWN
from igos.metrics import METRICS
from igos.types import Explanation, Image, Score, Target

OF_METHODS = {"completeness_error": "lower", "score_kept": "higher"}  # figures that methods give; which way is better
ROW_KEYS = [
    "image",
    "label",
    "name",
    "label_index",
    "part",
    "score",
    "score_original",
    "score_blurred",
    "box",
    "method",
    "opt",
    "form",
    "start",
    "deletion",
    "insertion",
    "deletion_normalised",
    "insertion_normalised",
    "pointing",
    "evidence_share",
    "evidence_lift",
    "evidence_pointing",
    "tie_fraction",
    "status",
    "error",
    "warning",
    "seconds",
    "network_images",
    "backward_images",
    "seed",
    "folder",
    "item",
    "id",
    "crc32",
]
KEPT = (
    "method", "opt", "form", "start", "status", "seconds", "network_images", "backward_images", "seed",
    "score_original", "score_blurred",
)  # fmt: skip


def row(e: Explanation, folder: str) -> dict[str, Any]:
    """The row of one explanation; folder is relative to the run's."""
    box = e.box_on_source()
    values = {s.name: s.value for s in e.scores}
    details = {name: value for s in reversed(e.scores) for name, value in s.detail.items()}
    return {
        "image": e.image.path,
        "label": e.target.name,
        "name": e.target.name,
        "label_index": e.target.label,
        "part": e.target.part,
        "score": e.target.score,
        "score_original": e.score_original,
        "score_blurred": e.score_blurred,
        "box": None if box is None else [round(float(v), 2) for v in box],
        "method": e.method,
        "opt": e.opt,
        "form": e.form,
        "start": e.start,
        **values,
        **details,
        "status": e.status,
        "warning": "; ".join(e.warnings) or None,
        "seconds": e.seconds,
        "network_images": e.network_images,
        "backward_images": e.backward_images,
        "seed": e.seed,
        "folder": folder,
    }


def restored(row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], target: Target, image: Image) -> Explanation:
    """The explanation that a row and its arrays were written from, for the same target and image as they were.

    Its scores are those of METRICS and of the methods themselves (OF_METHODS), with their curves; their details stay
    in the row, and the method's settings in run.yaml.
    """
    better = {**OF_METHODS, **{name: make().better for name, make in METRICS.items()}}
    scores = [
        Score(n, math.nan if row.get(n) is None else row[n], b, arrays.get(f"{n}_curve"))
        for n, b in better.items()
        if row.get(n) is not None or f"{n}_reason" in row
    ]
    rest = {k: a for k, a in arrays.items() if k not in OWN and not k.endswith("_curve")}
    attribution, masks = (torch.from_numpy(arrays[k]) if k in arrays else None for k in ("attribution", "masks"))
    return Explanation(
        saliency=torch.from_numpy(arrays["saliency"]),
        target=target,
        image=image,
        attribution=attribution,
        masks=masks,
        trace={k.removeprefix("trace_"): a for k, a in rest.items() if k.startswith("trace_")},
        arrays={k: a for k, a in rest.items() if not k.startswith("trace_")},
        scores=tuple(scores),
        warnings=tuple(w for w in (row["warning"] or "").split("; ") if w),
        **{k: row[k] for k in KEPT},
    )


def plain(value: Any) -> Any:
    """For JSON: numbers that are not finite become null."""
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
