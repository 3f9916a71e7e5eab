"""The shared vocabulary: what flows from a picture to an explanation. Imports torch and numpy only.

file -> Adapter.read -> Image -> Adapter.detect -> [Target] -> Adapter.scorer -> Problem
     -> method(problem) -> [Explanation] -> metrics -> report
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from igos.errors import ConfigError as ConfigError
from igos.errors import IgosError as IgosError
from igos.errors import ImageError as ImageError
from igos.errors import NetworkError as NetworkError
from igos.errors import NumericsError as NumericsError
from igos.errors import WeightsError as WeightsError
from igos.scorer import Scorer as Scorer
from igos.statistics import Statistics

if TYPE_CHECKING:
    from pathlib import Path

PARTS = ("class", "box", "class_box", "mask")
SCORES = ("prob", "logit")
DETECTION_THRESHOLD, CLASS_THRESHOLD = 0.4, 0.05  # least scores that are shown unless the user says otherwise
Detections = tuple[Tensor, Tensor, Tensor]  # boxes (n,4) xyxy, class probabilities (n,C), objectness (n,)
STATUSES = ("ok", "stalled", "saturated", "no-effect", "not-finite", "skipped", "unreadable", "error")


@dataclass(frozen=True)
class Geometry:
    """How source pixels became network pixels: x_network = x_source * scale + offset, per axis.

    `source` and `network` are (height, width); `scale` and `offset` are (y, x). A positive offset is
    padding (letterbox), a negative one a crop.
    """

    source: tuple[int, int]
    network: tuple[int, int]
    scale: tuple[float, float] = (1.0, 1.0)
    offset: tuple[float, float] = (0.0, 0.0)

    def to_network(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) xyxy, source pixels -> network pixels."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        boxes = boxes.to(torch.get_default_dtype()) if not boxes.is_floating_point() else boxes
        return boxes * boxes.new_tensor([sx, sy, sx, sy]) + boxes.new_tensor([ox, oy, ox, oy])

    def to_source(self, boxes: Tensor) -> Tensor:
        """Boxes (..., 4) xyxy, network pixels -> source pixels, clipped to the picture."""
        (sy, sx), (oy, ox) = self.scale, self.offset
        out = (boxes - boxes.new_tensor([ox, oy, ox, oy])) / boxes.new_tensor([sx, sy, sx, sy])
        height, width = self.source
        return torch.minimum(out.clamp(min=0), out.new_tensor([width, height, width, height]))

    def map_to_source(self, saliency: Tensor) -> Tensor:
        """A map (h, w) on the mask grid -> (H0, W0) on source pixels; 0 where the network saw nothing.

        The grid's corner nodes lie on the centres of the network picture's corner pixels
        (the align_corners upsampling that the masks use).
        """
        axes = []
        for n, n0, size, scale, offset in zip(
            saliency.shape, self.source, self.network, self.scale, self.offset, strict=True
        ):
            pixel = (torch.arange(n0, dtype=torch.float64) + 0.5) * scale + offset - 0.5
            node = 2 * pixel.clamp(0, size - 1) / max(size - 1, 1) - 1
            axes.append((node if n > 1 else node * 0, (pixel >= -0.5) & (pixel <= size - 0.5)))
        (y, in_y), (x, in_x) = axes
        grid = torch.stack(torch.meshgrid(x, y, indexing="xy"), dim=-1)[None].to(saliency)
        out = F.grid_sample(saliency[None, None], grid, mode="bilinear", padding_mode="border", align_corners=True)[
            0, 0
        ]
        return out * (in_y[:, None] & in_x[None, :]).to(out)


@dataclass(frozen=True, eq=False)
class Image:
    """A picture as the network sees it.

    pixels (3,H,W) float32 RGB in [0,1] at the network's input resolution; source (H0,W0,3) uint8 RGB,
    the picture as it was read (upright, colours over white), for drawing; path, where it came from.
    """

    pixels: Tensor
    geometry: Geometry
    source: np.ndarray
    path: str | None = None

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != 3:
            raise ImageError(f"pixels must be (3,H,W), got {tuple(self.pixels.shape)}")
        if tuple(self.pixels.shape[1:]) != tuple(self.geometry.network):
            raise ImageError(f"pixels are {tuple(self.pixels.shape[1:])} but the geometry says {self.geometry.network}")


@dataclass(frozen=True, eq=False)
class Target:
    """What is explained: one detection, or one class of a picture.

    label is the class index, name its word, score the model's own score in [0,1]; box (4,) xyxy in network
    pixels or None (classifier); mask (H,W) bool or None; index the row, query or proposal or None; part, one of
    PARTS, what of it is scored: its class, its box (IoU of the box that the model regresses with this one), the
    product of the two, or its mask (mean mask probability over this instance).
    """

    label: int
    name: str
    score: float
    box: Tensor | None = None
    mask: Tensor | None = None
    index: int | None = None
    part: str = "class"

    def __post_init__(self) -> None:
        if self.box is not None and tuple(self.box.shape) != (4,):
            raise ConfigError(f"a target's box must be (4,) xyxy, got shape {tuple(self.box.shape)}")
        if self.part not in PARTS:
            raise ConfigError(f"part {self.part!r} is not one of {', '.join(PARTS)}")


@runtime_checkable
class Adapter(Protocol):
    """One model behind one interface; below it nobody asks which model it is."""

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

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """A path, PIL picture or (H,W,3) uint8 array -> Image. Raises ImageError."""
        ...

    def detect(self, image: Image, threshold: float = DETECTION_THRESHOLD) -> list[Target]:
        """What the model sees with a score >= threshold in [0,1], best first."""
        ...

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """The fixed targets' parts as a differentiable function; score in {prob, logit}, logit of a class only."""
        ...


