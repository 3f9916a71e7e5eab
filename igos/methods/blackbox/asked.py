"""RISE's masks for what holds a score down, and for one class against another: what a black box can answer.

    S = E[f(I * M) | hidden] - E[f(I * M) | shown]     why-not: how much hiding a pixel raises the score
    S = E[f(I * M) | shown] - E[f(I * M) | hidden]     versus: how much showing it raises the margin

over the masks of rise.py, which are those of D-RISE (Petsiuk et al., CVPR 2021, https://arxiv.org/abs/2006.03204).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from igos.methods.blackbox.rise import RISE


@dataclass(frozen=True)
class WhyNotMasks(RISE):
    """n_masks, grid, p: as RISE has them."""

    name: ClassVar[str] = "why-not-masks"
    paper: ClassVar[str] = "Petsiuk et al. 2021 (CVPR)"
    score: ClassVar[str] = "logodds"

    def made(self, total: Tensor, scores: Tensor) -> Tensor:
        return -_contrast(self, total, scores)


@dataclass(frozen=True)
class VersusMasks(RISE):
    """n_masks, grid, p: as RISE has them."""

    name: ClassVar[str] = "versus-masks"
    paper: ClassVar[str] = "Petsiuk et al. 2021 (CVPR)"

    def made(self, total: Tensor, scores: Tensor) -> Tensor:
        return _contrast(self, total, scores)


def _contrast(method: RISE, total: Tensor, scores: Tensor) -> Tensor:
    """E[f | shown] - E[f | hidden] (K,H,W) of the sums of f * M (K,H,W) and of f (K,)."""
    n, p = method.n_masks, method.p
    return total / (n * p) - (scores[:, None, None] - total) / (n * (1 - p))
