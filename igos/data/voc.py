"""Pascal VOC's annotations, an XML file per picture; ImageNet's localisation files have the same form.

Everingham et al.: The Pascal Visual Object Classes Challenge, IJCV 2010. Boxes count pixels from 1, both ends inside:
xmin = 1 is the left edge.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

import numpy as np

from igos.base.reading import MOST_TEXT, read_bytes, read_text
from igos.base.untrusted import load_json
from igos.data.truth import Truth, filled, same_size
from igos.types import ConfigError


class VOC:
    """One XML file, or a folder of them (searched through). Raises ConfigError where there is none."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._own: dict[str, dict[str, Path]] = {}
        self._names: dict[str, str] = {}
        if self.path.is_dir():
            files = sorted(self.path.rglob("*.xml"))
            if not files:
                raise ConfigError(f"--annotations {path}: no .xml file in this folder")
            self._files = {p.stem: p for p in files}
            self._own = {p.parent.name: {f.stem: f for f in files if f.parent == p.parent} for p in files}
            self._names = _synsets(self.path)
        elif self.path.is_file():
            named = (_parsed(self.path).findtext("filename") or "").strip()
            self._files = {self.path.stem: self.path, **({Path(named).stem: self.path} if named else {})}
        else:
            raise ConfigError(f"--annotations {path}: no such file or folder")

    def of(self, picture: str | Path, size: tuple[int, int] | None = None) -> list[Truth]:
        """All objects of a picture, difficult ones too, found by the file's name without its ending, in the folder that
        is named as the picture's where there is one; masks are boxes, synsets get their class's name.

        Raises ConfigError for a file that is damaged or states another size (height, width).
        """
        folder = Path(picture).parent.name
        path = self._own.get(folder, self._files).get(Path(picture).stem)
        if path is None:
            return []
        return [replace(t, name=self._names.get(t.name, t.name)) for t in _objects(path, size)]


def _objects(path: Path, known: tuple[int, int] | None) -> Iterator[Truth]:
    root = _parsed(path)
    for number, item in enumerate(root.iter("object"), start=1):
        try:
            size = same_size((int(_text(root, "size/height")), int(_text(root, "size/width"))), known)
            x1, y1, x2, y2 = (float(_text(item, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
            box = np.array([x1 - 1, y1 - 1, x2, y2])
            if not (box[:2] < box[2:]).all():
                raise ValueError(f"a box without area, {box.tolist()}")
            difficult = (item.findtext("difficult") or "0").strip() == "1"
            yield Truth(_text(item, "name"), box, filled(box, size), id=str(number), difficult=difficult)
        except ValueError as error:
            raise ConfigError(f"--annotations {path}: object {number} is damaged ({error})") from None


def _synsets(folder: Path) -> dict[str, str]:
    """Synset -> name, of the nearest imagenet_class_index.json {index: [synset, name]} above the folder; {} without."""
    file = next((p for f in folder.absolute().parents[:2] if (p := f / "imagenet_class_index.json").is_file()), None)
    if file is None:
        return {}
    try:
        return {synset: name.replace("_", " ") for synset, name in load_json(read_text(file)).values()}
    except (OSError, ValueError, AttributeError, TypeError) as error:
        raise ConfigError(f"{file}: not {{index: [synset, name]}} ({error})") from None


def _text(item: ET.Element, place: str) -> str:
    text = (item.findtext(place) or "").strip()
    if not text:
        raise ValueError(f"it lacks {place}")
    return text


def _no_entities(name: str, *_: object) -> NoReturn:
    """Entities can stand for gigabytes, and annotations need none."""
    raise ValueError(f"it declares an entity, {name}")


def _parsed(path: Path) -> ET.Element:
    try:
        data = read_bytes(path, MOST_TEXT)
        check = expat.ParserCreate()
        check.EntityDeclHandler = _no_entities
        check.Parse(data, True)
        root = ET.fromstring(data)
    except (ET.ParseError, expat.ExpatError, OSError, ValueError, LookupError) as error:
        raise ConfigError(f"--annotations {path}: cannot be read as XML ({error})") from None
    if root.tag != "annotation":
        raise ConfigError(f"--annotations {path}: not Pascal VOC's XML (<{root.tag}> where <annotation> should be)")
    return root
