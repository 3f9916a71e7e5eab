"""Sizes and sheets: a label's tag, a status's stamp, a line under a tile, tiles in rows. Pictures are (H,W,3) uint8."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw

from igos.base.names import EMPTY
from igos.drawing.letters import Lettered, font

LONG_SIDE = (720, 1600)  # drawn pixels: smaller photos are enlarged to it, larger ones reduced
WHITE, INK, SKY = (255, 255, 255), (12, 12, 18), (104, 200, 255)
LONGEST = 48  # letters of a name
MORE = "more important"
GAP = 14  # drawn pixels between tiles
CAPTION = 15  # drawn pixels: the letters of a tile's line


def thin(picture: np.ndarray) -> float:
    """The width of a thin line in pixels."""
    return max(max(picture.shape[:2]) / LONG_SIDE[0], 0.6)


def tag(picture: np.ndarray, name: Lettered, score: str, box: np.ndarray | None) -> np.ndarray:
    """The label in a filled tag: above the box, below where there is no room, else inside; without one in the corner.

    The letters shrink, then the name is cut, until the tag lies within the picture.
    """
    height, width = picture.shape[:2]
    full = round(17 * thin(picture))
    small = round(0.8 * full)
    for size, length in [(full, LONGEST), *((small, n) for n in range(LONGEST, 0, -1))]:
        text, pad = name.cut(length).plus(f" {score}"), round(0.3 * size)
        w, h = math.ceil(text.width(size)) + 2 * pad, text.height(size) + pad
        if w <= width and h <= height:
            break
    else:
        return picture  # no room for any label
    x, y = 0.0, 0.0
    if box is not None:
        x, y = box[0], box[1] - h if box[1] >= h else box[3] if box[3] + h <= height else box[1]
    x, y = int(np.clip(x, 0, width - w)), int(np.clip(y, 0, height - h))
    image = Picture.fromarray(picture)
    draw = ImageDraw.Draw(image)
    draw.rectangle((x, y, x + w - 1, y + h - 1), fill=SKY)
    text.write(draw, (x + pad, y + pad / 2), size, INK)
    return np.asarray(image)


def stamped(picture: np.ndarray, status: str) -> np.ndarray:
    """The picture with a status of EMPTY across its middle, and why where there is room."""
    height, width = picture.shape[:2]
    lines = [(status.upper(), 1.0), (EMPTY[status], 0.6)]
    size = round(30 * thin(picture))
    while size > 5 and font(size).getlength(lines[0][0]) > 0.92 * width:
        size -= 1
    lines = [(text, size * part) for text, part in lines]
    shown = [(text, font(round(s))) for text, s in lines if s >= 7 and font(round(s)).getlength(text) <= 0.96 * width]
    heights = [sum(letters.getmetrics()) for _, letters in shown]
    pad = size // 3
    if not shown or sum(heights) + 2 * pad > height:
        return picture
    image = Picture.fromarray(picture)
    draw = ImageDraw.Draw(image, "RGBA")
    y = (height - sum(heights)) / 2
    draw.rectangle((0, y - pad, width, y + sum(heights) + pad), fill=(*INK, 190))
    for (text, letters), line in zip(shown, heights, strict=True):
        draw.text((width / 2, y), text, fill=WHITE, font=letters, anchor="ma")
        y += line
    return np.asarray(image)


def legend(picture: np.ndarray, colours: np.ndarray, method: str, contour: str | None) -> np.ndarray:
    """The picture above a strip: a bar of the colours (256,3) from less to more important, what the contour is, and the
    method at the right; in rows where they have no room beside each other. The letters shrink on a narrow picture, and
    what has no room even then is left out.
    """
    width = picture.shape[1]
    told = [method] if contour is None else [MORE, contour, method]
    for size in range(max(round(13 * thin(picture)), 8), 7, -1):
        letters, pad, bar = font(size), round(8 / 13 * size), round(70 / 13 * size)
        mark = {MORE: bar + pad, contour: 3 * pad}  # what stands before the words
        long = [mark.get(text, 0) + math.ceil(letters.getlength(text)) for text in told]
        if max(long) <= width - 2 * pad:
            break
    high = sum(letters.getmetrics())
    rows: list[list[int]] = [[]]
    for i in (i for i, n in enumerate(long) if n <= width - 2 * pad):
        if rows[-1] and sum(long[k] + 2 * pad for k in rows[-1]) + long[i] > width - 2 * pad:
            rows.append([])
        rows[-1].append(i)
    strip = Picture.new("RGB", (width, len(rows) * high + (len(rows) + 1) * pad), INK)
    draw = ImageDraw.Draw(strip)
    for n, row in enumerate(rows):
        x, middle = pad, pad + n * (high + pad) + high / 2
        for i in row:
            x = width - pad - long[i] if told[i] == method and n == 0 else x
            if told[i] == MORE:
                ramp = np.linspace(0, 255, bar).round().astype(int)
                drawn = np.broadcast_to(colours[ramp].astype(np.uint8), (max(round(10 / 13 * size), 4), bar, 3))
                strip.paste(Picture.fromarray(np.ascontiguousarray(drawn)), (x, round(middle - drawn.shape[0] / 2)))
            elif told[i] == contour:
                draw.line((x, middle, x + 2 * pad, middle), fill=WHITE, width=max(round(2 / 13 * size), 1))
            draw.text((x + mark.get(told[i], 0), middle), told[i], fill=WHITE, font=letters, anchor="lm")
            x += long[i] + 2 * pad
    return np.concatenate([picture, np.asarray(strip)])


def captioned(picture: np.ndarray, told: Lettered | str) -> np.ndarray:
    """The picture, centred over a line of text; a str is of the usual letters."""
    text = Lettered(told) if isinstance(told, str) else told
    line = text.height(CAPTION) + 6
    width = max(picture.shape[1], math.ceil(text.width(CAPTION)) + GAP)
    tile = Picture.new("RGB", (width, picture.shape[0] + line), WHITE)
    tile.paste(Picture.fromarray(picture), ((width - picture.shape[1]) // 2, 0))
    text.write(ImageDraw.Draw(tile), (width / 2, picture.shape[0] + 4), CAPTION, INK, middle=True)
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
