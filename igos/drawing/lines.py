"""Lines that are seen on any ground: by each pixel's distance to them."""

from __future__ import annotations

import math

import cv2
import numpy as np

from igos.drawing.layout import INK, thin

Colour = tuple[int, int, int]


def distance(inside: np.ndarray, unit: float) -> np.ndarray:
    """Pixels (H,W) to the smoothed edge of `inside` (H,W) bool, right near it; specks have no edge.

    A blurred straight edge rises by 1 / (sigma sqrt(2 pi)) per pixel; far off, the distance is 1.25 sigma.
    """
    sigma = 3 * unit
    _, labels, stats, _ = cv2.connectedComponentsWithStats(inside.astype(np.uint8))
    large = inside & (stats[:, cv2.CC_STAT_AREA] > 220 * unit**2)[labels]
    smooth = cv2.medianBlur(large.astype(np.uint8), 2 * round(4 * unit) + 1).astype(np.float32)
    soft = cv2.GaussianBlur(smooth, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)
    return np.abs(soft - 0.5) * sigma * math.sqrt(2 * math.pi)


def distance_to_box(box: np.ndarray, size: tuple[int, ...], unit: float) -> np.ndarray:
    """Pixels (H,W) to the box's line, which stays a line's width within the picture."""
    height, width = size
    x1, x2 = np.clip(box[[0, 2]], min(unit, width / 2), max(width - unit, width / 2))
    y1, y2 = np.clip(box[[1, 3]], min(unit, height / 2), max(height - unit, height / 2))
    x = np.abs(np.arange(width) + 0.5 - (x1 + x2) / 2) - (x2 - x1) / 2
    y = np.abs(np.arange(height) + 0.5 - (y1 + y2) / 2) - (y2 - y1) / 2
    return np.abs(np.maximum(y[:, None], x[None])).astype(np.float32)


def line(picture: np.ndarray, distance: np.ndarray, width: float, colour: Colour) -> np.ndarray:
    """A line with a dark edge, to be seen on any ground."""
    half = max(width / 2, 0.8)
    wide = half + thin(picture) + 0.5
    near = distance < wide  # most pixels are far from it
    drawn, far = picture.copy(), distance[near]
    dark = mix(picture[near], INK, 0.6 * np.clip(wide - far, 0, 1))
    drawn[near] = mix(dark, colour, np.clip(half + 0.5 - far, 0, 1))
    return drawn


def mix(picture: np.ndarray, over: np.ndarray | Colour, alpha: np.ndarray) -> np.ndarray:
    return picture + alpha[..., None] * (np.asarray(over, np.float32) - picture)
