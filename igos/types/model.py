"""What is explained, and the model behind one interface."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from igos.base.errors import ConfigError
from igos.base.names import DETECTION_THRESHOLD, PARTS
from igos.types.candidates import Candidates
from igos.types.image import Image
from igos.types.scorer import Scorer

if TYPE_CHECKING:
    from pathlib import Path

Detections = tuple[Tensor, Tensor, Tensor]  # boxes (n,4) xyxy, class probabilities (n,C), objectness (n,)


@dataclass(frozen=True, eq=False, repr=False)
class Target:
    """What is explained: one detection, or one class of a picture.

    label is the class index, name its word, score the model's own score in [0,1]; box (4,) xyxy in network
    pixels or None (classifier); mask (H,W) bool or None; index the row, query or proposal or None; part, one of
    PARTS, what of it is scored: its class, its box (IoU of the box that the model regresses with this one), the
    product of the two, an edge of its box (left, top, right, bottom: that IoU where no other edge has moved), or its
    mask (mean mask probability over this instance). own: by score (SCORES) what the model itself gives for its
    class in the untouched picture, which what is explained must equal; None: not known.
    pins: what the network chose in the untouched picture (the places (k,) of its queries, choice by choice), to be
    chosen again in every other. Of an object that was expected: reason, one of REASONS, why it is no detection;
    wanted (4,) its box in network pixels, while box is that of the candidate that is pinned in its place; rival, the
    detection that the reason names. rival is also what the target is compared with where that is asked.

    >>> igos.Target(label=3, name="dog", score=0.9)
    <Target 'dog' 0.90, class 3>
    """

    label: int
    name: str
    score: float
    box: Tensor | None = None
    mask: Tensor | None = None
    index: int | None = None
    part: str = "class"
    own: Mapping[str, float] | None = None
    pins: tuple[Tensor, ...] = ()
    reason: str | None = None
    wanted: Tensor | None = None
    rival: Target | None = None

    def __post_init__(self) -> None:
        if self.box is not None and tuple(self.box.shape) != (4,):
            raise ConfigError(f"a target's box must be (4,) xyxy, got shape {tuple(self.box.shape)}")
        if self.part not in PARTS:
            raise ConfigError(f"part {self.part!r} is not one of {', '.join(PARTS)}")

    def __repr__(self) -> str:
        part = "" if self.part == "class" else f", its {self.part}"
        box = (
            "" if self.box is None else f", box ({', '.join(f'{v:.0f}' for v in self.box.tolist())}) in network pixels"
        )
        return f"<Target {self.name!r} {self.score:.2f}, class {self.label}{part}{box}>"


@runtime_checkable
class Adapter(Protocol):
    """One model behind one interface; below it nobody asks which model it is.

    An adapter that takes shortcuts (detectors/shortcuts.py) also has `plain`, the same adapter without any, or None;
    it detects with that one. See plain_of and passing.

    >>> model = igos.load("emblem-m-rcnn")
    >>> [target.name for target in model.detect(model.read("samples/scene-04.png"))]
    ['bars', 'ring', 'star', 'star']
    """

    @property
    def name(self) -> str: ...

    @property
    def labels(self) -> Sequence[str]: ...

    @property
    def module(self) -> nn.Module: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def preset(self) -> str:
        """The preset in configs/ that suits this model."""
        ...

    @property
    def default_target(self) -> str:
        """all (a detector) or top1 (a classifier)."""
        ...

    @property
    def parts(self) -> Sequence[str]:
        """Which of PARTS the model has."""
        ...

    @property
    def detections(self) -> Callable[[Tensor], list[Detections]] | None:
        """Pictures (N,3,H,W) -> all that the model sees in each, for matching, or None (a classifier)."""
        ...

    @property
    def reader(self) -> Callable[[Any], Image]:
        """What reads a picture as `read` does, on the CPU and without the model: another process may run it."""
        ...

    @property
    def threshold(self) -> float:
        """The least score of what is explained, where the user says none."""
        ...

    @property
    def notes(self) -> Sequence[str]:
        """What the user should know of how the model was read: what was recognised, what guessed."""
        ...

    @property
    def patterns(self) -> str | None:
        """The file of the model's patterns, if it has one."""
        ...

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """A path, PIL picture or (H,W,3) uint8 array -> Image. Raises ImageError."""
        ...

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """What the model sees with a score >= threshold in [0,1], best first."""
        ...

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """All rows of the picture before thresholds and suppression, N = 1; of a classifier its one row of classes.

        label: the class for which boxes are decoded, where a row has a box for each class; by default its best.
        """
        ...

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """The fixed targets' parts as a differentiable function; score one of SCORES or MARGIN, but for prob of a class
        only.
        """
        ...


def classes_of(adapter: Adapter) -> list[str]:
    """The names of what can be seen: the labels without the column of no object."""
    return [label for label in adapter.labels if label != "__background__"]


def summary(adapter: Adapter, size: str) -> str:
    """An adapter in one line, for its repr; size: of the pictures that its network takes."""
    labels = classes_of(adapter)
    names = ", ".join(labels[:3]) + (", ..." if len(labels) > 3 else "")
    return f"<{adapter.name}: {len(labels)} classes ({names}), {size}, on {adapter.device}>"


def plain_of(adapter: Adapter) -> Adapter | None:
    """The adapter without its shortcuts; None where it takes none."""
    return getattr(adapter, "plain", None)


def passing(adapter: Adapter) -> Adapter:
    """The adapter as who watches the layers of `module` wants it: its detect goes through that network, too."""
    if plain_of(adapter) is None:
        return adapter
    made: Any = copy.copy(adapter)
    made.plain = None
    return made
