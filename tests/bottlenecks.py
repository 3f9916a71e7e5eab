"""A small network and statistics of its first layer, for the tests of the bottlenecks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectors.classifier import ClassifierAdapter
from igos.methods.bottleneck.statistics import fingerprint
from igos.run.problem import make_problem
from igos.types import Problem, Statistics, Target
from tests.conftest import toy_image

QUICK: dict[str, Any] = {"feat_steps": 3, "gan_steps": 3, "gan_batch": 2, "critic_iter": 2, "opt_steps": 3, "copies": 2}


class Corner(nn.Module):
    """Two classes; the first is bright when the upper left quarter is, the second looks at the lower right one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Conv2d(3, 6, 3, stride=2, padding=1)
        self.relu = nn.ReLU(inplace=True)
        with torch.no_grad():
            self.first.weight.abs_()
            self.first.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        a = self.relu(self.first(x)).mean(dim=1)
        n = a.shape[-1] // 2
        return 4 * torch.stack([a[:, :n, :n].mean(dim=(1, 2)), a[:, n:, n:].mean(dim=(1, 2))], dim=1)


@pytest.fixture(scope="module")
def adapter() -> ClassifierAdapter:
    return ClassifierAdapter(Corner(), ["a", "b"], name="corner", crop=32, resize=32, mean=(0, 0, 0), std=(1, 1, 1))


def known(adapter: ClassifierAdapter, **more: Any) -> Statistics:
    """Noise of a dark picture, in which neither class has anything to see."""
    made = Statistics(
        model=adapter.name,
        layer="first",
        per="channel",
        n=10,
        mean=torch.full((6, 1, 1), 0.1),
        std=torch.full((6, 1, 1), 0.1),
        active=torch.ones(6, 1, 1, dtype=torch.bool),
        pixel_mean=torch.full((3, 1, 1), 0.1),
        pixel_std=torch.full((3, 1, 1), 0.1),
        weights=fingerprint(adapter.module),
    )
    return replace(made, **more)


def problem_of(adapter: ClassifierAdapter, labels: tuple[int, ...] = (0, 1), **more: Any) -> Problem:
    image = toy_image(32, 32)
    return make_problem(
        adapter,
        image,
        [Target(i, "ab"[i], 0.5) for i in labels],
        ingredients={"statistics": lambda _: known(adapter, **more)},
        batch=4,
    )
