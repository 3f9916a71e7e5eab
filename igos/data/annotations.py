"""The objects of a picture from what --annotations names, or from instances.json beside the picture."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from igos.base.addresses import is_address, is_remote
from igos.data.coco import Annotations
from igos.data.folders import files_below
from igos.data.truth import FILE, Known, Truth
from igos.data.voc import VOC
from igos.data.webdataset import beside, sample
from igos.data.yolo import DATA_FILES, YOLO, data_file
from igos.types import ConfigError


def known_of(picture: str, named: str | None = None, size: tuple[int, int] | None = None) -> Known:
    """The objects of a picture (its height and width: size) from the file or folder named, else from instances.json
    beside it, else, of one below images/attribution, from the XML files of annotations/attribution beside images; of
    one in a tar shard from its .json and .cls there; none without any. An object that is damaged is left out, and a
    warning says so.

    named: COCO's instances JSON; Pascal VOC's XML, a file or a folder of them; YOLO's data.yaml, or a folder of labels.
    Raises ConfigError for what cannot be read, or describes a picture of another size; ImageError where a shard of a
    store cannot be had.
    """
    if named is None and is_address(picture):
        return sample(picture, size)
    place = named or _beside(Path(picture))
    return Known([], []) if place is None else _read(str(place)).of(picture, size)


def truths_of(picture: str, named: str | None = None, size: tuple[int, int] | None = None) -> list[Truth]:
    """The objects of known_of alone."""
    return known_of(picture, named, size).objects


def warnings_of(named: str, pictures: Sequence[str]) -> tuple[list[str], bool]:
    """What is to be said of annotations before any of these pictures is looked at, and whether they know one of them.

    Raises ConfigError for what cannot be read.
    """
    annotations = _read(named)
    known = any(_knows(annotations, picture) for picture in pictures)
    if known or not pictures:
        return list(annotations.warnings), known
    n = len(pictures)
    missing = f"none of the {n} pictures of --data is in it" if n > 1 else "the picture of --data is not in it"
    example = f"it tells of {annotations.places.example}, --data holds {pictures[0]}"
    return [*annotations.warnings, f"--annotations {named}: {missing}: {example}"], known


def tell_of_evidence(data: Sequence[str], named: str | None = None) -> bool:
    """Whether the annotations that are named, or those that lie beside the pictures, may hold evidence: only COCO's
    JSON has a key for it.
    """
    if named is not None:
        return _has_evidence(Path(named))
    places = [Path(place) for place in data]
    folders = {p for p in places if p.is_dir()} | {p.parent for p in places if not p.is_dir()}
    inner = (f for p in places if p.is_dir() for f in files_below(p, {Path(FILE).suffix}) if f.name == FILE)
    return any(_has_evidence(file) for file in dict.fromkeys((*(f / FILE for f in folders), *inner)))


def _has_evidence(file: Path) -> bool:
    if file.suffix.lower() != Path(FILE).suffix or not file.is_file() or not file.stat().st_size:
        return False
    with file.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as text:
        return text.find(b'"evidence"') >= 0


def _knows(annotations: Annotations | VOC | YOLO, picture: str) -> bool:
    try:
        return bool(annotations.places.find(picture))
    except ValueError:  # several could be meant, which is said where the picture's turn comes
        return True


def category_ids(named: str | None) -> dict[str, int]:
    """The ids of the classes of the file named, by name; {} of a file or folder whose classes have none."""
    known = _read(named) if named else None
    every = known.names if isinstance(known, Annotations) else {}
    return {name: int(i) for i, name in every.items() if str(i).isdecimal()}


def class_names(picture: str, named: str | None = None) -> list[str]:
    """The classes that the annotations of known_of annotate in every picture; of a folder of VOC's XML, which does not
    say, those that have an object in it; [] where nobody knows.
    """
    if named is None and is_address(picture):
        return []
    place = named or _beside(Path(picture))
    known = None if place is None else _read(str(place))
    return [] if known is None else list(dict.fromkeys(known.names.values()))


def is_annotated(picture: str, named: str | None = None) -> bool:
    """Whether annotations are named, or lie beside the picture."""
    return named is not None or (_in_shard(picture) if is_address(picture) else _beside(Path(picture)) is not None)


def _in_shard(picture: str) -> bool:
    """Whether annotations lie beside the picture in its shard; a class number alone is none."""
    return any(name.endswith(".json") for name in beside(picture))


def _beside(picture: Path) -> Path | None:
    if (file := picture.parent / FILE).is_file():
        return file
    roots = [p.parents[1] for p in picture.parents if p.parts[-2:] == ("images", "attribution")]
    folders = [root / "annotations" / "attribution" for root in roots]
    return next((f for f in folders if _holds_xml(f)), None)


@lru_cache(maxsize=8)
def _holds_xml(folder: Path) -> bool:
    return bool(files_below(folder, {".xml"}))


@lru_cache(maxsize=8)
def _read(path: str) -> Annotations | VOC | YOLO:
    if is_remote(path):
        return Annotations(path)
    place = Path(path)
    if place.is_dir():
        files = files_below(place, {".xml", ".txt"})
        if xml := [p for p in files if p.suffix.lower() == ".xml"]:
            return VOC(path, xml)
        if (file := data_file(place)) is not None:
            return YOLO(file)
        if files:
            return YOLO(path, files)
        raise ConfigError(
            f"--annotations {path}: no .xml file (Pascal VOC), .txt file (YOLO) or {DATA_FILES[0]} in this folder; of "
            "COCO name the JSON file itself"
        )
    if not place.exists():
        raise ConfigError(f"--annotations {path}: no such file or folder")
    if place.suffix.lower() in (".yaml", ".yml"):
        return YOLO(path)
    return VOC(path) if place.suffix.lower() == ".xml" else Annotations(path)
