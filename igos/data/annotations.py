"""The objects of a picture from the file that --annotations names, or from instances.json beside the picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from igos.data.coco import Annotations
from igos.data.truth import FILE, Truth
from igos.data.voc import VOC


def truths_of(picture: str, named: str | None = None, size: tuple[int, int] | None = None) -> list[Truth]:
    """The objects of a picture (its height and width: size) from the file or folder named, else from instances.json
    beside it, else, of one below images/attribution, from the XML files of annotations/attribution beside images; []
    without any.

    A folder, or a file that ends in .xml, holds Pascal VOC's annotations, any other file is COCO's. Raises
    ConfigError for what cannot be read, or describes a picture of another size.
    """
    place = named or _beside(Path(picture))
    return [] if place is None else _read(str(place)).of(picture, size)


def category_ids(named: str | None) -> dict[str, int]:
    """The ids of the classes of the file named, by name; {} of a file or folder whose classes have none."""
    known = _read(named) if named else None
    every = known.names if isinstance(known, Annotations) else {}
    return {name: int(i) for i, name in every.items() if str(i).isdecimal()}


def _beside(picture: Path) -> Path | None:
    if (file := picture.parent / FILE).is_file():
        return file
    roots = [p.parents[1] for p in picture.parents if p.parts[-2:] == ("images", "attribution")]
    folders = [root / "annotations" / "attribution" for root in roots]
    return next((f for f in folders if next(f.rglob("*.xml"), None)), None)


@lru_cache(maxsize=8)
def _read(path: str) -> Annotations | VOC:
    return VOC(path) if Path(path).is_dir() or path.lower().endswith(".xml") else Annotations(path)
