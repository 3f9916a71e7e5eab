"""Fit the patterns of the bundled networks on scenes that neither training nor measuring saw (series 3).

    python weights/patterns.py           # writes SHA256SUMS too

float16; `igos.methods.backward.pattern_files.load` restores w . a = 1. The Faster R-CNN uses the Mask R-CNN's file.
YOLO's would pass the 10 MB that patterns may take; fit them with `python -m igos fit-patterns`.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch
from tqdm import tqdm

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import igos
from detectors.emblem import FILES, PATTERNS, SCENE, SINGLE
from igos.cli.fit_patterns import table
from igos.data.emblems import scene
from igos.methods.backward import pattern_files
from igos.methods.backward.pattern_fit import fit
from weights.measure import write_sums

HERE = Path(__file__).resolve().parent
SERIES = 3  # 0 trained the networks, 1 measured them, 2 are the samples
MODELS = ("emblem-m-rcnn", "emblem-vgg", "emblem-resnet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=MODELS)
    parser.add_argument("--scenes", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    for name in args.models:
        adapter = igos.load(name)
        single = adapter.default_target == "top1"
        pictures = (scene(SERIES, i, SINGLE if single else SCENE, single).picture() for i in range(args.scenes))
        patterns = fit(adapter, (adapter.read(p) for p in tqdm(pictures, name, args.scenes)))
        path = args.out / f"{FILES.get(name, name)}{PATTERNS}"
        pattern_files.write(path, adapter, patterns, args.scenes, half=True)
        print(f"{table(patterns)}\n{path} {path.stat().st_size / 1e6:.1f} MB")
    write_sums(args.out)


if __name__ == "__main__":
    main()
