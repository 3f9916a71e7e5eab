"""COCO's instances JSON: objects, boxes, masks, and an extra key `evidence`, a list of RLE masks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.files import write_bytes
from igos.base.reading import MOST_FILE, read_text
from igos.base.untrusted import load_json
from igos.data.truth import Truth, filled, same_size
from igos.types import ConfigError


class Annotations:
    """A COCO instances JSON. Raises ConfigError for a file that is missing, damaged or of another kind."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            data = load_json(read_text(self.path, MOST_FILE))
            self.names = {c["id"]: str(c["name"]) for c in data["categories"]}
            self._images = {i["file_name"]: i for i in data["images"]}
            self._objects: dict[Any, list[dict[str, Any]]] = {}
            for a in data["annotations"]:
                self._objects.setdefault(a["image_id"], []).append(a)
        except OSError as error:
            raise ConfigError(f"--annotations {path}: cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else "not JSON of that kind"
            raise ConfigError(f"--annotations {path}: not COCO's instances JSON ({why})") from None

    def of(self, picture: str | Path, size: tuple[int, int] | None = None) -> list[Truth]:
        """The objects of a picture, found by its path below the JSON's folder, else by its file name; no crowds.

        Raises ConfigError for what is damaged, and where the file states another size (height, width).
        """
        path = Path(picture).absolute()
        folder = self.path.absolute().parent
        below = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        image = self._images.get(below) or self._images.get(path.name)
        if image is None:
            return []
        try:
            stated = same_size((int(image["height"]), int(image["width"])), size)
            objects = self._objects.get(image["id"], [])
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"--annotations {self.path}: image {path.name} is damaged ({error!r})") from None
        return [self._truth(a, stated) for a in objects if not a.get("iscrowd")]

    def _truth(self, a: dict[str, Any], size: tuple[int, int]) -> Truth:
        try:
            x, y, w, h = (float(v) for v in a["bbox"])
            box = np.array([x, y, x + w, y + h])
            if not np.isfinite(box).all():
                raise ValueError(f"its bbox {a['bbox']} is not of finite numbers")
            mask = decode(a["segmentation"], size) if a.get("segmentation") else filled(box, size)
            evidence = tuple(decode(e, size) for e in a.get("evidence", ()))
            return Truth(self.names[a["category_id"]], box, mask, evidence, id=str(a.get("id", "")))
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"--annotations {self.path}: annotation {a.get('id')} is damaged ({error!r})") from None


def write(path: str | Path, names: Sequence[str], pictures: Sequence[tuple[str, Sequence[Truth]]], size: int) -> None:
    """COCO's instances JSON of square pictures (file name, objects) of size x size pixels; names from category 1."""
    images: list[dict[str, Any]] = []
    objects: list[dict[str, Any]] = []
    for n, (file, truths) in enumerate(pictures, start=1):
        images.append({"id": n, "file_name": file, "height": size, "width": size})
        for t in truths:
            x1, y1, x2, y2 = (float(v) for v in t.box)
            objects.append(
                {
                    "id": len(objects) + 1,
                    "image_id": n,
                    "category_id": 1 + list(names).index(t.name),
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": int(t.mask.sum()),
                    "iscrowd": 0,
                    "segmentation": encode(t.mask),
                    "evidence": [encode(e) for e in t.evidence],
                }
            )
    categories = [{"id": i, "name": name} for i, name in enumerate(names, start=1)]
    data = {"images": images, "annotations": objects, "categories": categories}
    write_bytes(Path(path), (json.dumps(data, indent=1) + "\n").encode())


def encode(mask: np.ndarray) -> dict[str, Any]:
    """A mask (H,W) bool as COCO's packed RLE."""
    from pycocotools import mask as rle

    made = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(made["size"]), "counts": made["counts"].decode()}


def decode(shape: Any, size: tuple[int, int]) -> np.ndarray:
    """RLE, uncompressed RLE or polygons -> (H,W) bool. Raises ValueError for what pycocotools would trip over."""
    if isinstance(shape, list):
        from pycocotools import mask as rle

        for polygon in shape:
            points = np.array(polygon, np.float64)
            if points.ndim != 1 or len(points) < 6 or len(points) % 2:
                raise ValueError("a polygon needs x and y of at least three points")
            if not (np.abs(points.reshape(-1, 2)) <= 2 * np.array(size[::-1])).all():
                raise ValueError(f"a polygon far outside of the picture of {size[1]} x {size[0]} px")
        return rle.decode(rle.merge(rle.frPyObjects(shape, *size))).astype(bool)
    if list(shape["size"]) != list(size):
        raise ValueError(f"a mask of {shape['size']} in a picture of {list(size)}")
    counts = shape["counts"] if isinstance(shape["counts"], list) else _unpacked(shape["counts"])
    if any(type(n) is not int or n < 0 for n in counts) or sum(counts) != size[0] * size[1]:
        raise ValueError(f"its runs do not fill {size[0]} x {size[1]} pixels")
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(size, order="F")


def _unpacked(text: str) -> list[int]:
    """COCO's packed runs: five bits a character from 48 on, 32 where more follow, from the third on as differences."""
    counts: list[int] = []
    value = bits = 0
    for c in text:
        five = ord(c) - 48
        if not 0 <= five < 64 or bits > 60:
            raise ValueError(f"{c!r} in the place of a packed run")
        value |= (five & 31) << bits
        bits += 5
        if not five & 32:
            value -= (1 << bits) if five & 16 else 0
            counts.append(value + (counts[-2] if len(counts) > 2 else 0))
            value = bits = 0
    if bits:
        raise ValueError("a packed run without an end")
    return counts
