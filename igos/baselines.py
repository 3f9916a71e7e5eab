"""BASELINES: what a picture looks like with nothing to see. (K,3,H,W) in [0,1] -> the same shape."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from igos.ops import gaussian_blur

MEAN_COLOUR = (0.485, 0.456, 0.406)  # ImageNet's, RGB in [0,1]


def blur(x: Tensor) -> Tensor:
    """Gaussian of kernel 51 below 500 px (longer side), 151 below 800, 201 from there; sigma = kernel - 1."""
    side = max(x.shape[-2:])
    kernel = 51 if side < 500 else 151 if side < 800 else 201
    return gaussian_blur(x, kernel, kernel - 1)


def black(x: Tensor) -> Tensor:
    return torch.zeros_like(x)


def white(x: Tensor) -> Tensor:
    return torch.ones_like(x)


def grey(x: Tensor) -> Tensor:
    return torch.full_like(x, 0.5)


def mean(x: Tensor) -> Tensor:
    """ImageNet's mean colour: the zero of normalised space."""
    return x.new_tensor(MEAN_COLOUR)[:, None, None].expand_as(x)


BASELINES: dict[str, Callable[[Tensor], Tensor]] = {
    "blur": blur,
    "black": black,
    "white": white,
    "grey": grey,
    "mean": mean,
}


def baseline(name: str, x: Tensor) -> Tensor:
    """BASELINES[name] of (K,3,H,W), made once where the K pictures are one picture expanded."""
    make = BASELINES[name]
    return make(x[:1]).expand_as(x) if x.stride(0) == 0 else make(x)
