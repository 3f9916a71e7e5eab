"""Operators that onnx2torch lacks or fails on, as it wants them: a module and which inputs it takes.

https://onnx.ai/onnx/operators: GridSample, SpaceToDepth, Clip with one bound, Slice before opset 10.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch.nn.functional as F
from onnx2torch.node_converters import registry
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult, get_const_value
from torch import Tensor, nn

_SLICE = registry.get_converter("Slice", 13)


class GridSample(nn.Module):
    """input (N,C,H,W), grid (N,h,w,2) -> (N,C,h,w)."""

    def __init__(self, mode: str, padding: str, align_corners: bool) -> None:
        super().__init__()
        self.mode, self.padding, self.align_corners = mode, padding, align_corners

    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(x, grid, mode=self.mode, padding_mode=self.padding, align_corners=self.align_corners)


class SpaceToDepth(nn.Module):
    """(N,C,H,W) -> (N,b*b*C,H/b,W/b); the place within a block comes before the channel."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block

    def forward(self, x: Tensor) -> Tensor:
        n, c, h, w = x.shape
        b = self.block
        return x.view(n, c, h // b, b, w // b, b).permute(0, 3, 5, 1, 2, 4).reshape(n, b * b * c, h // b, w // b)


class Clip(nn.Module):
    """Least and greatest value, either of them or none."""

    def __init__(self, least: float | None, most: float | None) -> None:
        super().__init__()
        self.least, self.most = least, most

    def forward(self, x: Tensor) -> Tensor:
        return x if self.least is None and self.most is None else x.clamp(self.least, self.most)


class Slice(nn.Module):
    """start:end of some axes."""

    def __init__(self, parts: dict[int, slice]) -> None:
        super().__init__()
        self.parts = parts

    def forward(self, x: Tensor) -> Tensor:
        parts = {axis % x.ndim: part for axis, part in self.parts.items()}
        return x[tuple(parts.get(axis, slice(None)) for axis in range(x.ndim))]


def _first(node: Any) -> OnnxMapping:
    return OnnxMapping(inputs=(node.input_values[0],), outputs=node.output_values)


def _grid_sample(node: Any, graph: Any) -> OperationConverterResult:
    mode = node.attributes.get("mode", "bilinear")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding, aligned = node.attributes.get("padding_mode", "zeros"), bool(node.attributes.get("align_corners", 0))
    return OperationConverterResult(
        torch_module=GridSample(mode, padding, aligned),
        onnx_mapping=OnnxMapping(inputs=node.input_values, outputs=node.output_values),
    )


def _space_to_depth(node: Any, graph: Any) -> OperationConverterResult:
    return OperationConverterResult(SpaceToDepth(int(node.attributes["blocksize"])), _first(node))


def _clip(node: Any, graph: Any) -> OperationConverterResult:
    try:
        bounds = [float(get_const_value(name, graph)) if name else None for name in (*node.input_values[1:3], "", "")]
    except KeyError:
        raise NotImplementedError("Clip with bounds that the graph computes") from None
    return OperationConverterResult(Clip(*bounds[:2]), _first(node))


def _slice(node: Any, graph: Any) -> OperationConverterResult:
    """With bounds that are constants; the rest is left to onnx2torch."""
    try:
        values = [get_const_value(name, graph).flatten().tolist() if name else None for name in node.input_values[1:]]
    except (KeyError, AttributeError):
        return _SLICE(node, graph)
    starts, ends, *rest = [v or [] for v in values]
    axes = rest[0] if rest and rest[0] else list(range(len(starts)))
    steps = rest[1] if len(rest) > 1 and rest[1] else [1] * len(starts)
    if min(steps) < 1:
        return _SLICE(node, graph)
    parts = {int(a): slice(s, e, step) for a, s, e, step in zip(axes, starts, ends, steps, strict=True)}
    return OperationConverterResult(Slice(parts), _first(node))


def _old_slice(node: Any, graph: Any) -> OperationConverterResult:
    starts, ends = node.attributes["starts"], node.attributes["ends"]
    axes = node.attributes.get("axes") or range(len(starts))
    parts = {int(a): slice(int(s), int(e)) for a, s, e in zip(axes, starts, ends, strict=True)}
    return OperationConverterResult(Slice(parts), _first(node))


@cache
def register() -> None:
    """Let onnx2torch know of them, in place of its own where it has one."""
    made = {
        ("GridSample", (16, 20, 22)): _grid_sample,
        ("SpaceToDepth", (1, 13)): _space_to_depth,
        ("Clip", (11, 12, 13)): _clip,
        ("Slice", (10, 11, 13)): _slice,
        ("Slice", (1,)): _old_slice,
    }
    for (name, versions), convert in made.items():
        for version in versions:
            key = registry.OperationDescription(domain="", operation_type=name, version=version)
            registry._CONVERTER_REGISTRY[key] = convert  # add_converter refuses what is there already
