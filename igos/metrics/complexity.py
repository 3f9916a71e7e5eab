"""Complexity of a map: its entropy. Bhatt, Weller, Moura: Evaluating and Aggregating Feature-based Model
Explanations, IJCAI 2020, https://arxiv.org/abs/2005.00631

    H = - sum_i p_i ln p_i,    p_i = |a_i| / sum |a|    over the map's cells
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch

from igos.metrics.metric import score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class Complexity:
    """In nats: 0 for one cell alone, ln n for n cells alike; it depends on the grid. NaN for a map of zeros."""

    name: ClassVar[str] = "complexity"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, ln cells]"
    needs: ClassVar[tuple[str, ...]] = ()
    cost: ClassVar[str] = "0"
    paper: ClassVar[str] = "Bhatt, Weller, Moura 2020"

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        made = []
        for e in explanations:
            a = e.saliency.double().abs()
            entropy = float(torch.special.entr(a / a.sum()).sum()) if a.sum() > 0 else NAN
            made.append(score(self, entropy, "the map is zero"))
        return made
