"""Pictures of many explanations: mean curves of several methods, and quality against cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, StrMethodFormatter

from igos.files import whole

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000")  # Okabe and Ito's
LINES = ("-", "--", "-.", ":")
AXES = {
    "degradation": ("share of tiles replaced", "score, least relevant first - most relevant first"),
    "degradation_pgig": ("most relevant tiles replaced by their mean colour", "score"),
}


def write_degradation(
    path: Path, metric: str, better: str, curves: Mapping[str, tuple[np.ndarray, np.ndarray, float]]
) -> None:
    """One line per method, (x, mean score, area); in the legend the areas, best first."""
    figure, axes = _plot((7.2, max(4.6, 1 + 0.26 * len(curves))))
    order = sorted(curves, key=lambda m: curves[m][2] if better == "lower" else -curves[m][2])
    style = {m: (COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS) % len(LINES)]) for i, m in enumerate(curves)}
    for method in order:
        x, y, area = curves[method]
        colour, line = style[method]
        axes.plot(x, y, line, color=colour, linewidth=2, label=f"{method}  {area:.3f}")
    x_label, y_label = AXES[metric]
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(0, max((c[0][-1] for c in curves.values()), default=1)))
    axes.xaxis.set_major_locator(MaxNLocator(integer=metric == "degradation_pgig"))
    if metric == "degradation":
        axes.axhline(0, color="#888888", linewidth=0.8)
    else:
        axes.set_ylim(0, None)
    if curves:
        axes.legend(title=f"area, {better} is better", loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False)
    _save(figure, path)


def write_quality(path: Path, panels: Mapping[str, Sequence[tuple[str, float, float, float, float]]]) -> None:
    """Panels side by side, title -> (method, network images, mean, low, high); all of higher is better."""
    figure = Figure(figsize=(6.2 * len(panels), 5.2), dpi=130, layout="constrained")
    FigureCanvasAgg(figure)
    for i, (title, points) in enumerate(panels.items()):
        axes = figure.add_subplot(1, len(panels), i + 1)
        _style(axes)
        for n, (_, images, mean, low, high) in enumerate(points):
            colour = COLOURS[n % len(COLOURS)]
            bars = np.abs([[mean - low], [high - mean]]) if low == low else None
            axes.errorbar(images, mean, bars, fmt="o", color=colour, markersize=5, linewidth=1, alpha=0.9)
        _name(axes, points)
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.set(xlabel="network images per explanation")
        axes.set_title(f"{title} (higher is better)", loc="left", fontsize=11)
    _save(figure, path)


def _name(axes: Axes, points: Sequence[tuple[str, float, float, float, float]]) -> None:
    """Names beside the points, moved up and down until they do not cover each other."""
    if not points:
        return
    values = [p[2] for p in points]
    step = max(max(values) - min(values), 1e-3) / 26
    placed: list[tuple[float, float]] = []
    for n, (method, images, mean, _, _) in sorted(enumerate(points), key=lambda p: -p[1][2]):
        x, y = np.log10(max(images, 1)), mean
        while any(abs(x - px) < 0.9 and abs(y - py) < step for px, py in placed):
            y -= step / 4
        placed.append((float(x), y))
        axes.annotate(
            method, (images, mean), (images * 1.12, y), fontsize=7.5, va="center", color=COLOURS[n % len(COLOURS)],
            arrowprops={"arrowstyle": "-", "color": "#bbbbbb", "linewidth": 0.5, "shrinkA": 0},
        )  # fmt: skip
    axes.margins(x=0.25)


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
    with whole(path) as temporary:
        figure.savefig(temporary, format="png")
