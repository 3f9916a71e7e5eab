"""Every method's maps on every bundled model, to tell whether a change of the code changes a map.

    python benchmarks/maps.py --write before.npz     # then change the code
    python benchmarks/maps.py --against before.npz   # a row per model and method: equal bits, or the largest difference

One thread and one batch per picture; of each explanation the map, the attribution, the masks and the figures.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks.table import line, parser  # noqa: E402

ROOT = Path(__file__).resolve().parents[1]
SINGLE, SCENE = ROOT / "samples" / "singles", ROOT / "samples" / "scene-04.png"
MODELS = {
    "emblem-m-rcnn": SCENE,
    "emblem-f-rcnn": SCENE,
    "emblem-yolov3spp": SCENE,
    "emblem-vgg": SINGLE,
    "emblem-resnet": SINGLE,
}
VARIANTS = [("iGOS++", {"opt": "LS"}), ("I-GOS", {"opt": "LS"}), ("iGOS+", {"opt": "PG"})]
COLUMNS = {"model": 17, "method": 28, "arrays": 6, "differ": 6, "largest": 12}


def arrays(model: str, picture: Path) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """(method, arrays by name) of each method that takes the model; a refusal is an array of its words."""
    adapter = igos.load(model)
    image = adapter.read(picture if picture.is_file() else sorted(picture.glob("*.png"))[0])
    targets = adapter.detect(image)[:2]
    for method, settings in [*((name, {}) for name in igos.METHODS), *VARIANTS]:
        name = "/".join([method, *settings.values()])
        try:
            explained = igos.explain(adapter, image, targets, method, **settings)
        except igos.IgosError as error:
            yield name, {"refused": np.frombuffer(type(error).__name__.encode(), np.uint8)}
            continue
        found = {}
        for n, e in enumerate(explained):
            found[f"{n}/saliency"] = e.saliency.numpy()
            found |= {f"{n}/{k}": v.numpy() for k in ("attribution", "masks") if (v := getattr(e, k)) is not None}
            found |= {f"{n}/{s.name}": np.float64(s.value) for s in e.scores}
        yield name, found


def main() -> int:
    flags = parser(__doc__ or "")
    flags.add_argument("--write", metavar="FILE", type=Path, help="keep the arrays in this .npz")
    flags.add_argument("--against", metavar="FILE", type=Path, help="compare with the arrays in this .npz")
    given = flags.parse_args()
    torch.set_num_threads(1)
    before = dict(np.load(given.against)) if given.against else {}
    every: dict[str, np.ndarray] = {}
    differing = 0
    print(line({k: k for k in COLUMNS}, COLUMNS))
    for model, picture in MODELS.items():
        for method, found in arrays(model, picture):
            named = {f"{model}|{method}|{k}": np.asarray(a) for k, a in found.items()}
            every |= named
            row = {"model": model, "method": method, "arrays": len(named), "differ": None, "largest": None}
            if given.against:
                other = [k for k, a in named.items() if k not in before or not np.array_equal(a, before[k], True)]
                gaps = [float(np.abs(named[k] - before[k]).max()) for k in other if k in before]
                differing += len(other)
                row |= {"differ": len(other), "largest": f"{max(gaps):.1e}" if gaps else "-"}
            print(line(row, COLUMNS), flush=True)
    if given.write:
        np.savez_compressed(given.write, **every)
    if given.against:
        print(f"{len(every)} arrays, {differing} differ, {len(before.keys() - every.keys())} are missing")
    return int(differing > 0 or bool(before.keys() - every.keys()) and bool(given.against))


if __name__ == "__main__":
    sys.exit(main())