@dataclass(frozen=True, eq=False)
class Problem:
    """K explanations asked for at once: x, x0 (K,3,H,W) in [0,1], the picture and its baseline.

    start (K,h,w) in [0,1] is the mask to start from, or None for ones, and starts (K) says which start cell that
    is. The generators make each explanation independent of its batch. `images` (K) carry geometry and the source
    picture. references (R,3,H,W) in [0,1] are other pictures, for the methods that compare with them.
    detect: pictures (N,3,H,W) -> what a detector sees in each, for methods that match detections. patterns: of the
    network's layers by name, each of its weight's shape; statistics of a layer, for the methods that put noise there;
    probability: the same targets', where score is another. picture_seeds (K): of what those of one picture share.
    """

    x: Tensor
    x0: Tensor
    score: Scorer
    targets: Sequence[Target]
    generators: Sequence[torch.Generator]
    images: Sequence[Image]
    start: Tensor | None = None
    starts: Sequence[int | None] | None = None
    references: Tensor | None = None
    detect: Callable[[Tensor], list[Detections]] | None = None
    patterns: Mapping[str, Tensor] | None = None
    statistics: Statistics | None = None
    probability: Scorer | None = None
    picture_seeds: Sequence[int] = ()

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or self.x.shape[1] != 3 or self.x.shape != self.x0.shape:
            raise ConfigError(f"x and x0 must both be (K,3,H,W), got {tuple(self.x.shape)} and {tuple(self.x0.shape)}")
        k = len(self.x)
        if not (len(self.targets) == len(self.generators) == len(self.images) == self.score.targets == k):
            raise ConfigError(f"{k} pictures need {k} targets, generators, images and pinned scores")
        r = self.references
        if r is not None and (r.ndim != 4 or not len(r) or r.shape[1:] != self.x.shape[1:]):
            raise ConfigError(f"references must be (R,{', '.join(map(str, self.x.shape[1:]))}), got {tuple(r.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the network's picture."""
        return self.x.shape[-2], self.x.shape[-1]


@dataclass(frozen=True)
class Score:
    """One figure about one explanation; better is 'higher' or 'lower'; curve (2,n) is x over y, or None.

    detail: further figures by name, and `<name>_reason` where the value is NaN.
    """

    name: str
    value: float
    better: str
    curve: np.ndarray | None = None
    detail: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Explanation:
    """Why: saliency (h,w) float32 on the mask grid, **higher = more important**.

    attribution (C,H,W) float32 is raw and signed where the method has one; masks (n,h,w) in [0,1], 1 = keep,
    where the method learns masks; arrays holds further named maps; trace the course of the optimisation, one
    array of T values per name; network_images / backward_images count the pictures pushed for this map; warnings
    are for the user, a line each.
    """

    saliency: Tensor
    target: Target
    image: Image
    method: str
    seed: int = 0
    status: str = "ok"
    attribution: Tensor | None = None
    masks: Tensor | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    trace: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    opt: str | None = None
    form: str | None = None
    start: int | None = None
    seconds: float = 0.0
    network_images: int = 0
    backward_images: int = 0
    score_original: float | None = None
    score_blurred: float | None = None
    scores: tuple[Score, ...] = ()
    warnings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.saliency.ndim != 2:
            raise ConfigError(f"saliency must be (h,w), got {tuple(self.saliency.shape)}")
        if self.status not in STATUSES:
            raise ConfigError(f"status {self.status!r} is not one of {', '.join(STATUSES)}")

    @property
    def geometry(self) -> Geometry:
        return self.image.geometry

    def on_source(self) -> np.ndarray:
        """The saliency on source pixels, (H0,W0) float32."""
        return self.geometry.map_to_source(self.saliency.float().cpu()).numpy()

    def box_on_source(self) -> np.ndarray | None:
        """The target's box in source pixels, (4,) xyxy float32, or None."""
        box = self.target.box
        return None if box is None else self.geometry.to_source(box.float().cpu()).numpy()

    def overlay(self) -> np.ndarray:
        """The picture with heat, box, label and the contour of the top area, (H,W,3) uint8."""
        from igos.report import figures

        return figures.overlay(self)

    def signed(self, **settings: Any) -> np.ndarray:
        """The attribution in green (for) and red (against), (H,W,3) uint8; settings: those of igos.report.signed.

        Raises ConfigError where there is no attribution.
        """
        from igos import report

        return report.signed(self, **settings)

    def save(self, folder: str | Path) -> None:
        """Write explanation.npz and every picture that the explanation has the data for into folder."""
        from igos import arrays, report

        arrays.write_arrays(folder, self)
        report.write_figures(folder, self)

    def _repr_html_(self) -> str:
        from igos import report

        return report.html(self)
