"""The objects of a picture from the file that --annotations names, or from instances.json beside the picture."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from igos.truth import FILE, Annotations, Truth
from igos.voc import VOC


def known(picture: str, named: str | None = None) -> list[Truth]:
    """The objects of a picture from the file or folder named, else from instances.json beside it; [] without any.

    A folder, or a file that ends in .xml, holds Pascal VOC's annotations, any other file is COCO's. Raises
    ConfigError for what cannot be read.
    """
    beside = Path(picture).parent / FILE
    if named is None and not beside.is_file():
        return []
    return _read(str(named or beside)).of(picture)


@lru_cache(maxsize=8)
def _read(path: str) -> Annotations | VOC:
    return VOC(path) if Path(path).is_dir() or path.lower().endswith(".xml") else Annotations(path)
