"""Quantus's own metrics on our maps, where it is installed: it overwrites the headless cv2, so .ci/run runs this file
in a second environment.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from igos.metrics import METRICS
from igos.metrics.degradation import degraded
from igos.metrics.parts import tiles
from igos.types import Explanation, Geometry, Image, Problem, Scorer, Target
from tests.conftest import net_score, toy_problem
from tests.test_interop import MEAN, STD, Linear, explain_func, inputs


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


def test_metrics_of_quantus_take_our_maps() -> None:
    if importlib.util.find_spec("quantus") is None:
        assert "IGOS_PEERS" not in os.environ, "the environment of the peers lacks Quantus"
        pytest.skip("Quantus is not installed: pip install igos[peers]; .ci/run does in an environment of its own")
    import quantus

    model, x, y = Linear().eval(), inputs(), np.array([2, 0, 1])
    a = np.abs(explain_func()(model, x, y))
    s = np.zeros((3, 1, 12, 12), int)
    s[:, :, 2:7, 3:9] = 1
    options = {"normalise": False, "abs": False, "disable_warnings": True, "display_progressbar": False}
    found = quantus.RelevanceMassAccuracy(**options)(model, x, y, a_batch=a, s_batch=s, channel_first=True)
    image = Image(torch.zeros(3, 12, 12), Geometry((12, 12), (12, 12)), np.zeros((12, 12, 3), np.uint8))
    problem = toy_problem(net_score(1), 1, size=(12, 12))
    target = replace(problem.targets[0], box=torch.tensor([3.0, 2, 9, 7]))
    e = [Explanation(torch.from_numpy(m[0]), target, image, "IG") for m in a]
    shares = [v.value for v in METRICS["energy_pointing"]()(problem, e)]
    assert found == pytest.approx(shares, abs=1e-5)
    for name in ("Sparseness", "Complexity"):
        theirs = getattr(quantus, name)(**options)(model, x, y, a_batch=a, channel_first=True)
        ours = [v.value for v in METRICS[name.lower()]()(problem, e)]
        assert theirs == pytest.approx(ours, abs=1e-4)
    for order in ("morf", "lerf"):
        falls = quantus.RegionPerturbation(
            patch_size=4, regions_evaluation=9, order=order, perturb_baseline=0.0, **options
        )(model, x, y, a_batch=a, channel_first=True, softmax=False)
        for i, fall in enumerate(falls):
            ours = degradation(model, x[i], int(y[i]), a[i, 0])
            assert fall == pytest.approx(ours[0 if order == "morf" else 1], rel=1e-4, abs=1e-4)
    stable = quantus.MaxSensitivity(nr_samples=2, lower_bound=0.01, **options)
    values = stable(model, x, y, explain_func=explain_func(), channel_first=True, device="cpu")
    assert len(values) == 3 and all(0 < v < 2 for v in values)
