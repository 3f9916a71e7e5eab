"""A picture as the network sees it."""

from __future__ import annotations

import os.path
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from igos.base.errors import ImageError
from igos.base.geometry import Geometry
from igos.base.hashing import digest, digest_of

BEYOND = 1e-3  # how far a pixel may lie outside of [0,1]: rounding of a resize


@dataclass(frozen=True, eq=False, repr=False)
class Image:
    """A picture as the network sees it.

    pixels (3,H,W) float32 RGB in [0,1] at the network's input resolution; source (H0,W0,3) uint8 RGB,
    the picture as it was read (upright, colours over white), for drawing; path, where it came from. sha256: of the
    file's bytes or, without a file, of the dtype, shape and bytes of source; the same on every machine.

    >>> igos.load("emblem-vgg").read("samples/scene-04.png")
    <Image samples/scene-04.png, 320 x 320 px, for the network 96 x 96 px>
    """

    pixels: Tensor
    geometry: Geometry
    source: np.ndarray
    path: str | None = None
    sha256: str = ""

    def __post_init__(self) -> None:
        if self.pixels.ndim != 3 or self.pixels.shape[0] != 3:
            raise ImageError(f"pixels must be (3,H,W), got {tuple(self.pixels.shape)}")
        if tuple(self.pixels.shape[1:]) != tuple(self.geometry.network):
            raise ImageError(f"pixels are {tuple(self.pixels.shape[1:])} but the geometry says {self.geometry.network}")
        if not self.sha256:
            known = self.path is not None and os.path.isfile(self.path)
            object.__setattr__(self, "sha256", digest(str(self.path)) if known else digest_of(self.source))
        low, high = (float(v) for v in self.pixels.detach().aminmax())
        if not (low >= -BEYOND and high <= 1 + BEYOND):
            hint = "; divide by 255" if 2 < high <= 255 and low >= 0 else ""
            raise ImageError(f"pixels must lie in [0,1], got {low:.3g} to {high:.3g}{hint}")

    def __repr__(self) -> str:
        (h0, w0), (h, w) = self.geometry.source, self.geometry.network
        return f"<Image {self.path or 'without a file'}, {w0} x {h0} px, for the network {w} x {h} px>"
