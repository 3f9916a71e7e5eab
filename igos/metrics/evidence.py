"""Does the map show what decides the class? For scenes with planted evidence (igos.data.emblems), where that is known.

    share = sum of the positive saliency on the evidence / sum of all of it
    lift  = share / (area of the evidence / area of the object)        1 = as if spread evenly over the object

After relevance mass accuracy: Arras, Osman, Samek, CLEVR-XAI, https://arxiv.org/abs/2003.07258.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from igos.data.truth import Truth, peak_on
from igos.metrics.metric import CONSTANT, NEEDS, NO_HEAT, PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class EvidenceShare(PerExplanation):
    """In [0,1], on source pixels, all emblems of the object together; NaN without evidence or without heat."""

    name: ClassVar[str] = "evidence_share"
    means: ClassVar[str] = "the share of the heat that lies on what the scene was drawn to be recognised by"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("evidence",)
    paper: ClassVar[str] = "Arras, Osman, Samek 2022 (CLEVR-XAI)"
    in_table: ClassVar[bool] = True
    bare_details: ClassVar[tuple[str, ...]] = ("evidence_lift",)

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        heat = e.on_source().clip(min=0).astype(np.float64)
        share, lift, why = NAN, NAN, NO_HEAT
        if truth is None or not truth.evidence:
            why = NEEDS["evidence"]
        elif heat.sum() > 0:
            evidence = np.any(truth.evidence, axis=0)
            share = float(heat[evidence].sum() / heat.sum())
            lift = float(share * truth.mask.sum() / evidence.sum())
        made = score(self, share, why)
        made.detail["evidence_lift"] = lift
        return made


@dataclass(frozen=True)
class EvidencePointing(PerExplanation):
    """1 when the map's maximum lies on an emblem (within half a cell), else 0; of tied maxima the share that does."""

    name: ClassVar[str] = "evidence_pointing"
    means: ClassVar[str] = "1 where the strongest point of the map lies on what the scene was drawn to be recognised by"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("evidence",)
    paper: ClassVar[str] = "Arras, Osman, Samek 2022 (CLEVR-XAI)"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        if truth is None or not truth.evidence:
            return score(self, NAN, NEEDS["evidence"])
        return score(self, peak_on(e, np.any(truth.evidence, axis=0)), CONSTANT)
