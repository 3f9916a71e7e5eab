"""Does the map show what decides the class? For scenes with planted evidence (igos.emblems), where that is known.

    share = sum of the positive saliency on the evidence / sum of all of it
    lift  = share / (area of the evidence / area of the object)        1 = as if spread evenly over the object

After relevance mass accuracy: Arras, Osman, Samek, CLEVR-XAI, https://arxiv.org/abs/2003.07258.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from igos.truth import Context, Truth, peak_on
from igos.types import Explanation, Problem, Score

NAN = float("nan")


@dataclass(frozen=True)
class EvidenceShare:
    """In [0,1], on source pixels, all emblems of the object together; NaN without evidence or without heat."""

    name = "evidence_share"
    better = "higher"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        return [self._score(e, t) for e, t in zip(explanations, truths(context, len(explanations)), strict=True)]

    def _score(self, e: Explanation, truth: Truth | None) -> Score:
        heat = e.on_source().clip(min=0).astype(np.float64)
        if truth is None or not truth.evidence or not heat.sum() > 0:
            return Score(self.name, NAN, self.better, detail={"evidence_lift": NAN})
        evidence = np.any(truth.evidence, axis=0)
        share = float(heat[evidence].sum() / heat.sum())
        return Score(self.name, share, self.better, detail={"evidence_lift": share * truth.mask.sum() / evidence.sum()})


@dataclass(frozen=True)
class EvidencePointing:
    """1 when the map's maximum lies on an emblem (within half a cell), else 0; of tied maxima the share that does."""

    name = "evidence_pointing"
    better = "higher"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        values = [
            peak_on(e, np.any(t.evidence, axis=0)) if t is not None and t.evidence else NAN
            for e, t in zip(explanations, truths(context, len(explanations)), strict=True)
        ]
        return [Score(self.name, v, self.better) for v in values]


def truths(context: Context | None, count: int) -> Sequence[Truth | None]:
    return context.truth if context is not None and context.truth else [None] * count
