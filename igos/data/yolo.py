"""YOLO's labels: a text file per picture, a line per object, and a data.yaml that names classes and folders.

A line is `class cx cy w h`, or `class x1 y1 x2 y2 x3 y3 ...` (a polygon), as shares of the picture's width and height;
https://docs.ultralytics.com/datasets/detect/. The file of images/train/a.jpg is labels/train/a.txt; where no folder
is called images, it lies beside the picture.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.reading import is_file_name, read_text
from igos.base.untrusted import load_yaml
from igos.data.coco import decode
from igos.data.folders import files_below
from igos.data.places import Places, beside
from igos.data.truth import Known, Truth, box_in, filled, gathered
from igos.types import ConfigError

DATA_FILES = ("data.yaml", "data.yml", "dataset.yaml", "dataset.yml")
SETS = ("train", "val", "valid", "test")
NAMES_FILE = "classes.txt"  # as LabelImg writes it: a name per line
SLACK = 0.01  # how far beyond the edge rounding may put a coordinate, as a share


class YOLO:
    """The labels that a data.yaml tells of, or those of a folder, which are `files`: a data.yaml or classes.txt in it
    or above it names their classes.

    Raises ConfigError where there are no labels, or no names for their classes.
    """

    warnings: tuple[str, ...] = ()

    def __init__(self, path: str | Path, files: Sequence[Path] = ()) -> None:
        self.path = Path(path)
        told: dict[str, Any] = {}
        if self.path.is_dir():
            source = _source_of_names(self.path)
            if source is None:
                raise ConfigError(
                    f"--annotations {path}: no data.yaml or {NAMES_FILE} there or above names the classes"
                )
            if source.name == NAMES_FILE:
                self.names = dict(enumerate(line.strip() for line in _text(source).splitlines()))
            else:
                told = _read(source)
                self.names = _names(source, told)
            files = [file for file in files if file.name != NAMES_FILE]
        else:
            told = _read(self.path)
            self.names = _names(self.path, told)
            files = _files(self.path, told)
        self._points = "kpt_shape" in told  # a pose: class cx cy w h, and points of the body behind
        self.places = Places([(os.path.abspath(file), file) for file in files], ending=False, home=beside)

    def of(self, picture: str | Path, size: tuple[int, int] | None = None) -> Known:
        """The objects of a picture of that size (height, width), found by the end of its path without the ending. An
        object that is damaged is left out with a warning; so are all where several files could be the picture's.
        Raises ConfigError for a file that is no text.
        """
        try:
            files = self.places.find(picture)
        except ValueError as error:
            return Known([], [f"--annotations {self.path}: {error}"])
        if not files:
            return Known([], [])
        if size is None:
            raise ConfigError(f"--annotations {files[0]}: states no size, and that of {picture} is not known")
        lines = [(n, line.split()) for n, line in enumerate(_text(files[0]).splitlines(), start=1)]
        return gathered(files[0], [(f"line {n}", partial(self._truth, n, words, size)) for n, words in lines if words])

    def _truth(self, number: int, words: Sequence[str], size: tuple[int, int]) -> Truth:
        label, *shares = (float(word) for word in words)
        if label not in self.names:
            raise ValueError(f"no class has the number {words[0]}")
        if self._points:
            shares = shares[:4]
        if not all(-SLACK <= v <= 1 + SLACK for v in shares):
            raise ValueError("numbers that are no shares of the picture's width and height, from 0 to 1")
        points = np.array(shares).reshape(-1, 2) * size[::-1] if len(shares) % 2 == 0 else np.zeros((0, 2))
        if len(points) == 2:
            (x, y), (w, h) = points
            box = box_in([x - w / 2, y - h / 2, x + w / 2, y + h / 2], size)
            mask = filled(box, size)
        elif len(points) > 2:
            box = box_in([*points.min(axis=0), *points.max(axis=0)], size)
            mask = decode([points.ravel().tolist()], size)
        else:
            raise ValueError(f"{len(words)} numbers; class cx cy w h, or class and x y of three points at least")
        return Truth(self.names[int(label)], box, mask, id=str(number))


def data_file(folder: Path) -> Path | None:
    """The data.yaml of a folder."""
    return next((p for name in DATA_FILES if (p := folder / name).is_file()), None)


def _source_of_names(folder: Path) -> Path | None:
    """The nearest data.yaml or classes.txt in the folder or the two above it."""
    around = (folder.absolute(), *folder.absolute().parents[:2])
    found = (f / NAMES_FILE if (f / NAMES_FILE).is_file() else data_file(f) for f in around)
    return next((p for p in found if p is not None), None)


def _read(file: Path) -> dict[str, Any]:
    try:
        told = load_yaml(_text(file))
    except ValueError as error:
        raise ConfigError(f"--annotations {file}: cannot be read as YAML ({error})") from None
    if not isinstance(told, dict):
        raise ConfigError(f"--annotations {file}: not a YOLO data.yaml (no keys)")
    return told


def _names(file: Path, told: dict[str, Any]) -> dict[int, str]:
    """`names`, a list or number -> name."""
    names = told.get("names")
    pairs = (
        list(enumerate(names)) if isinstance(names, list) else list((names if isinstance(names, dict) else {}).items())
    )
    if not pairs:
        raise ConfigError(f"--annotations {file}: not a YOLO data.yaml (it lacks `names`, a list or number: name)")
    made: dict[int, str] = {}
    for number, name in pairs:
        if not re.fullmatch("[0-9]{1,9}", str(number)):
            raise ConfigError(f"--annotations {file}: names: {number!r} is not the number of a class")
        if isinstance(name, bool) or not isinstance(name, str | int | float) or not str(name).strip():
            raise ConfigError(f"--annotations {file}: names: {number}: {name!r} is no name; put it in quotes")
        made[int(number)] = str(name).strip()
    return made


def _files(file: Path, told: dict[str, Any]) -> list[Path]:
    """The labels of the pictures that train, val and test tell of; without these, all text files below its folder."""
    folder = file.absolute().parent
    for text in (asked := [str(e) for key in ("path", *SETS) for e in _listed(told.get(key))]):
        if not is_file_name(text):
            raise ConfigError(f"--annotations {file}: {text!r} is no path")
    root = folder / str(told.get("path") or "")
    root = root if os.path.isdir(root) else folder
    asked = [str(e) for key in SETS for e in _listed(told.get(key))]
    found: dict[Path, None] = {}
    for place in (_place(root, text) for text in asked):
        found.update(dict.fromkeys(_labels(place)))
    if not asked:
        found.update(dict.fromkeys(files_below(root, {".txt"})))
    if not found:
        looked = ", ".join(str(_beside_images(_place(root, text))) for text in asked[:3]) or str(root)
        raise ConfigError(f"--annotations {file}: no labels, .txt files, in {looked}")
    return list(found)


def _listed(value: Any) -> list[Any]:
    return [v for v in (value if isinstance(value, list) else [value]) if v is not None]


def _place(root: Path, text: str) -> Path:
    """The folder or list of pictures of a set; without a ../ in front that leads nowhere, as Roboflow writes it."""
    text = text.replace("\\", "/")
    given, plain = root / text, root / text.removeprefix("../")
    there = [place for place in (given, plain) if os.path.exists(place) or os.path.exists(_beside_images(place))]
    return next(iter(there), given)


def _labels(place: Path) -> Iterable[Path]:
    """The labels of the pictures in a folder, or of those that a .txt lists."""
    if place.suffix.lower() != ".txt":
        return files_below(_beside_images(place), {".txt"})
    if not os.path.isfile(place):
        return ()
    pictures = (place.parent / line.strip().replace("\\", "/") for line in _text(place).splitlines() if line.strip())
    labels = (_beside_images(picture).with_suffix(".txt") for picture in pictures)
    return [label for label in labels if os.path.isfile(label)]


def _beside_images(path: Path) -> Path:
    """The path with its last `images` made `labels`."""
    at = [i for i, part in enumerate(path.parts) if part.lower() == "images"]
    return Path(*path.parts[: at[-1]], "labels", *path.parts[at[-1] + 1 :]) if at else path


def _text(file: Path) -> str:
    try:
        return read_text(file, encoding="utf-8-sig")
    except OSError as error:
        raise ConfigError(f"--annotations {file}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise ConfigError(f"--annotations {file}: is no text") from None
