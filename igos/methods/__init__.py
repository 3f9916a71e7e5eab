"""METHODS: every way to explain. A method is a frozen dataclass of its settings and a call on a Problem."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, ClassVar, Protocol

from igos.methods.blur_ig import BlurIG
from igos.methods.drise import DRISE
from igos.methods.expected_gradients import ExpGrad, GradientShap
from igos.methods.gnl import GuidedBackprop, GuidedIntegratedGradients
from igos.methods.grad_cam import GradCAM
from igos.methods.gradients import (
    GradXInput,
    SmoothGrad,
    SmoothGrad2,
    SmoothIntegratedGrad,
    VanillaGrad,
    VarGrad,
)
from igos.methods.guided_ig import GuidedIG
from igos.methods.i_gos import IGOS
from igos.methods.iba import IBA
from igos.methods.idgi import IDGI
from igos.methods.igos_plus import IGOSPlus
from igos.methods.igos_pp import IGOSPlusPlus
from igos.methods.input_iba import InputIBA
from igos.methods.integrated_gradients import IntegratedGradients, IntegrateGrad
from igos.methods.interior import Interior
from igos.methods.odam import ODAM
from igos.methods.pattern import PatternAttribution, PatternIntegrateGrad, PatternNet
from igos.methods.rise import RISE
from igos.methods.xrai import XRAI
from igos.types import Explanation, Problem


class Method(Protocol):
    """What run asks of a method; `size` is the side of the mask grid, `diverse` whether it takes a start."""

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[str]
    complete: ClassVar[str]
    score: ClassVar[str]
    diverse: ClassVar[bool]
    size: int

    @property
    def cost(self) -> str: ...

    def warnings(self) -> list[str]: ...

    def __call__(self, problem: Problem) -> list[Explanation]: ...


EVERY: tuple[type[Any], ...] = (
    IGOS, IGOSPlus, IGOSPlusPlus,
    VanillaGrad, GradXInput, SmoothGrad, SmoothGrad2, VarGrad, SmoothIntegratedGrad,
    IntegratedGradients, IntegrateGrad, Interior, ExpGrad, GradientShap, GuidedIG, BlurIG, IDGI, XRAI,
    GuidedBackprop, GuidedIntegratedGradients, PatternNet, PatternAttribution, PatternIntegrateGrad, GradCAM, ODAM,
    IBA, InputIBA,
    RISE, DRISE,
)  # fmt: skip
METHODS: dict[str, type[Any]] = {m.name: m for m in EVERY}
ALIASES = {
    "IG": "integrated_gradients",
    "IGOS": "I-GOS",
    "igos_plus": "iGOS+",
    "igos_pp": "iGOS++",
    "gnl": "guided_integrated_gradients",
    "expected_gradients": "exp_grad",
    "InputIBA": "input_iba",
}


def default_score(method: Any, parts: Iterable[str] = ("class",)) -> str:
    """The score that a method, or any callable in its place, explains where the user does not say.

    Of the parts of a detection only its class has a logit.
    """
    return str(getattr(method, "score", "prob")) if set(parts) == {"class"} else "prob"


def needs_references(method: Any) -> bool:
    return bool(getattr(method, "references", False))


def needs_patterns(method: Any) -> bool:
    return bool(getattr(method, "patterns", False))


def needs_statistics(method: Any) -> bool:
    return bool(getattr(method, "statistics", False))
