"""iGOS+. Khorram, Lawson, Li: iGOS++: Integrated Gradient Optimized Saliency by Bilateral Perturbations,
CHIL 2021. https://arxiv.org/abs/2012.15783

    min over M in [0,1]   P(I,B,M) - P(B,I,M) + l1*L1(M) + l2*BTV(I,M)

One mask that destroys the score where it blurs and restores it where it reveals.
"""

from __future__ import annotations

from dataclasses import dataclass

from igos.methods.mask.loop import MaskMethod
from igos.methods.mask.path import Term


@dataclass(frozen=True)
class IGOSPlus(MaskMethod):
    name = "iGOS+"
    paper = "Khorram, Lawson, Li 2021 (CHIL)"
    terms = (Term(1.0), Term(-1.0, insert=True))
