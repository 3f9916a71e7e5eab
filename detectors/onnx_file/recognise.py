"""Which layout a graph's outputs have, told by their shapes and, where these leave two open, by their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch

from detectors.onnx_file.layouts import GFL, LAYOUTS, FastestDet, Layout, Yolo
from detectors.onnx_file.pairs import MOST_QUERIES, Unfinished, pair
from detectors.onnx_file.parts import STRIDES, YOLO_SIZES, Outputs, Part, count, is_unit
from igos.types import ConfigError

__all__ = ["Unfinished", "recognise"]

DECODES = {  # what a model file may say of each
    **dict.fromkeys(("yolox", "yolov5", "yolov8"), ("strides",)),
    "gfl": ("strides", "offset", "shift"),
    "fastestdet": (),
    "ssd": ("strides", "sides", "variances", "background"),
    "detr": ("background",),
    "end2end": (),
}
LEAST_BINS = 4  # of a distribution of distances
COCO = 80  # classes
PLACES = {  # of a cell's centre, in cells and px
    "PicoDet of 4 strides": (0.5, 0.0),
    "NanoDet of 3 strides": (0.5, -0.5),
    "NanoDet-Plus": (0.0, 0.0),
}


Fitting = dict[str, tuple[Layout | None, list[str]]]  # layouts by name, and what is guessed of each


def recognise(
    out: Outputs, layout: str | None, classes: int | None, decode: Mapping[str, Any], where: str
) -> tuple[Layout | None, list[str]]:
    """The layout of a probe's outputs (None: end2end) and what was guessed of it.

    layout: what the user says; classes: how many names there are; decode: strides, offset, shift, sides, variances and
    background of a model file. Raises ConfigError: no layout fits, several do, or the one named does not.
    """
    if layout is not None and layout not in LAYOUTS:
        raise ConfigError(f"--model_layout {layout!r} is not one of {', '.join(LAYOUTS)}")
    fitting = _fitting(out, layout, classes, decode, where)
    shapes = ", ".join(str(tuple(o.shape)) for o in out.made)
    if not fitting and classes is not None:
        other = _fitting(out, layout, None, decode, where)
        if len(other) == 1:
            ((name, (made, _)),) = other.items()
            many = "" if made is None else f", and of layout {name} they have {made.count(out)} columns of classes"
            raise ConfigError(f"{where}: {classes} names do not fit outputs {shapes}{many}")
    if layout is not None and not fitting:
        raise ConfigError(f"{where}: outputs {shapes} are not of layout {layout}")
    if not fitting:
        known = ", ".join(LAYOUTS)
        raise ConfigError(f"{where}: outputs {shapes} are of no known layout ({known}); {_hint(out)}")
    if len(fitting) > 1 and classes is None:
        fitting = _narrowed(fitting, out, shapes)
    if len(fitting) > 1:
        raise ConfigError(f"{where}: outputs {shapes} could be {' or '.join(fitting)}; say which by --model_layout")
    ((name, found),) = fitting.items()
    odd = [key for key in decode if key not in DECODES[name]]
    if odd:
        known = f"it takes {', '.join(DECODES[name])}" if DECODES[name] else "it takes nothing"
        raise ConfigError(f"{where}: decode: {odd[0]} does not belong to layout {name}: {known}")
    if layout is None and classes is None and isinstance(found[0], Yolo):
        _check_classes(found[0], out, where)
    return found


def _narrowed(fitting: Fitting, out: Outputs, shapes: str) -> Fitting:
    """Of several layouts those whose classes can be probabilities; of these, if it is one, that with COCO's classes."""
    sound = {n: f for n, f in fitting.items() if not isinstance(f[0], Yolo) or _ends(f[0], out)[0] >= 0} or fitting
    coco = [n for n, (made, _) in sound.items() if made is not None and made.count(out) == COCO]
    if len(sound) == 1 or len(coco) != 1:
        return sound
    made, guessed = sound[coco[0]]
    return {coco[0]: (made, [*guessed, f"layout {coco[0]}: by it outputs {shapes} have the {COCO} classes of COCO"])}


def _check_classes(layout: Yolo, out: Outputs, where: str) -> None:
    """Refuse what stands in the place of classes and is no probability, where nobody says that they are classes."""
    low, high = _ends(layout, out)
    if low < 0 or high > 1:
        raise ConfigError(
            f"{where}: outputs {tuple(out.made[layout.at].shape)} look like {layout.name}, but its {layout.count(out)} "
            f"classes hold {low:.3g} to {high:.3g}: keypoints and turned boxes are not explained; if they are logits, "
            f"say --model_layout {layout.name}"
        )


