"""What holds a score down: one mask that learns what to hide so that the score rises.

    min over M in [0,1]   -P(I,B,M) + l1*L1(M) + l2*TV(M),    path points t in [1/2, 1]

P is the path score of methods/mask/path.py, on log-odds. Pictures that are mostly baseline do not answer what holds a
score down, so t begins at a half. The baselines take turns by step, so that no single one is what is learnt: a blur,
the mean colour, a light blur. A mask that does not move is an answer: nothing that is hidden raises the score.

Its map is S * (Q + c) / (1 + c), Q the signed gradient on the cells where hiding raises the score. The detail, which
ranks the cells of other methods, marks where the network looks: at the object, not at what holds it down.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from igos.base.settings import setting
from igos.methods.mask.detail import Walk
from igos.methods.mask.loop import MaskMethod
from igos.methods.mask.path import Term

C = 0.06  # how much the mask ranks where the gradient does not


@dataclass(frozen=True)
class WhyNot(MaskMethod):
    """As MaskMethod; it does not ask whether the map is sure, which is a question about what carries a score."""

    alpha: float = setting(5.0, above=0)
    L1: float = setting(0.5, least=0)
    sure: bool | None = False

    name: ClassVar[str] = "why-not"
    paper: ClassVar[str] = "igos"
    score: ClassVar[str] = "logodds"
    terms: ClassVar[tuple[Term, ...]] = (Term(-1.0),)
    span: ClassVar[tuple[float, float]] = (0.5, 1.0)
    turns: ClassVar[tuple[str, ...]] = ("blur", "mean", "light_blur")
    still: ClassVar[str] = "ok"

    def _weight(self, walk: Walk, rows: Tensor, detail: Tensor | None = None) -> Tensor | None:
        evidence = walk.evidence(rows, (self.size, self.size))
        return None if evidence is None else (evidence + C) / (1 + C)
