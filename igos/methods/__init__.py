"""METHODS: every way to explain. A method is a frozen dataclass of its settings and a call on a Problem."""

from __future__ import annotations

from typing import Any, ClassVar, Protocol

from igos.methods.drise import DRISE
from igos.methods.grad_cam import GradCAM
from igos.methods.i_gos import IGOS
from igos.methods.igos_plus import IGOSPlus
from igos.methods.igos_pp import IGOSPlusPlus
from igos.methods.integrated_gradients import IntegratedGradients
from igos.methods.odam import ODAM
from igos.methods.rise import RISE
from igos.types import Explanation, Problem


class Method(Protocol):
    """What run asks of a method; `size` is the side of the mask grid, `diverse` whether it takes a start."""

    name: ClassVar[str]
    paper: ClassVar[str]
    needs: ClassVar[str]
    diverse: ClassVar[bool]
    size: int

    @property
    def cost(self) -> str: ...

    def warnings(self) -> list[str]: ...

    def __call__(self, problem: Problem) -> list[Explanation]: ...


METHODS: dict[str, type[Any]] = {
    m.name: m for m in (IGOS, IGOSPlus, IGOSPlusPlus, IntegratedGradients, RISE, DRISE, GradCAM, ODAM)
}
ALIASES = {
    "IG": "integrated_gradients",
    "IGOS": "I-GOS",
    "igos_plus": "iGOS+",
    "igos_pp": "iGOS++",
}
