"""Effective heat ratio. Zhang et al.: Fine-Grained Neural Network Explanation by Identifying Input Features with
Predictive Information (Input-IBA), NeurIPS 2021, https://arxiv.org/abs/2110.01471

    h   = the map / its maximum, with what is below 0.1 set to 0
    B_q = {h >= min(quantile_q of h where h >= 0.1, 0.99)},    q = 0, 0.1, ..., 1
    EHR = area under ratio_q over q

    weighted    sum of h on B_q in the box / |B_q|         depends on how peaked the map is
    unweighted  |B_q in the box| / |B_q|
    energy      sum of h on B_q in the box / sum of h on B_q
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from igos.data.truth import Truth
from igos.metrics.metric import NEEDS, NO_HEAT, PerExplanation, score
from igos.metrics.regions import box_pixels
from igos.metrics.statistics import NAN, trapezoid
from igos.types import Explanation, Problem, Score

LEAST, MOST = 0.1, 0.99
QUANTILES = np.linspace(0, 1, 11)


@dataclass(frozen=True)
class EHRWeighted(PerExplanation):
    """In [0,1], on source pixels; NaN without a box or heat. Curve: q over ratio. The box is
    the target's; of a class, which has none, that of its objects where they are known.
    """

    form: ClassVar[str] = "weighted"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("box",)
    paper: ClassVar[str] = "Zhang et al. 2021 (Input-IBA)"

    @property
    def name(self) -> str:
        return f"ehr_{self.form}"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        box = box_pixels(e, truth)
        heat = e.on_source().clip(min=0).astype(np.float64)
        if box is None:
            return score(self, NAN, NEEDS["box"])
        if not heat.max() > 0:
            return score(self, NAN, NO_HEAT)
        ratios = effective_heat(heat, box)[self.form]
        return score(self, trapezoid(ratios, QUANTILES), curve=np.stack([QUANTILES, ratios]))


@dataclass(frozen=True)
class EHRUnweighted(EHRWeighted):
    """As EHRWeighted, counting pixels."""

    form: ClassVar[str] = "unweighted"


@dataclass(frozen=True)
class EHREnergy(EHRWeighted):
    """As EHRWeighted, heat over heat."""

    form: ClassVar[str] = "energy"


def effective_heat(heat: np.ndarray, region: np.ndarray) -> dict[str, np.ndarray]:
    """ratio_q (11,) of each form; heat (H,W) >= 0 and not all 0, region (H,W) bool."""
    heat = heat / heat.max()
    heat = np.where(heat < LEAST, 0, heat)
    bounds = np.minimum(np.quantile(heat[heat >= LEAST], QUANTILES), MOST)
    ratios: dict[str, list[float]] = {"weighted": [], "unweighted": [], "energy": []}
    for bound in bounds:
        chosen = heat >= bound
        inside = chosen & region
        ratios["weighted"].append(heat[inside].sum() / chosen.sum())
        ratios["unweighted"].append(inside.sum() / chosen.sum())
        ratios["energy"].append(heat[inside].sum() / heat[chosen].sum())
    return {form: np.array(r) for form, r in ratios.items()}
