"""ODAM, per object. Zhao, Chan: ODAM: Gradient-based Instance-Specific Visual Explanations for Object Detection,
ICLR 2023. https://arxiv.org/abs/2304.06354

    H = ReLU( sum_k w^k o A^k ),    w^k_ij = dy / dA^k_ij

Grad-CAM's mean gradient, one weight per channel, cannot tell two objects of a class apart; here every position has
its own. The optional smoothing of w is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from igos.methods.layer.layer import LayerMethod


@dataclass(frozen=True)
class ODAM(LayerMethod):
    """layer: a layer's name, or the end of it; by default the features that the target's head reads."""

    name: ClassVar[str] = "odam"
    paper: ClassVar[str] = "Zhao, Chan 2023 (ICLR)"

    def combine(self, a: Tensor, g: Tensor) -> Tensor:
        return (g * a).sum(dim=1).relu()
