"""Energy pointing game. Wang et al.: Score-CAM, CVPR workshops 2020, https://arxiv.org/abs/1910.01279

    share = sum of the positive saliency on the object / sum of all of it
    lift  = share / (area of the object / area of the picture)           1 = as if spread evenly

No offset is added to the map, so its zero stays zero.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from igos.data.truth import Truth
from igos.metrics.metric import NEEDS, NO_HEAT, PerExplanation, score
from igos.metrics.regions import box_pixels
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class EnergyPointing(PerExplanation):
    """The object is the target's box; of a class, which has none, that of its objects where they are known.

    In [0,1], on source pixels; NaN without a box or without heat.
    """

    name: ClassVar[str] = "energy_pointing"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("box",)
    paper: ClassVar[str] = "Wang et al. 2020 (Score-CAM)"

    def region(self, e: Explanation, truth: Truth | None) -> np.ndarray | None:
        """The object's source pixels (H0,W0) bool, None where they are not known."""
        return box_pixels(e, truth)

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        region = self.region(e, truth)
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

    def region(self, e: Explanation, truth: Truth | None) -> np.ndarray | None:
        return None if truth is None else truth.mask
