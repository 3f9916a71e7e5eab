"""What the number of threads alone changes: the bundled scenes explained with one and with two.

    python benchmarks/threads.py [--method iGOS++] [--opt NAG] [--model emblem-m-rcnn]

For each object the correlation of its two maps, the largest difference of a cell, and that of each figure.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import igos  # noqa: E402
from benchmarks.table import markdown  # noqa: E402
from igos.data.pictures import find_pictures  # noqa: E402

OBJECTS = 11
THREADS = 1, 2


def explained(adapter: Any, paths: list[str], method: str, opt: str | None, objects: int) -> list[igos.Explanation]:
    made: list[igos.Explanation] = []
    for path in paths:
        image = adapter.read(path)
        targets = adapter.detect(image)[: objects - len(made)]
        if targets:
            made += igos.explain(adapter, image, targets, method, opt)
    return made


def compare(one: igos.Explanation, two: igos.Explanation) -> dict[str, Any]:
    a, b = (e.saliency.double().numpy().ravel() for e in (one, two))
    figures = {s.name: abs(s.value - t.value) for s, t in zip(one.scores, two.scores, strict=True)}
    known = {k: v for k, v in figures.items() if not np.isnan(v)}
    return {
        "object": f"{Path(str(one.image.path)).stem} {one.target.name}",
        "same seed": "yes" if one.seed == two.seed else "no",
        "correlation": float(np.corrcoef(a, b)[0, 1]),
        "largest cell": float(np.abs(a - b).max()),
        **known,
    }


def measure(model: str, method: str, opt: str | None, objects: int = OBJECTS) -> list[dict[str, Any]]:
    """A row for each object."""
    adapter = igos.load(model)
    paths = [path for path, _ in find_pictures([str(ROOT / "samples" / "scene-*.png")])]
    made = []
    for threads in THREADS:
        torch.set_num_threads(threads)
        made.append(explained(adapter, paths, method, opt, objects))
    return [compare(*pair) for pair in zip(*made, strict=True)]


def shown(column: str, value: Any) -> str:
    if not isinstance(value, float):
        return "-" if value is None else str(value)
    return f"{value:.6f}" if column == "correlation" else f"{value:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emblem-m-rcnn")
    parser.add_argument("--method", default="iGOS++")
    parser.add_argument("--opt")
    parser.add_argument("--objects", type=int, default=OBJECTS)
    args = parser.parse_args()
    rows = measure(args.model, args.method, args.opt, args.objects)
    columns = list(dict.fromkeys(k for row in rows for k in row))
    print(markdown(columns, [[shown(c, row.get(c)) for c in columns] for row in rows]))
    lowest = min(row["correlation"] for row in rows)
    print(f"\nlowest correlation {lowest:.6f}; largest difference of a figure "
          f"{max(v for row in rows for k, v in row.items() if k in columns[4:]):.2g}")  # fmt: skip


if __name__ == "__main__":
    main()
