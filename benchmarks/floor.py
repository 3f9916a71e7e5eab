"""The floor under every method: maps that ask no network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from igos.types import Explanation, Problem


def random_map(problem: Problem) -> list[Explanation]:
    maps = [torch.rand(28, 28, generator=g) for g in problem.generators]
    return [Explanation(m, t, i, "random") for m, t, i in zip(maps, problem.targets, problem.images, strict=True)]


def centred(problem: Problem) -> list[Explanation]:
    """A Gaussian over the picture, whatever the target is."""
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    heat = torch.exp(-2 * (x**2 + y**2))
    return [Explanation(heat, t, i, "centred") for t, i in zip(problem.targets, problem.images, strict=True)]


def box_prior(problem: Problem) -> list[Explanation]:
    """A Gaussian over the box: exp(-2 ((x-cx)/w)^2 - 2 ((y-cy)/h)^2)."""
    made = []
    for target, image in zip(problem.targets, problem.images, strict=True):
        assert target.box is not None
        x1, y1, x2, y2 = target.box.tolist()
        y = torch.linspace(0, problem.size[0] - 1, 28)[:, None]
        x = torch.linspace(0, problem.size[1] - 1, 28)[None]
        near = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2
        made.append(Explanation(torch.exp(-2 * near), target, image, "box prior"))
    return made


PRIORS = {"random": random_map, "centred": centred, "box prior": box_prior}


@dataclass(frozen=True)
class Prior:
    """A map that asks no network, in a method's place."""

    name: str

    diverse: ClassVar[bool] = False

    def __call__(self, problem: Problem) -> list[Explanation]:
        return PRIORS[self.name](problem)
