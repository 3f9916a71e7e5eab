"""One explanation for a slide: the picture, its map, only what the map marks, and the rest without it, each with its
score. What is shown alone and left out is what deletion and insertion measured, at one point of both curves.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image as Picture
from PIL import ImageDraw

from igos.base.baselines import SUBSTRATES
from igos.base.names import EMPTY
from igos.base.ops import downscale, rank
from igos.drawing import figures
from igos.drawing.layout import INK, WHITE, stamped
from igos.drawing.letters import Lettered, font, name_of, short
from igos.drawing.shown import Measured, Shown

WIDTH, GAP, LETTERS = 1280, 12, 22  # pixels: of the figure, between its panels, of its letters (11 at half the size)
TALLEST = 460  # pixels of a panel
FLAT = 0.4  # height by width: a flatter picture has two rows of two panels
ENOUGH, MOST, USUAL = 0.9, 0.3, 0.1  # the share of the score that is to return; the most of the map that is shown alone
SMALL = 0.06  # of the picture: a smaller box is shown with what lies round it alone
ROUND = 2.4  # then so many times as wide and high as the box


class Point(NamedTuple):
    """A point of both curves: its place, the share of cells, the score of these alone and of the rest."""

    place: int
    share: float
    alone: float
    without: float


def slide(e: Shown) -> np.ndarray | None:
    """Four panels and a sentence (H,1280,3); None where deletion and insertion were not measured on the same cells."""
    pair = measured(e)
    if pair is None:
        return None
    deletion, insertion = pair
    point = chosen(deletion, insertion)
    window = _window(e)
    shape = (window[3] - window[1]) / (window[2] - window[0])
    columns = 4 if shape > FLAT else 2
    width = (WIDTH - (columns + 1) * GAP) // columns
    height = round(width * shape)
    if height > TALLEST:
        width, height = max(round(width * TALLEST / height), 1), TALLEST
    size = max(height, 1), width
    photo, over = figures.window(e, window, size)
    changed, replaced = _changed(e, insertion, point.place, window, size)
    original = photo.astype(np.float32)
    alone = (replaced + changed[..., None] * (original - replaced)).round().clip(0, 255).astype(np.uint8)
    without = (original + changed[..., None] * (replaced - original)).round().clip(0, 255).astype(np.uint8)
    over = stamped(over, e.status) if e.status in EMPTY else over
    name, whole = name_of(e.target), float(np.asarray(insertion.curve)[1, -1])
    method = " ".join(word for word in (e.method, e.opt) if word)
    under = [name.cut(16).plus(f" {number(whole)}")]
    under += map(Lettered, (short(method, 22), f"alone {number(point.alone)}", f"without {number(point.without)}"))
    return _sheet([figures.boxed_in(photo, e, window), over, alone, without], under, sentence(e, point, whole), columns)


def measured(e: Shown) -> tuple[Measured, Measured] | None:
    """Deletion and insertion of the same cells, with what hides them."""
    found = {s.plot: s for s in reversed(figures.curve_scores(e)) if s.hides is not None}
    deletion, insertion = found.get("deletion"), found.get("insertion")
    if deletion is None or insertion is None or deletion.hides != insertion.hides:
        return None
    x, y = np.asarray(deletion.curve), np.asarray(insertion.curve)
    same = x.shape == y.shape and np.allclose(x[0], y[0]) and np.isfinite(x).all() and np.isfinite(y).all()
    return (deletion, insertion) if same else None


def chosen(deletion: Measured, insertion: Measured) -> Point:
    """The least share of cells, up to MOST, that brings ENOUGH of the score back; where none does, USUAL."""
    (x, without), alone = np.asarray(deletion.curve), np.asarray(insertion.curve)[1]
    back = alone >= alone[0] + ENOUGH * (alone[-1] - alone[0])
    good = np.flatnonzero(back & (x > 0) & (x <= MOST))
    at = int(good[0]) if len(good) else max(int(np.abs(x - USUAL).argmin()), min(1, len(x) - 1))
    return Point(at, float(x[at]), float(alone[at]), float(without[at]))


def sentence(e: Shown, point: Point, whole: float) -> str:
    """What the panels show, in words."""
    if e.status in EMPTY:
        return f"This map shows nothing: {EMPTY[e.status]}."
    share = f"{100 * point.share:.0f} %"
    unsure = "" if e.status == "ok" else f" The map is {e.status}."
    return (
        f"The {share} of the picture that the map marks first give {number(point.alone)} alone, the whole "
        f"{number(whole)}; without them {number(point.without)} is left.{unsure}"
    )


def number(score: float) -> str:
    """A score in few letters: 0.89."""
    return f"{score:.2f}" if abs(score) < 100 else f"{score:.3g}"


def _window(e: Shown) -> figures.Window:
    """The picture as far as the network sees it, or what lies round a small box, in source pixels."""
    height, width = e.geometry.source
    box = e.box_on_source()
    if box is None or (box[2] - box[0]) * (box[3] - box[1]) >= SMALL * height * width:
        return _seen(e)
    sides = [min(ROUND * max(float(box[i + 2] - box[i]), 16.0), n) for i, n in enumerate((width, height))]
    sides = [max(side, min(0.6 * max(sides), n)) for side, n in zip(sides, (width, height), strict=True)]
    low = [float(np.clip((box[i] + box[i + 2] - sides[i]) / 2, 0, n - sides[i])) for i, n in enumerate((width, height))]
    x1, y1 = (math.floor(v) for v in low)
    return (
        x1,
        y1,
        max(min(math.ceil(low[0] + sides[0]), width), x1 + 1),
        max(min(math.ceil(low[1] + sides[1]), height), y1 + 1),
    )


def _seen(e: Shown) -> figures.Window:
    """What of the picture the network sees: a classifier mostly its middle."""
    height, width = e.geometry.network
    x1, y1, x2, y2 = (round(v) for v in e.geometry.to_source(torch.tensor([0.0, 0.0, width, height])).tolist())
    return x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)


def _changed(
    e: Shown, of: Measured, at: int, window: figures.Window, size: tuple[int, int]
) -> tuple[np.ndarray, np.ndarray]:
    """How far each pixel has changed (h,w) in [0,1] at that point of the curve, and what hides the picture (h,w,3)."""
    assert of.hides is not None and of.curve is not None
    substrate, cells = of.hides
    saliency = e.saliency.double().cpu()
    h, w = saliency.shape
    ranked = saliency if max(h, w) <= cells else downscale(saliency, (min(h, cells), min(w, cells)))
    order, _ = rank(ranked)
    share = float(np.asarray(of.curve)[0, at])
    first = np.zeros(order.size, np.float32)
    first[order[: round(share * order.size)]] = 1
    geometry = figures.drawn_at(e.geometry, window, size)
    hidden = SUBSTRATES[substrate](e.image.pixels[None].float().cpu())[0]
    planes = [geometry.map_to_source(plane).numpy() for plane in hidden]
    changed = geometry.map_to_source(torch.from_numpy(first).view(ranked.shape)).numpy()
    return changed.clip(0, 1), 255 * np.stack(planes, axis=2)


def _sheet(panels: list[np.ndarray], under: list[Lettered], sentence: str, columns: int) -> np.ndarray:
    """Panels in rows with a line below each, and the sentence below all."""
    height, width = panels[0].shape[:2]
    line = max(text.height(LETTERS) for text in under)
    lines = _wrapped(sentence, WIDTH - 4 * GAP)
    row, free = height + line + 2 * GAP, WIDTH - columns * width
    below = len(panels) // columns * row
    sheet = Picture.new("RGB", (WIDTH, round(below + len(lines) * (line + 2) + 2.5 * GAP)), WHITE)
    draw = ImageDraw.Draw(sheet)
    for i, (panel, text) in enumerate(zip(panels, under, strict=True)):
        at, top = i % columns, i // columns * row
        x = free * (at + 1) // (columns + 1) + at * width
        sheet.paste(Picture.fromarray(panel), (x, top + GAP))
        room = width + free // (columns + 1)
        while text.width(LETTERS) > room and len(text.text) > 1:
            text = text.cut(len(text.text) - 2) if len(text.text) > 3 else text._replace(text=text.text[:1])
        text.write(draw, (x + width / 2, top + height + 1.7 * GAP), LETTERS, INK, middle=True)
    for n, told in enumerate(lines):
        y = below + GAP + n * (line + 2)
        draw.text((WIDTH / 2, y), told, fill=(70, 70, 80), font=font(LETTERS), anchor="ma")
    return np.asarray(sheet)


def _wrapped(text: str, room: float) -> list[str]:
    """In as few lines as fit, of about the same length."""
    few, narrow = _filled(text, room), room
    while len(made := _filled(text, narrow - 20)) == len(few) > 1 and narrow > 40:
        few, narrow = made, narrow - 20
    return few


def _filled(text: str, room: float) -> list[str]:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if font(LETTERS).getlength(longer) <= room or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
