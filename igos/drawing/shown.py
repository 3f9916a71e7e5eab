"""What the drawings ask of an explanation, so that they need not know how it was made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from torch import Tensor

from igos.base.geometry import Geometry


class MeanCurve(NamedTuple):
    """How mean curves are drawn: what x and y are, and which area is the figure.

    counts: x is whole numbers; signed: y lies on both sides of 0.
    """

    x: str
    y: str
    area: str
    counts: bool = False
    signed: bool = False


class Measured(Protocol):
    """A figure about an explanation; curve (2,n) is x over y, or None, and plot says as what it is drawn; hides: what
    hides the cells of a map on so many cells a side, where the curve is over these.
    """

    @property
    def name(self) -> str: ...
    @property
    def value(self) -> float: ...
    @property
    def better(self) -> str: ...
    @property
    def curve(self) -> np.ndarray | None: ...
    @property
    def plot(self) -> str | None: ...
    @property
    def hides(self) -> tuple[str, int] | None: ...


class Object(Protocol):
    """What is explained; label the number of its class, box (4,) xyxy in network pixels or None; part, what of it."""

    @property
    def label(self) -> int: ...
    @property
    def name(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def box(self) -> Tensor | None: ...
    @property
    def part(self) -> str: ...


class Photo(Protocol):
    """source (H0,W0,3) uint8 RGB; pixels (3,H,W) in [0,1], as the network sees it."""

    @property
    def pixels(self) -> Tensor: ...

    @property
    def source(self) -> np.ndarray: ...


class Shown(Protocol):
    """An explanation as it is drawn: saliency (h,w), the finest map heat (h,w), attribution (C,H,W) or None, further
    arrays by name.
    """

    @property
    def saliency(self) -> Tensor: ...
    @property
    def heat(self) -> Tensor: ...
    @property
    def attribution(self) -> Tensor | None: ...
    @property
    def arrays(self) -> Mapping[str, np.ndarray]: ...
    @property
    def image(self) -> Photo: ...
    @property
    def geometry(self) -> Geometry: ...
    @property
    def target(self) -> Object: ...
    @property
    def scores(self) -> Sequence[Measured]: ...
    @property
    def method(self) -> str: ...
    @property
    def opt(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def start(self) -> int | None: ...

    def box_on_source(self) -> np.ndarray | None: ...
