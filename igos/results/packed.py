"""Numbers as a page holds them: maps packed, curves thinned, few digits."""

from __future__ import annotations

import base64
import sys
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from igos.base.geometry import Geometry

POINTS = 200  # of a curve, at most


def frame(g: Geometry) -> list[list[float]]:
    """Per axis, x and y, in fractions of the source picture: the map's first and last node, and what was seen."""
    made = []
    for n0, size, scale, offset in zip(g.source, g.network, g.scale, g.offset, strict=True):
        made.append([short((v - offset) / scale / n0) for v in (0.5, size - 0.5, 0, size)])
    return made[::-1]


def packed(layers: Sequence[np.ndarray]) -> str:
    """uint8 layers of one shape as text: differences of neighbours, deflated."""
    flat = np.concatenate([layer.ravel() for layer in layers])
    return base64.b64encode(zlib.compress(np.diff(flat, prepend=np.uint8(0)).tobytes(), 9)).decode()


def thinned(curve: np.ndarray) -> list[list[float | None]]:
    """(2,n) -> x and y, at most POINTS of each, both ends among them."""
    keep = np.unique(np.linspace(0, curve.shape[1] - 1, min(curve.shape[1], POINTS)).round().astype(int))
    return [[number(v) for v in line] for line in curve[:, keep].astype(float).round(4).tolist()]


def number(value: Any) -> float | None:
    """A finite number in few digits, or None."""
    known = isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return short(value) if known else None


def short(value: float) -> float:
    return float(f"{value:.6g}")
