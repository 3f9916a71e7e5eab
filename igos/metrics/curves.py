"""Deletion and insertion. Petsiuk, Das, Saenko: RISE, BMVC 2018, https://arxiv.org/abs/1806.07421; on a mask
grid with a blurred substrate as in I-GOS, https://arxiv.org/abs/1905.00954.

Cells are taken by importance in `steps` equal shares of the budget: replaced by the substrate (deletion) or
revealed from it (insertion). The area is the trapezoid over x = fraction of the budget, both ends scored:
a constant score c gives exactly c.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.baselines import BASELINES, baseline
from igos.ops import Blend, rank, upscale
from igos.types import ConfigError, Explanation, Problem, Score

BUDGETS = ("image", "object")


@dataclass(frozen=True)
class Curve:
    """substrate: one of BASELINES; budget "image" = every cell, "object" = 3 x the object's area (its mask, else
    its box), at most every cell. Cost: steps + 1 network images.
    """

    substrate: str = "blur"
    steps: int = 50
    budget: str = "image"

    insert: ClassVar[bool]
    better: ClassVar[str]
    label: ClassVar[str]

    def __post_init__(self) -> None:
        if self.substrate not in BASELINES:
            raise ConfigError(f"substrate {self.substrate!r} is not one of {', '.join(BASELINES)}")
        if self.budget not in BUDGETS:
            raise ConfigError(f"budget {self.budget!r} is not one of {', '.join(BUDGETS)}")
        if self.steps < 1:
            raise ConfigError(f"steps must be at least 1, got {self.steps}")

    @property
    def name(self) -> str:
        return self.label if self.budget == "image" else f"{self.label}_object"

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        """One Score per explanation, curve (2, steps + 1): fraction of the budget over score."""
        x = problem.x
        substrate = baseline(self.substrate, x)
        points = self.steps + 1
        orders, ties = zip(*(rank(e.saliency) for e in explanations), strict=True)
        counts = [np.rint(np.linspace(0, _budget(self.budget, e), points)).astype(int) for e in explanations]
        job = torch.arange(len(x) * points, device=x.device)
        row, step = job // points, job % points
        blend = Blend(substrate, x) if self.insert else Blend(x, substrate)

        def pictures(part: slice) -> Tensor:
            changed = torch.stack(
                [
                    _cells(explanations[r].saliency.shape, orders[r], counts[r][i])
                    for r, i in zip(row[part].tolist(), step[part].tolist(), strict=True)
                ]
            ).to(x)
            return blend(row[part], upscale(changed, problem.size))

        scores = x.new_zeros(len(job))
        for part, s, _ in problem.score.stream(row, pictures):
            scores[part] = s.to(scores)
        return [
            self._score(count, y, tie)
            for count, y, tie in zip(counts, scores.view(len(x), points).double().cpu().numpy(), ties, strict=True)
        ]

    def _score(self, count: np.ndarray, y: np.ndarray, tie: float) -> Score:
        fraction = count / count[-1]
        area = float(((y[1:] + y[:-1]) / 2 * np.diff(fraction)).sum())
        return Score(self.name, area, self.better, np.stack([fraction, y]), {"tie_fraction": tie})


@dataclass(frozen=True)
class Deletion(Curve):
    """How fast the score falls when the most important cells are blurred away; in [0,1] for prob, lower better."""

    insert = False
    better = "lower"
    label = "deletion"


@dataclass(frozen=True)
class Insertion(Curve):
    """How fast the score rises when the most important cells are revealed; in [0,1] for prob, higher better."""

    insert = True
    better = "higher"
    label = "insertion"


def _cells(shape: torch.Size, order: np.ndarray, count: int) -> Tensor:
    cells = np.zeros(order.size)
    cells[order[:count]] = 1
    return torch.from_numpy(cells).view(shape)


def _budget(kind: str, e: Explanation) -> int:
    """Cells that the curve may change, at least 1."""
    cells = e.saliency.numel()
    target, (height, width) = e.target, e.image.pixels.shape[1:]
    if kind == "image" or target.box is None:
        return cells
    if target.mask is not None:
        share = float(target.mask.float().mean())
    else:
        x1, y1, x2, y2 = target.box.tolist()
        share = (x2 - x1) * (y2 - y1) / (height * width)
    return int(np.clip(round(3 * share * cells), 1, cells))
