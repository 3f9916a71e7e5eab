"""Grad-CAM. Selvaraju et al.: Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization,
ICCV 2017. https://arxiv.org/abs/1610.02391

    L = ReLU( sum_k alpha_k * A^k ),    alpha_k = (1/Z) sum_ij dy / dA^k_ij
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from igos.methods.layer.layer import LayerMethod


@dataclass(frozen=True)
class GradCAM(LayerMethod):
    """layer: a layer's name, or the end of it; by default the last one with a map of features."""

    name: ClassVar[str] = "grad_cam"
    paper: ClassVar[str] = "Selvaraju et al. 2017 (ICCV)"

    def combine(self, a: Tensor, g: Tensor) -> Tensor:
        alpha = g.mean(dim=(2, 3), keepdim=True)
        return (alpha * a).sum(dim=1).relu()