def _ends(layout: Yolo, out: Outputs) -> tuple[float, float]:
    """The least and the greatest number of its classes."""
    ends = layout.rows(out.made)[..., layout.first :]
    return float(ends.min()), float(ends.max())


def _fitting(out: Outputs, layout: str | None, classes: int | None, decode: Mapping[str, Any], where: str) -> Fitting:
    """The layouts that fit, of the one named or of all, and what is guessed of each."""
    names = LAYOUTS if layout is None else (layout,)
    try:
        tried = {name: _try(name, out, classes, decode, layout == name) for name in names}
    except ConfigError as error:
        error.args = (f"{where}: {error}",)
        raise
    return {name: made for name, made in tried.items() if made is not None}


def _try(
    name: str, out: Outputs, classes: int | None, decode: Mapping[str, Any], asked: bool
) -> tuple[Layout | None, list[str]] | None:
    """The layout if the outputs can be of it, and what is guessed; asked: the user says that they are."""
    shapes = [tuple(o.shape[1:]) for o in out.made]
    if name == "end2end":
        if len(shapes) != 1 or len(shapes[0]) != 2 or shapes[0][1] not in (6, 7) or shapes[0][0] > MOST_QUERIES:
            return None
        labels = out.made[0][..., -2:]  # whole numbers, as nothing else of a network is; behind the score or before it
        return (None, []) if bool((labels == labels.round()).flatten(0, 1).all(0).any()) else None
    if name in ("yolox", "yolov5", "yolov8"):
        return _yolo(name, out, classes, decode, asked)
    if name == "gfl":
        return _gfl(out, classes, decode)
    if name == "fastestdet":
        one = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] > 5
        fits = one and classes in (None, shapes[0][0] - 5) and (asked or _is_fastestdet(out.made[0]))
        return (FastestDet(), []) if fits else None
    return pair(name, out, classes, decode, asked)


def _yolo(
    name: str, out: Outputs, classes: int | None, decode: Mapping[str, Any], asked: bool
) -> tuple[Layout, list[str]] | None:
    at = [i for i, o in enumerate(out.made) if o.ndim == 3]
    beside = [o for o in out.made if o.ndim != 3]  # prototypes of masks (1,m,h,w), or heads (1,k,h,w,5+C) once more
    if len(at) != 1 or len([o for o in beside if o.ndim == 4]) > 1 or any(o.ndim not in (4, 5) for o in beside):
        return None
    masks = next((o.shape[1] for o in beside if o.ndim == 4), 0)
    said = decode.get("strides")
    for turned in (True, False) if name == "yolov8" else (False, True):
        rough = Yolo(name, said or STRIDES, at=at[0], turned=turned, masks=masks)
        made = _settled(rough, out, [tuple(said)] if said else YOLO_SIZES, asked)
        if made is not None and classes in (None, made.count(out)) and made.count(out) > 0:
            return made, []
    return None


def _settled(made: Yolo, out: Outputs, sizes: Sequence[tuple[int, ...]], asked: bool) -> Yolo | None:
    """With its strides, of `sizes`, if the rows can be of it: as many as cells or anchors, and boxes of its kind."""
    rows = made.rows(out.made)
    anchors = (1,) if made.name != "yolov5" else (3,) if made.turned else (1, 3)
    fitting = [s for s in sizes for k in anchors if count(out.size, s) * k == rows.shape[1]]
    usual = made.turned == (made.name == "yolov8")
    if made.name == "yolox" and not (fitting and usual):
        return None
    if not fitting and not (asked and usual):
        return None
    box, rest = rows[..., :4], rows[..., 4:]
    in_cells, unit = bool((box[..., 2:] < 0).any()), is_unit(box)  # a logarithm; sides in px are positive
    if fitting and not asked and in_cells != (made.name == "yolox"):
        return None
    if unit and not asked and made.name != "yolox" and not bool(((rest >= 0) & (rest <= 1)).all()):
        return None
    return replace(made, strides=fitting[0] if fitting else made.strides, unit=unit and made.name != "yolox")


def _is_fastestdet(out: torch.Tensor) -> bool:
    """Whether its numbers are an objectness and, behind the box, probabilities of classes that add up to 1."""
    sure, classes = out[:, 0], out[:, 5:]
    return bool((sure >= 0).all() & (sure <= 1).all() & ((classes.sum(1) - 1).abs() < 1e-3).all())


