"""The Python interface on one photo: python samples/explain_photo.py NET.cfg NET.weights PHOTO [OUT]"""

from __future__ import annotations

import sys
from pathlib import Path

import igos


def main(cfg: str, weights: str, photo: str, out: str = "out") -> None:
    adapter = igos.load("darknet", weights=weights, cfg=cfg)
    image = adapter.read(photo)
    for n, e in enumerate(igos.explain(adapter, image, adapter.detect(image), method="iGOS++", opt="NAG")):
        figures = ", ".join(f"{s.name} {s.value:.3f}" for s in e.scores)
        print(f"{e.target.name} {e.target.score:.2f}: {figures}, {e.network_images} network images, {e.status}")
        e.save(Path(out) / f"{n}-{e.target.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
