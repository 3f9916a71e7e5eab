"""The rows of several methods as figures: per method and metric the mean, its interval, and how many are not known."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.terminal import printable, signs
from igos.drawing import charts
from igos.metrics import METRICS
from igos.metrics.statistics import ENOUGH, interval, summarise
from igos.results.folder import RunFolder
from igos.results.read import read_arrays

Row = Mapping[str, Any]
COST = ("network_images", "seconds")
COSTS = ("images", "map s", "figures s")
RESAMPLES, LEVEL, WIDTH = 2000, 0.95, 118
MOST_ROWS = 20  # of the closing table
NO_DETECTION = "it is no detection; what is explained is the candidate that stands for it"
LEGEND = "mean [95 % interval over pictures]; known/all where some values are not known"


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


@dataclass(frozen=True)
class Table:
    """Words in columns; more: a line below them; foot: a last row; right: the columns that are set to the right."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    more: str = ""
    foot: tuple[str, ...] = ()
    right: frozenset[int] = frozenset()

    def text(self) -> str:
        """As plain text."""
        every = [self.head, *self.rows, *([self.foot] if self.foot else [])]
        widths = [max(map(len, column)) for column in zip(*every, strict=True)]
        lines = []
        for row in every:
            cells = enumerate(zip(row, widths, strict=True))
            lines.append("  ".join(v.rjust(w) if i in self.right else v.ljust(w) for i, (v, w) in cells).rstrip())
        if self.more:
            lines.insert(1 + len(self.rows), self.more)
        return "\n".join(lines)


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


def legend(rows: Iterable[Row]) -> str:
    """What stands in the cells of `blocks`, and whether there are too few pictures for their intervals."""
    count = len({r["image"] for r in rows if r.get("folder")})
    few = f"; only {count} picture{'s' * (count != 1)}: too few for an interval to be trusted"
    return LEGEND + few * (1 < count < ENOUGH)


def blocks(figures: Sequence[Figure], metrics: Sequence[Any]) -> list[Table]:
    """Methods x metrics with intervals, in tables that fit a terminal."""
    by = {(f.method, f.metric): f for f in figures}
    methods = list(dict.fromkeys(f.method for f in figures))
    fixed: list[list[str]] = [["method", *map(printable, methods)]]
    for key, title in (("network_images", "images"), ("seconds", "map s")):
        fixed.append([title, *(_number(by[m, key].mean, 0 if title == "images" else 2) for m in methods)])
    made: list[list[list[str]]] = [[]]
    for metric in metrics:
        column = [headed(metric.name, metric.better), *(_cell(by, m, metric) for m in methods)]
        if made[-1] and sum(max(map(len, c)) + 2 for c in [*fixed, *made[-1], column]) > WIDTH:
            made.append([])
        made[-1].append(column)
    turned = [list(zip(*fixed, *block, strict=True)) for block in made]
    return [Table(tuple(rows[0]), rows[1:], right=frozenset({1, 2})) for rows in turned]


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
    """The closing table as plain text."""
    return closing(folder).text()


def closing(folder: RunFolder) -> Table:
    """A line per explanation (at most MOST_ROWS), and the means: figures with the better side, network images of the
    map, and the seconds of the map and of its figures.
    """
    rows, tally = folder.first(MOST_ROWS), folder.tally
    known = {name: metric.better for name, metric in METRICS.items() if metric.in_table and tally.has(name)}
    digits = {"score": 2, **dict.fromkeys(known, 3), "network_images": 0, "seconds": 1, "metric_seconds": 1}
    titles = ["score", *(headed(name, better) for name, better in known.items()), *COSTS]
    head = ("picture", "object", *titles, "status")
    lines = []
    for r in rows:
        start = "" if r.get("part") in (None, "class") else f", {r['part']}"
        start += "" if r["start"] is None else f" #{r['start']}"
        picture, name, status = (printable(v) for v in (Path(r["image"]).name, r["name"] or "-", r["status"]))
        numbers = [_figure(r.get(key), n) for key, n in digits.items()]
        lines.append((_ending(picture, 28), f"{name[: 24 - len(start)]}{start}", *numbers, status))
    file = "results.csv" if folder.shards is None else "results.parquet"
    more = f"... and {tally.rows - len(rows)} more in {file}" if tally.rows > len(rows) else ""
    means = (f"mean of {tally.explanations}", "", *(_figure(tally.mean(key), n) for key, n in digits.items()), "")
    return Table(head, lines, more, means, frozenset(range(2, len(head) - 1)))


def answers(folder: RunFolder) -> list[str]:
    """What rows say in words, a line each: the picture, the object, of a miss its reason, the sentence of why-not with
    its verdict, or of versus; of a miss without one that it is no detection; and which regions are redundant or needed
    together.
    """
    made = []
    for r in folder.first(MOST_ROWS):
        reason = f" ({r['reason']})" if r.get("reason") else ""
        verdict = f" [{r['verdict']}]" if r.get("verdict") else ""
        told = [f"{r['sentence']}{verdict}"] if r.get("sentence") else []
        told = told or [NO_DETECTION] * (r.get("reason") not in (None, "found"))
        told += [r["interactions_told"]] if r.get("interactions_told") else []
        made += [printable(f"{Path(r['image']).name}, {r['name']}{reason}: {words}") for words in told]
    return made


def headed(name: str, better: str) -> str:
    """A figure's name with an arrow to its better side."""
    arrow, word = {"higher": (" \N{UPWARDS ARROW}", " (high)"), "lower": (" \N{DOWNWARDS ARROW}", " (low)")}[better]
    return name + signs(arrow, word)


def _ending(text: str, length: int) -> str:
    return text if len(text) <= length else f"...{text[3 - length :]}"


def _figure(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
