"""An attribution over its photo in the visual language of Sundararajan, Taly, Yan 2017, https://arxiv.org/abs/1703.01365
(their tool: https://github.com/ankurtaly/Integrated-Gradients): green speaks for the target, red against it.

    polarity    p = mean over channels of max(0, A), for red of max(0, -A)
    clipping    (p - e) / (m - e) in [0,1]; the values >= m hold 100 - clip_above percent of the mass, those >= e
                100 - clip_below percent (e is the least value where clip_below = 0)
    clean-up    grey closing, then grey opening, 3 x 3
    outlines    the largest filled regions, at most 3 and no more than hold 90 % of their area
    overlay     0.5 grey photo + 0.8 colour

Their photo keeps its own greens and reds, in which these drown, and each polarity is scaled by itself; here both share
one m and e, so that they compare.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch

from igos.base.errors import ConfigError
from igos.base.names import EMPTY
from igos.drawing import figures
from igos.drawing.layout import stamped, thin
from igos.drawing.shown import Shown

GREEN, RED = (0, 255, 0), (255, 0, 0)
POLARITIES = {"both": (GREEN, RED), "positive": (GREEN,), "negative": (RED,)}
PHOTO, COLOUR = 0.5, 0.8
LEAST, REGIONS, SHARE = 0.001, 3, 0.9


def signed(
    e: Shown,
    *,
    polarity: str = "both",
    clip_above: float = 95.0,
    clip_below: float = 0.0,
    cleanup: bool = False,
    outlines: bool = False,
    overlay: bool = True,
) -> np.ndarray:
    """The attribution of e in green and red, (H,W,3) uint8, over the photo or (overlay=False) on black.

    polarity {both, positive, negative}; 0 <= clip_below < clip_above <= 100, in percent of the mass; clean maps and
    outlines go with clip_below=58. Raises ConfigError for other settings, and where e has no attribution.
    """
    if polarity not in POLARITIES:
        raise ConfigError(f"polarity {polarity!r} is not one of {', '.join(POLARITIES)}")
    if not 0 <= clip_below < clip_above <= 100:
        raise ConfigError(f"0 <= clip_below < clip_above <= 100 is needed, got {clip_below} and {clip_above}")
    if e.attribution is None:
        raise ConfigError(f"{e.method} makes no signed attribution: there is a map alone")
    a = e.attribution.float().cpu().nan_to_num(0, 0, 0).numpy()
    colours = POLARITIES[polarity]
    parts = np.stack([part(a, 1 if colour == GREEN else -1) for colour in colours])
    photo, geometry = figures.canvas(e)
    grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2)
    picture = PHOTO * grey if overlay else np.zeros(photo.shape)
    for colour, mask in zip(colours, stretch(parts, clip_above, clip_below), strict=True):
        mask = clean(mask) if cleanup else mask
        shown = regions(mask).astype(np.float32) if outlines else mask
        shown = geometry.map_to_source(torch.from_numpy(shown)).numpy()
        shown = outline(shown > 0.5, 2 * thin(photo)) if outlines else shown
        picture = picture + (COLOUR if overlay else 1) * shown[..., None] * np.asarray(colour)
    made = picture.round().clip(0, 255).astype(np.uint8)
    if e.status in EMPTY:
        made = cv2.cvtColor(made, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, axis=2).astype(np.uint8)
    made = figures.boxed(made, e, geometry) if overlay else made
    return stamped(made, e.status) if e.status in EMPTY else made


def part(attribution: np.ndarray, sign: int) -> np.ndarray:
    """(C,h,w) -> (h,w) >= 0: the channels' mean of what has that sign."""
    return np.maximum(sign * attribution, 0).mean(axis=0)


def level(strength: np.ndarray, percent: float) -> float:
    """The least of the largest values that together hold 100 - percent of the mass of `strength` >= 0."""
    values = np.sort(strength.ravel().astype(np.float64))[::-1]
    mass = np.cumsum(values)
    wanted = (1 - percent / 100) * mass[-1] * (1 - 1e-12)
    return float(values[min(int(np.searchsorted(mass, wanted)), len(values) - 1)])


def stretch(strength: np.ndarray, clip_above: float, clip_below: float) -> np.ndarray:
    """Values >= 0 of any shape -> [0,1] float32: 1 from m up, 0 up to e; all of m or more where the two are one."""
    m = level(strength, clip_above)
    e = level(strength, clip_below) if clip_below > 0 else float(strength.min())
    if m <= e:
        return ((strength >= m) & (strength > 0)).astype(np.float32)
    return ((strength - e) / (m - e)).clip(0, 1).astype(np.float32)


def clean(mask: np.ndarray) -> np.ndarray:
    """(h,w) closed, which fills pits, then opened, which takes away specks."""
    square = np.ones((3, 3), np.uint8)
    return cv2.morphologyEx(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, square), cv2.MORPH_OPEN, square)


def regions(mask: np.ndarray) -> np.ndarray:
    """(h,w) bool: the largest regions of what is not 0, their holes filled."""
    found, _ = cv2.findContours((mask > LEAST).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), found, -1, 1, cv2.FILLED)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(filled, connectivity=8)
    area = stats[1:, cv2.CC_STAT_AREA]
    largest = np.argsort(-area, kind="stable")[:REGIONS]
    before = np.cumsum(area[largest]) - area[largest]
    return np.isin(labels, 1 + largest[before < SHARE * area.sum()])


def outline(region: np.ndarray, width: float) -> np.ndarray:
    """(H,W) bool -> (H,W) in {0,1}: its inner edge; at the picture's border too."""
    inner = cv2.distanceTransform(np.pad(region, 1).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    return (region & (inner <= max(width, 1))).astype(np.float32)
