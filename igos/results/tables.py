"""The rows of several methods as figures: per method and metric the mean, its interval, and how many are not known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.terminal import printable
from igos.drawing import charts
from igos.metrics import METRICS
from igos.metrics.statistics import interval, summarise
from igos.results.folder import RunFolder
from igos.results.read import read_arrays

Row = Mapping[str, Any]
COST = ("network_images", "seconds")
RESAMPLES, LEVEL, WIDTH = 2000, 0.95, 118


@dataclass(frozen=True)
class Figure:
    """One metric, or a detail of one, of one method: mean and 95 % interval over pictures, NaN where not known.

    class_mean: the mean of the classes' means; n, missing: how many explanations have a value and have none;
    reasons: how often each reason was given for having none.
    """

    method: str
    metric: str
    better: str
    mean: float
    low: float
    high: float
    class_mean: float
    n: int
    missing: int
    reasons: dict[str, int]


def label(row: Row) -> str:
    """The method's name, and its optimiser's."""
    return " ".join(str(row[key]) for key in ("method", "opt") if row.get(key))


def figures(rows: Sequence[Row], metrics: Sequence[Any], seed: int = 0) -> list[Figure]:
    """Of every method every metric, its numeric details (better: "") and the cost, in the order of the rows."""
    rows = [r for r in rows if r.get("folder")]
    better = {m.name: m.better for m in metrics}
    keys = [*better, *_details(rows, list(better)), *COST]
    made = []
    for method in dict.fromkeys(map(label, rows)):
        own = [r for r in rows if label(r) == method]
        for key in (k for k in keys if any(k in r for r in own)):
            values = [math.nan if r.get(key) is None else float(r[key]) for r in own]
            total = summarise(values, [r["name"] for r in own])
            low, high = interval(values, [r["image"] for r in own], seed, RESAMPLES, LEVEL)
            reasons = Counter(str(r[f"{key}_reason"]) for r in own if r.get(f"{key}_reason"))
            made.append(
                Figure(
                    method,
                    key,
                    better.get(key, ""),
                    total.mean,
                    low,
                    high,
                    total.class_mean,
                    total.n,
                    total.missing,
                    dict(reasons),
                )  # fmt: skip
            )
    return made


def _details(rows: Sequence[Row], names: Sequence[str]) -> list[str]:
    """Further numbers of the metrics: keys that begin with one's name, and bare_details of any."""
    keys = dict.fromkeys(k for r in rows for k, v in r.items() if isinstance(v, (int, float)))
    owners = sorted({*names, *METRICS}, key=len, reverse=True)
    owned = {k: next((n for n in owners if k.startswith(f"{n}_")), "") for k in keys if k not in owners}
    bare = {k for metric in METRICS.values() for k in metric.bare_details}
    return [k for k, owner in owned.items() if owner in names or k in bare]


def write(folder: RunFolder, metrics: Sequence[Any], seed: int = 0) -> list[Figure]:
    """metrics.csv, metrics.json and, of metrics with a mean_curve, <metric>_curves.csv and <metric>.png."""
    made = figures(folder.rows, metrics, seed)
    folder.write_csv("metrics.csv", [{**_finite(f), "reasons": _reasons(f)} for f in made])
    statuses = Counter(r["status"] for r in folder.rows)
    done = [r for r in folder.rows if r["folder"]]
    head = {
        "explanations": len(done),
        "pictures": len({r["image"] for r in done}),
        "statuses": dict(statuses),
        "interval": {"level": LEVEL, "resamples": RESAMPLES, "seed": seed, "drawn": "pictures"},
    }
    folder.write_json("metrics.json", {**head, "figures": [_finite(f) for f in made]})
    for metric in (m for m in metrics if m.mean_curve):
        curves = mean_curves(folder.path, done, metric.name)
        areas = {f.method: f.mean for f in made if f.metric == metric.name}
        points = [
            {"method": method, "x": x, "mean": y, "explanations": n}
            for method, (xs, ys, n) in curves.items()
            for x, y in zip(xs.tolist(), ys.tolist(), strict=True)
        ]
        folder.write_csv(f"{metric.name}_curves.csv", points, ("method", "x", "mean", "explanations"))
        lines = {method: (xs, ys, areas[method]) for method, (xs, ys, _) in curves.items()}
        charts.write_mean_curves(folder.path / f"{metric.name}.png", metric.mean_curve, metric.better, lines)
    return made


