"""A map is of what the network has learnt: with random weights in its layers it is another."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

import igos
from igos.methods import build_method
from igos.metrics.statistics import spearman
from igos.run.explain import explain_problem
from igos.run.presets import read_preset
from igos.run.problem import make_problem

SCENE = Path(__file__).resolve().parents[2] / "samples" / "scene-04.png"


@cache
def networks() -> tuple[igos.Adapter, igos.Adapter]:
    """A network, and the same with random weights."""
    adapter, other = (igos.load("emblem-m-rcnn") for _ in range(2))
    torch.manual_seed(0)
    for module in other.module.modules():  # type: ignore[attr-defined]
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear):
            module.reset_parameters()
    return adapter, other


@pytest.mark.parametrize("name", ["iGOS++", "iGOS+", "I-GOS"])
def test_the_map_of_a_network_of_random_weights_is_another(name: str) -> None:
    adapter, other = networks()
    image = adapter.read(SCENE)
    targets = adapter.detect(image)[:2]
    method = build_method(name, {"opt": "NAG"}, read_preset(adapter.preset))
    maps = [explain_problem(make_problem(a, image, targets), method) for a in (adapter, other)]
    like = [spearman(a.saliency.numpy(), b.saliency.numpy()) for a, b in zip(*maps, strict=True)]
    assert np.abs(like).mean() < 0.2
