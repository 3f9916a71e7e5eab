"""The floor under every method: a map that knows nothing of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar
from zlib import crc32

import torch

from igos.types import Explanation, Problem


@dataclass(frozen=True)
class Random:
    """Uniform noise, from each picture's own pixels as the seed."""

    size: int = 28

    name: ClassVar[str] = "random"

    def __call__(self, problem: Problem) -> list[Explanation]:
        made = []
        for x, target, image in zip(problem.x, problem.targets, problem.images, strict=True):
            g = torch.Generator().manual_seed(crc32(x.cpu().numpy().tobytes()))
            made.append(Explanation(torch.rand(self.size, self.size, generator=g), target, image, self.name))
        return made
