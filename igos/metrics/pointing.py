"""The pointing game. Zhang et al.: Top-down Neural Attention by Excitation Backprop, ECCV 2016.
https://arxiv.org/abs/1608.00507

A map hits when its maximum lies on the object; of tied maxima, the share that hits counts. Per image and per class:
igos.metrics.statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.settings import setting
from igos.data.truth import Truth
from igos.metrics.metric import CONSTANT, NEEDS, PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score

TIED = 1e-6  # of the map's range: source pixels so near to the maximum differ by rounding alone


@dataclass(frozen=True)
class Pointing(PerExplanation):
    """tolerance: how far outside the box the maximum may lie, in mask cells (half a cell is its own extent)."""

    tolerance: float = setting(0.5, least=0)

    name: ClassVar[str] = "pointing"
    means: ClassVar[str] = "1 where the strongest point of the map lies on the object"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("box",)
    paper: ClassVar[str] = "Zhang et al. 2016"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        """In [0,1]; NaN without a box, or for a map that points nowhere (constant). The box is the target's; of a
        class, which has none, that of its objects where they are known.
        """
        box = e.target.box
        if box is None and truth is not None:
            box = e.geometry.to_network(torch.from_numpy(truth.box))
        if box is None or e.heat.min() == e.heat.max():
            return score(self, NAN, NEEDS["box"] if box is None else CONSTANT)
        return score(self, self._hit(e, box.double().cpu(), problem.size))

    def _hit(self, e: Explanation, box: Tensor, size: tuple[int, int]) -> float:
        nodes = torch.nonzero(e.heat == e.heat.max()).double()
        apart, cell = (
            torch.tensor([(n - 1) / max(c - 1, 1) for n, c in zip(size, m.shape, strict=True)], dtype=torch.float32)
            for m in (e.heat, e.saliency)
        )
        y, x = (nodes * apart).unbind(1)
        x1, y1, x2, y2 = box
        dy, dx = self.tolerance * cell
        hit = (x >= x1 - dx) & (x <= x2 + dx) & (y >= y1 - dy) & (y <= y2 + dy)
        return float(hit.double().mean())


@dataclass(frozen=True)
class PointingMask(PerExplanation):
    """tolerance: the maximum hits when it is less than so many source pixels from the object's mask, as known."""

    tolerance: float = setting(15.0, least=0)

    name: ClassVar[str] = "pointing_mask"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Zhang et al. 2016"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        """In [0,1], on source pixels; NaN without truth, or for a map that points nowhere (constant)."""
        if truth is None or e.heat.min() == e.heat.max():
            return score(self, NAN, NEEDS["truth"] if truth is None else CONSTANT)
        return score(self, self._hit(e.on_source(), truth.mask))

    def _hit(self, heat: np.ndarray, mask: np.ndarray) -> float:
        spots = np.argwhere(heat >= heat.max() - TIED * np.ptp(heat))
        on = [bool(mask[y, x]) or self._near(y, x, mask) for y, x in spots]
        return float(np.mean(on))

    def _near(self, y: int, x: int, mask: np.ndarray) -> bool:
        """Whether the mask comes closer than the tolerance to pixel (y, x)."""
        reach = int(min(self.tolerance, max(mask.shape)))
        top, left = max(y - reach, 0), max(x - reach, 0)
        inside = np.argwhere(mask[top : y + reach + 1, left : x + reach + 1]) + (top - y, left - x)
        return bool(((inside**2).sum(axis=1) < self.tolerance**2).any())
