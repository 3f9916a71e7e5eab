"""What a method answers: a map, its figures and how it came about."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from igos.base.errors import ConfigError
from igos.base.files import npz_bytes, write_bytes
from igos.base.geometry import Geometry
from igos.base.names import ARRAYS_FILE
from igos.types.image import Image
from igos.types.model import Target

STATUSES = (
    "ok", "unsure", "stalled", "saturated", "no-effect", "not-finite", "skipped", "unreadable", "error",
)  # fmt: skip


@dataclass(frozen=True, repr=False)
class Score:
    """One figure about one explanation; better is 'higher' or 'lower'; curve (2,n) is x over y, or None.

    detail: further figures by name, and `<name>_reason` where the value is NaN; plot: as what the curve is drawn over
    the map's cells, "deletion" or "insertion", or None; hides: by what cells are hidden, and how many the map has a
    side, where the curve is over the cells of the whole map.

    >>> igos.Score("deletion", 0.031, "lower")
    <Score deletion 0.031, lower is better>
    """

    name: str
    value: float
    better: str
    curve: np.ndarray | None = None
    detail: dict[str, Any] = field(default_factory=dict)
    plot: str | None = None
    hides: tuple[str, int] | None = None

    def __repr__(self) -> str:
        why = next((f": {v}" for k, v in self.detail.items() if k.endswith("_reason")), "")
        return f"<Score {self.name} {self.value:.4g}, {self.better} is better{why}>"


@dataclass(frozen=True, eq=False, repr=False)
class Explanation:
    """Why: saliency (h,w) float32 on the mask grid, **higher = more important**.

    detail (H,W) float32 in [0,1] is where on the network's pixels a mask method looked, or None: it is drawn, and what
    is measured on pixels, in the map's place. attribution (C,H,W) float32 is raw and signed where the method has one;
    masks (n,h,w) in [0,1], 1 = keep, where the method learns masks; arrays holds further maps; trace the course, one
    array of T values per name; seconds is the time of the map, metric_seconds that of its figures; network_images /
    backward_images count the pictures pushed for this map; warnings are for the user, a line each. shortcut: whether
    the model's shortcuts were {taken, left}; None: it has none.
    ask: the question that the map answers; explained: which score, of SCORES or margin; None: an older igos said none.

    >>> e = igos.explain("emblem-vgg", "samples/scene-04.png", method="grad_cam", metrics="none")[0]
    >>> e.on_source().shape
    (320, 320)
    """

    saliency: Tensor
    target: Target
    image: Image
    method: str
    seed: int = 0
    status: str = "ok"
    attribution: Tensor | None = None
    masks: Tensor | None = None
    detail: Tensor | None = None
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    trace: dict[str, np.ndarray] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    opt: str | None = None
    form: str | None = None
    start: int | None = None
    seconds: float = 0.0
    metric_seconds: float | None = None
    network_images: int = 0
    backward_images: int = 0
    score_original: float | None = None
    score_blurred: float | None = None
    scores: tuple[Score, ...] = ()
    warnings: tuple[str, ...] = ()
    shortcut: str | None = None
    ask: str | None = "why"
    explained: str | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.saliency, Tensor):
            raise ConfigError(f"saliency must be a tensor (h,w), got {type(self.saliency).__name__}")
        if self.saliency.ndim != 2:
            raise ConfigError(f"saliency must be (h,w), got {tuple(self.saliency.shape)}")
        if self.detail is not None and self.detail.shape != self.image.pixels.shape[1:]:
            raise ConfigError(f"detail must be {tuple(self.image.pixels.shape[1:])}, got {tuple(self.detail.shape)}")
        if self.status not in STATUSES:
            raise ConfigError(f"status {self.status!r} is not one of {', '.join(STATUSES)}")

    @property
    def geometry(self) -> Geometry:
        return self.image.geometry

    @property
    def heat(self) -> Tensor:
        """The finest map there is: detail (H,W), else saliency (h,w)."""
        return self.saliency if self.detail is None else self.detail

    def on_source(self) -> np.ndarray:
        """The heat on source pixels, (H0,W0) float32."""
        return self.geometry.map_to_source(self.heat.float().cpu()).numpy()

    def box_on_source(self) -> np.ndarray | None:
        """The target's box in source pixels, (4,) xyxy float32, or None."""
        box = self.target.box
        return None if box is None else self.geometry.to_source(box.float().cpu()).numpy()

    def as_arrays(self, source: bool = True) -> dict[str, np.ndarray]:
        """Its numbers by name, as explanation.npz holds them (igos/results/arrays.py); source: with saliency_source."""
        g = self.geometry
        arrays: dict[str, np.ndarray] = {
            "saliency": self.saliency.float().cpu().numpy(),
            "geometry": np.array([g.source, g.network, g.scale, g.offset], np.float64),
            **{name: np.asarray(a) for name, a in self.arrays.items()},
            **{f"trace_{name}": np.asarray(a) for name, a in self.trace.items()},
            **{f"{s.name}_curve": s.curve for s in self.scores if s.curve is not None},
        }
        if source:
            arrays["saliency_source"] = self.on_source().astype(np.float32)
        for name, value in (("attribution", self.attribution), ("masks", self.masks), ("box", self.box_on_source())):
            if value is not None:
                arrays[name] = np.asarray(value, dtype=np.float32)
        if self.detail is not None:
            arrays["detail"] = self.detail.cpu().numpy().astype(np.float16)
        return arrays

    def __repr__(self) -> str:
        """One line: what, in which picture, how, status, figures."""
        method = " ".join(word for word in (self.method, self.opt) if word)
        figures = "".join(f", {s.name} {s.value:.3g}" for s in self.scores if s.curve is not None)
        where = f" in {Path(self.image.path).name}" if self.image.path else ""
        return f"<Explanation of {self.target.name!r} {self.target.score:.2f}{where}: {method}, {self.status}{figures}>"

    def show(self) -> None:
        """In a notebook, else in the system's viewer of pictures. Raises ConfigError where there is none."""
        from igos.drawing.files import show

        show(self)

    def figure(self, kind: str = "overlay") -> Any:
        """A PIL picture: overlay, slide, heatmap, curves or another of igos.drawing.files.FIGURES.

        Raises ConfigError for another kind, and where the explanation does not hold what it shows.
        """
        from igos.drawing.files import picture

        return picture(self, kind)

    def overlay(self) -> np.ndarray:
        """The picture with heat, box, label and the contour of the top area, (H,W,3) uint8."""
        from igos.drawing import figures

        return figures.overlay(self)

    def signed(self, **settings: Any) -> np.ndarray:
        """The attribution in green (for) and red (against), (H,W,3) uint8; settings: those of igos.drawing.signed.

        Raises ConfigError where there is no attribution.
        """
        from igos.drawing.signed import signed

        return signed(self, **settings)

    def save(self, folder: str | Path) -> None:
        """Write explanation.npz and every picture that the explanation has the data for into folder."""
        from igos.drawing.files import write_figures

        write_bytes(Path(folder) / ARRAYS_FILE, npz_bytes(self.as_arrays()))
        write_figures(folder, self)

    def _repr_html_(self) -> str:
        from igos.drawing.files import html

        return html(self)
