"""Energy pointing game. Wang et al.: Score-CAM, CVPR workshops 2020, https://arxiv.org/abs/1910.01279

    share = sum of the positive saliency on the object / sum of all of it
    lift  = share / (area of the object / area of the picture)           1 = as if spread evenly

No offset is added to the map, so its zero stays zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from igos.metrics.metric import NEEDS, NO_HEAT, Context, score, truths
from igos.metrics.regions import box_pixels
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class EnergyPointing:
    """The object is the target's box; of a class, which has none, that of its objects where they are known.

    In [0,1], on source pixels; NaN without a box or without heat.
    """

    name: ClassVar[str] = "energy_pointing"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("box",)
    cost: ClassVar[str] = "0"
    paper: ClassVar[str] = "Wang et al. 2020 (Score-CAM)"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        known = truths(context, len(explanations))
        return [self._score(e, box_pixels(e, t)) for e, t in zip(explanations, known, strict=True)]

    def _score(self, e: Explanation, region: np.ndarray | None) -> Score:
        heat = e.on_source().clip(min=0).astype(np.float64)
        if region is None:
            return score(self, NAN, NEEDS[self.needs[0]], lift=NAN)
        if not heat.sum() > 0:
            return score(self, NAN, NO_HEAT, lift=NAN)
        share = float(heat[region].sum() / heat.sum())
        return score(self, share, lift=share / region.mean() if region.any() else NAN)


@dataclass(frozen=True)
class EnergyMask(EnergyPointing):
    """The object is its mask, as known. In [0,1], on source pixels; NaN without truth or without heat."""

    name: ClassVar[str] = "energy_mask"
    needs: ClassVar[tuple[str, ...]] = ("truth",)

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        known = truths(context, len(explanations))
        return [self._score(e, None if t is None else t.mask) for e, t in zip(explanations, known, strict=True)]
