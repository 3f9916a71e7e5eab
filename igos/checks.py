"""What rows and arrays of a run hold, checked where they are read: a folder of results may come from anyone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import PurePath
from typing import Any

import numpy as np

WORDS = ("image", "label", "name", "part", "method", "opt", "form", "status", "error", "warning", "folder")
WHOLE = ("label_index", "start", "network_images", "backward_images", "seed")
NUMBERS = (
    "score", "score_original", "score_blurred", "deletion", "insertion", "deletion_normalised", "insertion_normalised",
    "pointing", "evidence_share", "evidence_lift", "evidence_pointing", "tie_fraction", "seconds",
)  # fmt: skip
MOST_PIXELS = 2**27  # of a picture; larger ones are not read either
DIMENSIONS = {"saliency": 2, "saliency_source": 2, "geometry": 2, "box": 1, "masks": 3, "attribution": 3, "curve": 2}
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


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for arrays that no run writes."""
    for name, a in arrays.items():
        finite = name in ("geometry", "box")
        if a.dtype.kind not in "fiub" or (finite and not np.isfinite(a).all()):
            raise ValueError(f"{name}: {'not finite' if a.dtype.kind in 'fiub' else a.dtype} in place of numbers")
        dimensions = DIMENSIONS.get("curve" if name.endswith("_curve") else name, a.ndim)
        length = {"geometry": 4, "box": 4}.get(name, 2 if name.endswith("_curve") else None)
        if a.ndim != dimensions or 0 in a.shape or (length and len(a) != length):
            raise ValueError(f"{name}: an array of shape {a.shape}")
    if "geometry" in arrays:
        geometry = arrays["geometry"]
        if geometry.shape != (4, 2) or not (geometry[:3] > 0).all() or geometry[:2].prod(1).max() > MOST_PIXELS:
            raise ValueError(f"geometry: {geometry.tolist()}")


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
