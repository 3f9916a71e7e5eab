"""Boxes on maps, for the R-CNN family: the pyramid of features, instances on the mask branch's grid, proposals."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.ops import roi_align

from igos.types import Target

MASK_CELLS = 28  # a side, of the mask branch


def pyramid(backbone: BackboneWithFPN, x: Tensor, levels: Collection[str]) -> dict[str, Tensor]:
    """The levels of a feature pyramid that are asked for; one zero pixel in place of each of the others.

    P_i = layer_i(T_i), T_i = inner_i(C_i) + nearest(T_{i+1}) (Lin et al., https://arxiv.org/abs/1612.03144).
    """
    stages, fpn = backbone.body(x), backbone.fpn
    names, top, out = list(stages), None, {}
    lowest = min(names.index(level) for level in levels)
    for i in range(len(names) - 1, lowest - 1, -1):
        inner = fpn.inner_blocks[i](stages[names[i]])
        top = inner if top is None else inner + F.interpolate(top, size=inner.shape[-2:], mode="nearest")
        if names[i] in levels:
            out[names[i]] = fpn.layer_blocks[i](top)
    assert top is not None
    return {name: out.get(name, top.new_zeros(len(x), top.shape[1], 1, 1)) for name in names}


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