def _hint(out: Outputs) -> str:
    """What outputs of no known layout look like, and what to do."""
    shapes = [tuple(o.shape[1:]) for o in out.made]
    if any(side % STRIDES[-1] for side in out.size):
        height, width = (-(-side // STRIDES[-1]) * STRIDES[-1] for side in out.size)
        return f"{out.size[1]} x {out.size[0]} px is no multiple of {STRIDES[-1]}: try {width} x {height}"
    if len(shapes) == 1 and min(shapes[0][:-1], default=1) == max(shapes[0][:-1], default=1) == 1:
        how = "take igos.adapt(onnx2torch.convert(PATH), NAMES)"
        return f"{shapes[0][-1]} numbers for a picture are those of a classifier: {how}"
    if all(len(s) in (3, 4) and s[-1] > 1 and s[-2] > 1 for s in shapes):
        return "maps, as of a segmentation, or heads before they are decoded: export a detector with its decoding"
    if len(shapes) > 2:
        return "several answers, as of a suppression in the graph: export it without, or adapt it in Python"
    return "adapt it in Python"


def _gfl(out: Outputs, classes: int | None, decode: Mapping[str, Any]) -> tuple[Layout, list[str]] | None:
    found = _levels(out, classes) or _all_levels(out, classes)
    if found is None:
        return None
    names, boxes, rows, like = found
    own = [s for s in (_stride(many, out.size) for many in rows) if s is not None]
    sizes: Sequence[Sequence[int]] = [own] if len(rows) > 1 else YOLO_SIZES
    for strides in [decode["strides"]] if decode.get("strides") else sizes:
        if rows not in ([count(out.size, [s]) for s in strides], [count(out.size, strides)]):
            continue
        offset, shift = PLACES[like]
        guess = [f"decode: offset {offset:g} cells, shift {shift:g} px, as {like} has it"]
        if {"offset", "shift"} & decode.keys():
            guess, shift = [], 0.0
        offset, shift = float(decode.get("offset", offset)), float(decode.get("shift", shift))
        return GFL(list(strides), names, boxes, offset, shift), guess
    return None


def _levels(out: Outputs, classes: int | None) -> tuple[list[Part], list[Part], list[int], str] | None:
    """Classes and boxes of each stride in outputs of their own, how many rows each has, and what it is like."""
    if len(out.made) < 4 or len(out.made) % 2 or any(o.ndim != 3 for o in out.made):
        return None
    by_width: dict[int, list[int]] = {}
    for i in sorted(range(len(out.made)), key=lambda i: -out.made[i].shape[1]):
        by_width.setdefault(out.made[i].shape[2], []).append(i)
    if len(by_width) != 2:
        return None
    ended = [w for w, each in by_width.items() if not torch.equal(out.made[each[0]], out.before[each[0]])]
    named = classes if classes in by_width else ended[0] if len(ended) == 1 else None
    if named is None:  # a distribution is wide by a multiple of four
        named = next((w for w in by_width if w % 4), None)
    bins = next(w for w in by_width if w != named)
    if named is None or bins % 4 or bins // 4 < LEAST_BINS:
        return None
    rows = [out.made[i].shape[1] for i in by_width[named]]
    names, boxes = ([Part(i) for i in by_width[w]] for w in (named, bins))
    return names, boxes, rows, "PicoDet of 4 strides" if len(rows) > 3 else "NanoDet of 3 strides"


def _all_levels(out: Outputs, classes: int | None) -> tuple[list[Part], list[Part], list[int], str] | None:
    """The same of one output: probabilities, then numbers that are none."""
    (one, *others) = out.made
    if others or one.ndim != 3:
        return None
    sure = ((one >= 0) & (one <= 1)).flatten(0, 1).all(0).tolist()
    names = sure.index(False) if False in sure else len(sure)
    bins = len(sure) - names
    if any(sure[names:]) or not names or classes not in (None, names) or bins % 4 or bins // 4 < LEAST_BINS:
        return None
    return [Part(0, end=names)], [Part(0, first=names)], [one.shape[1]], "NanoDet-Plus"


def _stride(rows: int, size: tuple[int, int]) -> int | None:
    return next((s for s in (4, 8, 16, 32, 64, 128) if count(size, [s]) == rows), None)
