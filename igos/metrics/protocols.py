"""Deletion and insertion as three papers measure them; the areas are ours (trapezoid, both ends scored).

I-GOS, https://arxiv.org/abs/1905.00954: mask cells, blurred substrate; a detection's budget is 3 x its object.
RISE, https://arxiv.org/abs/1806.07421: pixels in 224 steps, deleted to the mean colour, inserted into a blur (sigma 5).
Input-IBA, https://arxiv.org/abs/2110.01471: 10 pixels a step, deleted to the mean colour, inserted into a blur of
sigma 5. The authors' code moves in steps of up to 800 pixels without meaning to: figures made by it do not compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from igos.metrics.curves import Deletion, Insertion


@dataclass(frozen=True)
class DeletionIGOS(Deletion):
    budget: str = "object"
    label: ClassVar[str] = "deletion_igos"
    paper: ClassVar[str] = "Qi, Khorram, Li 2020 (I-GOS)"


@dataclass(frozen=True)
class InsertionIGOS(Insertion):
    budget: str = "object"
    label: ClassVar[str] = "insertion_igos"
    paper: ClassVar[str] = "Qi, Khorram, Li 2020 (I-GOS)"


@dataclass(frozen=True)
class DeletionRISE(Deletion):
    substrate: str = "zero"
    steps: int = 224
    units: str = "pixels"
    label: ClassVar[str] = "deletion_rise"


@dataclass(frozen=True)
class InsertionRISE(Insertion):
    substrate: str = "blur_rise"
    steps: int = 224
    units: str = "pixels"
    label: ClassVar[str] = "insertion_rise"


@dataclass(frozen=True)
class DeletionIBA(Deletion):
    substrate: str = "zero"
    units: str = "pixels"
    step: int = 10
    label: ClassVar[str] = "deletion_iba"
    paper: ClassVar[str] = "Zhang et al. 2021 (Input-IBA)"


@dataclass(frozen=True)
class InsertionIBA(Insertion):
    substrate: str = "blur_iba"
    units: str = "pixels"
    step: int = 10
    label: ClassVar[str] = "insertion_iba"
    paper: ClassVar[str] = "Zhang et al. 2021 (Input-IBA)"
