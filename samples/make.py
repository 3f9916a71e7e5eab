"""Draw the scenes that ship: eight for the detectors, in singles/ six single bodies for the classifiers, and in flawed/
six scenes with planted flaws; the table `marks` of their instances.json says what is planted.

python samples/make.py
"""

from __future__ import annotations

from pathlib import Path

import PIL.Image

from igos.data.coco import write
from igos.data.emblems import CLASSES, scene
from igos.data.flawed import flawed_scene
from igos.data.truth import FILE, scene_truth

HERE = Path(__file__).resolve().parent
SEED = 2  # the networks are trained on series 0 and measured on series 1
SCENES, SCENE_PIXELS = (4, 7, 12, 17, 18, 19, 26, 38), 320
SINGLES, SINGLE_PIXELS = (0, 6, 8, 9, 10, 11), 192

FLAWED = (1, 2, 11, 16, 18, 20)


def draw(folder: Path, indices: tuple[int, ...], size: int, single: bool) -> None:
    folder.mkdir(exist_ok=True)
    written = []
    for index in indices:
        made = scene(SEED, index, size, single)
        name = f"{'single' if single else 'scene'}-{index:02}.png"
        PIL.Image.fromarray(made.picture()).save(folder / name, optimize=True)
        written.append((name, scene_truth(made)))
    write(folder / FILE, CLASSES, written, size)


def draw_flawed(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    written, marks = [], []
    for n, index in enumerate(FLAWED, start=1):
        made = flawed_scene(SEED, index, SCENE_PIXELS, test=True)
        name = f"flawed-{index:02}.png"
        PIL.Image.fromarray(made.picture()).save(folder / name, optimize=True)
        written.append((name, scene_truth(made)))
        marks += [{"image_id": n, **row} for row in made.marks()]
    write(folder / FILE, CLASSES, written, SCENE_PIXELS, marks=marks)


if __name__ == "__main__":
    draw(HERE, SCENES, SCENE_PIXELS, single=False)
    draw(HERE / "singles", SINGLES, SINGLE_PIXELS, single=True)
    draw_flawed(HERE / "flawed")
