"""Does the map rank what counts before the rest? Pixel by pixel, whatever its contrast: m and m^2 have the same figure,
where their shares on the object (igos.metrics.energy, igos.metrics.evidence) differ.

    AP        = sum over levels of (R_n - R_{n-1}) P_n     precision P and recall R of the pixels at or above a level
    precision = |top A on the truth| / A                   A: as many pixels as the truth has

The area under precision and recall, as PASCAL VOC's: Everingham et al., IJCV 2010.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from igos.data.truth import Truth
from igos.metrics.metric import NEEDS, NO_HEAT, PerExplanation, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class MaskAP(PerExplanation):
    """Of the object's mask, on source pixels; tied pixels count together. A constant map has the object's share of the
    picture. NaN without truth.
    """

    name: ClassVar[str] = "mask_ap"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("truth",)
    paper: ClassVar[str] = "Everingham et al. 2010 (VOC)"

    def region(self, truth: Truth | None) -> np.ndarray | None:
        """The source pixels (H0,W0) bool that count, None where they are not known."""
        return None if truth is None else truth.mask

    def figure(self, heat: np.ndarray, region: np.ndarray) -> float:
        return average_precision(heat, region)

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        region = self.region(truth)
        if region is None or not region.any():
            return score(self, NAN, NEEDS[self.needs[0]])
        return score(self, self.figure(e.on_source(), region))


@dataclass(frozen=True)
class EvidenceAP(MaskAP):
    """As MaskAP, of the object's evidence, all emblems together. NaN without evidence."""

    name: ClassVar[str] = "evidence_ap"
    needs: ClassVar[tuple[str, ...]] = ("evidence",)

    def region(self, truth: Truth | None) -> np.ndarray | None:
        return np.any(truth.evidence, axis=0) if truth is not None and truth.evidence else None


@dataclass(frozen=True)
class PrecisionAtArea(MaskAP):
    """Of the pixels that rank highest, as many as the evidence has, or where none is known the object's mask, the share
    that lies on it; of tied pixels the share that is expected. NaN without truth.
    """

    name: ClassVar[str] = "precision_at_area"
    paper: ClassVar[str] = "igos"

    def region(self, truth: Truth | None) -> np.ndarray | None:
        evidence = EvidenceAP().region(truth)
        return super().region(truth) if evidence is None else evidence

    def figure(self, heat: np.ndarray, region: np.ndarray) -> float:
        return precision_at_area(heat, region)


@dataclass(frozen=True)
class Leak(PerExplanation):
    """The share of the positive heat on other objects of the same class, on source pixels: 0 where the map tells this
    object from its like. NaN where no other object of the class is known, or without heat.
    """

    name: ClassVar[str] = "leak"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, 1]"
    needs: ClassVar[tuple[str, ...]] = ("rivals",)
    paper: ClassVar[str] = "igos"

    def measure(self, problem: Problem, e: Explanation, truth: Truth | None) -> Score:
        if truth is None or truth.rivals is None:
            return score(self, NAN, NEEDS["rivals"])
        heat = e.on_source().clip(min=0).astype(np.float64)
        return score(self, float(heat[truth.rivals].sum() / heat.sum()) if heat.sum() > 0 else NAN, NO_HEAT)


def average_precision(heat: np.ndarray, region: np.ndarray) -> float:
    """heat (H,W), region (H,W) bool with a pixel at least."""
    hits, chosen = _levels(heat, region)
    return float((np.diff(hits, prepend=0) * hits / chosen).sum() / hits[-1])


def precision_at_area(heat: np.ndarray, region: np.ndarray) -> float:
    """heat (H,W), region (H,W) bool with a pixel at least; within tied pixels hits are spread evenly."""
    hits, chosen = _levels(heat, region)
    return float(np.interp(hits[-1], np.append(0, chosen), np.append(0, hits)) / hits[-1])


def _levels(heat: np.ndarray, region: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At each value of the map, from the highest: pixels of the region, and all pixels, at or above it."""
    order = np.argsort(-heat, axis=None, kind="stable")
    values = heat.ravel()[order]
    last = np.append(np.flatnonzero(np.diff(values)), values.size - 1)
    return np.cumsum(region.ravel()[order])[last].astype(np.float64), last + 1.0
