"""The pictures of one explanation as files: their bytes by name, and the notebook's view of it."""

from __future__ import annotations

import base64
import html as text
import io
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

from igos.base.files import write_bytes
from igos.drawing import figures, path_figures
from igos.drawing.shown import Shown
from igos.drawing.signed import signed

_MATPLOTLIB = threading.Lock()  # its font cache is not made for several threads


def heatmap(e: Shown) -> bytes:
    """The map alone, at the size of the source picture."""
    return png(figures.heatmap(e))


def overlay(e: Shown) -> bytes:
    """Photo, heat, box, label and the contour of the top area."""
    return png(figures.overlay(e))


def curves(e: Shown) -> bytes | None:
    """Where deletion or insertion was measured."""
    if not figures.curve_scores(e):
        return None
    with _MATPLOTLIB:
        return figures.curves(e)


def attribution(e: Shown) -> bytes | None:
    """Green for and red against the target, where there is a signed attribution."""
    return None if e.attribution is None else png(signed(e))


def interior_loop(e: Shown) -> bytes | None:
    return path_figures.loop(e) if path_figures.has_path(e) else None


def interior_panel(e: Shown) -> bytes | None:
    return png(path_figures.panel(e)) if path_figures.has_path(e) else None


def saturation(e: Shown) -> bytes | None:
    if not path_figures.has_path(e):
        return None
    with _MATPLOTLIB:
        return path_figures.saturation(e)


FIGURES: dict[str, Callable[[Shown], bytes | None]] = {  # None: the explanation does not hold what the figure shows
    "curves.png": curves,
    "overlay.png": overlay,
    "heatmap.png": heatmap,
    "attribution.png": attribution,
    "interior.gif": interior_loop,
    "interior.png": interior_panel,
    "saturation.png": saturation,
}
MASKS = {"feat_mask": None, "input_mask": 1.0}  # and the value that is white; None: the largest


def figure_files(e: Shown) -> dict[str, bytes]:
    """The bytes of every figure of FIGURES that the explanation has the data for, by file name."""
    drawn = ((name, draw(e)) for name, draw in FIGURES.items())
    return {name: data for name, data in drawn if data is not None}


def mask_files(e: Shown, name: str) -> dict[str, bytes]:
    """A bottleneck's maps at the network's resolution, 8-bit grey: feat_masks/<name>.png, from 0 to their maximum, and
    input_masks/<name>.png, from 0 to 1; the numbers themselves are in explanation.npz.
    """
    keys = [key for key in MASKS if key in e.arrays]
    return {f"{key}s/{name}.png": png(figures.grey(e.arrays[key], MASKS[key])) for key in keys}


def starts_png(explanations: Sequence[Shown]) -> bytes:
    """The sheet of one object's diverse starts."""
    return png(figures.starts_sheet(explanations))


def write_figures(folder: str | Path, e: Shown) -> None:
    """figure_files into folder, each complete or absent; those of an earlier explanation that it lacks are removed."""
    drawn = figure_files(e)
    for name in FIGURES:
        if name in drawn:
            write_bytes(Path(folder) / name, drawn[name])
        else:
            (Path(folder) / name).unlink(missing_ok=True)


def html(e: Shown) -> str:
    """The overlay and its figures as one piece of HTML that needs no other file."""
    rows = {"score": f"{e.target.score:.2f}", "method": e.method if e.opt is None else f"{e.method}, {e.opt}"}
    if e.status != "ok":
        rows["status"] = e.status
    rows |= {s.name: f"{s.value:.3f} ({s.better} is better)" for s in figures.curve_scores(e)}
    label = text.escape(e.target.name)
    picture = base64.b64encode(overlay(e)).decode("ascii")
    facts = " &middot; ".join(f"{text.escape(k)} {text.escape(v)}" for k, v in rows.items())
    return (
        '<figure style="margin:0;max-width:720px;font-family:sans-serif">'
        f'<img style="width:100%" alt="{label}" src="data:image/png;base64,{picture}">'
        f'<figcaption style="overflow-wrap:anywhere"><b>{label}</b> {facts}</figcaption></figure>'
    )


def grey_png(saliency: torch.Tensor) -> bytes:
    """A map (H,W) as a grey PNG of its own size, 255 = most important."""
    return png((figures.shown(saliency) * 255).round().to(torch.uint8).numpy())


def png(pixels: np.ndarray) -> bytes:
    """(H,W,3) or (H,W) uint8 as a PNG: a fifth of the time of PIL's default, a little larger."""
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()
