"""The Python interface on one picture: python samples/explain_photo.py [PICTURE] [OUT]

With a network of one's own: igos.load("darknet", "net.weights", cfg="net.cfg"), igos.load("vgg16", "vgg16.pth"), ...
"""

from __future__ import annotations

import sys
from pathlib import Path

import igos

SCENE = Path(__file__).resolve().parent / "scene-07.png"


def main(picture: str = str(SCENE), out: str = "out") -> None:
    adapter = igos.load("emblem-m-rcnn")
    image = adapter.read(picture)
    for n, e in enumerate(igos.explain(adapter, image, adapter.detect(image), method="iGOS++", opt="NAG")):
        figures = ", ".join(f"{s.name} {s.value:.3f}" for s in e.scores if s.value == s.value)
        print(f"{e.target.name} {e.target.score:.2f}: {figures}, {e.network_images} network images, {e.status}")
        e.save(Path(out) / f"{n}-{e.target.name}")


if __name__ == "__main__":
    main(*sys.argv[1:])
