"""The bridge to Quantus: its shapes and its explain_func; Quantus itself is in test_quantus.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igos.base.geometry import Geometry
from igos.base.ops import upscale
from igos.methods import METHODS
from igos.methods.quantus import as_explain_func, to_quantus
from igos.types import ConfigError, Explanation, Image, Problem
from tests.conftest import net_score, toy_problem

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Linear(nn.Module):
    """Logits w . x of normalised pictures, one class each."""

    def __init__(self, size: int = 12, classes: int = 3) -> None:
        super().__init__()
        weights = torch.randn(classes, 3 * size * size, generator=torch.Generator().manual_seed(0))
        self.weights = nn.Parameter(weights)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1).float() @ self.weights.T


def inputs(n: int = 3, size: int = 12) -> np.ndarray:
    x = torch.rand(n, 3, size, size, generator=torch.Generator().manual_seed(1))
    return ((x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]).numpy()


def explain_func(**settings: object) -> Callable[..., np.ndarray]:
    given = {"n_steps": 4, "size": 12, "score": "logit", **settings}
    return as_explain_func("integrated_gradients", mean=MEAN, std=STD, **given)  # type: ignore[arg-type]


def test_maps_are_given_on_the_networks_pixels() -> None:
    problem = toy_problem(net_score(2), 2, size=(16, 20))
    maps = [torch.rand(4, 5), torch.rand(7, 7)]
    made = [Explanation(m, t, i, "x") for m, t, i in zip(maps, problem.targets, problem.images, strict=True)]
    found = to_quantus(made)
    assert found.shape == (2, 1, 16, 20) and found.dtype == np.float32
    assert found[1, 0] == pytest.approx(upscale(maps[1], (16, 20)).numpy())
    other = Image(torch.zeros(3, 8, 8), Geometry((8, 8), (8, 8)), np.zeros((8, 8, 3), np.uint8))
    with pytest.raises(ConfigError, match="one picture size"):
        to_quantus([made[0], replace(made[1], image=other)])


def test_explain_func_explains_the_class_asked_for_on_the_picture_before_normalisation() -> None:
    """Integrated Gradients of a linear logit over black: w / std * (x - 0), summed over the channels."""
    model, x, classes = Linear(), inputs(), np.array([2, 0, 1])
    found = explain_func()(model, inputs=x, targets=classes, device="cpu")
    picture = x * np.array(STD)[:, None, None] + np.array(MEAN)[:, None, None]
    weights = model.weights.detach().numpy()[classes].reshape(3, 3, 12, 12) / np.array(STD)[:, None, None]
    assert found.shape == (3, 1, 12, 12) and found.dtype == np.float32
    assert found[:, 0] == pytest.approx((weights * picture).sum(axis=1), abs=1e-4)
    again = explain_func()(model, torch.from_numpy(x), torch.from_numpy(classes))
    assert np.array_equal(found, again)


def test_a_method_may_be_an_object_and_sees_one_seed() -> None:
    seeds: list[int] = []

    def method(problem: Problem) -> list[Explanation]:
        seeds.extend(g.initial_seed() for g in problem.generators)
        return METHODS["integrated_gradients"](n_steps=2)(problem)  # type: ignore[no-any-return]

    as_explain_func(method, mean=MEAN, std=STD, seed=5)(Linear(), inputs(), np.zeros(3, int))
    assert seeds == [5, 5, 5]


@pytest.mark.parametrize(
    ("x", "why"),
    [(inputs()[0], "must be"), (inputs()[:, :1], "must be"), (inputs() * 9, "mean and std")],
)
def test_other_inputs_are_refused(x: np.ndarray, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        explain_func()(Linear(), x, np.zeros(len(x), int))
    with pytest.raises(ConfigError, match="score"):
        as_explain_func(score="odds")
