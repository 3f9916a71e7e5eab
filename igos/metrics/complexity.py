"""Complexity of a map: its entropy. Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model
Explanations, IJCAI 2020, https://arxiv.org/abs/2005.00631

    H = - sum_i p_i ln p_i,    p_i = |a_i| / sum |a|    over the map's cells
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from igos.data.truth import Truth
from igos.metrics.metric import PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class Complexity(PerExplanation):
    """In nats: 0 for one cell alone, ln n for n cells alike; it depends on the grid. NaN for a map of zeros."""

    name: ClassVar[str] = "complexity"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, ln cells]"
    paper: ClassVar[str] = "Bhatt, Weller, Moura 2020"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        a = e.saliency.double().abs()
        entropy = float(torch.special.entr(a / a.sum()).sum()) if a.sum() > 0 else NAN
        return score(self, entropy, "the map is zero")
