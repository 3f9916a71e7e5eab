"""I-GOS. Qi, Khorram, Li: Visualizing Deep Networks by Optimizing with Integrated Gradients, AAAI 2020.
https://arxiv.org/abs/1905.00954

    min over M in [0,1]   P(I,B,M) + l1*L1(M) + l2*TV(M)

Blur away as little as possible (L1) in smooth regions (TV) so that the score falls along the whole path.
"""

from __future__ import annotations

from dataclasses import dataclass

from igos.methods.mask.loop import MaskMethod
from igos.methods.mask.path import Term


@dataclass(frozen=True)
class IGOS(MaskMethod):
    name = "I-GOS"
    paper = "Qi, Khorram, Li 2020 (AAAI)"
    paper_reg = "TV"
    terms = (Term(1.0),)
