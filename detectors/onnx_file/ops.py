"""Operators that onnx2torch lacks or fails on, as it wants them: a module and which inputs it takes.

https://onnx.ai/onnx/operators: GridSample, SpaceToDepth, Clip with one bound, Slice before opset 10, Split into parts
that are not alike, Upsample of old exports, GlobalMaxPool, Gelu, Mish, Swish, GroupNormalization.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch.nn.functional as F
from onnx2torch.node_converters import registry
from onnx2torch.utils.common import OnnxMapping, OperationConverterResult, get_const_value
from torch import Tensor, nn

from detectors.onnx_file.older import SET

_SLICE, _SPLIT = registry.get_converter("Slice", 13), registry.get_converter("Split", 13)


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


class Parts(nn.Module):
    """As many parts along an axis, the last one smaller where they do not fit."""

    def __init__(self, count: int, axis: int) -> None:
        super().__init__()
        self.count, self.axis = count, axis

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return x.split(-(-x.shape[self.axis] // self.count), self.axis)


class Upsample(nn.Module):
    """(N,C,H,W) -> (N,C,a*H,b*W). mode: nearest or linear."""

    def __init__(self, mode: str, scales: tuple[float, ...]) -> None:
        super().__init__()
        self.mode, self.scales = {"linear": "bilinear"}.get(mode, mode), scales[2:]

    def forward(self, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=list(self.scales), mode=self.mode)


class GroupNormalization(nn.Module):
    """input (N,C,...), scale and bias (C,), or (G,) in set 18: one for each group."""

    def __init__(self, groups: int, eps: float) -> None:
        super().__init__()
        self.groups, self.eps = groups, eps

    def forward(self, x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
        scale, bias = (v.repeat_interleave(x.shape[1] // len(v)) for v in (scale, bias))
        return F.group_norm(x, self.groups, scale, bias, self.eps)


class Swish(nn.Module):
    """x * sigmoid(alpha x)."""

    def __init__(self, alpha: float) -> None:
        super().__init__()
        self.alpha = alpha

    def forward(self, x: Tensor) -> Tensor:
        return x * (self.alpha * x).sigmoid()


def _every(node: Any) -> OnnxMapping:
    return OnnxMapping(inputs=node.input_values, outputs=node.output_values)


def _first(node: Any) -> OnnxMapping:
    return OnnxMapping(inputs=(node.input_values[0],), outputs=node.output_values)


def _grid_sample(node: Any, graph: Any) -> OperationConverterResult:
    mode = node.attributes.get("mode", "bilinear")
    mode = {"linear": "bilinear", "cubic": "bicubic"}.get(mode, mode)
    padding, aligned = node.attributes.get("padding_mode", "zeros"), bool(node.attributes.get("align_corners", 0))
    return OperationConverterResult(GridSample(mode, padding, aligned), _every(node))


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


def _split(node: Any, graph: Any) -> OperationConverterResult:
    if len(node.input_values) > 1 and node.input_values[1]:
        return _SPLIT(node, graph)
    return OperationConverterResult(Parts(len(node.output_values), node.attributes.get("axis", 0)), _first(node))


def _upsample(node: Any, graph: Any) -> OperationConverterResult:
    scales = node.attributes.get("scales")
    try:
        scales = get_const_value(node.input_values[1], graph).tolist() if scales is None else scales
    except KeyError:
        raise NotImplementedError("Upsample with scales that the graph computes") from None
    return OperationConverterResult(Upsample(node.attributes.get("mode", "nearest"), tuple(scales)), _first(node))


def _group_norm(node: Any, graph: Any) -> OperationConverterResult:
    made = GroupNormalization(int(node.attributes["num_groups"]), float(node.attributes.get("epsilon", 1e-5)))
    return OperationConverterResult(made, _every(node))


def _gelu(node: Any, graph: Any) -> OperationConverterResult:
    return OperationConverterResult(nn.GELU(node.attributes.get("approximate", "none")), _first(node))


def _swish(node: Any, graph: Any) -> OperationConverterResult:
    return OperationConverterResult(Swish(float(node.attributes.get("alpha", 1.0))), _first(node))


NEW = {  # operators that came after the set in whose words a graph is taken
    "Gelu": _gelu,
    "GroupNormalization": _group_norm,
    "Mish": lambda node, graph: OperationConverterResult(nn.Mish(), _first(node)),
    "Swish": _swish,
}


@cache
def register() -> None:
    """Let onnx2torch know of them, in place of its own where it has one."""
    made: dict[tuple[str, tuple[int, ...]], Any] = {
        ("GridSample", (16, 20, 22)): _grid_sample,
        ("SpaceToDepth", (1, 13)): _space_to_depth,
        ("Clip", (11, 12, 13)): _clip,
        ("Slice", (10, 11, 13)): _slice,
        ("Slice", (1,)): _old_slice,
        ("Split", (13,)): _split,
        ("Upsample", (7, 9)): _upsample,
        ("GlobalMaxPool", (1,)): lambda node, graph: OperationConverterResult(nn.AdaptiveMaxPool2d(1), _first(node)),
        **{(name, (SET,)): convert for name, convert in NEW.items()},
    }
    for (name, versions), convert in made.items():
        for version in versions:
            key = registry.OperationDescription(domain="", operation_type=name, version=version)
            registry._CONVERTER_REGISTRY[key] = convert  # add_converter refuses what is there already
