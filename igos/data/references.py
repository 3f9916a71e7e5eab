"""The pictures that expected gradients and GradientSHAP compare with: --references, else --data, else generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.data import emblems
from igos.data.pictures import find_pictures
from igos.types import Adapter, ConfigError, Image, ImageError

MOST = 50  # references of one explanation
SCENE, FIRST = 160, 1_000_000  # px, and where the generated scenes start: far from those that training uses
Source = Callable[[Image], Tensor]


def source(adapter: Adapter, folder: str | None, data: Sequence[str]) -> tuple[Source, str]:
    """Image -> references (R,3,H,W) on its device, R <= MOST, never the image itself; and what they are, in words.

    Raises ConfigError where --references holds no picture that can be read.
    """
    found = (find_pictures(data) if data else []) if folder is None else find_pictures([folder], flag="--references")
    paths = [path for path, _ in found]
    if folder is None and len(paths) < 2:
        return generated, f"{MOST} generated pictures"
    read = partial(_read, lru_cache(maxsize=MOST + 1)(adapter.read))

    def others(image: Image) -> Tensor:
        made: list[Tensor] = []
        for path in (p for p in paths if p != image.path):
            if len(made) < MOST and (pixels := read(path, image)) is not None:
                made.append(pixels)
        if not made and folder is not None:
            raise ConfigError(f"--references {folder}: none of its pictures can be read, or only {image.path} itself")
        return torch.stack(made) if made else generated(image)

    return others, f"--references {folder}" if folder is not None else "the other pictures of --data"


def generated(image: Image) -> Tensor:
    """MOST planted-evidence scenes (MOST,3,H,W) at the image's size."""
    return _resize(_scenes().to(image.pixels), image)


@lru_cache(maxsize=1)
def _scenes() -> Tensor:
    pictures = [torch.from_numpy(emblems.scene(0, FIRST + i, SCENE).picture()) for i in range(MOST)]
    return torch.stack(pictures).permute(0, 3, 1, 2).float() / 255


def _read(read: Callable[[str], Image], path: str, image: Image) -> Tensor | None:
    try:
        return _resize(read(path).pixels[None].to(image.pixels), image)[0]
    except ImageError:
        return None


def _resize(pictures: Tensor, image: Image) -> Tensor:
    size = image.geometry.network
    if tuple(pictures.shape[-2:]) == tuple(size):
        return pictures
    return F.interpolate(pictures, size, mode="bilinear", align_corners=False)
