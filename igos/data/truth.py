"""What is known about a picture: its objects, their masks and, for planted evidence, what decides their class.

Read from COCO's instances JSON or Pascal VOC's XML (igos.data.voc), written as COCO's; `evidence` is an extra key of a
COCO annotation, a list of RLE masks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from igos.base.boxes import best_match
from igos.base.untrusted import MOST_PIXELS
from igos.data.emblems import Scene
from igos.types import Explanation, Image, Target

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

    id: its number in the file (VOC: its place in the picture's list, from 1); difficult: as VOC marks it. rivals
    (H0,W0) bool: the picture's other objects of its class, None where there are none or `match` did not look.
    """

    name: str
    box: np.ndarray
    mask: np.ndarray
    evidence: tuple[np.ndarray, ...] = ()
    id: str = ""
    difficult: bool = False
    rivals: np.ndarray | None = None


def spellings(name: str) -> set[str]:
    """What a class may be called: the whole name and its parts between commas; case, _ and VOC's words made alike."""
    plain = {n.strip().lower().replace("_", " ") for n in (name, *name.split(","))}
    return {SYNONYMS.get(n, n) for n in plain}


def same_class(name: str, other: str) -> bool:
    return not spellings(name).isdisjoint(spellings(other))


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
    best = best_match(source_box(target, image), [t.box for t in alike], LEAST_IOU)
    if best is None:
        return None
    rivals = np.any([t.mask for t in alike if t is not alike[best]], axis=0) & ~alike[best].mask
    return replace(alike[best], rivals=rivals if rivals.any() else None)


def peak_on(e: Explanation, region: np.ndarray, tolerance: float = 0.5) -> float:
    """Of the map's maxima, the share that lies within `tolerance` cells of region (H0,W0) bool; NaN if flat."""
    if not e.heat.max() > e.heat.min():
        return float("nan")
    nodes = torch.nonzero(e.heat == e.heat.max()).double().numpy()
    g, hits = e.geometry, []
    counts = list(zip(e.heat.shape, e.saliency.shape, strict=True))
    for node in nodes:
        spans = []
        for n, (fine, count), net, scale, offset, source in zip(
            node, counts, g.network, g.scale, g.offset, g.source, strict=True
        ):
            apart, cell = (net - 1) / max(fine - 1, 1), (net - 1) / max(count - 1, 1)
            low, high = ((n * apart + t * cell + 0.5 - offset) / scale for t in (-tolerance, tolerance))
            spans.append(slice(int(np.clip(low, 0, source)), int(np.clip(np.ceil(high), 0, source))))
        hits.append(bool(region[spans[0], spans[1]].any()))
    return float(np.mean(hits))


def same_size(stated: tuple[int, int], size: tuple[int, int] | None) -> tuple[int, int]:
    """The size (height, width) that a file states. Raises ValueError where the picture has another, or none could."""
    if min(stated) < 1 or stated[0] * stated[1] > MOST_PIXELS:
        raise ValueError(f"no picture is {stated[1]} x {stated[0]} px")
    if size is not None and stated != tuple(size):
        raise ValueError(f"{stated[1]} x {stated[0]} px in the file, {size[1]} x {size[0]} px in the picture")
    return stated


def filled(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H,W) bool of a box (4,) xyxy. Raises ValueError for one that is not finite."""
    if not np.isfinite(box).all():
        raise ValueError(f"a box of {box.tolist()}")
    mask = np.zeros(size, dtype=bool)
    x1, y1, x2, y2 = np.clip(box.round(), 0, max(size)).astype(int)
    mask[y1:y2, x1:x2] = True
    return mask
