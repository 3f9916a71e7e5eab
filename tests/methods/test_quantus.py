"""Quantus's own metrics on our maps, where it is installed: it overwrites the headless cv2, so .ci/run runs this file
in a second environment.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igos.base.geometry import Geometry
from igos.data.truth import Truth
from igos.metrics import METRICS
from igos.metrics.degradation import degraded
from igos.metrics.metric import Context
from igos.metrics.regions import tiles
from igos.metrics.statistics import spearman
from igos.types import Explanation, Image, Problem, Scorer, Target
from tests.conftest import net_score, toy_problem
from tests.methods.test_to_quantus import MEAN, STD, Linear, explain_func, inputs


def degradation(model: nn.Module, x: np.ndarray, label: int, heat: np.ndarray) -> np.ndarray:
    """(2, 9): how far the logit has fallen when the first 1..9 tiles of 4 px are mean colour, MoRF and LeRF."""
    m, s = (torch.tensor(v)[:, None, None] for v in (MEAN, STD))
    picture = torch.from_numpy(x) * s + m
    image = Image(picture, Geometry((12, 12), (12, 12)), np.zeros((12, 12, 3), np.uint8))
    scorer = Scorer(lambda p, r: model((p - m) / s)[:, label], 1)
    target = Target(label, "toy", 1.0)
    problem = Problem(picture[None], picture[None] * 0, scorer, [target], [torch.Generator()], [image])
    e = Explanation(torch.from_numpy(heat), target, image, "IG")
    y = degraded(problem, [e], tiles((12, 12), (4, 4)), "zero", np.arange(10), ("morf", "lerf"))[0]
    return y[:, :1] - y[:, 1:]


@pytest.fixture
def quantus() -> Any:
    if importlib.util.find_spec("quantus") is None:
        assert "IGOS_PEERS" not in os.environ, "the environment of the peers lacks Quantus"
        pytest.skip("Quantus is not installed: pip install igos[peers]; .ci/run does in an environment of its own")
    return importlib.import_module("quantus")


OPTIONS = {"normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False}


class Grey(nn.Module):
    """Two logits of pictures of one channel, each a weighted sum of the pixels and a product of two of them."""

    def __init__(self) -> None:
        super().__init__()
        self.weights = nn.Parameter(torch.randn(2, 64, generator=torch.Generator().manual_seed(3)))

    def forward(self, x: Tensor) -> Tensor:
        flat = x.float().flatten(1)
        return flat @ self.weights.T + 3 * flat[:, :1] * flat[:, 1:2]


def grey(model: Grey, x: np.ndarray, saliency: np.ndarray) -> tuple[Problem, list[Explanation]]:
    """The same picture (8,8) and logit 0, for our metrics: three channels alike, a map of a cell to the pixel."""
    picture = torch.from_numpy(x).expand(3, -1, -1)
    image = Image(picture, Geometry((8, 8), (8, 8)), np.zeros((8, 8, 3), np.uint8))
    scorer = Scorer(lambda p, r: model(p.mean(dim=1, keepdim=True))[:, 0], 1)
    target = Target(0, "toy", 1.0)
    generators = [torch.Generator().manual_seed(5)]
    problem = Problem(picture[None], picture[None] * 0, scorer, [target], generators, [image])
    return problem, [Explanation(torch.from_numpy(saliency), target, image, "hand")]


def test_faithfulness_as_quantus_measures_it(quantus: Any) -> None:
    """Deletion is its pixel flipping, which lacks the start; sensitivity-n at one n its faithfulness correlation."""
    model, random = Grey().eval(), np.random.default_rng(0)
    x, a = (random.random((1, 1, 8, 8), np.float32) for _ in range(2))
    given = {"channel_first": True, "softmax": False, "a_batch": a}
    y = np.zeros(1, int)
    (fall,) = quantus.PixelFlipping(features_in_step=1, perturb_baseline=0.0, **OPTIONS)(model, x, y, **given)
    problem, made = grey(model, x[0, 0], a[0, 0])
    (score,) = METRICS["deletion"](substrate="black", steps=64)(problem, made)
    assert score.curve is not None and score.curve[1, 1:] == pytest.approx(np.array(fall), abs=1e-5)
    exact = (model.weights[0].detach().numpy() * x.ravel()).reshape(8, 8).astype(np.float32)
    for map_ in (exact, a[0, 0]):
        problem, made = grey(model, x[0, 0], map_)
        ours = METRICS["sensitivity_n"](side=8, sizes=2, subsets=1500, substrate="black")(problem, made)[0]
        assert ours.curve is not None
        n = round(float(ours.curve[0, 1]) * 64)
        np.random.seed(1)
        correlation = quantus.FaithfulnessCorrelation(nr_runs=1500, subset_size=n, perturb_baseline=0.0, **OPTIONS)
        (theirs,) = correlation(model, x, y, **{**given, "a_batch": map_[None, None]})
        assert ours.curve[1, 1] == pytest.approx(theirs, abs=0.08)


def test_pointing_and_rank_correlation_are_those_of_quantus(quantus: Any) -> None:
    model, random = Grey().eval(), np.random.default_rng(2)
    mask = np.zeros((8, 8), bool)
    mask[2:6, 1:5] = True
    metric, hits = METRICS["pointing_mask"](tolerance=0.0), []
    for _ in range(12):
        x, a = (random.random((1, 1, 8, 8), np.float32) for _ in range(2))
        problem, made = grey(model, x[0, 0], a[0, 0])
        (ours,) = metric(problem, made, Context([Truth("toy", np.array([1, 2, 5, 6.0]), mask)]))
        s = mask[None, None].astype(int)
        (theirs,) = quantus.PointingGame(**OPTIONS)(model, x, np.zeros(1, int), a_batch=a, s_batch=s)
        assert ours.value == theirs
        hits.append(ours.value)
    assert 0 < sum(hits) < 12
    a, b = random.random(64).round(1), random.random(64).round(1)
    assert spearman(a, b) == pytest.approx(quantus.similarity_func.correlation_spearman(a, b))


def test_a_map_that_ignores_the_network_is_found_out_by_both(quantus: Any) -> None:
    model, random = Grey().eval(), np.random.default_rng(4)
    model.layer = nn.Linear(2, 2)  # what Quantus draws anew must have reset_parameters
    x, a = (random.random((1, 1, 8, 8), np.float32) for _ in range(2))
    check = quantus.MPRT(similarity_func=quantus.similarity_func.correlation_spearman, **OPTIONS)
    found = check(model, x, np.zeros(1, int), a_batch=a, explain_func=lambda *_, **__: a, channel_first=True)
    assert all(v == pytest.approx([1]) for v in found.values())
    problem, made = grey(model, x[0, 0], a[0, 0])
    context = Context(explain=lambda p: made, layers=["layer"], randomised=lambda depth: problem)
    assert METRICS["sanity"](stages=1)(problem, made, context)[0].value == pytest.approx(1)


def test_metrics_of_quantus_take_our_maps(quantus: Any) -> None:
    model, x, y = Linear().eval(), inputs(), np.array([2, 0, 1])
    a = np.abs(explain_func()(model, x, y))
    s = np.zeros((3, 1, 12, 12), int)
    s[:, :, 2:7, 3:9] = 1
    found = quantus.RelevanceMassAccuracy(**OPTIONS)(model, x, y, a_batch=a, s_batch=s, channel_first=True)
    image = Image(torch.zeros(3, 12, 12), Geometry((12, 12), (12, 12)), np.zeros((12, 12, 3), np.uint8))
    problem = toy_problem(net_score(1), 1, size=(12, 12))
    target = replace(problem.targets[0], box=torch.tensor([3.0, 2, 9, 7]))
    e = [Explanation(torch.from_numpy(m[0]), target, image, "IG") for m in a]
    shares = [v.value for v in METRICS["energy_pointing"]()(problem, e)]
    assert found == pytest.approx(shares, abs=1e-5)
    for name in ("Sparseness", "Complexity"):
        theirs = getattr(quantus, name)(**OPTIONS)(model, x, y, a_batch=a, channel_first=True)
        ours = [v.value for v in METRICS[name.lower()]()(problem, e)]
        assert theirs == pytest.approx(ours, abs=1e-4)
    for order in ("morf", "lerf"):
        falls = quantus.RegionPerturbation(
            patch_size=4, regions_evaluation=9, order=order, perturb_baseline=0.0, **OPTIONS
        )(model, x, y, a_batch=a, channel_first=True, softmax=False)
        for i, fall in enumerate(falls):
            ours = degradation(model, x[i], int(y[i]), a[i, 0])
            assert fall == pytest.approx(ours[0 if order == "morf" else 1], rel=1e-4, abs=1e-4)
    stable = quantus.MaxSensitivity(nr_samples=2, lower_bound=0.01, **OPTIONS)
    values = stable(model, x, y, explain_func=explain_func(), channel_first=True, device="cpu")
    assert len(values) == 3 and all(0 < v < 2 for v in values)
