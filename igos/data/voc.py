"""Pascal VOC's annotations, an XML file per picture; ImageNet's localisation files have the same form.

Everingham et al.: The Pascal Visual Object Classes Challenge, IJCV 2010. Boxes count pixels from 1, both ends inside:
xmin = 1 is the left edge.
"""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from igos.base.reading import MOST_TEXT, read_bytes, read_text
from igos.base.untrusted import load_json
from igos.data.pictures import SUFFIXES
from igos.data.places import Places, beside
from igos.data.truth import Known, Truth, box_in, filled, gathered, size_of
from igos.types import ConfigError


class VOC:
    """One XML file, or those of a folder, which are `files`."""

    warnings: tuple[str, ...] = ()

    def __init__(self, path: str | Path, files: Sequence[Path] = ()) -> None:
        self.path, self._files = Path(path), files
        self._names = _synsets(self.path) if files else {}
        named = [(os.path.abspath(p), p) for p in files or [self.path]]
        if not files and (told := (_parsed(self.path).findtext("filename") or "").strip()):
            stem, ending = os.path.splitext(told)
            named.append((f"{stem if ending.lower() in SUFFIXES else told}.xml", self.path))
        self.places = Places(dict(named).items(), ending=False, home=_home)

    @cached_property
    def names(self) -> dict[str, str]:
        """The classes of all objects in the files of a folder: none of them says which were looked for. Of one file,
        which tells of one picture alone, none.
        """
        found = dict[str, str]()
        for file in self._files:
            try:
                told = [(item.findtext("name") or "").strip() for item in _parsed(file).iter("object")]
            except ConfigError:
                continue  # which is said where its picture's turn comes
            found |= {name: self._names.get(name, name) for name in told if name}
        return found

    def of(self, picture: str | Path, size: tuple[int, int] | None = None) -> Known:
        """All objects of a picture, difficult ones too, found by the end of its path without the ending; masks are
        boxes, synsets get their class's name. An object that is damaged is left out with a warning; so are all where
        several files could be the picture's.

        Raises ConfigError for a file that is damaged or states another size (height, width).
        """
        try:
            files = self.places.find(picture)
        except ValueError as error:
            return Known([], [f"--annotations {self.path}: {error}"])
        if not files:
            return Known([], [])
        root = _parsed(files[0])
        try:
            own = size_of(root.findtext("size/height"), root.findtext("size/width"), size)
        except ValueError as error:
            raise ConfigError(f"--annotations {files[0]}: cannot be used ({error})") from None
        objects = enumerate(root.iter("object"), start=1)
        return gathered(files[0], [(f"object {n}", partial(self._truth, item, n, own)) for n, item in objects])

    def _truth(self, item: ET.Element, number: int, size: tuple[int, int]) -> Truth:
        name = _text(item, "name")
        x1, y1, x2, y2 = (float(_text(item, f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax"))
        box = box_in([x1 - 1, y1 - 1, x2, y2], size)
        difficult = (item.findtext("difficult") or "0").strip() == "1"
        return Truth(self._names.get(name, name), box, filled(box, size), id=str(number), difficult=difficult)


def _home(name: str, picture: Path) -> list[Path]:
    return [*beside(name, picture, "JPEGImages"), *beside(name, picture)]


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
