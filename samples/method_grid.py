"""Every method on two samples, side by side: python samples/method_grid.py [OUT.jpg]

A classifier on a single body, and a detector on one object of a scene; the emblem on a body is what decides its class.
A method that cannot serve a network is left out and says why.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image as Picture

import igos
from igos.drawing.figures import overlay
from igos.drawing.layout import captioned, sheet
from igos.methods import ALIASES

HERE = Path(__file__).resolve().parent
SAMPLES = (("emblem-vgg", "singles/single-00.png"), ("emblem-m-rcnn", "scene-07.png"))
FEWER = {  # settings for a picture to look at: no method pushes more than some 200 pictures
    "sg_ig": {"n_steps": 10, "n_samples": 10},
    "guided_ig": {"n_steps": 80},
    "xrai": {"n_steps": 60},
    "rise": {"n_masks": 200},
    "drise": {"n_masks": 200},
}
SIDE, COLUMNS, MARGIN = 190, 8, 0.3
SHORT = {name: alias for alias, name in ALIASES.items() if len(name) > 22}  # what has no room under a tile


def around(e: igos.Explanation, picture: np.ndarray, side: int = SIDE) -> np.ndarray:
    """The object's square of a drawn picture of e (H,W,3), at side x side; all of it where there is no box."""
    box = e.box_on_source()
    if box is not None:
        zoom = picture.shape[0] / e.geometry.source[0]
        y, x, half = (box[1] + box[3]) / 2, (box[0] + box[2]) / 2, (0.5 + MARGIN) * max(box[2:] - box[:2])
        y1, x1 = (max(int(zoom * (v - half)), 0) for v in (y, x))
        picture = picture[y1 : int(zoom * (y + half)), x1 : int(zoom * (x + half))]
    zoom = side / max(picture.shape[:2])
    return cv2.resize(picture, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)


def explanations(
    model: str, picture: Path, methods: Iterable[str] = tuple(igos.METHODS), metrics: Sequence[str] = ()
) -> Iterator[igos.Explanation]:
    """The best target of a picture, by each method that can serve the model."""
    adapter = igos.load(model)
    image = adapter.read(picture)
    target = adapter.detect(image)[0]
    for method in methods:
        try:
            (e,) = igos.explain(adapter, image, [target], method, metrics=metrics, **FEWER.get(method, {}))
        except igos.ConfigError as error:
            print(f"{model}, {method}: {error}")
            continue
        print(f"{model}, {method}: {e.status}, {e.network_images} network images, {e.seconds:.1f} s", flush=True)
        yield e


def tiles(model: str, picture: Path) -> list[np.ndarray]:
    """The photo, then a tile for each method."""
    made: list[np.ndarray] = []
    for e in explanations(model, picture):
        if not made:
            made.append(captioned(around(e, e.image.source), f"{e.target.name} {e.target.score:.2f}"))
        made.append(captioned(around(e, overlay(e, label=False)), SHORT.get(e.method, e.method)))
    return made


def main(out: str = str(HERE.parent / "docs" / "methods.jpg")) -> None:
    rows = [sheet(tiles(model, HERE / name), COLUMNS) for model, name in SAMPLES]
    width = max(row.shape[1] for row in rows)
    even = [np.pad(row, ((0, 0), (0, width - row.shape[1]), (0, 0)), constant_values=255) for row in rows]
    Picture.fromarray(np.concatenate(even)).save(out, quality=88)
    print(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