def mean_curves(folder: Path, rows: Iterable[Row], metric: str) -> dict[str, tuple[np.ndarray, np.ndarray, int]]:
    """Per method x (n), the mean curve (n) over its explanations, and how many they are.

    Where pictures have different numbers of tiles, curves are interpolated on the points of the shortest.
    """
    curves: dict[str, list[np.ndarray]] = {}
    for row in rows:
        curve = read_arrays(folder, row).get(f"{metric}_curve")
        if curve is not None and np.isfinite(curve).all():
            curves.setdefault(label(row), []).append(curve)
    made = {}
    for method, found in curves.items():
        x = min((c[0] for c in found), key=lambda x: (x[-1], len(x)))
        made[method] = x, np.mean([np.interp(x, *c) for c in found], axis=0), len(found)
    return made


def text(figures: Sequence[Figure], metrics: Sequence[Any]) -> str:
    """Methods x metrics with intervals, in blocks that fit a terminal."""
    by = {(f.method, f.metric): f for f in figures}
    methods = list(dict.fromkeys(f.method for f in figures))
    columns: list[list[str]] = [["method", "", *map(printable, methods)]]
    for key, title in (("network_images", "images"), ("seconds", "s")):
        columns.append([title, "", *(_number(by[m, key].mean, 0 if title == "images" else 2) for m in methods)])
    first = len(columns)
    for metric in metrics:
        columns.append([metric.name, f"({metric.better})", *(_cell(by, m, metric) for m in methods)])
    fixed, lines = columns[:first], []
    blocks: list[list[list[str]]] = [[]]
    for column in columns[first:]:
        if blocks[-1] and _width([*fixed, *blocks[-1], column]) > WIDTH:
            blocks.append([])
        blocks[-1].append(column)
    for block in blocks:
        lines += [*_aligned([*fixed, *block]), ""]
    return "\n".join(lines + ["mean [95 % interval over pictures]; known/all where some values are not known"])


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, c)) + 2 for c in columns)


def _aligned(columns: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, c)) for c in columns]
    rows = zip(*columns, strict=True)
    return ["  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows]


def _cell(by: Mapping[tuple[str, str], Figure], method: str, metric: Any) -> str:
    f = by.get((method, metric.name))
    if f is None:
        return "-"
    text = _number(f.mean)
    if not math.isnan(f.low):
        text += f" [{_number(f.low)}, {_number(f.high)}]"
    if f.missing:
        text += f" {f.n}/{f.n + f.missing}"
    seeds = by.get((method, f"{metric.name}_floor")) if metric.seed_floor else None
    if seeds is not None and seeds.mean > 0:
        text += f" (seeds alone {_number(seeds.mean)})"
    return text


def _number(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:.{digits}f}"


def _finite(f: Figure) -> dict[str, Any]:
    return {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in asdict(f).items()}


def _reasons(f: Figure) -> str:
    return "; ".join(f"{n} x {why}" for why, n in f.reasons.items())


def table(folder: RunFolder) -> str:
    """The closing table: a line per explanation (at most 40), and the means."""
    rows, tally = folder.first(40), folder.tally
    columns = ["score", *(name for name, metric in METRICS.items() if metric.in_table and tally.has(name))]
    widths = {key: max(len(key), 5) for key in columns}
    lines = [f"{'image':28} {'what':20} {' '.join(columns)} {'images':>6} {'s':>6}  status"]
    for r in rows:
        image, name, status = (printable(v) for v in (Path(r["image"]).name, r["name"] or "-", r["status"]))
        start = "" if r["start"] is None else f" #{r['start']}"
        numbers = [_figure(r.get(key), width) for key, width in widths.items()]
        pushed, seconds = _figure(r["network_images"], 6, 0), _figure(r["seconds"], 6, 1)
        what = f"{name[: 20 - len(start)]}{start}"
        shown = image if len(image) <= 28 else f"...{image[-25:]}"
        lines.append(f"{shown:28} {what:20} {' '.join(numbers)} {pushed} {seconds}  {status}")
    if tally.rows > len(rows):
        file = "results.csv" if folder.shards is None else "results.parquet"
        lines.append(f"... and {tally.rows - len(rows)} more in {file}")
    means = [_figure(tally.mean(key), width) for key, width in widths.items()]
    return "\n".join([*lines, f"{'mean of ' + str(tally.explanations):49} {' '.join(means)}"])


def _figure(value: float | None, width: int, digits: int = 3) -> str:
    if value is None:
        return "-".rjust(width)
    return f"{value:{width}.{2 if digits == 3 and width == 5 else digits}f}"
