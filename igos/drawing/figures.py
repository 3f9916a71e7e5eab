"""Pictures of explanations: heat over the photo, curves, and the sheet of diverse starts.

Pictures are (H,W,3) uint8 RGB. Lines and letters grow with the picture, so they look alike on all.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import torch
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from igos.base.errors import ConfigError
from igos.base.geometry import Geometry
from igos.base.names import EMPTY
from igos.base.ops import flat, top_area
from igos.base.settings import near_names
from igos.drawing.layout import LONG_SIDE, LONGEST, SKY, WHITE, captioned, legend, sheet, stamped, tag, thin
from igos.drawing.letters import name_of
from igos.drawing.lines import distance, distance_to_box, line, mix
from igos.drawing.shown import Measured, Shown

CONTOUR = "the most important 10 % of the"
STARTS = "each map starts from the cell in the green frame; del: low is good, ins: high"
COLOURS = "inferno"  # perceptually uniform: black, purple, red, orange, yellow
HEAT, DETAIL = 0.88, 0.35  # at full heat: how much of the photo is covered, how much of its texture returns
BRIGHT, LEAST_FULL = 0.995, 0.5  # heat is full from this quantile of the map, or this share of its maximum
GREY, DIM = 0.6, 0.78  # how grey and how dark the photo is below the map
PALE = 0.35  # how much white covers the grey photo of a map that shows nothing
FAINT, HINT = 60, 90  # the grey of such a map's 0, and what its 1 adds
LIME = (150, 255, 120)
PLOTTED = {"deletion": "#D55E00", "insertion": "#0072B2"}  # vermilion and blue of Okabe and Ito: all eyes see which
PLOT = (6.4, 4.2)  # inches
TILE, SHEET = (210, 420), 1600  # drawn pixels: a tile's long side, all columns
MARGIN = 0.25  # of the box's sides, shown round it on a tile
_colours = COLOURS
Window = tuple[int, int, int, int]


def grey(values: np.ndarray, top: float | None = None) -> np.ndarray:
    """(H,W) as uint8, 255 at top (None: its maximum); what is negative or not a number is 0."""
    shown = np.nan_to_num(values.astype(np.float64), posinf=0.0).clip(0, top)
    return np.round(255 * shown / (top or max(float(shown.max()), 1e-30))).astype(np.uint8)


def heatmap(e: Shown) -> np.ndarray:
    """The map alone, colour-mapped, at source size (H0,W0,3); grey and stamped where it shows nothing (EMPTY)."""
    heat = _heat(e, e.geometry)
    if e.status in EMPTY:
        return stamped(np.repeat((FAINT + HINT * heat).astype(np.uint8)[..., None], 3, axis=2), e.status)
    return _coloured(heat).round().astype(np.uint8)


def overlay(e: Shown, label: bool = True) -> np.ndarray:
    """The photo with heat, the contour of the top area, box and label; long side 720 to 1600 (H,W,3).

    Where the map shows nothing (EMPTY), the photo is grey, without heat, and stamped. Beside the score stands what of
    the target is explained, where that is not its class, and a status that is neither that nor ok.
    """
    view = _view(e, _whole(e), _size(e, *LONG_SIDE))
    drawn = _draw(view)
    drawn = stamped(drawn, e.status) if e.status in EMPTY else drawn
    marked = "" if e.status in (*EMPTY, "ok") else f" {e.status}"
    marked = marked if e.target.part == "class" else f", its {e.target.part}{marked}"
    return tag(drawn, name_of(e.target), f"{e.target.score:.2f}{marked}", view.box) if label else drawn


def canvas(e: Shown, shortest: int = LONG_SIDE[0], longest: int = LONG_SIDE[1]) -> tuple[np.ndarray, Geometry]:
    """The photo (h,w,3) uint8, its long side between shortest and longest, and the geometry of maps drawn on it."""
    size = _size(e, shortest, longest)
    return _photo(e, _whole(e), size), drawn_at(e.geometry, _whole(e), size)


def boxed(picture: np.ndarray, e: Shown, geometry: Geometry) -> np.ndarray:
    """The picture (h,w,3) uint8 of that geometry with the target's box, if it has one."""
    box = _box(e, geometry)
    if box is None:
        return picture
    far = distance_to_box(box, picture.shape[:2], thin(picture))
    return line(picture.astype(np.float32), far, 2 * thin(picture), SKY).round().clip(0, 255).astype(np.uint8)


