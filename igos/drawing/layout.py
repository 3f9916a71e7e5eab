"""Sizes, letters and sheets: a label's tag, a line under a tile, tiles in rows. Pictures are (H,W,3) uint8 RGB."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from matplotlib import get_data_path
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

LONG_SIDE = (720, 1600)  # drawn pixels: smaller photos are enlarged to it, larger ones reduced
WHITE, INK, SKY = (255, 255, 255), (12, 12, 18), (104, 200, 255)
LONGEST = 48  # letters of a name
GAP = 14  # drawn pixels between tiles


def thin(picture: np.ndarray) -> float:
    """The width of a thin line in pixels."""
    return max(max(picture.shape[:2]) / LONG_SIDE[0], 0.6)


@lru_cache(maxsize=16)
def font(size: int) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(str(Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")), size)


def short(text: str, length: int) -> str:
    text = " ".join(text.split())
    return text if len(text) <= length else text[: max(length - 1, 0)].rstrip() + "…"


def tag(picture: np.ndarray, name: str, score: str, box: np.ndarray | None) -> np.ndarray:
    """The label in a filled tag: above the box, inside it where there is no room, else in the corner.

    The letters shrink, then the name is cut, until the tag lies within the picture.
    """
    height, width = picture.shape[:2]
    full = round(17 * thin(picture))
    small = round(0.8 * full)
    for size, length in [(full, LONGEST), *((small, n) for n in range(LONGEST, 0, -1))]:
        letters, pad = font(size), round(0.3 * size)
        text = f"{short(name, length)} {score}"
        w, h = math.ceil(letters.getlength(text)) + 2 * pad, sum(letters.getmetrics()) + pad
        if w <= width and h <= height:
            break
    else:
        return picture  # no room for any label
    x, y = (0, 0) if box is None else (box[0], box[1] - h if box[1] >= h else box[1])
    x, y = int(np.clip(x, 0, width - w)), int(np.clip(y, 0, height - h))
    image = Picture.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=SKY)
    draw.text((x + pad, y + pad / 2), text, fill=INK, font=letters)
    return np.asarray(image)


def captioned(picture: np.ndarray, text: str) -> np.ndarray:
    """The picture, centred over a line of text."""
    letters = font(15)
    line = sum(letters.getmetrics()) + 6
    width = max(picture.shape[1], math.ceil(letters.getlength(text)))
    tile = Picture.new("RGB", (width, picture.shape[0] + line), WHITE)
    tile.paste(Picture.fromarray(picture), ((width - picture.shape[1]) // 2, 0))
    ImageDraw.Draw(tile).text((width / 2, picture.shape[0] + 4), text, fill=INK, font=letters, anchor="ma")
    return np.asarray(tile)


def sheet(tiles: Sequence[np.ndarray], columns: int) -> np.ndarray:
    """Tiles row by row on white, each at the corner of its cell."""
    height, width = (max(t.shape[i] for t in tiles) for i in (0, 1))
    rows = math.ceil(len(tiles) / columns)
    made = np.full((rows * (height + GAP) + GAP, columns * (width + GAP) + GAP, 3), 255, np.uint8)
    for i, tile in enumerate(tiles):
        y, x = GAP + i // columns * (height + GAP), GAP + i % columns * (width + GAP)
        made[y : y + tile.shape[0], x : x + tile.shape[1]] = tile
    return made
