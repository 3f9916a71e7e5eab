"""BASELINES: what a picture looks like with nothing to see. (K,3,H,W) in [0,1] -> the same shape."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.ops import gaussian_blur

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


def blur_rise(x: Tensor) -> Tensor:
    """Gaussian of 11 taps, sigma 5, the tails folded back into the taps; beyond the border lies the mean colour."""
    k = _folded(11, 5.0)
    m = mean(x)
    wide = F.pad(x - m, (5, 5, 5, 5))
    tall = torch.stack([k[i] * wide[..., i : i + x.shape[-2], :] for i in range(11)]).sum(dim=0)
    return m + torch.stack([k[i] * tall[..., i : i + x.shape[-1]] for i in range(11)]).sum(dim=0)


def _folded(taps: int, sigma: float) -> list[float]:
    """A unit pulse amid `taps` places, filtered by a Gaussian cut at 4 sigma with half-sample reflection."""
    reach = int(4 * sigma + 0.5)
    offset = torch.arange(-reach, reach + 1)
    weight = torch.exp(-0.5 * (offset.double() / sigma) ** 2)
    place = (taps // 2 + offset) % (2 * taps)
    place = torch.minimum(place, 2 * taps - 1 - place)
    return torch.zeros(taps, dtype=torch.float64).index_add_(0, place, weight / weight.sum()).tolist()


def blur_iba(x: Tensor) -> Tensor:
    """Gaussian of 9 taps, sigma 5, reflected border."""
    return gaussian_blur(x, 9, 5.0)


def light_blur(x: Tensor) -> Tensor:
    """Gaussian of sigma = the longer side / 32."""
    sigma = max(x.shape[-2:]) / 32
    return gaussian_blur(x, 2 * round(2 * sigma) + 1, sigma)


SUBSTRATES: ChainMap[str, Callable[[Tensor], Tensor]] = ChainMap(  # BASELINES, and what papers' metrics replace by
    {"zero": mean, "blur_rise": blur_rise, "blur_iba": blur_iba, "light_blur": light_blur}, BASELINES
)


def baseline(name: str, x: Tensor) -> Tensor:
    """SUBSTRATES[name] of (K,3,H,W), made once where the K pictures are one picture expanded."""
    make = SUBSTRATES[name]
    return make(x[:1]).expand_as(x) if x.stride(0) == 0 else make(x)
