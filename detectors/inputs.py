"""How a picture becomes a network's input: its size and place (reading), its colours and numbers (preparing)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from detectors.pictures import read_rgb
from igos.base.geometry import Geometry
from igos.base.settings import check_settings, setting
from igos.types import ConfigError, Image

FITS = ("stretch", "letterbox", "letterbox-corner")
COLORS = ("rgb", "bgr")
INTERPOLATIONS = ("linear", "area", "antialias")
GREY = 114


@dataclass(frozen=True)
class Input:
    """size (height, width) px; fit: stretch, letterbox (the picture in the middle) or letterbox-corner (the picture at
    the top left), the rest filled with pad (0..255); multiple: a letterbox is no larger than the picture needs, in
    multiples of so many px; interpolation: linear or area (OpenCV's, on 8 bits) or antialias
    (Pillow's).

    The network takes (picture * range - mean) / std, the picture in [0,1] with its channels in the order `color`;
    mean and std are per channel in that order and in units of range.
    """

    size: tuple[int, int] = (640, 640)
    fit: str = setting("stretch", choices=FITS)
    pad: int = setting(GREY, least=0, most=255)
    color: str = setting("rgb", choices=COLORS)
    range: float = setting(1.0, above=0)
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    interpolation: str = setting("linear", choices=INTERPOLATIONS)
    multiple: int | None = setting(None, least=1)

    def __post_init__(self) -> None:
        check_settings(self)
        if len(self.size) != 2 or min(self.size) < 1 or max(self.size) > 8192:
            raise ConfigError(f"size must be height and width in 1..8192 px, got {self.size}")
        if len(self.mean) != 3 or len(self.std) != 3 or not np.isfinite(self.mean).all() or not min(self.std) > 0:
            raise ConfigError("mean and std must be three numbers each, std above 0")

    def read(self, source: Any) -> Image:
        """A picture at the network's size, RGB in [0,1]. Raises ImageError."""
        rgb, path = read_rgb(source)
        (h0, w0), (height, width) = rgb.shape[:2], self.size
        h, w, top, left = height, width, 0, 0
        scale = min(height / h0, width / w0)
        if self.fit == "letterbox":
            h, w = max(round(h0 * scale), 1), max(round(w0 * scale), 1)
            top, left = (height - h) // 2, (width - w) // 2
        elif self.fit == "letterbox-corner":
            h, w = max(int(h0 * scale), 1), max(int(w0 * scale), 1)
        if self.multiple is not None and self.fit != "stretch":
            height, width = (-(-side // self.multiple) * self.multiple for side in (h, w))
            top, left = ((height - h) // 2, (width - w) // 2) if self.fit == "letterbox" else (0, 0)
        picture = np.full((height, width, 3), self.pad, dtype=np.uint8)
        picture[top : top + h, left : left + w] = self._resized(rgb, h, w)
        pixels = torch.from_numpy(picture).permute(2, 0, 1).contiguous().float() / 255
        geometry = Geometry((h0, w0), (height, width), (h / h0, w / w0), (float(top), float(left)))
        return Image(pixels, geometry, rgb, path)

    def prepare(self, pictures: Tensor) -> Tensor:
        """Pictures (N,3,H,W) RGB in [0,1] -> what the network takes; differentiable."""
        x = pictures.flip(1) if self.color == "bgr" else pictures
        if self.range != 1:
            x = x * self.range
        if any(self.mean) or any(s != 1 for s in self.std):
            x = (x - x.new_tensor(self.mean)[:, None, None]) / x.new_tensor(self.std)[:, None, None]
        return x

    def _resized(self, rgb: np.ndarray, h: int, w: int) -> np.ndarray:
        if rgb.shape[:2] == (h, w):
            return rgb
        if self.interpolation == "antialias":
            return np.asarray(PIL.Image.fromarray(rgb).resize((w, h), PIL.Image.Resampling.BILINEAR))
        import cv2

        how = cv2.INTER_LINEAR if self.interpolation == "linear" else cv2.INTER_AREA
        return cv2.resize(rgb, (w, h), interpolation=how)
