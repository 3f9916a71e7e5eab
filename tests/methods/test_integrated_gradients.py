"""Integrated gradients against captum and closed forms; RISE against its definition."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from igos.base.baselines import BASELINES
from igos.base.ops import to_grid
from igos.methods.blackbox.rise import RISE
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.methods.gradient.quadrature import QUADRATURE, quadrature
from igos.methods.map_method import seeds, uniform
from igos.types import ConfigError
from tests.conftest import TinyNet, net_score, toy_problem

CAPTUM = {
    "left": "riemann_left",
    "right": "riemann_right",
    "middle": "riemann_middle",
    "riemann_trapezoid": "riemann_trapezoid",
    "gausslegendre": "gausslegendre",
}


@pytest.mark.parametrize("rule", CAPTUM)
@pytest.mark.parametrize("baseline", ["black", "blur"])
def test_equals_captum_in_double_precision(rule: str, baseline: str) -> None:
    from captum.attr import IntegratedGradients as Captum

    net = TinyNet(3)
    problem = toy_problem(net_score(3), 3, batch=7)
    ours = IntegratedGradients(n_steps=20, rule=rule, baseline=baseline, size=6)(problem)
    theirs = Captum(net).attribute(
        problem.x, BASELINES[baseline](problem.x), target=torch.arange(3), n_steps=20, method=CAPTUM[rule]
    )
    for e, expected in zip(ours, theirs, strict=True):
        assert e.attribution is not None
        assert torch.allclose(e.attribution.double(), expected, atol=1e-6 * float(expected.abs().max()) + 1e-9)
        assert torch.allclose(e.saliency, to_grid(e.attribution.sum(dim=0)[None, None], (6, 6))[0, 0], atol=1e-6)


@pytest.mark.parametrize("rule", QUADRATURE)
def test_rules_integrate_what_they_should(rule: str) -> None:
    nodes, weights = quadrature(rule, 40)
    total = {"riemann_trapezoid": 39 / 40, "pgig": 40 / 41}.get(rule, 1.0)
    assert float(weights.sum()) == pytest.approx(total)
    assert float((weights * nodes**2).sum()) == pytest.approx(1 / 3, abs=0.03)
    if rule == "gausslegendre":
        nodes, weights = quadrature(rule, 4)
        assert float((weights * nodes**7).sum()) == pytest.approx(1 / 8, abs=1e-12)


def test_averaged_noise_equals_captum_from_each_draw() -> None:
    from captum.attr import IntegratedGradients as Captum

    problem = toy_problem(net_score(2), 2, seeds=[4, 9])
    made = IntegratedGradients(n_steps=12, baseline="noise", draws=3)(problem)
    again = toy_problem(net_score(2), 2, seeds=[4, 9])
    first = seeds(again)
    for k, e in enumerate(made):
        starts = uniform(first[k] + torch.arange(3), again.x[:1])
        theirs = Captum(TinyNet(2)).attribute(again.x[:1].expand(3, -1, -1, -1), starts, target=k, n_steps=4)
        assert e.attribution is not None and len({float(s.sum()) for s in starts}) == 3
        assert torch.allclose(e.attribution.double(), theirs.mean(dim=0), atol=1e-6 * float(theirs.abs().max()))


def test_it_is_complete_and_exact_on_a_linear_score() -> None:
    weight = torch.randn(3, 24, 32, dtype=torch.float64)
    problem = toy_problem(lambda p, r: (p * weight).sum(dim=(1, 2, 3)))
    (e,) = IntegratedGradients(n_steps=3)(problem)
    assert e.attribution is not None
    assert torch.allclose(e.attribution.double(), problem.x[0] * weight, atol=1e-5)
    problem = toy_problem(net_score())
    (e,) = IntegratedGradients(n_steps=50)(problem)
    ends = problem.score(torch.stack([problem.x, problem.x0], dim=1))[0]
    assert e.attribution is not None
    assert float(e.attribution.double().sum()) == pytest.approx(float(ends[0] - ends[1]), abs=1e-5)
    assert problem.score.backward_images.tolist() == [50]


def test_its_axioms() -> None:
    """Sensitivity, dummy, symmetry, implementation invariance; nothing where the picture is its baseline; complete
    within 5 % by 50 steps and .1 % by 500 (left and right: an error like 1 / steps).
    """
    net = net_score()

    def blind(p: Tensor, r: Tensor) -> Tensor:
        return net(p * torch.tensor([1.0, 0, 1], dtype=p.dtype)[:, None, None], r)

    def attributed(forward: Any, method: IntegratedGradients, **other: Any) -> Tensor:
        made: Tensor = method.attribute(replace(toy_problem(forward), **other)).values[0]
        return made

    ig, x = IntegratedGradients(n_steps=50), toy_problem(net).x.clone()
    x[:, :, 3, 4] = 0
    made = attributed(net, ig, x=x)
    assert not made[:, 3, 4].any() and made[:, 3, 5].any(), "a pixel at its baseline gets nothing"
    assert not attributed(blind, ig)[1].any(), "what the score does not read gets nothing"
    assert not attributed(net, ig, x=torch.zeros_like(x)).any()
    x[:, 0] = x[:, 2]
    even = attributed(lambda p, r: (p[:, 0] * p[:, 2]).sum(dim=(1, 2)).tanh(), ig, x=x)
    assert torch.equal(even[0], even[2]) and even[0].any(), "channels in the same part get the same"
    again = attributed(lambda p, r: 2 * net(p.flip(3).flip(3), r) - net(p, r), ig)
    assert torch.allclose(again, attributed(net, ig), atol=1e-12), "equal functions, unlike graphs"
    for rule in ("left", "right", "middle", "trapezoid", "gausslegendre"):
        first, second = (IntegratedGradients(n_steps=n, rule=rule)(toy_problem(net))[0].scores[0] for n in (50, 500))
        assert first.value < 0.05
        assert second.value < (first.value / 9 if rule in ("left", "right") else 1e-3)


def test_aggregates_and_a_score_that_does_not_move() -> None:
    for aggregate in ("abs_sum", "sum_abs"):
        (e,) = IntegratedGradients(n_steps=4, aggregate=aggregate)(toy_problem(net_score()))
        assert e.saliency.min() >= 0
    (e,) = IntegratedGradients(n_steps=4)(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * 0))
    assert e.status == "no-effect"


def test_rise_finds_the_patch_and_is_the_mean_it_claims_to_be() -> None:
    method = RISE(n_masks=300, grid=4, size=6)
    problem = toy_problem(lambda p, r: p[:, :, 4:12, 4:12].mean(dim=(1, 2, 3)), 2, seeds=[3, 4])
    first, second = method(problem)
    assert problem.score.forward_images.tolist() == [300, 300] and problem.score.backward_images.tolist() == [0, 0]
    assert first.saliency[1:3, 1:2].mean() > first.saliency[4:, 4:].mean()
    assert not torch.equal(first.saliency, second.saliency)
    mean = torch.stack([method._mask(24, 32, s) for s in range(3000)]).mean()
    assert float(mean) == pytest.approx(method.p, abs=0.02)
    (constant,) = RISE(n_masks=400, grid=4, size=6)(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * 0 + 1))
    assert constant.saliency.mean() == pytest.approx(1, abs=0.1)


def test_settings_that_cannot_be_are_refused() -> None:
    wrong_ig = (dict(n_steps=0), dict(rule="simpson"), dict(baseline="pink"), dict(aggregate="max"), dict(size=0))
    for settings in wrong_ig:
        with pytest.raises(ConfigError):
            IntegratedGradients(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        RISE(p=1.0)