def window(e: Shown, part: Window, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A part of the photo, x1, y1, x2, y2 in source pixels, at size (h,w): as it is, and with heat, contour and box."""
    view = _view(e, part, size)
    return view.photo, _draw(view)


def boxed_in(picture: np.ndarray, e: Shown, part: Window) -> np.ndarray:
    """`boxed` of a part of the photo."""
    return boxed(picture, e, drawn_at(e.geometry, part, picture.shape[:2]))


def explained(e: Shown) -> np.ndarray:
    """`overlay` above a strip that says what it shows: the colours, the contour, the method (H,W,3)."""
    method = " ".join(word for word in (e.method, e.opt) if word)
    around = f"{CONTOUR} {'picture' if e.target.box is None else 'box'}"
    return legend(overlay(e), colour_table(), method, None if e.status in EMPTY else around)


def use_colours(name: str | None) -> None:
    """Heat in this colour map of matplotlib from now on; None: the usual one. Raises ConfigError for an unknown one."""
    global _colours
    if name is not None and name not in colormaps:
        near = near_names(name, list(colormaps), 2)
        hint = f"; did you mean {' or '.join(near)}?" if near else ""
        raise ConfigError(f"--set colormap={name}: matplotlib has no such colour map{hint}")
    _colours = name or COLOURS


def curve_scores(e: Shown) -> list[Measured]:
    """The scores that `curves` draws."""
    return [s for s in e.scores if s.plot in PLOTTED and s.curve is not None]


def curves(e: Shown) -> bytes:
    """The deletion and insertion curves in one plot, a PNG."""
    scores = curve_scores(e)
    width, height = PLOT
    figure = Figure(figsize=PLOT, dpi=150)  # without a layout engine, which draws everything twice
    FigureCanvasAgg(figure)
    left, right, below, above = 0.68, 0.2, 0.62 + 0.23 * math.ceil(len(scores) / 2), 0.36  # inches
    axes = figure.add_axes((left / width, below / height, 1 - (left + right) / width, 1 - (below + above) / height))
    low, high = 0.0, 1.0
    for score in scores:
        x, y = np.asarray(score.curve)
        finite = y[np.isfinite(y)].tolist()
        low, high = min([low, *finite]), max([high, *finite])
        colour = PLOTTED[str(score.plot)]
        label = f"{score.name}  {score.value:.3f}  ({score.better} is better)"
        style = "--" if score.name.endswith("_object") else "-"
        axes.plot(x, y, style, color=colour, linewidth=2.2, label=label, clip_on=False, zorder=3)
        axes.fill_between(x, y, color=colour, alpha=0.1, linewidth=0)
    slack = 0.04 * (high - low) if (low, high) != (0, 1) else 0.0
    axes.set(xlim=(0, 1), ylim=(low - slack, high + slack))
    axes.set_xlabel("share of the map's cells, most important first")
    axes.set_ylabel("score")
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    name, status = name_of(e.target), f", {e.status}" if e.status in EMPTY else ""
    title = name.cut(LONGEST).plus(f" {e.target.score:.2f}, {e.method}{status}")
    axes.set_title(title.text, loc="left", fontproperties=name.properties(11), parse_math=False)
    figure.legend(loc="lower center", ncols=2, frameon=False, borderaxespad=0.2)
    return plot_png(figure)


def plot_png(figure: Figure) -> bytes:
    """A plot as a PNG, quickly."""
    out = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # a name in letters that the font lacks
        figure.savefig(out, format="png", pil_kwargs={"compress_level": 1})
    return out.getvalue()


def starts_sheet(explanations: Sequence[Shown]) -> np.ndarray:
    """The diverse starts of one object, row by row as given (H,W,3): overlay, start cell (green), caption."""
    columns = math.ceil(math.sqrt(len(explanations)))
    long_side = int(np.clip(SHEET // columns, *TILE))
    tiles = [_tile(e, long_side) for e in explanations]
    name = name_of(explanations[0].target).cut(24)
    return captioned(sheet(tiles, columns), name.plus(f" {explanations[0].target.score:.2f}: {STARTS}"))


@dataclass(frozen=True, eq=False)
class _View:
    """A window of the photo as drawn: photo (h,w,3) uint8, heat (h,w) in [0,1], box (4,) in drawn pixels.

    full is the heat from which colours are full; level is the least heat of the whole picture's top area, or None where
    the map shows nothing; empty: whether the status says so.
    """

    photo: np.ndarray
    heat: np.ndarray
    full: float
    level: float | None
    box: np.ndarray | None
    empty: bool


def _view(e: Shown, window: Window, size: tuple[int, int]) -> _View:
    geometry = drawn_at(e.geometry, window, size)
    heat = _heat(e, geometry)
    return _View(
        photo=_photo(e, window, size),
        heat=heat,
        full=full(shown(e.heat) if window == _whole(e) else torch.from_numpy(heat)),
        level=None if e.status in EMPTY else _level(e),
        box=_box(e, geometry),
        empty=e.status in EMPTY,
    )


def _photo(e: Shown, window: Window, size: tuple[int, int]) -> np.ndarray:
    x1, y1, x2, y2 = window
    way = cv2.INTER_AREA if math.prod(size) < (y2 - y1) * (x2 - x1) else cv2.INTER_CUBIC
    return cv2.resize(e.image.source[y1:y2, x1:x2], size[::-1], interpolation=way)


def _whole(e: Shown) -> Window:
    return 0, 0, e.geometry.source[1], e.geometry.source[0]


def _round_box(e: Shown) -> Window:
    """The box with a margin, in whole source pixels, or the whole picture."""
    height, width = e.geometry.source
    box = e.box_on_source()
    if box is None:
        return _whole(e)
    x, y = MARGIN * (box[2] - box[0]), MARGIN * (box[3] - box[1])
    x1 = int(np.clip(box[0] - x, 0, width - 1))
    y1 = int(np.clip(box[1] - y, 0, height - 1))
    x2 = int(np.clip(math.ceil(box[2] + x), x1 + 1, width))
    y2 = int(np.clip(math.ceil(box[3] + y), y1 + 1, height))
    return x1, y1, x2, y2


def _size(e: Shown, shortest: int, longest: int) -> tuple[int, int]:
    """(h,w) of the picture, its long side brought between shortest and longest."""
    height, width = e.geometry.source
    zoom = float(np.clip(max(height, width), shortest, longest)) / max(height, width)
    return max(round(height * zoom), 1), max(round(width * zoom), 1)


def drawn_at(g: Geometry, window: Window, size: tuple[int, int]) -> Geometry:
    """The geometry of a window of the source drawn at size (h,w), so that maps and boxes are sharp there."""
    x1, y1, x2, y2 = window
    (sy, sx), (oy, ox) = g.scale, g.offset
    scale = sy * (y2 - y1) / size[0], sx * (x2 - x1) / size[1]
    return Geometry(size, g.network, scale, (oy + y1 * sy, ox + x1 * sx))


def _box(e: Shown, geometry: Geometry) -> np.ndarray | None:
    return None if e.target.box is None else geometry.to_source(e.target.box.float().cpu()).numpy()


def _heat(e: Shown, geometry: Geometry) -> np.ndarray:
    """The map for display (H,W) in [0,1]."""
    return geometry.map_to_source(shown(e.heat)).clamp(0, 1).numpy()


def shown(saliency: torch.Tensor) -> torch.Tensor:
    """A map (h,w) for display in [0,1]: negative parts are 0, the least value is 0, a flat map is 0.

    Mask methods reach 0 by themselves; RISE adds the mean score to every cell.
    """
    saliency = saliency.float().cpu().nan_to_num(0, 0, 0).clamp(min=0)
    low = saliency.min()
    return torch.zeros_like(saliency) if flat(saliency) else (saliency - low) / (saliency.max() - low)


def full(heat: torch.Tensor) -> float:
    """The heat (h,w) in [0,1] from which a photo's cover is full: a map of few high cells would hardly show."""
    return max(float(heat.flatten().quantile(BRIGHT)), LEAST_FULL)


def _level(e: Shown) -> float | None:
    """The least heat of the top area, or None where the map shows nothing."""
    geometry = drawn_at(e.geometry, _whole(e), _size(e, LONG_SIDE[0], LONG_SIDE[0]))
    heat = _heat(e, geometry)
    return max(float(heat[top_area(heat, _box(e, geometry))].min()), 1e-3) if heat.any() else None


def colour_table() -> np.ndarray:
    """(256,3) float32 in [0,255]: the colours of heat."""
    return _table(_colours)


@lru_cache(maxsize=4)
def _table(name: str) -> np.ndarray:
    return (colormaps[name](np.linspace(0, 1, 256))[:, :3] * 255).astype(np.float32)


def _coloured(heat: np.ndarray) -> np.ndarray:
    """(H,W) in [0,1] -> (H,W,3) float32 in [0,255]."""
    return colour_table()[(heat * 255).round().astype(np.uint8)]


def _draw(view: _View, start: np.ndarray | None = None) -> np.ndarray:
    """Heat, contour, start cell and box on the photo."""
    picture: np.ndarray = view.photo.astype(np.float32)
    unit = thin(picture)
    if view.empty:
        grey = cv2.cvtColor(view.photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        picture = (PALE * 255 + (1 - PALE) * grey)[..., None].repeat(3, axis=2)
    elif view.level is not None:
        grey = cv2.cvtColor(view.photo, cv2.COLOR_RGB2GRAY).astype(np.float32)
        texture = grey - cv2.GaussianBlur(grey, (0, 0), 8 * unit)
        picture = DIM * (picture + GREY * (grey[..., None] - picture))
        cover = np.minimum(view.heat / view.full, 1)
        picture = mix(picture, _coloured(cover), HEAT * cover)
        picture += (DETAIL * cover * texture)[..., None]
        picture = line(picture, distance(view.heat >= view.level, unit), 1.5 * unit, WHITE)
    if start is not None:
        picture = line(picture, distance(start, unit), 3 * unit, LIME)
    if view.box is not None:
        picture = line(picture, distance_to_box(view.box, view.heat.shape, unit), 2 * unit, SKY)
    return picture.round().clip(0, 255).astype(np.uint8)


def _tile(e: Shown, long_side: int) -> np.ndarray:
    window = _round_box(e)
    w, h = window[2] - window[0], window[3] - window[1]
    zoom = long_side / max(w, h)
    view = _view(e, window, (max(round(h * zoom), 1), max(round(w * zoom), 1)))
    geometry = drawn_at(e.geometry, window, view.heat.shape)
    start = None
    if "start_mask" in e.arrays:
        freed = 1 - torch.from_numpy(e.arrays["start_mask"]).float()
        start = geometry.map_to_source(freed).numpy() > 0.5 * float(freed.max())
    figures = [f"{s.name[:3]} {f'{s.value:.2f}'.removeprefix('0')}" for s in curve_scores(e)]
    drawn = _draw(view, start)
    drawn = stamped(drawn, e.status) if e.status in EMPTY else drawn
    return captioned(drawn, "  ".join([f"start {e.start}", *figures]))
