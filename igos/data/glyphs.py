"""The shapes of igos.data.emblems: masks over local coordinates u, v, the emblem's disc being u^2 + v^2 <= 1."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Array = np.ndarray
Shape = Callable[[Array, Array], Array]


def _cross(u: Array, v: Array) -> Array:
    return (np.maximum(abs(u), abs(v)) < 0.9) & (np.minimum(abs(u), abs(v)) < 0.25)


def _ring(u: Array, v: Array) -> Array:
    return abs(np.hypot(u, v) - 0.75) < 0.22


def _bars(u: Array, v: Array) -> Array:
    return (abs(v) < 0.62) & ((abs(u) < 0.16) | (abs(abs(u) - 0.6) < 0.16))


def _dots(u: Array, v: Array) -> Array:
    return np.hypot(abs(u) - 0.5, abs(v) - 0.5) < 0.27


def _zigzag(u: Array, v: Array) -> Array:
    wave = abs((u / 0.9 + 1.25) % 1 - 0.5) * 4 - 1  # a triangle wave, two periods over the emblem
    return (abs(u) < 0.9) & (abs(v - 0.38 * wave) < 0.24)


def _star(u: Array, v: Array) -> Array:
    sector = abs((np.arctan2(v, u) + np.pi / 5) % (2 * np.pi / 5) - np.pi / 5)
    x, y = np.hypot(u, v) * np.cos(sector), np.hypot(u, v) * np.sin(sector)
    inner = 0.42 * np.exp(0.2j * np.pi)
    return inner.imag * (x - 0.98) + (0.98 - inner.real) * y < 0


def _arc(u: Array, v: Array) -> Array:
    return _ring(u, v) & (u > 0.2)


def _stroke(u: Array, v: Array) -> Array:
    return (abs(u) < 0.8) & (abs(v) < 0.18)


def _chevron(u: Array, v: Array) -> Array:
    return (abs(u) < 0.75) & (abs(v - abs(u) + 0.3) < 0.26)


def _square(u: Array, v: Array) -> Array:
    return abs(np.maximum(abs(u), abs(v)) - 0.55) < 0.14


def _dot(u: Array, v: Array) -> Array:
    return np.hypot(u, v) < 0.4


def _triangle(u: Array, v: Array) -> Array:
    return (v < 0.5) & (v > 1.73 * abs(u) - 0.95)


def _bow(u: Array, v: Array) -> Array:
    return (abs(u) < 0.75) & (abs(v) < 0.1 + 0.75 * abs(u))


def _half(u: Array, v: Array) -> Array:
    return (np.hypot(u, v) < 0.95) & (v > -0.1)


GLYPHS: dict[str, Shape] = {
    "cross": _cross,
    "ring": _ring,
    "bars": _bars,
    "dots": _dots,
    "zigzag": _zigzag,
    "star": _star,
}
LOOKALIKES = (_arc, _stroke, _chevron, _square, _dot)
BESIDE: dict[str, Shape] = {
    "mark": _triangle,
    "blocker": _bow,
    "cue": _half,
}  # what lies beside bodies in data/flawed.py
