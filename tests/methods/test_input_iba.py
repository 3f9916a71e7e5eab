"""Input IBA: its map, its noise, its prices, and the passes that it costs."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks.bottlenecks import passes
from detectors.classifier import ClassifierAdapter
from igos.base.ops import grained
from igos.methods.bottleneck import bottleneck
from igos.methods.bottleneck.input_iba import InputIBA, shares
from tests.bottlenecks import QUICK, problem_of
from tests.bottlenecks import adapter as adapter


def test_input_iba_finds_the_corner_too(adapter: ClassifierAdapter) -> None:
    first, second = InputIBA(size=8, beta=0.3, gan_steps=6, gan_batch=4, opt_steps=30, copies=4)(problem_of(adapter))
    for made, place in ((first, slice(0, 4)), (second, slice(4, 8))):
        assert made.saliency[place, place].sum() / made.saliency.sum() > 0.5, "a quarter of the picture"
        for name in ("input_mask", "feat_mask", "prior_mask"):
            assert made.arrays[name].shape == (32, 32) and made.arrays[name].dtype == np.float32
        assert made.arrays["input_mask"].min() >= 0 and made.arrays["input_mask"].max() <= 1


def test_input_iba_is_the_same_again_and_in_any_batch(adapter: ClassifierAdapter) -> None:
    method = InputIBA(size=8, **QUICK)
    both, again, alone = method(problem_of(adapter)), method(problem_of(adapter)), method(problem_of(adapter, (1,)))
    assert torch.equal(both[1].saliency, again[1].saliency)
    assert torch.allclose(both[1].saliency, alone[0].saliency, rtol=1e-3, atol=1e-5)


def test_grained_noise_has_the_same_mean_and_spread_in_every_pixel() -> None:
    """At the border too; near pixels are alike by exp(-d^2 / 4 sigma^2), far ones are not. 0 leaves the noise alone."""
    white = torch.randn(20_000, 15, 12, generator=torch.Generator().manual_seed(0))
    made = grained(white, 2.0)
    assert made.mean(dim=0).abs().max() < 0.04 and (made.std(dim=0) - 1).abs().max() < 0.03
    for d in (1, 2):
        alike = float((made[:, 7, 4] * made[:, 7, 4 + d]).mean())
        assert alike == pytest.approx(math.exp(-(d**2) / 16), abs=0.03)
    assert abs(float((made[:, 1, 1] * made[:, 13, 10]).mean())) < 0.03
    assert grained(white, 0.0) is white


def test_the_price_over_a_box_does_not_depend_on_the_rest_of_the_picture(adapter: ClassifierAdapter) -> None:
    """beta over a box of a quarter of the picture is 4 beta over the picture; a class has no box."""
    problem = problem_of(adapter)
    boxed = replace(problem, targets=[replace(t, box=torch.tensor([-9.0, 0, 16, 16])) for t in problem.targets])
    assert shares(boxed).tolist() == [0.25, 0.25] and shares(problem).tolist() == [1, 1]
    over = InputIBA(beta=1, over="box", **QUICK)
    for asked, beta in ((boxed, 4), (problem_of(adapter), 1)):
        plain = InputIBA(beta=beta, **QUICK)(problem_of(adapter))
        assert torch.equal(over(asked)[0].saliency, plain[0].saliency)


def test_pixels_that_the_prior_lets_through_are_free(
    adapter: ClassifierAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a price at which nothing else passes."""
    free = torch.zeros(1, 3, 32, 32)
    free[..., :16] = 1 - 1e-4
    monkeypatch.setattr(InputIBA, "_prior", lambda *_: free)
    (e,) = InputIBA(**{**QUICK, "beta": 1e4, "sigma": 0.0, "opt_steps": 30})(problem_of(adapter, (0,)))
    open = e.arrays["input_mask"]
    assert open[:, :16].mean() > 0.1 and open[:, 16:].max() < 0.01


def test_the_prior_of_a_run_starts_from_its_own_bits(adapter: ClassifierAdapter) -> None:
    (e,) = InputIBA(**{**QUICK, "lr_mask": 0.0})(problem_of(adapter, (0,)))
    assert np.allclose(e.arrays["prior_mask"], 1 / (1 + np.exp(-e.arrays["feat_mask"])), atol=1e-6)


def test_behind_shut_pixels_is_noise_of_the_pictures_numbers(
    adapter: ClassifierAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mu, sigma = torch.tensor([0.2, 0.5, 0.8]).view(3, 1, 1), torch.tensor([0.05, 0.1, 0.3]).view(3, 1, 1)
    problem, seen = problem_of(adapter, (0,), pixel_mean=mu, pixel_std=sigma), list[Tensor]()
    forward = problem.score.forward
    watching = problem.score.scoring(lambda x, rows: (seen.append(x.detach()), forward(x, rows))[1])
    monkeypatch.setattr(bottleneck, "START", -60.0)
    InputIBA(**{**QUICK, "opt_steps": 4, "copies": 8, "lr": 0.0})(replace(problem, score=watching))
    z = (torch.cat(seen)[-32:] - mu) / sigma
    assert len({float(v) for v in z[:, 0, 0, 0]}) == 32, "anew in every step and copy"
    assert z.mean(dim=(0, 2, 3)).abs().max() < 0.05 and (z.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05


def test_pixels_pass_for_nothing_and_not_at_any_price(
    adapter: ClassifierAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InputIBA, "_prior", lambda *_: torch.zeros(1, 3, 32, 32))
    settings = {**QUICK, "sigma": 0.0, "opt_steps": 30}
    free, dear = (InputIBA(**{**settings, "beta": beta})(problem_of(adapter, (0,)))[0] for beta in (0.0, 1e6))
    assert free.scores[0].value > free.scores[0].detail["score_kept_of"] and free.arrays["input_mask"].max() > 0.99
    assert dear.arrays["input_mask"].max() < 0.01 and "shut every gate" in dear.warnings[0]


def test_the_benchmarks_passes_are_those_of_the_method(adapter: ClassifierAdapter) -> None:
    """All but the two that see whether the layer cuts; a plain version runs the generator's fakes again."""
    method, problem = InputIBA(**QUICK), problem_of(adapter, (0,))
    method(problem)
    assert passes(method, problem_of(adapter, (0,)), lean=True) == int(problem.score.forward_images[0]) - 2
    adapter.module.requires_grad_(True)
    plain = passes(method, problem_of(adapter, (0,)), lean=False)
    adapter.module.requires_grad_(False)
    assert plain == 3 * 2 + (3 + 2) * 2 + 3 * 2, "two of three steps teach the generator"


def test_near_pixels_share_their_noise_where_grain_asks_it(adapter: ClassifierAdapter) -> None:
    plain, alike = (InputIBA(grain=grain, **QUICK)(problem_of(adapter))[0] for grain in (0.0, 2.0))
    assert not torch.equal(plain.saliency, alike.saliency)
    assert np.array_equal(plain.arrays["prior_mask"], alike.arrays["prior_mask"]), "the prior has its own noise"
