"""A first model file for an ONNX file: what was recognised, and what was guessed, marked so."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from detectors.dense import DenseAdapter
from detectors.inputs import Input
from detectors.onnx_file.layouts import GFL, Yolo
from detectors.onnx_file.load import USUAL, Read
from detectors.onnx_file.pairs import DETR, SSD
from detectors.onnx_file.recognise import Unfinished
from detectors.onnx_file.source import read_graph
from igos.base.names import DETECTION_THRESHOLD
from igos.types import Adapter, ConfigError

GUESSED, NEEDED = "  # guessed", "  # needed"


def draft(adapter: Adapter, weights: str | Path, out: str | Path) -> str:
    """The text of a model file that stands at `out`. Raises ConfigError for a black box, of which little is known."""
    if not isinstance(adapter, DenseAdapter) or not isinstance(adapter.raw, Read):
        raise ConfigError(f"--out {out}: a model file can be drafted of an onnx model whose layout is known")
    layout, notes = adapter.raw.layout, "\n".join(adapter.notes)
    names = [n for i, n in enumerate(adapter.labels) if i != _background(layout, len(adapter.labels))]
    lines = [
        *_where(weights, out, layout.name),
        f"names: [{', '.join(map(_word, names))}]{GUESSED if 'guessed: names' in notes else ''}",
        *_input(adapter.raw.input, GUESSED if "guessed: input" in notes else ""),
    ]
    decode = _decode(layout)
    if decode:
        guess = next((note for note in adapter.notes if note.startswith("guessed: decode")), "")
        lines += [
            "decode:",
            *(f"  {k}: {v}{GUESSED if re.search(rf'{k} -?[0-9]', guess) else ''}" for k, v in decode.items()),
        ]
    if layout.classes.kind in ("logits", "probabilities"):
        lines.append(f"activation: {layout.classes.activation}{GUESSED}")
    lines += [f"threshold: {adapter.threshold:g}"]
    lines += [] if isinstance(layout, DETR) else [f"nms: {getattr(adapter.suppress, 'iou', 0.5):g}{GUESSED}"]
    return "\n".join(lines) + "\n"


def unfinished(error: Unfinished, weights: str | Path, out: str | Path) -> str:
    """The text of a model file for a graph that looks like ssd, whose priors are yet to be filled in. Raises
    ConfigError and WeightsError.
    """
    _, size = read_graph(weights, None)
    names = [f"class {i}" for i in range(1, error.columns)]
    decode = [f"  strides: []{NEEDED}", f"  sides: []{NEEDED}", f"  variances: [0.1, 0.2]{GUESSED}"]
    return "\n".join(
        [
            *_where(weights, out, SSD.name),
            f"names: [{', '.join(map(_word, names))}]{GUESSED}",
            *_input(Input(**{"size": size, **USUAL[SSD.name]}), GUESSED),
            "decode:",
            *decode,
            f"  background: 0{GUESSED}",
            f"threshold: {DETECTION_THRESHOLD:g}",
            f"nms: 0.5{GUESSED}",
            "",
        ]
    )


def _where(weights: str | Path, out: str | Path, layout: str) -> list[str]:
    return ["kind: onnx", f"weights: {_word(os.path.relpath(weights, Path(out).parent))}", f"layout: {layout}"]


def _input(way: Input, unsure: str) -> list[str]:
    """How a picture is fed; unsure: what stands behind each guess."""
    return [
        "input:",
        f"  size: {list(way.size)}",
        f"  fit: {way.fit}{unsure}",
        f"  pad: {way.pad}{unsure}",
        f"  color: {way.color}{unsure}",
        f"  range: {way.range:g}{unsure}",
        f"  mean: {list(way.mean)}{unsure}",
        f"  std: {list(way.std)}{unsure}",
        f"  interpolation: {way.interpolation}{unsure}",
    ]


def _decode(layout: Any) -> dict[str, Any]:
    if isinstance(layout, GFL):
        return {"strides": list(layout.strides), "offset": layout.offset, "shift": layout.shift}
    if isinstance(layout, SSD):
        sides = {"strides": list(layout.strides), "sides": [list(s) for s in layout.sides]} if layout.sides else {}
        return {**sides, "variances": list(layout.variances), "background": _column(layout.none)}
    if isinstance(layout, DETR):
        return {"background": _column(layout.none)}
    return {"strides": list(layout.strides)} if isinstance(layout, Yolo) else {}


def _column(none: int | None) -> Any:
    return "none" if none is None else "last" if none == -1 else none


def _background(layout: Any, columns: int) -> int | None:
    none = getattr(layout, "none", None)
    return None if none is None else none % columns


def _word(text: str) -> str:
    """As a YAML word in quotes."""
    return "'" + str(text).replace("'", "''") + "'"
