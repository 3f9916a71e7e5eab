"""Toy pictures, networks and problems with a known answer."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from igos.base.geometry import Geometry
from igos.types import Image, Problem, Scorer, Target


def toy_image(height: int = 24, width: int = 32, seed: int = 0) -> Image:
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    source = (pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return Image(pixels, Geometry((height, width), (height, width)), source, f"toy-{seed}.png")


def toy_problem(
    forward: Callable[[Tensor, Tensor], Tensor],
    k: int = 1,
    *,
    size: tuple[int, int] = (24, 32),
    dtype: torch.dtype = torch.float64,
    batch: int = 8,
    seeds: Sequence[int] | None = None,
    start: Tensor | None = None,
) -> Problem:
    """K explanations of one random picture over a black baseline."""
    image = toy_image(*size)
    x = image.pixels.to(dtype).expand(k, -1, -1, -1)
    box = torch.tensor([8.0, 6.0, 20.0, 18.0])
    return Problem(
        x=x,
        x0=torch.zeros_like(x),
        score=Scorer(forward, k, batch),
        targets=[Target(0, "toy", 1.0, box)] * k,
        generators=[torch.Generator().manual_seed(s) for s in (seeds or range(k))],
        images=[image] * k,
        start=start,
    )


def patch_score(rows: slice, columns: slice) -> Callable[[Tensor, Tensor], Tensor]:
    """A score that looks at one patch alone: 1 with all of its light, about 0 without."""

    def forward(pictures: Tensor, _: Tensor) -> Tensor:
        light = pictures[:, :, rows, columns].mean(dim=(1, 2, 3))
        return torch.sigmoid(20 * (light - 0.25))

    return forward


class TinyNet(nn.Module):
    """A small random convolutional network with K outputs, smooth, in double precision."""

    def __init__(self, outputs: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.second = nn.Conv2d(8, outputs, 3, stride=2, padding=1)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.4
        self.double().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(4 * self.second(torch.tanh(self.first(x))).mean(dim=(2, 3)))


def net_score(outputs: int = 4, seed: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    """Picture n scored by output rows[n] of a TinyNet."""
    net = TinyNet(outputs, seed)
    return lambda pictures, rows: net(pictures).gather(1, rows[:, None])[:, 0]
