"""An explanation as one row of a run, and back. Rows are checked where they are read: a folder may come from anyone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np
import torch

from igos.metrics import METRICS
from igos.results.arrays import OWN
from igos.types import Explanation, Image, Score, Target

WORDS = ("image", "label", "name", "part", "method", "opt", "form", "status", "error", "warning", "folder")
WHOLE = ("label_index", "start", "network_images", "backward_images", "seed")
NUMBERS = (
    "score", "score_original", "score_blurred", "deletion", "insertion", "deletion_normalised", "insertion_normalised",
    "pointing", "evidence_share", "evidence_lift", "evidence_pointing", "tie_fraction", "seconds",
)  # fmt: skip
KEYS = (*WORDS, *WHOLE, *NUMBERS, "box")
OF_EXPLANATION = ("name", "label_index", "score", "method", "status")  # known wherever there is a folder


def checked(row: Any, whole: bool = True) -> dict[str, Any]:
    """The row with all of KEYS, None where it has none. Raises ValueError for one that no run writes.

    whole: an explanation's row must tell what it explains.
    """
    if not isinstance(row, dict):
        raise ValueError("not keys and values")
    made = {**dict.fromkeys(KEYS), **row}
    if not isinstance(made["image"], str):
        raise ValueError(f"image is {_told(made['image'])}, not a path")
    _each(made, WORDS, lambda v: isinstance(v, str) and "\0" not in v, "a text")
    _each(made, WHOLE, lambda v: isinstance(v, int) and not isinstance(v, bool) and abs(v) < 2**63, "a whole number")
    _each(made, NUMBERS, _number, "a finite number")
    _each(made, ("box",), lambda v: isinstance(v, list) and len(v) == 4 and all(map(_number, v)), "four numbers")
    place = PurePath(made["folder"] or "")
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(f"folder {_told(made['folder'])} lies outside the run's folder")
    lacking = [k for k in OF_EXPLANATION if whole and made["folder"] and made[k] is None]
    if lacking:
        raise ValueError(f"{lacking[0]} is not known")
    return made


def _each(row: dict[str, Any], keys: tuple[str, ...], sound: Callable[[Any], bool], what: str) -> None:
    for key in keys:
        if row.get(key) is not None and not sound(row[key]):
            raise ValueError(f"{key} is {_told(row[key])}, not {what}")


def _number(value: Any) -> bool:
    """A number of a size that float takes."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and value == value


def _told(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or math.log2(abs(value) + 1) < 200 else "a huge number"
    return text if len(text) <= 60 else text[:60] + "..."


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
    of_metrics = {name: (metric.better, metric.plot) for name, metric in METRICS.items()}
    figures = {**{name: (better, None) for name, better in OF_METHODS.items()}, **of_metrics}
    scores = [
        Score(n, math.nan if row.get(n) is None else row[n], better, arrays.get(f"{n}_curve"), plot=plot)
        for n, (better, plot) in figures.items()
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


class Tally:
    """How many rows there are of each status, and the means of their figures."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.rows = self.explanations = 0
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self.statuses[row["status"]] += 1
        if not row["folder"]:
            return
        self.explanations += 1
        for key, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                known = self._sums[key]
                known[0] += value
                known[1] += 1

    def mean(self, key: str) -> float | None:
        """Over the explanations that have the figure; None without any."""
        total, count = self._sums.get(key, (0.0, 0))
        return total / count if count else None

    def known(self, key: str) -> bool:
        return key in self._sums
