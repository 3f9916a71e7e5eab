"""Boxes on maps, for the R-CNN family: the pyramid of features, instances on the mask branch's grid, proposals."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import FrozenBatchNorm2d, roi_align
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork
from torchvision.ops.misc import Conv2dNormActivation

from detectors.shortcuts import untouched
from igos.types import Target

MASK_CELLS = 28  # a side, of the mask branch


Window = tuple[slice, slice]
HALO = 1  # cells, the reach of a pyramid level's 3 x 3 convolution


def windowed(backbone: Any, levels: Collection[str]) -> bool:
    """Whether `pyramid` makes these levels of the backbone as it would itself: it and the parts that are not called
    are exactly torchvision's, without hooks, each level's convolution is 3 x 3, and what follows one works by the cell.
    """
    if type(backbone) is not BackboneWithFPN or type(backbone.fpn) is not FeaturePyramidNetwork:
        return False
    body, fpn = backbone.body, backbone.fpn
    blocks = [(b, 0) for b in fpn.inner_blocks] + [(b, HALO) for b in fpn.layer_blocks]
    return (
        type(body) is IntermediateLayerGetter
        and set(levels) <= {str(name) for name in body.return_layers.values()}
        and all(map(untouched, (backbone, fpn, fpn.inner_blocks, fpn.layer_blocks)))
        and all(_reaches(block, reach) for block, reach in blocks)
    )


def _reaches(block: Any, reach: int) -> bool:
    """Whether a convolution and the norm behind it, of exact types without hooks, read just `reach` cells around."""
    if type(block) is not Conv2dNormActivation or not 1 <= len(block) <= 2 or not all(map(untouched, block.modules())):
        return False
    conv, side = block[0], (2 * reach + 1, 2 * reach + 1)
    plain = type(conv) is nn.Conv2d and (conv.kernel_size, conv.padding) == (side, (reach, reach))
    if not plain or (conv.stride, conv.dilation, conv.padding_mode) != ((1, 1), (1, 1), "zeros"):
        return False
    return all(
        type(m) in (nn.Identity, FrozenBatchNorm2d)
        or (type(m) is nn.BatchNorm2d and m.running_mean is not None and not m.training)
        for m in list(block)[1:]
    )


def pyramid(backbone: BackboneWithFPN, x: Tensor, boxes: Mapping[str, Sequence[Tensor]]) -> dict[str, Tensor]:
    """The levels of a feature pyramid from which boxes (4,) in pixels of x are pooled, right around those boxes.

    Further away a level is zero, unless it has no boxes: then it is whole. One zero pixel stands in place of each of
    the levels that are not named.
    P_i = layer_i(T_i), T_i = inner_i(C_i) + nearest(T_{i+1}) (Lin et al., https://arxiv.org/abs/1612.03144).
    """
    stages, fpn = backbone.body(x), backbone.fpn
    names, top, out = list(stages), None, {}
    lowest = min(names.index(level) for level in boxes)
    for i in range(len(names) - 1, lowest - 1, -1):
        stage, every = stages[names[i]], (slice(None), slice(None))
        size = (stage.shape[-2], stage.shape[-1])
        kept, seen = every, every
        if names[i] in boxes:
            kept, seen = _window(boxes[names[i]], (x.shape[-2], x.shape[-1]), size)
        made = seen if i == lowest else every  # nothing else reads the lowest level
        inner = fpn.inner_blocks[i](stage[(..., *made)])
        top = inner if top is None else inner + _nearest(top, size, made)
        if names[i] in boxes:
            around = fpn.layer_blocks[i](top if i == lowest else top[(..., *seen)])
            out[names[i]] = _placed(around, seen, kept, size)
    empty = next(iter(out.values()))[..., :1, :1].detach() * 0
    return {name: out.get(name, empty) for name in names}


def _window(boxes: Sequence[Tensor], size: tuple[int, int], cells: tuple[int, int]) -> tuple[Window, Window]:
    """What RoIAlign reads of a map of `cells` for any of the boxes, in pixels of `size`, and HALO cells more.

    Without boxes all of the map.
    """
    kept, seen = [], []
    for axis in (0, 1):
        begin, end = 0, cells[axis]
        if boxes:
            scale = cells[axis] / size[axis]
            low = min(float(box[1 - axis]) for box in boxes) * scale
            high = max(float(box[3 - axis]) for box in boxes) * scale
            begin, end = max(math.floor(low) - 1, 0), min(math.ceil(max(high, low + 1)) + 2, end)
        kept.append(slice(begin, end))
        seen.append(slice(max(begin - HALO, 0), min(end + HALO, cells[axis])))
    return (kept[0], kept[1]), (seen[0], seen[1])


def _nearest(x: Tensor, size: tuple[int, int], window: Window) -> Tensor:
    """The window of F.interpolate(x, size, mode="nearest"), without making the rest."""
    if window[0] == slice(None):
        return F.interpolate(x, size=size, mode="nearest")
    places = []
    for cells, wanted, part in zip(x.shape[-2:], size, window, strict=True):
        own = torch.arange(cells, dtype=torch.float32, device=x.device)[None, None]
        places.append(F.interpolate(own, size=wanted, mode="nearest")[0, 0].long()[part])
    return x.index_select(-2, places[0]).index_select(-1, places[1])


def _placed(x: Tensor, seen: Window, kept: Window, size: tuple[int, int]) -> Tensor:
    """A map of the window `seen` in a map of `size`, zero outside of `kept`."""
    (rows, columns), (top, left) = kept, (seen[0].start, seen[1].start)
    inside = x[..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return F.pad(inside, (columns.start, size[1] - columns.stop, rows.start, size[0] - rows.stop))


def cover(targets: Sequence[Target], boxes: Tensor) -> Tensor:
    """How much of each of MASK_CELLS^2 cells of its box a target's instance covers (K,n,n) in [0,1]."""
    made = []
    for target, box in zip(targets, boxes, strict=True):
        seen = boxes.new_ones(1, 1, 1, 1) if target.mask is None else target.mask[None, None]
        size = MASK_CELLS if target.mask is not None else 1
        cells = roi_align(seen.to(boxes), [box[None]], size, sampling_ratio=2, aligned=True)[0, 0]
        made.append(cells.expand(MASK_CELLS, MASK_CELLS))
    return torch.stack(made)


def proposals_of(decoded: Tensor, probs: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor) -> list[int | None]:
    """For N detections the proposal whose box of that class, decoded and clipped, each one is, or None.

    decoded (P,C,4), probs (P,C), boxes (N,4), scores (N,), labels (N,).
    """
    equal = (decoded[:, labels] == boxes).all(-1) & (probs[:, labels] == scores)
    return [int(hits.nonzero()[0]) if bool(hits.any()) else None for hits in equal.unbind(1)]
