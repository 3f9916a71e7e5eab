"""What becomes of pattern units with w . c < 0: no pattern (zero), or that of the authors' estimator (keep).

    python benchmarks/patterns.py [--model emblem-vgg | squeezenet | yolo-fastest] [--pictures 36]

On the photos of ../shared/data/coco: patterns are fitted on every second one, the maps of all are judged.
higher is better for insertion less deletion; the interval is that of the mean difference zero - keep.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import igos  # noqa: E402
from benchmarks.photos import DATA, squeezenet  # noqa: E402
from benchmarks.table import markdown  # noqa: E402
from igos.methods.backward.pattern_fit import NEGATIVE, fit  # noqa: E402
from igos.metrics import METRICS  # noqa: E402

METHODS: dict[str, dict[str, int]] = {
    "pattern_net": {}, "pattern_vanilla_grad": {}, "pattern_integrate_grad": {"n_steps": 10},
}  # fmt: skip
STEPS = 15


def load(model: str) -> igos.Adapter:
    if model == "yolo-fastest":
        stem = DATA / "yolo-fastest" / "yolo-fastest-1.1"
        return igos.load("darknet", f"{stem}.weights", cfg=f"{stem}.cfg")
    return squeezenet() if model == "squeezenet" else igos.load(model)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="emblem-vgg", choices=("emblem-vgg", "squeezenet", "yolo-fastest"))
    parser.add_argument("--pictures", type=int, default=36)
    args = parser.parse_args()
    adapter = load(args.model)
    paths = sorted((DATA / "coco" / "images").glob("*.jpg"))[: args.pictures]
    images = [adapter.read(p) for p in paths]
    patterns = {kind: fit(adapter, images[::2], kind) for kind in NEGATIVE}
    units = {kind: sum(len(p.values) for p in found.values()) for kind, found in patterns.items()}
    negative = sum(p.negative for p in patterns["keep"].values())
    print(f"{len(images)} pictures, {negative} of {units['keep']} units negative\n")
    metrics = [METRICS[name](steps=STEPS) for name in ("deletion", "insertion")]
    gain: dict[tuple[str, str], list[float]] = {(m, kind): [] for m in METHODS for kind in NEGATIVE}
    for image in images:
        target = adapter.detect(image, 0.0)[:1]
        for method, kind in gain:
            values = {n: p.values.float() for n, p in patterns[kind].items()}
            (e,) = igos.explain(adapter, image, target, method, metrics=metrics, patterns=values, **METHODS[method])
            by_name = {s.name: s.value for s in e.scores}
            gain[method, kind].append(by_name["insertion"] - by_name["deletion"])
    rows = []
    for method in METHODS:
        a, b = (np.array(gain[method, kind]) for kind in ("zero", "keep"))
        spread = 1.96 * (a - b).std(ddof=1) / len(a) ** 0.5
        rows.append([method, f"{a.mean():.3f}", f"{b.mean():.3f}", f"{(a - b).mean():+.3f} +- {spread:.3f}"])
    print(markdown(["method", "zero", "keep", "zero - keep"], rows))


if __name__ == "__main__":
    main()
