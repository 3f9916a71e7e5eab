"""Pictures of many explanations: mean curves of several methods, and quality against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from igos.base.files import whole
from igos.drawing.shown import MeanCurve

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito's
LINES = ("-", "--", "-.", ":")


def write_mean_curves(
    path: Path, shown: MeanCurve, better: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]
) -> None:
    """One line per method, (x, mean score, area); in the legend the areas, best first."""
    figure, axes = _plot((7.2, max(4.6, 1 + 0.26 * len(curves))))
    order = sorted(curves, key=lambda m: curves[m][2] if better == "lower" else -curves[m][2])
    style = {m: (COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS) % len(LINES)]) for i, m in enumerate(curves)}
    for method in order:
        x, y, value = curves[method]
        colour, line = style[method]
        axes.plot(x, y, line, color=colour, linewidth=2, label=f"{method}  {value:.3f}")
    axes.set(xlabel=shown.x, ylabel=shown.y, xlim=(0, max((c[0][-1] for c in curves.values()), default=1)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=shown.counts))
    if shown.signed:
        axes.axhline(0, color="#888888", linewidth=0.8)
    else:
        axes.set_ylim(0, None)
    if curves:
        title = f"{shown.area}, {better} is better"
        axes.legend(title=title, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def write_quality(path: Path, panels: Mapping[str, Sequence[tuple[str, float, float, float, float]]]) -> None:
    """Panels side by side, title -> (method, network images, mean, low, high); all of higher is better.

    A line per method, the cheapest on top; a rule, and another colour, at each power of ten of network images.
    """
    order = sorted({(images, method) for points in panels.values() for method, images, *_ in points})
    powers = [len(f"{images:.0f}") if images >= 1 else 0 for images, _ in order]
    place = {method: (-i, COLOURS[powers[i] % len(COLOURS)]) for i, (_, method) in enumerate(order)}
    figure = Figure(figsize=(2.4 + 4.4 * len(panels), 1.1 + 0.21 * len(order)), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for n, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), n + 1)
        _style(axes)
        for method, _, mean, low, high in points:
            y, colour = place[method]
            bars = np.abs([[mean - low], [high - mean]]) if low == low else None
            axes.errorbar(mean, y, xerr=bars, fmt="o", color=colour, markersize=5, linewidth=1.4)
        for i in (i for i in range(1, len(order)) if powers[i] != powers[i - 1]):
            axes.axhline(0.5 - i, color="#999999", linewidth=0.8)
        names = [f"{method}   {images:,.0f}" if n == 0 else "" for images, method in order]
        axes.set_yticks([-i for i in range(len(order))], names, fontsize=9)
        axes.tick_params(axis="y", length=0)
        axes.set(ylim=(-len(order) + 0.4, 0.6), xlabel="mean, 95 % interval")
        axes.set_title(f"{title} (higher is better)", loc="left", fontsize=11)
    if panels:
        figure.axes[0].set_ylabel("by network images")
    _save(figure, path)


def _plot(size: tuple[float, float]) -> tuple[Figure, Axes]:
    figure = Figure(figsize=size, dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    _style(axes)
    return figure, axes


def _style(axes: Axes) -> None:
    axes.grid(color="#dddddd", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _save(figure: Figure, path: Path) -> None:
    with whole(path, within=path.parent) as temporary:
        figure.savefig(temporary, format="png")
