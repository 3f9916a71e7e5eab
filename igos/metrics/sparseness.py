"""Sparseness of a map: its Gini index. Chalasani et al.: Concise Explanations of Neural Networks using Adversarial
Training, ICML 2020, https://arxiv.org/abs/1810.06583

    G = 1 - 2 sum_k |a|_(k) / sum |a|  *  (n - k + 1/2) / n       |a|_(1) <= ... <= |a|_(n), the map's n cells
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.data.truth import Truth
from igos.metrics.metric import PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class Sparseness(PerExplanation):
    """0: all cells alike, 1 - 1/n: one cell alone; it depends on the grid. NaN for a map of zeros."""

    name: ClassVar[str] = "sparseness"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1)"
    paper: ClassVar[str] = "Chalasani et al. 2020"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        return score(self, gini(e.saliency), "the map is zero")


def gini(saliency: Tensor) -> float:
    a = saliency.double().abs().flatten().cpu().sort().values
    n = len(a)
    k = torch.arange(1, n + 1, dtype=torch.float64)
    return float(1 - 2 * (a / a.sum() * (n - k + 0.5) / n).sum()) if a.sum() > 0 else NAN
