"""An ONNX file as an adapter: with gradients where the graph can be turned into torch, else as a black box.

On one made-up picture the module is compared with onnxruntime; `DenseAdapter.notes` tells how far they lie apart, what
was recognised and what was guessed.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from detectors import labels as names_of
from detectors.blackbox import BlackBoxAdapter
from detectors.dense import CELLS, QUERIES, DenseAdapter
from detectors.inputs import Input
from detectors.onnx_file.finished import detections
from detectors.onnx_file.graph import (
    Converted,
    Session,
    Unconvertible,
    convert,
    pinned_choices,
    settle_batch,
)
from detectors.onnx_file.layouts import FastestDet, Layout, Yolo
from detectors.onnx_file.pairs import DETR, SSD
from detectors.onnx_file.parts import Outputs, Scores
from detectors.onnx_file.recognise import recognise
from detectors.onnx_file.source import read_graph, said_by
from detectors.suppress import NMS, Everything, Suppress
from igos.types import Adapter, Candidates, ConfigError, WeightsError

log = logging.getLogger("igos")

FAR = 1e-3  # of the largest number of an output: a module that lies further from onnxruntime is told of
IMAGENET = {"mean": (123.675, 116.28, 103.53), "std": (58.395, 57.12, 57.375)}
USUAL: dict[str, dict[str, Any]] = {  # how the networks of a layout are mostly fed
    "yolox": {"fit": "letterbox-corner", "color": "bgr", "range": 255.0},
    "yolov5": {"fit": "letterbox"},
    "yolov8": {"fit": "letterbox"},
    "gfl": {"range": 255.0, **IMAGENET},
    "fastestdet": {"color": "bgr"},
    "ssd": {"range": 255.0, "mean": (127.0,) * 3, "std": (128.0,) * 3},
    "detr": {},
    "end2end": {"fit": "letterbox"},
}
COCO = "names: those of COCO"
OTHER = ("pose", "obb", "classify", "semantic")  # tasks of Ultralytics' exports that are no detectors
NANODET = {"color": "bgr", "range": 255.0, "mean": (103.53, 116.28, 123.675), "std": (57.375, 57.12, 58.395)}


@dataclass(frozen=True)
class Read:
    """raw of a DenseAdapter: the input prepared, the graph run, its outputs decoded."""

    input: Input
    layout: Layout

    def __call__(self, module: nn.Module, pictures: Tensor) -> Candidates:
        return self.layout.decode(outputs(module, self.input.prepare(pictures)))


def outputs(module: nn.Module, x: Tensor) -> Outputs:
    """What the graph answers for prepared pictures (N,3,H,W)."""
    every = module(x)
    half = len(every) // 2 if isinstance(module, Converted) else len(every)
    return Outputs(every[:half], every[half:] or every, (x.shape[-2], x.shape[-1]))


def load_onnx(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | Sequence[str] | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    fit: str | None = None,
    layout: str | None = None,
    input: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    activation: str | None = None,
    nms: float | None = None,
) -> Adapter:
    """weights: the .onnx file. names: of its classes, a file or a list; layout: one of LAYOUTS, where it is not
    recognised; input: fields of Input, decode: of the layout (docs/models.md); nms: IoU of the suppression.

    Raises ConfigError and WeightsError.
    """
    if weights is None:
        raise ConfigError(f"--model {name} needs --model_file FILE.onnx")
    title, activation = Path(weights).stem, None if activation == "none" else activation
    given = {**(input or {}), **({"fit": fit} if fit else {})}
    size = _size(given, input_size)
    given.pop("size", None)
    graph, size = read_graph(weights, size)
    said = said_by(graph)
    if said.get("task") in OTHER:
        raise ConfigError(f"{weights}: says that its task is {said['task']}; boxes with classes are explained")
    asked = names_of.choose(names, dataset)
    session, why = Session(graph), ""
    probe = _probe(size)
    module: nn.Module = session
    try:
        module = convert(graph)
        settle_batch(module, probe)
    except Unconvertible as error:
        why = str(error)
    with torch.no_grad():
        out = outputs(module, probe[:1])
    own = asked or said.get("names")
    found, guessed = recognise(out, layout, len(own) if own else None, decode or {}, str(weights))
    kind = found.name if found is not None else "end2end"
    usual = NANODET if kind == "gfl" and len(out.made) in (1, 6) else USUAL[kind]
    usual = {} if isinstance(found, SSD) and not found.sides else usual  # of finished boxes nothing is usual
    usual = {k: v for k, v in usual.items() if k in ("fit", "color")} | {"range": 255.0} if said.get("bytes") else usual
    way = Input(**{"size": size, **usual, **given})
    guessed = [*guessed, *([] if input else [f"input: {_told(way)}, as networks of layout {kind} mostly have it"])]
    masks = getattr(found, "masks", 0)
    notes = [f"layout {kind}", *([f"its masks ({masks} columns) are left out"] if masks else []), *_boxes(found)]
    notes += [f"input {_told(way)}"]
    if found is None:
        labels = own or names_of.coco()
        guessed += [] if own else [COCO]
        call = partial(detections, session, way)
        notes += ["no gradients: it answers finished detections"]
        told = [*notes, *_guesses(guessed)]
        return BlackBoxAdapter(call, labels, name=title, device=device, reader=way.read, notes=told)
    with torch.no_grad():
        out = outputs(module, way.prepare(probe[:1]))
        found = found.settle(out, activation)
        far = 0.0 if module is session else distance(out.made, session(way.prepare(probe[:1])))
    none = getattr(found, "none", None)
    columns = found.count(out)
    coco = names_of.coco() if columns - (none is not None) == 80 else None
    labels = names_of.of_columns(own, columns, none, str(names or dataset or title), coco)
    guessed += [] if own else [COCO if coco else "names: numbers, since the file holds none"]
    notes.append(found.classes.told())
    if found.classes.kind == "logits" and activation is None:
        guessed += [f"activation: {found.classes.activation}, for the graph applies none"]
    if isinstance(found, SSD) and none is not None and "background" not in (decode or {}):
        guessed += [f"decode: background {none}: the first of {columns} columns stands for no object"]
    if found.classes.kind == "probabilities":
        notes.append("its probabilities are taken to lie in [1e-6, 1 - 1e-6]: the activation cannot be taken off")
    if why:
        notes.append(f"no gradients: {why}")
    else:
        notes.append(f"differs from onnxruntime by {far:.1e} of the largest number")
        if far > FAR:
            log.warning("%s: the module differs from onnxruntime by %.1e of the largest number", weights, far)
    notes += [f"queries are chosen by {choice}, and pinned" for choice in pinned_choices(graph)]
    return DenseAdapter(
        module,
        Read(way, found),
        labels,
        reader=way.read,
        suppress=_suppress(found, nms),
        name=title,
        device=device,
        preset=_preset(found),
        batch=8 if getattr(module, "batched", False) else 1,
        blocked=why,
        notes=[*notes, *_guesses(guessed)],
        oracle=None if why else partial(Read(way, plain(found)), session),
    )


def preset_of(
    weights: str | Path | None,
    *,
    names: str | Path | Sequence[str] | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    layout: str | None = None,
    input: Mapping[str, Any] | None = None,
    decode: Mapping[str, Any] | None = None,
    **others: Any,
) -> str:
    """The name of the preset for a file, as load_onnx takes it: by its outputs, without torch. What cannot be read is
    told where it is loaded.
    """
    if layout is not None or weights is None:
        return QUERIES if layout == DETR.name else CELLS
    try:
        graph, size = read_graph(weights, _size(input or {}, input_size))
        own = names_of.choose(names, dataset) or said_by(graph).get("names")
        out = outputs(Session(graph), _probe(size)[:1])
        return _preset(recognise(out, None, len(own) if own else None, decode or {}, str(weights))[0])
    except (ConfigError, WeightsError):
        return CELLS


def _preset(layout: Layout | None) -> str:
    return QUERIES if isinstance(layout, DETR) else CELLS


def _size(given: Mapping[str, Any], side: int | None) -> tuple[int, int] | None:
    """Height and width that the user says, in a model file or by --input_size."""
    return given.get("size") or ((side, side) if side else None)


def _probe(size: tuple[int, int]) -> Tensor:
    """Two made-up pictures (2,3,H,W)."""
    return torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0))


def plain(layout: Layout) -> Layout:
    """The layout that reads the graph's own probabilities, as a session answers them."""
    made = {}
    for key in ("classes", "objectness"):
        scores = getattr(layout, key, None)
        if scores is not None and scores.kind in ("sigmoid", "softmax"):
            made[key] = Scores("probabilities", scores.activation)
    return replace(layout, **made)  # type: ignore[arg-type]


