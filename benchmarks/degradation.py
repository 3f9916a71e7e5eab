"""Image degradation as in PGIG (https://arxiv.org/abs/2007.10685), for the methods that it compares: the score of the
predicted class while the most relevant tiles of 9 x 9 px turn into their mean colours one by one. Low is good.

    python benchmarks/degradation.py --pictures 10 --out OUT
    python benchmarks/degradation.py --models emblem-vgg --methods pattern_integrate_grad/aggregate=sum_abs

The bundled classifiers see single bodies of series 4, which no network saw; SqueezeNet sees the photos of
../shared/data, where it is there, and has its patterns from 40 others. Maps have the pictures' own size. Writes
curves.csv (a row per model, method and number of tiles), one plot, and prints the area over the curve, the mean of
p_0 - p_k, per method, and the mean score at 10 and at 50 tiles. `random` maps are the floor. PGIG comes three times: as
published, with its channels' absolute values summed, and from black in the place of the mean colour.
"""

from __future__ import annotations

import argparse
import csv
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
import yaml

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import igos
from benchmarks.floor import Prior
from benchmarks.photos import DATA, photos, squeezenet
from benchmarks.table import line
from igos.data.emblems import scene
from igos.metrics.degradation import area_over
from igos.types import Adapter

SERIES, SIDE = 4, 96
METHODS = (
    "vanilla_grad", "grad_x_input", "integrate_grad", "guided_backprop", "smooth_grad", "smooth_grad2", "var_grad",
    "exp_grad", "pattern_net", "pattern_vanilla_grad", "pattern_integrate_grad",
    "pattern_integrate_grad/aggregate=sum_abs", "pattern_integrate_grad/baseline=black", "sg_ig",
)  # fmt: skip
MODELS = ("emblem-vgg", "emblem-resnet", *(["squeezenet1_0"] if DATA.exists() else []))


def pictures_of(model: str, count: int) -> Sequence[Any]:
    if model == "squeezenet1_0":
        return photos()[:count]
    return [scene(SERIES, i, SIDE, single=True).picture() for i in range(count)]


def curve(adapter: Adapter, method: str, pictures: Sequence[Any]) -> np.ndarray:
    """The mean score (1 + tiles,) over the pictures; method: NAME, or NAME/KEY=VALUE with a setting of its own."""
    name, _, setting = method.partition("/")
    own = {key: yaml.safe_load(value) for key, _, value in [setting.partition("=")] if key}
    made = []
    for picture in pictures:
        image = adapter.read(picture)
        target, size = adapter.detect(image, 0.0)[:1], max(image.pixels.shape[-2:])
        call, settings = (Prior("random"), {}) if name == "random" else (name, {"size": size, **own})
        (e,) = igos.explain(adapter, image, target, call, metrics=["degradation_pgig"], **settings)
        made += [s.curve[1] for s in e.scores if s.name == "degradation_pgig" and s.curve is not None]
    return np.mean(made, axis=0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--methods", nargs="+", default=METHODS)
    parser.add_argument("--pictures", type=int, default=20)
    parser.add_argument("--minutes", type=float, default=30, help="methods that come later are left out")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("Output/degradation"))
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    begin, curves = time.perf_counter(), {}
    with tempfile.TemporaryDirectory() as place:
        adapters = {m: squeezenet(Path(place)) if m == "squeezenet1_0" else igos.load(m) for m in args.models}
        for method in ("random", *args.methods):
            for model, adapter in adapters.items():
                if time.perf_counter() - begin < 60 * args.minutes:
                    curves[model, method] = curve(adapter, method, pictures_of(model, args.pictures))
                    print(f"{time.perf_counter() - begin:6.0f} s  {model} {method}", file=sys.stderr, flush=True)
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "curves.csv").open("w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["model", "method", "tiles", "score"])
        for (model, method), y in curves.items():
            rows.writerows([model, method, k, f"{v:.6f}"] for k, v in enumerate(y))
    draw(curves, args.models, args.out / "curves.png")
    print(f"{args.pictures} pictures, tiles of 9 px")
    columns = ("model", "method", "area over", "at 10", "at 50")
    widths = dict(zip(columns, (16, 42, 9, 6, 6), strict=True))
    print(line({c: c for c in columns}, widths))
    for (model, method), y in sorted(curves.items(), key=lambda item: (item[0][0], item[1].mean())):
        cells = (model, method, area_over(y), float(y[10]), float(y[50]))
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
            style |= {"ls": "--"} if "/" in method else {}
            ax.plot(y, label=method.replace("/", ", "), lw=2.2 if method.startswith("pattern") else 1.2, **style)
        ax.set(title=model, xlabel="tiles replaced", ylim=(0, 1))
        ax.legend(fontsize=7)
    axes[0][0].set_ylabel("mean score of the predicted class")
    fig.tight_layout()
    fig.savefig(path, dpi=80)


if __name__ == "__main__":
    main()
