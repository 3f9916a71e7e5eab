"""The pointing game. Zhang et al.: Top-down Neural Attention by Excitation Backprop, ECCV 2016.
https://arxiv.org/abs/1608.00507

A map hits when its maximum lies on the object; of tied maxima, the share that hits counts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from igos.types import ConfigError, Explanation, Problem, Score


@dataclass(frozen=True)
class Pointing:
    """tolerance: how far outside the box the maximum may lie, in mask cells (half a cell is its own extent)."""

    tolerance: float = 0.5

    name = "pointing"
    better = "higher"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < float("inf"):
            raise ConfigError(f"tolerance must be a finite number >= 0, got {self.tolerance}")

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        """In [0,1]; NaN for a target without a box, or a map that points nowhere (constant)."""
        return [Score(self.name, self._hit(e, problem.size), self.better) for e in explanations]

    def _hit(self, e: Explanation, size: tuple[int, int]) -> float:
        if e.target.box is None or e.saliency.min() == e.saliency.max():
            return float("nan")
        nodes = torch.nonzero(e.saliency == e.saliency.max()).double()
        cell = torch.tensor([(n - 1) / max(c - 1, 1) for n, c in zip(size, e.saliency.shape, strict=True)])
        y, x = (nodes * cell).unbind(1)
        x1, y1, x2, y2 = e.target.box.double().cpu()
        dy, dx = self.tolerance * cell
        hit = (x >= x1 - dx) & (x <= x2 + dx) & (y >= y1 - dy) & (y <= y2 + dy)
        return float(hit.double().mean())