def distance(made: Sequence[Tensor], own: Sequence[Tensor]) -> float:
    """The largest difference of two sets of outputs, as a share of the largest number of the output (at least 1)."""
    return max(float((a - b).abs().max() / b.abs().max().clamp(min=1)) for a, b in zip(made, own, strict=True))


def _suppress(layout: Layout, nms: float | None) -> Suppress:
    if isinstance(layout, DETR):
        return Everything(best=layout.none is not None)
    return NMS(0.5 if nms is None else nms, best=isinstance(layout, (Yolo, FastestDet)))


def _boxes(layout: Layout | None) -> list[str]:
    """For the notes: how boxes are written, where that differs within a layout."""
    if isinstance(layout, Yolo):
        return ["boxes: in 0..1"] if layout.unit else []
    return [layout.way.told()] if isinstance(layout, DETR) or (isinstance(layout, SSD) and not layout.sides) else []


def _guesses(guessed: Sequence[str]) -> list[str]:
    return [f"guessed: {g}" for g in guessed]


def _told(way: Input) -> str:
    height, width = way.size
    numbers = [f"range {way.range:g}", *(f"{k} {list(v)}" for k, v in (("mean", way.mean), ("std", way.std)))]
    numbers = numbers if any(way.mean) or any(s != 1 for s in way.std) else numbers[:1]
    return ", ".join([f"{width} x {height} px", way.fit, way.color, *numbers])
