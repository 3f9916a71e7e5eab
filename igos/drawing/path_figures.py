"""Figures of gradients along a path, for an explanation that holds them (igos/methods/interior.py):

a looping picture of |gradient| from the baseline to the photo, a plot of where the score saturates, and the photo
beside the gradient at the photo, integrated gradients and interior gradients.
"""

from __future__ import annotations

import io

import cv2
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image as Picture

from igos.base.geometry import Geometry
from igos.drawing import figures
from igos.drawing.layout import LONGEST, captioned, sheet
from igos.drawing.letters import name_of
from igos.drawing.shown import Shown

FRAME, PAUSE = 320, 500  # drawn pixels, long side; milliseconds
TILE = 360
WINDOW = 99  # the percentile at which a frame is white
GREYS = 32  # in the looping picture: a third of the file that 256 make
INKS = ("#0072B2", "#D55E00")  # Okabe and Ito's blue and vermilion


def has_path(e: Shown) -> bool:
    return "interior" in e.arrays


def loop(e: Shown) -> bytes:
    """A GIF: |gradient| at every alpha, each frame bright from its own 99th percentile on."""
    _, geometry = figures.canvas(e, FRAME, FRAME)
    frames = []
    for alpha, strength in zip(e.arrays["interior_alpha"], e.arrays["interior"], strict=True):
        few = np.round(_drawn(strength, geometry) * (GREYS - 1)) / (GREYS - 1)
        tile = captioned(_grey(few), f"alpha = {alpha:.2f}")
        frames.append(Picture.fromarray(cv2.cvtColor(tile, cv2.COLOR_RGB2GRAY)))
    out = io.BytesIO()
    frames[0].save(out, format="GIF", save_all=True, append_images=frames[1:], duration=PAUSE, loop=0)
    return out.getvalue()


def saturation(e: Shown) -> bytes:
    """The score and the gradient's norm over alpha, a PNG."""
    alpha = e.arrays["interior_alpha"]
    figure = Figure(figsize=(6.4, 4.6), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    name = name_of(e.target)
    title = name.cut(LONGEST).plus(f", {e.method}").text
    for axes, key, label, ink in zip(
        figure.subplots(2, sharex=True), ("interior_score", "interior_norm"), ("score", "|gradient|"), INKS, strict=True
    ):
        values = e.arrays[key]
        axes.plot(alpha, values, color=ink, linewidth=2.2, clip_on=False, zorder=3)
        axes.fill_between(alpha, values, min(float(values.min()), 0), color=ink, alpha=0.1, linewidth=0)
        axes.set(xlim=(0, 1), ylabel=label)
        axes.set_ylim(bottom=0) if values.min() >= 0 else None
        axes.grid(color="#dddddd", linewidth=0.7)
        axes.spines[["top", "right"]].set_visible(False)
    axes.set_xlabel("alpha: from the baseline (0) to the picture (1)")
    figure.suptitle(title, x=0.02, ha="left", fontproperties=name.properties(11), parse_math=False)
    return figures.plot_png(figure)


def panel(e: Shown) -> np.ndarray:
    """Photo, gradient at the photo, integrated gradients, interior gradients in a row (H,W,3)."""
    photo, geometry = figures.canvas(e, TILE, TILE)
    name = name_of(e.target)
    path = e.arrays["interior"]
    maps = {"gradient at the picture": path[-1]}
    if e.attribution is not None:
        maps["integrated gradients"] = e.attribution.abs().sum(dim=0).float().numpy()
    maps["interior gradients"] = (path[1:] + path[:-1]).mean(axis=0) / 2
    tiles = [captioned(figures.boxed(photo, e, geometry), name.cut(32))]
    tiles += [captioned(_grey(_drawn(a, geometry)), text) for text, a in maps.items()]
    return sheet(tiles, len(tiles))


def _drawn(strength: np.ndarray, geometry: Geometry) -> np.ndarray:
    """(h,w) >= 0 -> (H,W) in [0,1], 1 from its 99th percentile on."""
    top = float(np.percentile(strength, WINDOW)) or float(strength.max()) or 1.0
    return geometry.map_to_source(torch.from_numpy(strength / top).float()).clamp(0, 1).numpy()


def _grey(values: np.ndarray) -> np.ndarray:
    """(H,W) in [0,1] -> (H,W,3) uint8."""
    return (255 * values[..., None].repeat(3, axis=2)).round().astype(np.uint8)
