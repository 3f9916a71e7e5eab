"""The pictures of the documentation's method pages: python samples/method_pictures.py [METHOD ...]

For each method (all, where none is named) docs/pictures/METHOD.jpg, its map of a classifier's body beside that of a
detector's object, as method_grid.py draws them, and photos.jpg, the two without a map. A method that serves one of the
two alone has one tile. curves-METHOD.png: deletion and insertion of the maps of CURVES of the detector's object.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from method_grid import HERE, SAMPLES, around, explanations
from PIL import Image as Picture

import igos
from igos.base.names import DEFAULT_METRICS, EVIDENCE_METRICS
from igos.drawing.figures import curves, overlay

SIDE, GAP, QUALITY = 300, 8, 74
CURVES = ("iGOS++", "pattern_net")
FOLDER = HERE.parent / "docs" / "pictures"


def main(methods: Sequence[str]) -> None:
    tiles: dict[str, list[np.ndarray]] = {"photos": []}
    for n, (model, picture) in enumerate(SAMPLES):
        for e in explanations(model, HERE / picture, methods or tuple(igos.METHODS)):
            if len(tiles["photos"]) == n:
                tiles["photos"].append(around(e, e.image.source, SIDE))
            tiles.setdefault(e.method, []).append(around(e, overlay(e, label=False), SIDE))
    FOLDER.mkdir(exist_ok=True)
    for name, row in tiles.items():
        spaced = [np.pad(tile, ((0, 0), (0, GAP), (0, 0)), constant_values=255) for tile in row[:-1]] + row[-1:]
        height = max(tile.shape[0] for tile in spaced)
        even = [np.pad(t, ((0, height - t.shape[0]), (0, 0), (0, 0)), constant_values=255) for t in spaced]
        Picture.fromarray(np.concatenate(even, axis=1)).save(FOLDER / f"{name}.jpg", quality=QUALITY, optimize=True)
    model, picture = SAMPLES[1]
    for e in explanations(model, HERE / picture, CURVES, (*DEFAULT_METRICS, *EVIDENCE_METRICS)):
        (FOLDER / f"curves-{e.method}.png").write_bytes(curves(e))


if __name__ == "__main__":
    main(sys.argv[1:])
