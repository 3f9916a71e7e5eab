"""Which layout a graph's outputs have, told by their shapes and, where these leave two open, by their numbers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from detectors.onnx_file.layouts import (
    DETR,
    GFL,
    LAYOUTS,
    SSD,
    STRIDES,
    YOLO_SIZES,
    FastestDet,
    Layout,
    Outputs,
    Yolo,
    count,
)
from igos.types import ConfigError

MOST_QUERIES = 1000
DECODES = {  # what a model file may say of each
    **dict.fromkeys(("yolox", "yolov5", "yolov8"), ("strides",)),
    "gfl": ("strides", "offset", "shift"),
    "fastestdet": (),
    "ssd": ("strides", "sides", "variances", "background"),
    "detr": ("background",),
    "end2end": (),
}
LEAST_BINS = 4  # of a distribution of distances


class Unfinished(ConfigError):
    """The layout is recognised, but not all that it takes to decode it. columns: of its classes."""

    columns = 0


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


def _check_classes(layout: Yolo, out: Outputs, where: str) -> None:
    """Refuse what stands in the place of classes and is no probability, where nobody says that they are classes."""
    ends = layout.rows(out.made)[..., layout.first :]
    low, high = float(ends.min()), float(ends.max())
    if low < 0 or high > 1:
        raise ConfigError(
            f"{where}: outputs {tuple(out.made[layout.at].shape)} look like {layout.name}, but its {ends.shape[-1]} "
            f"classes hold {low:.3g} to {high:.3g}: keypoints and turned boxes are not explained; if they are logits, "
            f"say --model_layout {layout.name}"
        )


def _fitting(
    out: Outputs, layout: str | None, classes: int | None, decode: Mapping[str, Any], where: str
) -> dict[str, tuple[Layout | None, list[str]]]:
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
        labels = out.made[0][..., -1]  # whole numbers, as nothing else of a network is
        return (None, []) if bool((labels == labels.round()).all()) else None
    if name in ("yolox", "yolov5", "yolov8"):
        return _yolo(name, out, classes, decode, asked)
    if name == "gfl":
        return _gfl(out, classes, decode)
    if name == "fastestdet":
        one = len(shapes) == 1 and len(shapes[0]) == 3 and shapes[0][0] > 5
        fits = one and classes in (None, shapes[0][0] - 5) and (asked or _is_fastestdet(out.made[0]))
        return (FastestDet(), []) if fits else None
    return _pair(name, out, classes, decode, asked)


def _yolo(
    name: str, out: Outputs, classes: int | None, decode: Mapping[str, Any], asked: bool
) -> tuple[Layout, list[str]] | None:
    at = [i for i, o in enumerate(out.made) if o.ndim == 3]
    beside = [o for o in out.made if o.ndim != 3]  # prototypes of masks (1,m,h,w), or heads (1,k,h,w,5+C) once more
    if len(at) != 1 or len([o for o in beside if o.ndim == 4]) > 1 or any(o.ndim not in (4, 5) for o in beside):
        return None
    masks = next((o.shape[1] for o in beside if o.ndim == 4), 0)
    made = Yolo(name, decode.get("strides") or STRIDES, at=at[0], masks=masks)
    rows = made.rows(out.made)
    many, c = rows.shape[1], rows.shape[2] - made.first
    if c < 1 or (classes is not None and c != classes):
        return None
    sizes = [tuple(made.strides)] if "strides" in decode else YOLO_SIZES
    fitting = [(s, k) for s in sizes for k in (1, 3) if count(out.size, s) * k == many]
    if not fitting and not (asked and name != "yolox"):
        return None
    in_cells = bool((rows[..., 2:4] < 0).any())  # a logarithm; sides in px are positive
    if fitting and not asked and in_cells != (name == "yolox"):
        return None
    if name == "yolox" and (not fitting or fitting[0][1] != 1):
        return None
    return replace(made, strides=fitting[0][0] if fitting else made.strides), []


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
    strides = decode.get("strides") or [_stride(many, out.size) for many in rows]
    if None in strides or len(strides) != len(rows) or rows != [count(out.size, [s]) for s in strides]:
        return None
    shift = 0.0 if len(rows) > 3 else -0.5
    guess = []
    if {"offset", "shift"} & decode.keys():
        shift = float(decode.get("shift", 0.0))
    else:
        like = "PicoDet" if len(rows) > 3 else "NanoDet"
        guess = [f"decode: offset 0.5 cells, shift {shift:g} px, as {like} of {len(rows)} strides has it"]
    offset = float(decode.get("offset", 0.5))
    return GFL(list(strides), by_width[named], by_width[bins], offset, shift), guess


def _pair(
    name: str, out: Outputs, classes: int | None, decode: Mapping[str, Any], asked: bool
) -> tuple[Layout, list[str]] | None:
    """ssd and detr: classes and boxes side by side."""
    if len(out.made) != 2 or any(o.ndim != 3 for o in out.made) or out.made[0].shape[1] != out.made[1].shape[1]:
        return None
    fours = [i for i, o in enumerate(out.made) if o.shape[2] == 4]
    if not fours:
        return None
    boxes = fours[0] if len(fours) == 1 else 1
    names, made = 1 - boxes, out.made[boxes]
    columns = out.made[names].shape[2]
    if classes is not None and columns not in (classes, classes + 1):
        return None
    unit = bool((made >= 0).all() & (made <= 1).all())
    if name == "detr":
        if not asked and (not unit or out.made[names].shape[1] > MOST_QUERIES):
            return None
        given = decode.get("background", "unsaid")
        none = None if given == "unsaid" else given
        guess = []
        if given == "unsaid" and (columns == 92 or (classes is not None and columns == classes + 1)):
            none, guess = -1, [f"decode: background -1: the last of {columns} columns stands for no object"]
        return DETR(names, boxes, none), guess
    sides = decode.get("sides") or ()
    strides = decode.get("strides") or ()
    if not asked and not sides and out.made[names].shape[1] <= MOST_QUERIES:
        return None
    if not sides and not bool((made[..., 2:] >= made[..., :2]).all()):
        unfinished = Unfinished(
            f"outputs of {out.made[names].shape[1]} rows, classes and offsets, look like ssd: it needs the priors, "
            "their sides in px per stride, in a model file, such as decode: {strides: [8, 16], sides: [[10, 16], [32]]}"
        )
        unfinished.columns = columns
        raise unfinished
    if len(sides) != len(strides):
        raise ConfigError(f"decode: {len(strides)} strides, but sides for {len(sides)}")
    none = decode.get("background", 0)
    return SSD(names, boxes, strides, sides, tuple(decode.get("variances", (0.1, 0.2))), none), []


def _stride(rows: int, size: tuple[int, int]) -> int | None:
    return next((s for s in (4, 8, 16, 32, 64, 128) if count(size, [s]) == rows), None)
