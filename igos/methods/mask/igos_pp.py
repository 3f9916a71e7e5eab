"""iGOS++. Khorram, Lawson, Li: iGOS++: Integrated Gradient Optimized Saliency by Bilateral Perturbations,
CHIL 2021. https://arxiv.org/abs/2012.15783
With Nesterov steps and diverse starts for detectors: Jiang, Khorram, Li, BMVC 2023.

    min over Md, Mi in [0,1]   1/2 [ P(I,B,Md) - P(B,I,Mi) + P(I,B,Md*Mi) - P(B,I,Md*Mi) ]
                               + l1*L1(Md*Mi) + l2*BTV(I,Md*Mi)

One mask deletes, one inserts; both alone and their product must do their work. The answer is Md*Mi.
"""

from __future__ import annotations

from dataclasses import dataclass

from igos.methods.mask.loop import MaskMethod
from igos.methods.mask.path import Term

MD, MI = 0, 1


@dataclass(frozen=True)
class IGOSPlusPlus(MaskMethod):
    name = "iGOS++"
    paper = "Khorram, Lawson, Li 2021 (CHIL); Jiang, Khorram, Li 2023 (BMVC)"
    mask_count = 2
    terms = (
        Term(0.5, (MD,)),
        Term(-0.5, (MI,), insert=True),
        Term(0.5, (MD, MI)),
        Term(-0.5, (MD, MI), insert=True),
    )
