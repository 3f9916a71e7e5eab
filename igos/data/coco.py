"""COCO's instances JSON: objects, boxes, masks, and an extra key `evidence`, a list of RLE masks."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.files import write_bytes
from igos.base.reading import MOST_FILE, read_text
from igos.base.untrusted import load_json
from igos.data.places import Places
from igos.data.truth import Known, Truth, box_in, filled, gathered, size_of
from igos.types import ConfigError

CATEGORY, IMAGE = ("categories", "id", "name"), ("images", "id", "file_name")


class Annotations:
    """A COCO instances JSON. data: what it holds, by default what is read at the path. warnings: what of it cannot be
    used.

    Raises ConfigError for a file that is missing, damaged or of another kind.
    """

    def __init__(self, path: str | Path, data: Any = None) -> None:
        self.path = Path(path)
        self.warnings: list[str] = []
        try:
            data = load_json(read_text(path, MOST_FILE, "utf-8-sig")) if data is None else data
            tables = {key: data[key] for key in ("categories", "images", "annotations")}
            if not all(isinstance(table, list) for table in tables.values()):
                raise TypeError
        except OSError as error:
            raise ConfigError(f"--annotations {path}: cannot be read ({error.strerror or error})") from None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            why = f"lacks {error}" if isinstance(error, KeyError) else "not JSON of that kind"
            raise ConfigError(f"--annotations {path}: not COCO's instances JSON ({why})") from None
        categories, images = (self._usable(tables, *k) for k in (CATEGORY, IMAGE))
        self.names = {_id(c["id"]): str(c["name"]) for c in categories}
        self.places = Places([(str(i["file_name"]), i) for i in images], ending=True, home=self._home)
        self._objects: dict[str, list[dict[str, Any]]] = {}
        for a in self._usable(tables, "annotations", "image_id"):
            self._objects.setdefault(_id(a["image_id"]), []).append(a)

    def _usable(self, tables: dict[str, list[Any]], table: str, *keys: str) -> list[dict[str, Any]]:
        """The entries of a table that have these keys, ids that are a number or a text; what of others is told."""
        told = [e for e in tables[table] if isinstance(e, dict) and all(_id(e.get(key)) for key in keys)]
        if lost := len(tables[table]) - len(told):
            self._warn(f"{lost} of its {len(tables[table])} {table} lack {' or '.join(keys)}")
        if len(keys) == 1:
            return told
        of, other = dict[str, str](), set[str]()
        for e in told:
            if of.setdefault(_id(e["id"]), _id(e[keys[1]])) != _id(e[keys[1]]):
                other.add(_id(e["id"]))
        if other:
            self._warn(f"{len(other)} ids of its {table}, {min(other)} for one, stand for several")
        return [e for e in told if _id(e["id"]) not in other]

    def _warn(self, text: str) -> None:
        self.warnings.append(f"--annotations {self.path}: {text}, and are left out")

    def of(self, picture: str | Path, size: tuple[int, int] | None = None) -> Known:
        """The objects of a picture, found by the end of its path, and apart from them its crowds. An object that is
        damaged is left out with a warning; so are all where several images could be meant. Raises ConfigError where the
        file states another size (height, width).
        """
        try:
            images = {_id(image["id"]): image for image in self.places.find(picture)}
        except ValueError as error:
            return Known([], [f"--annotations {self.path}: {error}"])
        if not images:
            return Known([], [])
        found: list[tuple[str, Callable[[], Truth]]] = []
        crowds: list[tuple[str, Callable[[], Truth]]] = []
        told = set[tuple[str, ...]]()  # by the picture's other entries
        for key, image in images.items():
            try:
                own = size_of(image.get("height"), image.get("width"), size)
            except ValueError as error:
                name = Path(picture).name
                raise ConfigError(f"--annotations {self.path}: image {name} cannot be used ({error})") from None
            kept = [a for a in self._objects.get(key, ()) if _facts(a) not in told]
            for a in kept:
                (crowds if _crowd(a) else found).append((f"annotation {a.get('id')}", partial(self._truth, a, own)))
            told |= {_facts(a) for a in kept}
        return gathered(self.path, found)._replace(crowds=gathered(self.path, crowds).objects)

    def _truth(self, a: dict[str, Any], size: tuple[int, int]) -> Truth:
        name = self.names.get(_id(a["category_id"]))
        if name is None:
            raise ValueError(f"no category has the id {a['category_id']!r}")
        if not isinstance(a["bbox"], list) or len(a["bbox"]) != 4:
            raise ValueError(f"its bbox {str(a['bbox'])[:40]} is not x, y, width, height")
        x, y, w, h = (float(v) for v in a["bbox"])
        box = box_in([x, y, x + w, y + h], size)
        mask = decode(a["segmentation"], size) if a.get("segmentation") else filled(box, size)
        evidence = tuple(decode(e, size) for e in a.get("evidence") or ())
        return Truth(name, box, mask, evidence, id=str(a.get("id", "")))

    def _home(self, name: str, picture: Path) -> list[Path]:
        below = name.replace("\\", "/")
        return [folder / below for folder in (self.path.absolute().parent, *picture.parents)]


def _id(value: Any) -> str:
    """1, 1.0 and "1" are the same; "" for what is no id."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip() if isinstance(value, int | float | str) else ""


def _facts(a: dict[str, Any]) -> tuple[str, ...]:
    """Class and box."""
    box = a.get("bbox")
    return _id(a.get("category_id")), *map(_id, box if isinstance(box, list) else ())


def _crowd(a: dict[str, Any]) -> bool:
    return _id(a.get("iscrowd")).lower() in ("1", "true")


def write(
    path: str | Path,
    names: Sequence[str],
    pictures: Sequence[tuple[str, Sequence[Truth]]],
    size: int,
    **tables: Sequence[Mapping[str, Any]],
) -> None:
    """COCO's instances JSON of square pictures (file name, objects) of size x size pixels; names from category 1.

    tables: others that stand beside COCO's own, whose entries name a picture by `image_id`, from 1.
    """
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
    data = {"images": images, "annotations": objects, "categories": categories, **tables}
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
    if not isinstance(shape, dict):
        raise ValueError("a mask that is neither polygons nor RLE")
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
