"""The pictures of one explanation as files: their bytes by name, and the notebook's view of it."""

from __future__ import annotations

import base64
import html as text
import io
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image as Picture

from igos.base.errors import ConfigError
from igos.base.files import write_bytes
from igos.drawing import figures, path_figures
from igos.drawing.shown import Shown
from igos.drawing.signed import signed
from igos.drawing.slide import slide

LONGEST = 1280  # px: a larger picture is reduced for a notebook
_MATPLOTLIB = threading.Lock()  # its font cache is not made for several threads


def heatmap(e: Shown) -> bytes:
    """The map alone, at the size of the source picture."""
    return png(figures.heatmap(e))


def overlay(e: Shown) -> bytes:
    """Photo, heat, box, label and the contour of the top area, above a strip that says what they are."""
    return png(figures.explained(e))


def figure(e: Shown) -> bytes | None:
    """The picture, its map, only what the map marks and the rest, with scores, where both curves were measured."""
    made = slide(e)
    return None if made is None else png(made)


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
    "figure.png": figure,
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
    """The overlay and its figures as one piece of HTML that needs no other file; a large picture is reduced."""
    pixels = figures.overlay(e)
    if max(pixels.shape) <= LONGEST:
        kind, picture = "png", png(pixels)
    else:
        kind, picture = "webp", webp(pixels, LONGEST)
    return _captioned(e, kind, picture, "max-width:720px")


def thumbnail_html(e: Shown, number: int, longest: int, most: int) -> str:
    """A small overlay of at most `most` bytes with its figures below; number: its place in the list."""
    pixels, picture = figures.overlay(e), b""
    for share in (1, 0.75, 0.5, 0.25):
        picture = webp(pixels, round(longest * share))
        if len(picture) <= most:
            break
    return _captioned(e, "webp", picture, f"width:{longest}px;font-size:13px", f"{number}: ")


def _captioned(e: Shown, kind: str, picture: bytes, style: str, before: str = "") -> str:
    rows = {"score": f"{e.target.score:.2f}", "method": e.method if e.opt is None else f"{e.method}, {e.opt}"}
    if e.status != "ok":
        rows["status"] = e.status
    rows |= {s.name: f"{s.value:.3f} ({s.better} is better)" for s in figures.curve_scores(e)}
    label = text.escape(e.target.name)
    facts = " &middot; ".join(f"{text.escape(k)} {text.escape(v)}" for k, v in rows.items())
    data = base64.b64encode(picture).decode("ascii")
    return (
        f'<figure style="margin:0;{style};font-family:sans-serif">'
        f'<img style="width:100%" alt="{label}" src="data:image/{kind};base64,{data}">'
        f'<figcaption style="overflow-wrap:anywhere">{before}<b>{label}</b> {facts}</figcaption></figure>'
    )


def picture(e: Shown, kind: str = "overlay") -> Picture.Image:
    """One of FIGURES, by its name with or without suffix; `slide` is figure.png. Raises ConfigError for none."""
    named = {"slide" if name == "figure.png" else name.partition(".")[0]: draw for name, draw in FIGURES.items()}
    draw = {**named, "figure": named["slide"]}.get(kind.partition(".")[0]) if isinstance(kind, str) else None
    if draw is None:
        raise ConfigError(f"figure {kind!r} is not one of {', '.join(named)}")
    data = draw(e)
    if data is None:
        drawn = kind.startswith(("curves", "slide", "figure"))
        needed = "measure deletion and insertion" if drawn else f"{e.method} leaves no such map"
        raise ConfigError(f"figure {kind!r}: {e.target.name!r} has none; {needed}")
    return Picture.open(io.BytesIO(data))


def read(data: bytes) -> Picture.Image:
    """A picture that was written. Raises OSError for what is none."""
    return Picture.open(io.BytesIO(data))


def stacked(pictures: Sequence[Picture.Image]) -> Picture.Image:
    """Pictures one under the other, on white."""
    sheet = Picture.new("RGB", (max(p.width for p in pictures), sum(p.height for p in pictures)), "white")
    top = 0
    for each in pictures:
        sheet.paste(each.convert("RGB"), (0, top))
        top += each.height
    return sheet


def in_notebook(shown: Any) -> bool:
    """Shows it there where the code runs in one."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is None or not hasattr(shell, "kernel"):
        return False
    sys.modules["IPython"].display.display(shown)
    return True


def show(e: Shown) -> None:
    """In a notebook, or in the system's viewer of pictures. Raises ConfigError where there is none."""
    from PIL import ImageShow  # it imports IPython, where there is one

    if not in_notebook(e) and not ImageShow.show(picture(e), title=e.target.name):
        raise ConfigError("show: no viewer of pictures here; save(FOLDER) writes them")


def grey_png(saliency: torch.Tensor) -> bytes:
    """A map (H,W) as a grey PNG of its own size, 255 = most important."""
    return png((figures.shown(saliency) * 255).round().to(torch.uint8).numpy())


def png(pixels: np.ndarray) -> bytes:
    """(H,W,3) or (H,W) uint8 as a PNG: a fifth of the time of PIL's default, a little larger."""
    out = io.BytesIO()
    Picture.fromarray(pixels).save(out, format="PNG", compress_level=1)
    return out.getvalue()


def webp(pixels: np.ndarray, longest: int) -> bytes:
    """(H,W,3) uint8 as a WebP file, reduced to that longest side."""
    out, made = io.BytesIO(), Picture.fromarray(pixels)
    made.thumbnail((longest, longest))
    made.save(out, format="WEBP", quality=80, method=2)
    return out.getvalue()
