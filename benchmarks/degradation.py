"""Image degradation as in PGIG (https://arxiv.org/abs/2007.10685), for the methods that it compares: the score of the
predicted class while the most relevant tiles of 9 x 9 px turn into their mean colours one by one. Low is good.

    python benchmarks/degradation.py --models emblem-vgg emblem-resnet --pictures 20 --out OUT

The pictures are single bodies of series 4, which no network saw. Writes curves.csv (a row per model, method and number
of tiles), one plot and prints the area over the curve, the mean of p_0 - p_k, per method, and the mean score at 10 and
at 50 tiles. `random` maps are the floor.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import igos
from benchmarks.table import line
from igos.emblems import scene
from igos.types import Adapter, Explanation, Problem

SERIES, SIDE = 4, 96
METHODS = (
    "vanilla_grad", "grad_x_input", "integrate_grad", "guided_backprop", "smooth_grad", "smooth_grad2", "var_grad",
    "exp_grad", "pattern_net", "pattern_vanilla_grad", "pattern_integrate_grad", "sg_ig",
)  # fmt: skip


def random(problem: Problem) -> list[Explanation]:
    """Uniform noise in the place of a map."""
    g = torch.Generator().manual_seed(int(problem.targets[0].label))
    return [
        Explanation(torch.rand(28, 28, generator=g), t, i, "random")
        for t, i in zip(problem.targets, problem.images, strict=True)
    ]


def curve(adapter: Adapter, method: Any, pictures: Sequence[np.ndarray], size: int) -> np.ndarray:
    """The mean score (1 + tiles,) over the pictures."""
    settings = {"size": size} if isinstance(method, str) else {}
    made = []
    for picture in pictures:
        image = adapter.read(picture)
        target = adapter.detect(image, 0.0)[:1]
        (e,) = igos.explain(adapter, image, target, method, metrics=["degradation_pgig"], **settings)
        made += [s.curve[1] for s in e.scores if s.name == "degradation_pgig" and s.curve is not None]
    return np.mean(made, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["emblem-vgg", "emblem-resnet"])
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30, help="methods that come later are left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("Output/degradation"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    begin, curves = time.perf_counter(), {}
    pictures = [scene(SERIES, i, SIDE, single=True).picture() for i in range(args.pictures)]
    for method in ("random", *args.methods):
        for model in args.models:
            if time.perf_counter() - begin < 60 * args.minutes:
                call = random if method == "random" else method
                curves[model, method] = curve(igos.load(model), call, pictures, SIDE)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "curves.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["model", "method", "tiles", "score"])
        for (model, method), y in curves.items():
            rows.writerows([model, method, k, f"{v:.6f}"] for k, v in enumerate(y))
    draw(curves, args.models, args.out / "curves.png")
    print(f"{args.pictures} pictures, tiles of 9 px")
    columns = ("model", "method", "area over", "at 10", "at 50")
    widths = dict(zip(columns, (16, 24, 9, 6, 6), strict=True))
    print(line({c: c for c in columns}, widths))
    for (model, method), y in sorted(curves.items(), key=lambda item: (item[0][0], item[1].mean())):
        cells = (model, method, *(float(v) for v in ((y[0] - y).mean(), y[10], y[50])))
        print(line(dict(zip(columns, cells, strict=True)), widths))


def draw(curves: dict[tuple[str, str], np.ndarray], models: Sequence[str], path: Path) -> None:
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    fig, axes = plt.subplots(1, len(models), figsize=(6 * len(models), 4.5), squeeze=False, sharey=True)
    for ax, model in zip(axes[0], models, strict=True):
        shown = [(method, y) for (m, method), y in curves.items() if m == model]
        names = sorted({method for _, method in curves})
        for method, y in sorted(shown, key=lambda item: -item[1].mean()):
            colour = plt.get_cmap("tab20")(names.index(method))
            style = {"color": "black", "ls": ":"} if method == "random" else {"color": colour}
            ax.plot(y, label=method, lw=2.2 if method.startswith("pattern") else 1.2, **style)
        ax.set(title=model, xlabel="tiles replaced", ylim=(0, 1))
        ax.legend(fontsize=7)
    axes[0][0].set_ylabel("mean score of the predicted class")
    fig.tight_layout()
    fig.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
