"""Boxes on maps, for the R-CNN family: the pyramid of features, instances on the mask branch's grid, proposals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import roi_align

from igos.types import Target

MASK_CELLS = 28  # a side, of the mask branch


HALO = 1  # cells, the reach of a pyramid level's 3 x 3 convolution


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
        inner = fpn.inner_blocks[i](stages[names[i]])
        top = inner if top is None else inner + F.interpolate(top, size=inner.shape[-2:], mode="nearest")
        if names[i] in boxes:
            around = _window(boxes[names[i]], (x.shape[-2], x.shape[-1]), (top.shape[-2], top.shape[-1]))
            out[names[i]] = _within(fpn.layer_blocks[i], top, *around)
    assert top is not None
    return {name: out.get(name, top.new_zeros(len(x), top.shape[1], 1, 1)) for name in names}


def _window(boxes: Sequence[Tensor], size: tuple[int, int], cells: tuple[int, int]) -> tuple[slice, slice]:
    """What RoIAlign reads of a map of `cells` for any of the boxes, in pixels of `size`; without boxes all of it."""
    if not boxes:
        return slice(0, cells[0]), slice(0, cells[1])
    found = []
    for axis in (0, 1):
        scale = cells[axis] / size[axis]
        low = min(float(box[1 - axis]) for box in boxes) * scale
        high = max(float(box[3 - axis]) for box in boxes) * scale
        found.append(slice(max(math.floor(low) - 1, 0), min(math.ceil(max(high, low + 1)) + 2, cells[axis])))
    return found[0], found[1]


def _within(block: nn.Module, x: Tensor, rows: slice, columns: slice) -> Tensor:
    """block(x) inside of a window of the map, zero outside; block sees HALO cells beyond it."""
    height, width = x.shape[-2:]
    top, left = max(rows.start - HALO, 0), max(columns.start - HALO, 0)
    out = block(x[..., top : rows.stop + HALO, left : columns.stop + HALO])
    inside = out[..., rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return F.pad(inside, (columns.start, width - columns.stop, rows.start, height - rows.stop))


def cover(targets: Sequence[Target], boxes: Tensor) -> Tensor:
    """How much of each of MASK_CELLS^2 cells of its box a target's instance covers (K,n,n) in [0,1]."""
    made = []
    for target, box in zip(targets, boxes, strict=True):
        seen = torch.ones(1, 1, 1, 1) if target.mask is None else target.mask[None, None]
        size = MASK_CELLS if target.mask is not None else 1
        cells = roi_align(seen.to(boxes), [box[None]], size, sampling_ratio=2, aligned=True)[0, 0]
        made.append(cells.expand(MASK_CELLS, MASK_CELLS))
    return torch.stack(made)


def proposals_of(made: Tensor, probs: Tensor, boxes: Tensor, scores: Tensor, labels: Tensor) -> list[int | None]:
    """For N detections the proposal whose box of that class, decoded and clipped, each one is, or None.

    made (P,C,4), probs (P,C), boxes (N,4), scores (N,), labels (N,).
    """
    equal = (made[:, labels] == boxes).all(-1) & (probs[:, labels] == scores)
    return [int(hits.nonzero()[0]) if bool(hits.any()) else None for hits in equal.unbind(1)]
