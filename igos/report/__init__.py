"""What people look at: heat map, overlay and curves as files, and the notebook's view of an explanation."""

from __future__ import annotations

import base64
import html as text
import io
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image as Picture

from igos.files import whole
from igos.report import figures, interior
from igos.report.figures import starts_sheet
from igos.report.signed import signed
from igos.types import Explanation

__all__ = ["WRITERS", "grey_png", "html", "signed", "starts_sheet", "write_figures", "write_masks", "write_starts"]


def write_heatmap(folder: str | Path, explanation: Explanation) -> None:
    """heatmap.png: the map alone, at the size of the source picture."""
    with whole(Path(folder) / "heatmap.png") as path:
        path.write_bytes(_png(figures.heatmap(explanation)))


def write_overlay(folder: str | Path, explanation: Explanation) -> None:
    """overlay.png: photo, heat, box, label and the contour of the top area."""
    with whole(Path(folder) / "overlay.png") as path:
        path.write_bytes(_png(figures.overlay(explanation)))


def write_curves(folder: str | Path, explanation: Explanation) -> None:
    """curves.png, where deletion or insertion was measured; else one of an earlier explanation is removed."""
    if not figures.curve_scores(explanation):
        (Path(folder) / "curves.png").unlink(missing_ok=True)
        return
    with _MATPLOTLIB, whole(Path(folder) / "curves.png") as path:
        figures.curves(explanation, path)


def write_attribution(folder: str | Path, explanation: Explanation) -> None:
    """attribution.png, green for and red against the target, where there is a signed attribution."""
    if explanation.attribution is None:
        (Path(folder) / "attribution.png").unlink(missing_ok=True)
        return
    with whole(Path(folder) / "attribution.png") as path:
        path.write_bytes(_png(signed(explanation)))


def write_interior(folder: str | Path, explanation: Explanation) -> None:
    """interior.gif, interior.png and saturation.png, where there are gradients along a path."""
    if not interior.has_path(explanation):
        for name in INTERIOR:
            (Path(folder) / name).unlink(missing_ok=True)
        return
    gif, panel, plot = (Path(folder) / name for name in INTERIOR)
    with whole(gif) as path:
        interior.loop(explanation, path)
    with whole(panel) as path:
        path.write_bytes(_png(interior.panel(explanation)))
    with _MATPLOTLIB, whole(plot) as path:
        interior.saturation(explanation, path)


INTERIOR = ("interior.gif", "interior.png", "saturation.png")
MASKS = {"feat_mask": None, "input_mask": 1.0}  # and the value that is white; None: the largest
_MATPLOTLIB = threading.Lock()  # its font cache is not made for several threads
WRITERS = (write_curves, write_overlay, write_heatmap, write_attribution, write_interior)


def write_figures(folder: str | Path, explanation: Explanation) -> None:
    """Write heatmap.png, overlay.png and, where the explanation holds what they show, curves.png, attribution.png
    and the figures of interior gradients into folder.

    Each is complete or absent.
    """
    for write in WRITERS:
        write(folder, explanation)


def write_masks(root: str | Path, name: str, explanation: Explanation) -> None:
    """A bottleneck's maps at the network's resolution, 8-bit grey: feat_masks/<name>.png, from 0 to their maximum, and
    input_masks/<name>.png, from 0 to 1, below root; the numbers themselves are in explanation.npz.
    """
    for key, top in MASKS.items():
        if key in explanation.arrays:
            with whole(Path(root) / f"{key}s" / f"{name}.png") as path:
                path.write_bytes(_png(figures.grey(explanation.arrays[key], top)))


def write_starts(folder: str | Path, explanations: Sequence[Explanation]) -> None:
    """Write starts.png, the sheet of one object's diverse starts, into folder."""
    with whole(Path(folder) / "starts.png") as path:
        path.write_bytes(_png(starts_sheet(explanations)))


def html(explanation: Explanation) -> str:
    """The overlay and its figures as one piece of HTML that needs no other file."""
    e = explanation
    rows = {"score": f"{e.target.score:.2f}", "method": e.method if e.opt is None else f"{e.method}, {e.opt}"}
    if e.status != "ok":
        rows["status"] = e.status
    rows |= {s.name: f"{s.value:.3f} ({s.better} is better)" for s in figures.curve_scores(e)}
    label = text.escape(e.target.name)
    picture = base64.b64encode(_png(figures.overlay(e))).decode("ascii")
    facts = " &middot; ".join(f"{text.escape(k)} {text.escape(v)}" for k, v in rows.items())
    return (
        '<figure style="margin:0;max-width:720px;font-family:sans-serif">'
        f'<img style="width:100%" alt="{label}" src="data:image/png;base64,{picture}">'
        f'<figcaption style="overflow-wrap:anywhere"><b>{label}</b> {facts}</figcaption></figure>'
    )


def grey_png(saliency: torch.Tensor) -> bytes:
    """A map (H,W) as a grey PNG of its own size, 255 = most important."""
    return _png((figures.shown(saliency) * 255).round().to(torch.uint8).numpy())


def _png(pixels: np.ndarray) -> bytes:
    out = io.BytesIO()
    Picture.fromarray(pixels).save(
        out, format="PNG", compress_level=1
    )  # a fifth of the time of the default, a little larger
    return out.getvalue()
