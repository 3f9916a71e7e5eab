"""What is known about a picture: its objects, their masks and, for planted evidence, what decides their class.

Read from COCO's instances JSON (igos.data.coco), Pascal VOC's XML (igos.data.voc) or YOLO's labels (igos.data.yolo),
written as COCO's; `evidence` is an extra key of a COCO annotation, a list of RLE masks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

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

    id: its number in the file (VOC and YOLO: its place in the picture's list, from 1); difficult: as VOC marks it.
    rivals (H0,W0) bool: the picture's other objects of its class, None where there are none or `match` did not look.
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


def size_of(height: Any, width: Any, own: tuple[int, int] | None) -> tuple[int, int]:
    """The size (height, width) of a picture, of which a file states one and which has its `own`, where that is known.

    What is no size (nothing, zero, a word) states none. Raises ValueError where the two differ, where there is none,
    and where no picture could have it.
    """
    try:
        exact = float(height), float(width)
        stated = (int(exact[0]), int(exact[1])) if min(exact) >= 1 else None
    except (TypeError, ValueError, OverflowError):
        exact, stated = (0.0, 0.0), None
    if stated is None:
        if own is None:
            raise ValueError("the file states no size, and the picture's is not known")
        return own
    if own is not None and exact != tuple(own):
        raise ValueError(f"{exact[1]:.10g} x {exact[0]:.10g} px in the file, {own[1]} x {own[0]} px in the picture")
    if stated[0] * stated[1] > MOST_PIXELS:
        raise ValueError(f"no picture is {stated[1]} x {stated[0]} px")
    return stated


def box_in(corners: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """A box (4,) xyxy, cut at the edges of a picture (height, width). Raises ValueError for one that is not finite, has
    no area or lies outside.
    """
    box = np.array(corners, np.float64)
    if not np.isfinite(box).all():
        raise ValueError(f"a box that is not of finite numbers, {box.tolist()}")
    if not (box[:2] < box[2:]).all():
        raise ValueError(f"a box without area, {box.tolist()}")
    cut = np.clip(box, 0, (*size[::-1], *size[::-1]))
    if not (cut[:2] < cut[2:]).all():
        raise ValueError(f"a box outside of the picture of {size[1]} x {size[0]} px, {box.tolist()}")
    return cut


def filled(box: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The pixels (H,W) bool of a box (4,) xyxy that lies in the picture; one at least."""
    mask = np.zeros(size, dtype=bool)
    x1, y1, x2, y2 = box.round().astype(int)
    if x1 == x2:
        x1, x2 = (each.astype(int) for each in (np.floor(box[0]), np.ceil(box[2])))
    if y1 == y2:
        y1, y2 = (each.astype(int) for each in (np.floor(box[1]), np.ceil(box[3])))
    mask[y1:y2, x1:x2] = True
    return mask


class Known(NamedTuple):
    """What is known of a picture: its objects, what was left out of it, in words, its crowds, which are none, the
    numbers of the classes that it is of as a whole, which a classifier is asked about, and whether annotations tell of
    it: where they do, what is not among the objects is not there.
    """

    objects: list[Truth]
    warnings: list[str]
    crowds: Sequence[Truth] = ()
    classes: Sequence[int] = ()
    told: bool = False


NOTHING_KNOWN = Known([], [])
MOST_TOLD = 3  # objects of a picture that are named where they are left out


def gathered(place: str | Path, objects: Iterable[tuple[str, Callable[[], Truth]]]) -> Known:
    """The objects (what each is called, what reads it) of a picture. One that is damaged is left out with a warning."""
    found, left_out = list[Truth](), list[str]()
    for name, read in objects:
        try:
            truth = read()
            if not truth.mask.any():
                raise ValueError("it covers no pixel")
            found.append(truth)
        except (KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
            why = f"it lacks {error}" if isinstance(error, KeyError) else " ".join(str(error).split())
            left_out.append(f"--annotations {place}: {name} is left out ({why})".replace(";", ","))
    more = len(left_out) - MOST_TOLD
    if more > 0:
        left_out[MOST_TOLD:] = [f"--annotations {place}: {more} more objects of this picture are left out"]
    return Known(found, left_out, told=True)
