"""What the bundled networks can do, on scenes that they were not trained on, and whether the emblems are the cause.

    python weights/measure.py            # prints the table of weights/README.md and writes SHA256SUMS

AP50: pycocotools' COCOeval at IoU 0.5 on the scenes; accuracy: of single bodies, `none` included. `all hidden`: part of
the objects whose score, pinned to the detection, falls below 0.3 when the body's texture covers all of its emblems;
`one of two hidden`: part of those with two emblems whose score stays above 0.5 when one of them is covered.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import igos
from igos.data.coco import write
from igos.data.emblems import CLASSES, Scene, scene
from igos.data.truth import match, scene_truth
from igos.types import Adapter, Target

HERE = Path(__file__).resolve().parent
SERIES = 1  # training drew from series 0
DETECTORS = ("emblem-m-rcnn", "emblem-f-rcnn", "emblem-yolov3spp")
CLASSIFIERS = ("emblem-vgg", "emblem-resnet")
COLUMNS = ("model", "parameters", "side", "figure", "all hidden", "one of two hidden")


def found(adapter: Adapter, s: Scene, threshold: float) -> list[Target]:
    return adapter.detect(adapter.read(s.picture()), threshold)


def ap50(adapter: Adapter, scenes: list[Scene]) -> float:
    """Average precision at IoU 0.5, mean over the classes, by pycocotools."""
    side = scenes[0].size
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        path = Path(folder) / "truth.json"
        write(path, CLASSES, [(f"{s.index}.png", scene_truth(s)) for s in scenes], side)
        truth, rows = COCO(str(path)), []
        for n, s in enumerate(scenes, start=1):
            image = adapter.read(s.picture())
            for t in adapter.detect(image, 0.01):
                assert t.box is not None
                x1, y1, x2, y2 = image.geometry.to_source(t.box).tolist()
                kind = 1 + CLASSES.index(t.name)
                rows.append({"image_id": n, "category_id": kind, "bbox": [x1, y1, x2 - x1, y2 - y1], "score": t.score})
        if not rows:
            return 0.0
        judge = COCOeval(truth, truth.loadRes(rows), "bbox")
        judge.params.iouThrs = np.array([0.5])
        judge.evaluate()
        judge.accumulate()
        precision = judge.eval["precision"][0, :, :, 0, -1]
    return float(precision[precision > -1].mean())


def pinned(adapter: Adapter, s: Scene) -> list[tuple[int, Target]]:
    """(place in bodies, target) of every object that the network sees."""
    image = adapter.read(s.picture())
    truths, seen = scene_truth(s), adapter.detect(image, 0.4)
    pairs = [(match(t, image, truths), t) for t in seen]
    return [(s.objects[truths.index(truth)], t) for truth, t in pairs if truth is not None and truth in truths]


def causes(adapter: Adapter, scenes: list[Scene]) -> tuple[float, float]:
    """Part of the objects that vanish without their emblems, part of those with two that stay with one."""
    gone, stays = [], []
    for s in scenes:
        for i, target in pinned(adapter, s):
            count, score = len(s.bodies[i].emblems), adapter.scorer([target])
            hidden = [[(i, j) for j in range(count)], *([[(i, j)] for j in range(count)] if count == 2 else [])]
            pictures = torch.stack([adapter.read(s.picture(h)).pixels for h in hidden])
            with torch.no_grad():
                values = score(pictures[None])[0].tolist()
            gone.append(values[0] < 0.3)
            stays += [v > 0.5 for v in values[1:]]
    return float(np.mean(gone)), float(np.mean(stays))


def accuracy(adapter: Adapter, scenes: list[Scene]) -> float:
    return float(np.mean([found(adapter, s, 0.0)[0].name == s.bodies[0].name for s in scenes]))


def measure(name: str, count: int) -> dict[str, Any]:
    adapter = igos.load(name)
    single = name in CLASSIFIERS
    side = adapter.read(np.zeros((320, 320, 3), np.uint8)).pixels.shape[-1]
    scenes = [scene(SERIES, i, side, single) for i in range(count)]
    figure = f"accuracy {accuracy(adapter, scenes):.3f}" if single else f"AP50 {ap50(adapter, scenes):.3f}"
    gone, stays = causes(adapter, scenes)
    weights = sum(p.numel() for p in adapter.module.parameters()) / 1e6
    values = (f"`{name}`", f"{weights:.2f} M", f"{side} px", figure, f"{gone:.3f}", f"{stays:.3f}")
    return dict(zip(COLUMNS, values, strict=True))


def write_sums(folder: Path) -> None:
    files = sorted(folder.rglob("*.safetensors"))
    sums = "".join(f"{hashlib.sha256(f.read_bytes()).hexdigest()}  {f.relative_to(folder).as_posix()}\n" for f in files)
    (folder / "SHA256SUMS").write_text(sums)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=[*DETECTORS, *CLASSIFIERS])
    parser.add_argument("--scenes", type=int, default=200)
    flags = parser.parse_args()
    print("| " + " | ".join(COLUMNS) + " |\n" + "|---" * len(COLUMNS) + "|")
    for name in flags.models:
        print("| " + " | ".join(measure(name, flags.scenes).values()) + " |", flush=True)
    write_sums(HERE)


if __name__ == "__main__":
    main()
