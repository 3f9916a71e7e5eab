"""METHODS: every way to explain. A method is a frozen dataclass of its settings and a call on a Problem."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Protocol

from igos.base.settings import check_values, coerce, lookup, settings_of
from igos.methods.backward.guided_backprop import GuidedBackprop, GuidedIntegratedGradients
from igos.methods.backward.pattern import PatternAttribution, PatternIntegrateGrad, PatternNet
from igos.methods.blackbox.asked import VersusMasks, WhyNotMasks
from igos.methods.blackbox.drise import DRISE
from igos.methods.blackbox.rise import RISE
from igos.methods.bottleneck.iba import IBA
from igos.methods.bottleneck.input_iba import InputIBA
from igos.methods.gradient.blur_ig import BlurIG
from igos.methods.gradient.expected_gradients import ExpGrad, GradientShap
from igos.methods.gradient.gradients import (
    GradXInput,
    SmoothGrad,
    SmoothGrad2,
    SmoothIntegratedGrad,
    VanillaGrad,
    VarGrad,
)
from igos.methods.gradient.guided_ig import GuidedIG
from igos.methods.gradient.idgi import IDGI
from igos.methods.gradient.integrated_gradients import IntegratedGradients, IntegrateGrad
from igos.methods.gradient.interior import Interior
from igos.methods.gradient.xrai import XRAI
from igos.methods.layer.grad_cam import GradCAM
from igos.methods.layer.odam import ODAM
from igos.methods.mask.i_gos import IGOS
from igos.methods.mask.igos_plus import IGOSPlus
from igos.methods.mask.igos_pp import IGOSPlusPlus
from igos.methods.mask.optim import OPTIMIZERS
from igos.methods.mask.why_not import WhyNot
from igos.types import ConfigError, Explanation, Problem


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
ASKED: dict[str, type[Any]] = {m.name: m for m in (WhyNot, WhyNotMasks, VersusMasks)}  # see asked.py
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
    own = getattr(method, "explained", None) or getattr(method, "score", "prob")
    return str(own) if set(parts) == {"class"} else "prob"


def build_method(
    name: str, given: Mapping[str, Any], preset: Mapping[str, Any], named: Callable[[str], str] = str
) -> Any:
    """METHODS[name], or ASKED[name], with the preset's settings for it (and for its optimiser) under those given.
    named: a key as the user knows it.
    """
    make = ASKED.get(name) or METHODS[lookup(name, METHODS, "method", ALIASES)]
    name = make.name
    known = settings_of(make)
    unknown = [k for k in given if k not in known]
    if unknown:
        raise ConfigError(f"{name} has no setting {named(unknown[0])}; its settings: {', '.join(known)}")
    block = dict(preset.get("methods", {}).get(name, {}))
    by_opt = {k: block.pop(k) for k in list(block) if k in OPTIMIZERS}
    opt = given.get("opt", block.get("opt", getattr(make, "opt", None)))
    opt = lookup(opt, OPTIMIZERS, "optimiser") if isinstance(opt, str) else opt
    settings = {**block, **(by_opt.get(str(opt)) or {}), **given, **({"opt": opt} if opt else {})}
    values = {k: v if callable(v) else coerce(named(k), v, known[k]) for k, v in settings.items()}
    check_values(make, values, named)
    return make(**values)
