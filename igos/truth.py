"""What is known about a picture: its objects, their masks and, for planted evidence, what decides their class.

Read from COCO's instances JSON or Pascal VOC's XML (igos.voc), written as COCO's; `evidence` is an extra key of a
COCO annotation, a list of RLE masks.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools import mask as rle

from igos.checks import MOST_PIXELS
from igos.emblems import Scene
from igos.files import write_bytes
from igos.types import ConfigError, Explanation, Image, Target
from igos.untrusted import load_json

FILE = "instances.json"  # looked for beside a picture when no other file is named
LEAST_IOU = 0.5
SYNONYMS = {  # Pascal VOC's words, which Darknet's COCO names use too -> COCO's
    "aeroplane": "airplane",
    "diningtable": "dining table",
    "motorbike": "motorcycle",
    "pottedplant": "potted plant",
    "sofa": "couch",
    "tvmonitor": "tv",
}


@dataclass(frozen=True, eq=False)
class Truth:
    """One object: box (4,) xyxy in source pixels, mask (H0,W0) bool, evidence, one mask (H0,W0) bool per emblem.

    id: its number in the file (VOC: its place in the picture's list, from 1); difficult: as VOC marks it.
    """

    name: str
    box: np.ndarray
    mask: np.ndarray
    evidence: tuple[np.ndarray, ...] = ()
    id: str = ""
    difficult: bool = False


def spellings(name: str) -> set[str]:
    """What a class may be called: the whole name and its parts between commas; case, _ and VOC's words made alike."""
    plain = {n.strip().lower().replace("_", " ") for n in (name, *name.split(","))}
    return {SYNONYMS.get(n, n) for n in plain}


def same_class(name: str, other: str) -> bool:
    return not spellings(name).isdisjoint(spellings(other))


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union of two boxes (4,) xyxy."""
    sides = np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])
    both = float(np.prod(sides.clip(min=0)))
    return both / max(float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2])) - both, 1e-9)


def source_box(target: Target, image: Image) -> np.ndarray:
    """The box (4,) xyxy float64 in source pixels of a target that has one."""
    assert target.box is not None
    return image.geometry.to_source(target.box.double().cpu()).numpy()


def scene_truth(scene: Scene) -> list[Truth]:
    """The objects of a scene, in the order of scene.objects."""
    return [
        Truth(scene.bodies[i].name, np.array(scene.box(i)), scene.mask(i), tuple(scene.evidence(i)))
        for i in scene.objects
    ]


def match(target: Target, image: Image, truths: Sequence[Truth]) -> Truth | None:
    """The object of the target's class that its box covers best (IoU >= 0.5); for a classifier all of the class."""
    alike = [t for t in truths if same_class(t.name, target.name)]
    if len(alike) < 2 and (target.box is None or not alike):
        return alike[0] if alike else None
    if target.box is None:
        boxes = np.stack([t.box for t in alike])
        box = np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])
        return Truth(target.name, box, np.any([t.mask for t in alike], axis=0), sum((t.evidence for t in alike), ()))
    overlap = [iou(source_box(target, image), t.box) for t in alike]
    best = int(np.argmax(overlap))
    return alike[best] if overlap[best] >= LEAST_IOU else None


def peak_on(e: Explanation, region: np.ndarray, tolerance: float = 0.5) -> float:
    """Of the map's maxima, the share that lies within `tolerance` cells of region (H0,W0) bool; NaN if flat."""
    if not e.saliency.max() > e.saliency.min():
        return float("nan")
    nodes = torch.nonzero(e.saliency == e.saliency.max()).double().numpy()
    g, hits = e.geometry, []
    for node in nodes:
        spans = []
        for n, count, net, scale, offset, source in zip(
            node, e.saliency.shape, g.network, g.scale, g.offset, g.source, strict=True
        ):
            cell = (net - 1) / max(count - 1, 1)
            low, high = (((n + t) * cell + 0.5 - offset) / scale for t in (-tolerance, tolerance))
            spans.append(slice(int(np.clip(low, 0, source)), int(np.clip(np.ceil(high), 0, source))))
        hits.append(bool(region[spans[0], spans[1]].any()))
    return float(np.mean(hits))


class Annotations:
    """A COCO instances JSON. Raises ConfigError for a file that is missing, damaged or of another kind."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            data = load_json(self.path.read_text(encoding="utf-8"))
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

        Raises ConfigError for what is damaged, and where the file tells of another size (height, width).
        """
        path = Path(picture).absolute()
        folder = self.path.absolute().parent
        below = path.relative_to(folder).as_posix() if path.is_relative_to(folder) else path.name
        image = self._images.get(below) or self._images.get(path.name)
        if image is None:
            return []
        try:
            told = same_size((int(image["height"]), int(image["width"])), size)
            objects = self._objects.get(image["id"], [])
        except (KeyError, ValueError, TypeError, OverflowError) as error:
            raise ConfigError(f"--annotations {self.path}: image {path.name} is damaged ({error!r})") from None
        return [self._truth(a, told) for a in objects if not a.get("iscrowd")]

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
    made = rle.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": list(made["size"]), "counts": made["counts"].decode()}


def decode(shape: Any, size: tuple[int, int]) -> np.ndarray:
    """RLE, uncompressed RLE or polygons -> (H,W) bool. Raises ValueError for what pycocotools would trip over."""
    if isinstance(shape, list):
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


def same_size(told: tuple[int, int], size: tuple[int, int] | None) -> tuple[int, int]:
    """The size (height, width) that a file tells of. Raises ValueError where the picture has another, or none could."""
    if min(told) < 1 or told[0] * told[1] > MOST_PIXELS:
        raise ValueError(f"no picture is {told[1]} x {told[0]} px")
    if size is not None and told != tuple(size):
        raise ValueError(f"{told[1]} x {told[0]} px in the file, {size[1]} x {size[0]} px in the picture")
    return told


def filled(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H,W) bool of a box (4,) xyxy. Raises ValueError for one that is not finite."""
    if not np.isfinite(box).all():
        raise ValueError(f"a box of {box.tolist()}")
    mask = np.zeros(size, dtype=bool)
    x1, y1, x2, y2 = np.clip(box.round(), 0, max(size)).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask
