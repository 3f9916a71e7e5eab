"""Sanity check by cascading randomisation. Adebayo et al.: Sanity Checks for Saliency Maps, NeurIPS 2018,
https://arxiv.org/abs/1810.03292

From the top down, more and more layers are drawn anew and the same target is explained with the same seeds. A map
that shows what the network learnt then changes:

    value = mean over the stages of Spearman(map, map of the randomised network)

`_abs`: the same of the absolute maps; `_ssim`: structural similarity of the maps, each stretched to [0,1].
`_floor`, `_ssim_floor`: both for random arrangements of the map's own cells (SSIM of sparse maps is high by chance).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from igos.metrics.metric import NEEDS, Context, afresh, check_positive, score, seeded
from igos.metrics.statistics import NAN, spearman
from igos.types import Explanation, Problem, Score

FLOOR_PAIRS = 8


@dataclass(frozen=True)
class Sanity:
    """stages: how many depths of randomisation, evenly down to the last layer.

    Near 0 for maps of what was learnt, 1 for maps that do not look at the network. `_undefined` counts the stages
    whose map is constant; NaN if all are. Curve: share of layers randomised over Spearman.
    """

    stages: int = 4

    name: ClassVar[str] = "sanity"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[-1, 1]"
    needs: ClassVar[tuple[str, ...]] = ("explain", "randomised")
    paper: ClassVar[str] = "Adebayo et al. 2018"

    def __post_init__(self) -> None:
        check_positive(self, "stages")

    @property
    def cost(self) -> str:
        return f"{self.stages} x method"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        if context is None or context.explain is None:
            return [score(self, NAN, NEEDS["explain"]) for _ in explanations]
        if context.randomised is None or not context.layers:
            return [score(self, NAN, NEEDS["randomised"]) for _ in explanations]
        layers = len(context.layers)
        depths = np.unique(np.ceil(np.arange(1, self.stages + 1) * layers / self.stages).astype(int))
        changed = [context.explain(afresh(context.randomised(int(d)), problem)) for d in depths]
        share = np.append(0, depths / layers)
        return [self._score(problem, i, e, [c[i] for c in changed], share) for i, e in enumerate(explanations)]

    def _score(
        self, problem: Problem, row: int, e: Explanation, changed: Sequence[Explanation], share: np.ndarray
    ) -> Score:
        first, others = _values(e), [_values(c) for c in changed]
        found = np.array([spearman(first, o) for o in others])
        generator, floors = seeded(problem, row, self.name), []
        for _ in range(FLOOR_PAIRS):
            a, b = (first.ravel()[torch.randperm(first.size, generator=generator)] for _ in range(2))
            floors.append((spearman(a, b), ssim(a.reshape(first.shape), b.reshape(first.shape))))
        return score(
            self,
            _mean(found),
            "the map is constant, or that of every randomised network is",
            np.stack([share, np.append(1.0, found)]),
            abs=_mean([spearman(abs(first), abs(o)) for o in others]),
            ssim=_mean([ssim(first, o) for o in others]),
            floor=_mean([f[0] for f in floors]),
            ssim_floor=_mean([f[1] for f in floors]),
            undefined=int(np.isnan(found).sum()),
        )


def ssim(a: np.ndarray, b: np.ndarray) -> float:
    """Structural similarity of two maps (h,w), each stretched to [0,1]; NaN for a constant or a tiny one."""
    side = min(5, min(a.shape) - 1 + min(a.shape) % 2)
    if side < 3 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return NAN
    from skimage.metrics import structural_similarity  # slow to import

    a, b = ((v - v.min()) / np.ptp(v) for v in (a, b))
    return float(structural_similarity(a, b, win_size=side, data_range=1.0))


def _values(e: Explanation) -> np.ndarray:
    return e.saliency.double().cpu().numpy()


def _mean(values: Sequence[float] | np.ndarray) -> float:
    known = [v for v in values if not np.isnan(v)]
    return float(np.mean(known)) if known else NAN
