"""A picture as an image processor of Hugging Face's transformers reads it, whatever that processor does to it.

What it does is seen, not looked up. Its numbers are affine in the colours, x = M rgb + b: four plain pictures show M
and b. Where its pixels come from is a scale and an offset: a ramp from left to right and one from top to bottom show
them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from detectors.pictures import read_rgb
from igos.base.errors import one_line
from igos.base.geometry import Geometry
from igos.types import ConfigError, Image

PLAIN = ((0, 0, 0), (255, 0, 0), (0, 255, 0), (0, 0, 255))
SIDE = 64  # px of the plain pictures
NEAR = 0.05  # px; a size or an offset so near to a whole number is that number
LEAST = 1e-6  # of the determinant of M: with less the colours cannot be had back


@dataclass(frozen=True)
class Numbers:
    """What a processor makes of colours rgb in [0,1]: mix (3,3) @ rgb + add (3,)."""

    mix: tuple[tuple[float, ...], ...]
    add: tuple[float, ...]

    def of(self, pictures: Tensor) -> Tensor:
        """Pictures (N,3,H,W) in [0,1] -> what the network takes; differentiable."""
        mix, add = pictures.new_tensor(self.mix), pictures.new_tensor(self.add)[:, None, None]
        if bool((mix == mix.diag().diag()).all()):
            return pictures * mix.diag()[:, None, None] + add
        return torch.einsum("ij,njhw->nihw", mix, pictures) + add

    def back(self, values: Tensor) -> Tensor:
        """Values (3,H,W) as the network takes them -> the picture in [0,1]."""
        mix, add = values.new_tensor(self.mix).double(), values.new_tensor(self.add)[:, None, None]
        return torch.einsum("ij,jhw->ihw", mix.inverse().to(values), values - add).clamp(0, 1)


@dataclass(frozen=True)
class Processor:
    """A reader: source -> Image. processor: any image processor of transformers. Raises ConfigError for one whose work
    cannot be undone: padding that a mask covers, colours that become grey.
    """

    processor: Any
    numbers: Numbers = field(init=False)

    def __post_init__(self) -> None:
        values = [self._values(np.full((SIDE, SIDE, 3), rgb, np.uint8))[0] for rgb in PLAIN]
        if any(v.ndim != 3 or len(v) != 3 for v in values):
            raise ConfigError(f"{self._name}: answers {tuple(values[0].shape)} for one picture, not (3,H,W)")
        black, *pure = [v[:, v.shape[1] // 2, v.shape[2] // 2].double() for v in values]
        mix = torch.stack([p - black for p in pure], dim=1)
        mix = torch.where(mix.abs() < LEAST * mix.abs().max(), 0.0, mix)
        if not mix.isfinite().all() or float(mix.det().abs()) < LEAST * float(mix.abs().max()) ** 3:
            raise ConfigError(f"{self._name}: the colours of a picture cannot be had back from what it makes of them")
        object.__setattr__(self, "numbers", Numbers(tuple(map(tuple, mix.tolist())), tuple(black.tolist())))

    def __call__(self, source: Any) -> Image:
        """A picture at the network's size, RGB in [0,1]. Raises ImageError and ConfigError."""
        rgb, path = read_rgb(source)
        values, mask = self._values(rgb)
        if mask is not None and not bool(mask.all()):
            raise ConfigError(f"{self._name}: pads pictures under a mask; give it pad_size=None")
        return Image(self.numbers.back(values), self.geometry(rgb.shape[0], rgb.shape[1]), rgb, path)

    def geometry(self, height: int, width: int) -> Geometry:
        """How pictures of this size become the network's."""
        y = torch.linspace(1, 2, height)[:, None].expand(height, width)
        x = torch.linspace(1, 2, width).expand(height, width)
        seen = [self._ramp(ramp.expand(3, -1, -1)) for ramp in (y, x)]
        h, w = (int(s) for s in seen[0].shape)
        rows = [seen[0][:, w // 2], seen[1][h // 2]]
        (sy, oy), (sx, ox) = (_line(row, n) for row, n in zip(rows, (height, width), strict=True))
        return Geometry((height, width), (h, w), (sy, sx), (oy, ox))

    @property
    def _name(self) -> str:
        return type(self.processor).__name__

    def _values(self, rgb: np.ndarray) -> tuple[Tensor, Tensor | None]:
        """(3,H,W) as the network takes it; the mask (H,W) of what is no padding, where there is one."""
        try:
            made = self.processor(images=PIL.Image.fromarray(rgb), return_tensors="pt")
            values, mask = made["pixel_values"], made.get("pixel_mask")
        except Exception as error:  # a processor is anybody's code
            raise ConfigError(f"{self._name}: cannot read a picture ({one_line(error)})") from None
        return values[0].float(), None if mask is None else mask[0]

    def _ramp(self, ramp: Tensor) -> Tensor:
        """What becomes of a ramp (3,H,W): (h,w) of one channel."""
        made = _exact(self.processor)(images=ramp, do_rescale=False, do_normalize=False, return_tensors="pt")
        return made["pixel_values"][0][1]


def _exact(processor: Any) -> Any:
    """A processor that brings to size on Pillow's 8 bits, as its twin that does so on exact numbers."""
    name = type(processor).__name__
    if not name.endswith("Pil"):
        return processor
    import transformers

    return getattr(transformers, name.removesuffix("Pil"))(**processor.to_dict())


def _line(row: Tensor, length: int) -> tuple[float, float]:
    """Scale and offset by which a ramp from 1 to 2 over `length` px became row (n,)."""
    n = len(row)
    a, b = n // 4, 3 * n // 4
    first, second = (float((row[i].double() - 1) * (length - 1)) + 0.5 for i in (a, b))
    scale = (b - a) / max(second - first, 1e-9)
    scale = _whole(scale * length) / length
    return scale, _whole(a + 0.5 - scale * first)


def _whole(value: float) -> float:
    return float(round(value)) if abs(value - round(value)) < NEAR else value


def colours(numbers: Numbers) -> str:
    """The numbers in words, for a note."""
    mix, add = np.array(numbers.mix), np.array(numbers.add)
    if np.any(mix != np.diag(np.diag(mix))):
        return "colours mixed"
    low, high = _listed(add), _listed(add + np.diag(mix))
    return f"colours from {low} to {high}"


def _listed(numbers: np.ndarray) -> str:
    values = [round(float(v), 3) + 0.0 for v in numbers]
    return f"{values[0]:g}" if len(set(values)) == 1 else "[" + ", ".join(f"{v:g}" for v in values) + "]"
