"""How far are deletion and insertion off when fewer points of their curves are scored (--set within=...)?

    python benchmarks/curves.py                    # yolo-fastest on photos of ../shared/data, and scenes of emblems
    python benchmarks/curves.py --only scenes --count 40

Every curve is scored in full, 51 points; then the points that `within` would have had scored are chosen from it, which
gives the same figure, because a picture's score does not depend on its batch. images: of one object's curve, mean;
error: of the figure, against that of all points. Rows are written as they come: --json keeps each object's.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from igos.data.emblems import scene  # noqa: E402
from igos.metrics.refine import first, following  # noqa: E402
from igos.metrics.statistics import trapezoid  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
YOLO = DATA / "yolo-fastest"
WITHIN = (0.002, 0.005, 0.01)
WIDTHS = {"maps": 8, "figure": 10, "within": 7, "objects": 8, "images": 7, "mean": 8, "largest": 8, "beyond": 7}


def photos() -> Iterator[tuple[Any, Any]]:
    """A detector and each photo."""
    model = igos.load(
        "darknet", YOLO / "yolo-fastest-1.1.weights", cfg=YOLO / "yolo-fastest-1.1.cfg", names=YOLO / "coco.names"
    )
    for path in sorted([*DATA.glob("coco/**/*.jpg"), *DATA.glob("photos/*.jpg"), *DATA.glob("photos/*.png")]):
        yield model, path


def scenes() -> Iterator[tuple[Any, Any]]:
    """The bundled detector and new scenes of emblems."""
    model = igos.load("emblem-vgg")
    for n in range(10_000):
        yield model, scene(7, n).picture()


def scored(y: np.ndarray, within: float) -> np.ndarray:
    """The points of a whole curve that are scored."""
    x, known, asked = np.linspace(0, 1, len(y)), np.zeros(0, int), first(len(y))
    while len(asked):
        known = np.union1d(known, asked)
        asked = following(x, y, known, within)
    return known


def rows_of(maps: str, found: dict[str, list[np.ndarray]]) -> list[dict[str, Any]]:
    rows = []
    for figure, curves in found.items():
        for within in WITHIN:
            known = [scored(y, within) for y in curves]
            x = np.linspace(0, 1, len(curves[0]))
            error = np.array([abs(trapezoid(y[k], x[k]) - trapezoid(y, x)) for y, k in zip(curves, known, strict=True)])
            images = float(np.mean([len(k) for k in known]))
            rows.append(
                {
                    "maps": maps, "figure": figure, "within": within, "objects": len(curves), "images": images,
                    "mean": float(error.mean()), "largest": float(error.max()), "beyond": int((error > within).sum()),
                }
            )  # fmt: skip
    return rows


def main(words: list[str] | None = None) -> list[dict[str, Any]]:
    parser = table.parser(__doc__ or "")
    parser.set_defaults(threads=1)
    parser.add_argument("--only", choices=["photos", "scenes"])
    parser.add_argument("--count", type=int, default=60, help="detections of each, by each method (60)")
    parser.add_argument("--methods", nargs="+", default=["iGOS++", "integrated_gradients"])
    parser.add_argument("--minutes", type=float, default=60.0, help="of each at most (60)")
    flags = parser.parse_args(words)
    torch.set_num_threads(flags.threads)
    rows: list[dict[str, Any]] = []
    kept: list[dict[str, Any]] = []
    print(" ".join(k.ljust(w) if k in ("maps", "figure") else k.rjust(w) for k, w in WIDTHS.items()))
    for name, pictures in (("photos", photos), ("scenes", scenes)):
        if flags.only in (None, name):
            found: dict[str, list[np.ndarray]] = {}
            end, left = time.monotonic() + 60 * flags.minutes, flags.count
            for model, picture in pictures():
                made = [igos.explain(model, picture, method=m, metrics="deletion,insertion") for m in flags.methods]
                for e in (e for each in made for e in each[:left]):
                    for s in e.scores:
                        if s.curve is not None and np.isfinite(s.curve).all():
                            found.setdefault(s.name, []).append(s.curve[1])
                            kept.append(
                                {"maps": name, "method": e.method, "figure": s.name, "curve": s.curve[1].tolist()}
                            )
                left -= len(made[0])
                table.write_json(flags.json, table.header(0), kept)
                if left <= 0 or time.monotonic() > end:
                    break
            rows += rows_of(name, found)
            for row in rows[-2 * len(WITHIN) :]:
                print(table.line(row, WIDTHS), flush=True)
    return rows


if __name__ == "__main__":
    main()
