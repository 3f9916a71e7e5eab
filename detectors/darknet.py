"""Darknet networks: a .cfg becomes a torch module, a .weights file or a state dict fills it.

Redmon, Farhadi: YOLOv3, https://arxiv.org/abs/1804.02767; the cfg dialect of AlexeyAB/darknet.
The module answers raw rows (N, R, 5 + classes): tx, ty, tw, th, objectness, classes, all before their
non-linearity; `decode` turns them into boxes. Parameter names are Ultralytics' (module_list.N.Conv2d.weight).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from detectors.cfg import Section, as_list, count
from detectors.cfg import parse_cfg as parse_cfg
from detectors.checkpoint import with_storage
from detectors.shortcuts import untouched
from igos.base.reading import opened
from igos.types import ConfigError, WeightsError

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "linear": nn.Identity,
    "leaky": lambda: nn.LeakyReLU(0.1, inplace=True),
    "relu": lambda: nn.ReLU(inplace=True),
    "logistic": nn.Sigmoid,
    "mish": lambda: nn.Mish(inplace=True),
    "swish": lambda: nn.SiLU(inplace=True),
}
BATCH_NORM_EPS = 1e-5  # Darknet's; Ultralytics trained with 1e-4
# Options that change the network: refused unless they hold the value that stands here.
_OFF = dict.fromkeys(("antialiasing", "stride_x", "stride_y"), 0)
_RARE = ("xnor", "binary", "bin_output", "stretch", "rotate", "sway", "stretch_sway", "flipped", "coordconv")
REFUSED: dict[str, dict[str, Any]] = {
    "convolutional": _OFF | dict.fromkeys(_RARE, 0) | {"share_index": None},
    "maxpool": _OFF | {"maxpool_depth": 0, "maxpool_zero_nonmax": 0},
    "upsample": {"scale": 1},
    "shortcut": {"weights_type": "none"},
    "yolo": {"new_coords": 0},
}

WIDEST = 255  # a kernel's extent, in cells


class Darknet(nn.Module):
    """(N,3,H,W) in [0,1], sides a multiple of `stride` -> raw rows (N, R, 5 + classes)."""

    def __init__(self, sections: list[Section], path: str | Path = "cfg", eps: float = BATCH_NORM_EPS) -> None:
        super().__init__()
        self.path = str(path)
        self.net, self.layers = sections[0], sections[1:]
        self.module_list = nn.ModuleList()
        channels, strides = [3], [1]
        if self.net.get("channels", 3) != 3:
            raise ConfigError(f"--cfg {path}: channels={self.net['channels']}; only 3 (RGB) are explained")
        for i, layer in enumerate(self.layers):
            try:
                module, c, s = self._build(i, layer, channels, strides, eps)
            except KeyError as error:
                raise ConfigError(f"{self._at(i)} lacks {error}") from None
            except (TypeError, ValueError, IndexError, ArithmeticError, RuntimeError) as error:
                raise ConfigError(f"{self._at(i)} cannot be built: {error}") from None
            self.module_list.append(module)
            channels.append(c)
            strides.append(s)
        self.heads = [i for i, layer in enumerate(self.layers) if layer["type"] == "yolo"]
        if not self.heads:
            raise ConfigError(f"--cfg {path}: no [yolo] section; only YOLO detectors are explained")
        counts = {int(self.layers[i]["classes"]) for i in self.heads}
        if len(counts) > 1:
            raise ConfigError(f"--cfg {path}: the [yolo] sections disagree about classes ({sorted(counts)})")
        self.classes = counts.pop()
        self.stride = math.lcm(*strides)
        self.densest = max(c / s**2 for c, s in zip(channels, strides, strict=True))  # numbers of a map per pixel
        self._used = {j for i, layer in enumerate(self.layers) for j in layer.get("sources", [])}

    def _at(self, i: int) -> str:
        return f"--cfg {self.path}: layer {i} [{self.layers[i]['type']}]"

    def _build(
        self, i: int, layer: Section, channels: list[int], strides: list[int], eps: float
    ) -> tuple[nn.Module, int, int]:
        """The layer's module, its output channels and its stride over the picture."""
        kind, c, s = layer["type"], channels[-1], strides[-1]
        for key, harmless in REFUSED.get(kind, {}).items():
            if layer.get(key, harmless) != harmless:
                raise ConfigError(f"{self._at(i)}: {key}={layer[key]} is not supported")
        if kind == "convolutional":
            return self._convolution(i, layer, c, eps), layer["filters"], s * count(layer, "stride", 1)
        if kind == "maxpool":
            stride = count(layer, "stride", 1)
            size = count(layer, "size", stride)
            padding = count(layer, "padding", size - 1, least=0)
            self._keeps_grid(size, stride, padding)
            return DarknetMaxPool(size, stride, padding), c, s * stride
        if kind == "upsample":
            stride = count(layer, "stride", 2)
            if s % stride:
                raise ValueError(f"stride={stride} enlarges a map of stride {s} beyond the picture")
            return nn.Upsample(scale_factor=stride, mode="nearest"), c, s // stride
        if kind == "dropout":
            return nn.Identity(), c, s
        if kind in ("route", "shortcut"):
            wanted = as_list(layer["layers" if kind == "route" else "from"])
            layer["sources"] = [j if j >= 0 else i + j for j in wanted]
            if not wanted or any(not 0 <= j < i for j in layer["sources"]):
                raise ConfigError(f"{self._at(i)} reads layer {wanted}, which does not come before it")
            shapes = [(channels[j + 1], strides[j + 1]) for j in layer["sources"]]
            shapes += [(c, s)] if kind == "shortcut" else []
            if len({shape if kind == "shortcut" else shape[1] for shape in shapes}) > 1:
                raise ConfigError(f"{self._at(i)} joins different shapes (channels, stride): {shapes}")
            if kind == "shortcut":
                return self._activation(i, layer, "linear"), c, s
            groups, group = count(layer, "groups", 1), int(layer.get("group_id", 0))
            if not 0 <= group < groups or any(n % groups for n, _ in shapes):
                raise ValueError(f"no group {group} of {groups} in {[n for n, _ in shapes]} channels")
            return nn.Identity(), sum(n // groups for n, _ in shapes), shapes[0][1]
        if kind == "yolo":
            layer["mask"] = as_list(layer["mask"])
            layer["stride"], layer["scale_x_y"] = s, float(layer.get("scale_x_y", 1.0))
            pairs = len(torch.tensor(layer["anchors"], dtype=torch.float32).view(-1, 2))
            if any(type(m) is not int or m not in range(pairs) for m in layer["mask"]):
                raise ValueError(f"mask={layer['mask']} is not among its {pairs} anchors, counted from 0")
            expected = len(layer["mask"]) * (5 + count(layer, "classes"))
            if c != expected:
                raise ConfigError(f"{self._at(i)} needs {expected} channels, the layer before gives {c}")
            return nn.Identity(), c, s
        raise ConfigError(f"{self._at(i)}: this kind of layer is not supported")

    @staticmethod
    def _keeps_grid(size: int, stride: int, padding: int) -> None:
        """Cells must stay pixels / stride, on which the boxes are laid. padding counts both sides."""
        if size > WIDEST:
            raise ValueError(f"a kernel over {size} cells; {WIDEST} are the most")
        if not size - stride <= padding < size:
            raise ValueError(f"size {size}, stride {stride} and padding {padding} do not divide the picture")

    def _activation(self, i: int, layer: Section, default: str) -> nn.Module:
        name = layer.get("activation", default)
        if name not in ACTIVATIONS:
            raise ConfigError(f"{self._at(i)}: activation {name!r} is not one of {', '.join(ACTIVATIONS)}")
        return ACTIVATIONS[name]()

    def _convolution(self, i: int, layer: Section, c: int, eps: float) -> nn.Sequential:
        size, stride = count(layer, "size", 1), count(layer, "stride", 1)
        dilation = count(layer, "dilation", 1)
        padding = (size // 2 if layer.get("pad", 0) else count(layer, "padding", 0, least=0)) * dilation
        self._keeps_grid((size - 1) * dilation + 1, stride, 2 * padding)
        norm = bool(layer.get("batch_normalize", 0))
        block = nn.Sequential()
        block.add_module(
            "Conv2d",
            nn.Conv2d(
                c,
                count(layer, "filters"),
                size,
                stride=stride,
                padding=padding,
                dilation=dilation,
                groups=count(layer, "groups", 1),
                bias=not norm,
            ),
        )
        if norm:
            block.add_module("BatchNorm2d", nn.BatchNorm2d(layer["filters"], eps=eps, momentum=0.03))
        block.add_module("activation", self._activation(i, layer, "logistic"))
        return block

    def forward(self, x: Tensor, heads: Sequence[int] | None = None) -> Tensor:
        """The rows of these [yolo] layers (default: all), running nothing that only others need."""
        wanted = self.heads if heads is None else heads
        return torch.cat([rows for i, rows in self.outputs(x, wanted) if i in wanted], dim=1)

    def outputs(self, x: Tensor, heads: Sequence[int] | None = None) -> Iterator[tuple[int, Tensor]]:
        """(i, output of layer i) one after the other, run only as far as they are asked for.

        A [yolo] layer gives its rows (N, anchors * h * w, 5 + classes). heads: run only what these need.
        """
        kept: dict[int, Tensor] = {}
        needed = range(len(self.layers)) if heads is None else self._needed(heads)
        for i, (layer, module) in enumerate(zip(self.layers, self.module_list, strict=True)):
            if i not in needed:
                continue
            kind = layer["type"]
            if kind == "route":
                groups, group = int(layer.get("groups", 1)), int(layer.get("group_id", 0))
                x = module(torch.cat([kept[j].chunk(groups, dim=1)[group] for j in layer["sources"]], dim=1))
            elif kind == "shortcut":
                x = module(sum((kept[j] for j in layer["sources"]), start=x))
            elif kind == "yolo":
                n, _, h, w = x.shape
                anchors = len(layer["mask"])
                yield i, x.reshape(n, anchors, -1, h * w).transpose(2, 3).flatten(1, 2)
            else:
                x = module(x)
            if i in self._used:
                kept[i] = x
            if kind != "yolo":
                yield i, x

    def _needed(self, heads: Sequence[int]) -> set[int]:
        """The layers that these read, directly or not, and themselves."""
        needed, ahead = set(), list(heads)
        while ahead:
            i = ahead.pop()
            if i >= 0 and i not in needed:
                needed.add(i)
                ahead += self.layers[i].get("sources", [])
                ahead += [] if self.layers[i]["type"] == "route" else [i - 1]
        return needed

    def counts(self, size: tuple[int, int]) -> list[int]:
        """How many rows each of `heads` has for a network picture (H,W)."""
        layers = [self.layers[i] for i in self.heads]
        return [len(x["mask"]) * (size[0] // x["stride"]) * (size[1] // x["stride"]) for x in layers]

    def decode(self, rows: Tensor, size: tuple[int, int], index: Tensor | None = None) -> Tensor:
        """Raw rows (N,R,5+C) of a network picture (H,W) -> boxes (N,R,4) xyxy in its pixels, not clipped.

        index (N,R): which of all rows they are; by default they are all, in order.
        """
        grid = self._grid(size).to(rows)
        corner, anchors, stride, scale = (grid if index is None else grid[index]).split([2, 2, 1, 1], dim=-1)
        centre = (rows[..., :2].sigmoid() * scale - 0.5 * (scale - 1) + corner) * stride
        half = rows[..., 2:4].exp() * anchors / 2
        return torch.cat([centre - half, centre + half], dim=-1)

    def _grid(self, size: tuple[int, int]) -> Tensor:
        """Per row of a network picture (H,W): its cell's x and y, anchor's w and h, stride, scale_x_y (R,6)."""
        made = []
        for layer in (self.layers[i] for i in self.heads):
            h, w = size[0] // layer["stride"], size[1] // layer["stride"]
            pairs = torch.tensor(layer["anchors"], dtype=torch.float64).view(-1, 2)
            anchors = pairs[layer["mask"]].repeat_interleave(h * w, dim=0)
            y, x = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
            corner = torch.stack([x, y], dim=-1).view(-1, 2).repeat(len(layer["mask"]), 1)
            rest = torch.tensor([layer["stride"], layer["scale_x_y"]], dtype=torch.float64)
            made.append(torch.cat([corner, anchors, rest.expand(len(anchors), 2)], dim=1))
        return torch.cat(made)

    def _blocks(self) -> list[Any]:
        """The convolutional layers, each with Conv2d, perhaps BatchNorm2d, and activation."""
        return [block for block in self.module_list if isinstance(block, nn.Sequential)]

    def fold(self) -> Darknet:
        """Batch norm folded into the convolutions, in place; for inference only. What has hooks stays."""
        for block in self._blocks():
            pair: list[Any] = [getattr(block, name, None) for name in ("Conv2d", "BatchNorm2d")]
            if [type(m) for m in pair] == [nn.Conv2d, nn.BatchNorm2d] and all(map(untouched, pair)):
                block.Conv2d = fuse_conv_bn_eval(block.Conv2d.eval(), block.BatchNorm2d.eval())
                del block.BatchNorm2d
        return self

    def load_weights(self, path: str | Path) -> None:
        """Fill the network from a .weights file; one on the meta device gets its storage when the two are a pair.

        Raises WeightsError unless every float is consumed.
        """
        with opened(path, 2**62) as file:
            data = np.fromfile(file, dtype=np.uint8)
        version = data[:8].view(np.int32) if data.size >= 8 else None
        if version is None or not (0 <= version[0] < 1000 and 0 <= version[1] < 1000):
            raise WeightsError(f"{path}: not a Darknet .weights file (no version in its first bytes)")
        header = 20 if version[0] * 10 + version[1] >= 2 else 16
        if data.size < header or (data.size - header) % 4:
            raise WeightsError(f"{path}: damaged ({data.size} bytes are not a header and whole floats)")
        floats = torch.from_numpy(data[header:].view(np.float32).copy())
        slots = list(self._slots())
        wanted = sum(slot.numel() for slot in slots)
        if wanted != len(floats):
            raise WeightsError(f"{path} holds {len(floats)} floats but {self.path} needs {wanted}: not a pair")
        if any(slot.is_meta for slot in slots):
            with_storage(self)
            slots = list(self._slots())
        with torch.no_grad():
            for slot, values in zip(slots, floats.split([slot.numel() for slot in slots]), strict=True):
                slot.copy_(values.view_as(slot))

    def _slots(self) -> list[Tensor]:
        """Every tensor in the order of a .weights file."""
        slots: list[Tensor] = []
        for block in self._blocks():
            norm = getattr(block, "BatchNorm2d", None)
            if norm is None:
                slots += [block.Conv2d.bias, block.Conv2d.weight]
            else:
                slots += [norm.bias, norm.weight, norm.running_mean, norm.running_var, block.Conv2d.weight]
        return slots


class DarknetMaxPool(nn.Module):
    """Max pooling with Darknet's padding (size - 1 cells unless the cfg says other), the smaller half of it before."""

    def __init__(self, size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.size, self.stride = size, stride
        self.before, self.after = padding // 2, padding - padding // 2

    def forward(self, x: Tensor) -> Tensor:
        if self.before == self.after:
            return F.max_pool2d(x, self.size, self.stride, self.before)
        x = F.pad(x, (self.before, self.after, self.before, self.after), value=float("-inf"))
        return F.max_pool2d(x, self.size, self.stride)
