"""Guided IG, IDGI and Blur IG against plain single-picture code, closed forms and completeness."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from igos.methods.gradient.blur_ig import BlurIG, gaussian
from igos.methods.gradient.guided_ig import RULES, GuidedIG, advance
from igos.methods.gradient.idgi import IDGI, shares
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.types import Problem
from tests.conftest import Later, TinyNet, net_score, toy_problem
from tests.methods.test_gradients import close, linear, raw, values, weights
from tests.methods.test_rules import network, score

ndimage = Later("scipy.ndimage")


def one_by_one(problem: Problem, k: int, n: int, fraction: float, max_dist: float) -> dict[str, np.ndarray]:
    """The paper's algorithm for one picture from black, positions and quantiles as it states them, and along the same
    path the trapezoid.
    """

    def gradient(here: np.ndarray) -> np.ndarray:
        p = torch.from_numpy(here).view(1, 1, *problem.x.shape[1:]).expand(len(problem.x), -1, -1, -1, -1)
        p = p.clone().requires_grad_(True)
        (g,) = torch.autograd.grad(problem.score(p)[k].sum(), p)
        return g[k].numpy().ravel()

    x = problem.x[k].numpy().ravel()
    here, made, total = np.zeros_like(x), np.zeros_like(x), x.sum()
    places = [here]
    for s in range(n):
        slope = gradient(here)
        low, high = max((s + 1) / n - max_dist, 0) * x, min((s + 1) / n + max_dist, 1) * x
        due = total * (1 - (s + 1) / n)
        gamma = np.inf
        while gamma > 1:
            before = here.copy()
            here = np.maximum(here, low)
            left = (x - here).sum()
            if np.isclose(left, due, rtol=1e-9, atol=1e-9):
                made += (here - before) * slope
                break
            cost = np.where(here >= high, np.inf, abs(slope))
            chosen = (cost <= np.quantile(cost, fraction, method="lower")) & (cost < np.inf)
            gamma = (left - due) / (high - here)[chosen].sum()
            here[chosen] = high[chosen] if gamma > 1 else (here + gamma * (high - here))[chosen]
            made += (here - before) * slope
        places.append(here)
    assert np.allclose(here, x), "the path ends at the picture"
    slopes = [gradient(p) for p in places]
    both = sum((places[s + 1] - places[s]) * (slopes[s] + slopes[s + 1]) / 2 for s in range(n))
    return {"left": made.reshape(problem.x.shape[1:]), "trapezoid": np.reshape(both, problem.x.shape[1:])}


@pytest.mark.parametrize("settings", [(20, 0.25, 0.1), (12, 0.1, 0.3), (15, 1.0, 0.05), (10, 0.5, 1.0)])
def test_guided_ig_walks_the_paper_s_path_for_each_of_a_batch(settings: tuple[int, float, float]) -> None:
    n, fraction, max_dist = settings
    net = network()  # with rectifiers: many gradients are 0 and tie
    for forward in (net_score(2), score(net)):
        problem = toy_problem(forward, 2, size=(9, 10))
        expected = [one_by_one(problem, k, n, fraction, max_dist) for k in range(2)]
        for rule in RULES:
            made = values(GuidedIG(n_steps=n, fraction=fraction, max_dist=max_dist, rule=rule), problem)
            assert all(close(made[k], torch.from_numpy(expected[k][rule]), 1e-8) for k in range(2))


def test_without_room_to_bend_it_is_integrated_gradients_by_the_same_rule() -> None:
    for baseline in ("black", "blur"):
        for rule, points in (("left", 20), ("trapezoid", 21)):
            problem = toy_problem(net_score(2), 2)
            straight = values(IntegratedGradients(n_steps=points, rule=rule, baseline=baseline), problem)
            made = values(GuidedIG(n_steps=20, max_dist=0, baseline=baseline, rule=rule), problem)
            assert close(made, straight, 1e-12)
            assert problem.score.backward_images.tolist() == [points + 21] * 2


@pytest.mark.parametrize("fraction", [0.01, 0.3, 1.0])
def test_it_is_exact_on_a_linear_score_whatever_the_path(fraction: float) -> None:
    w = weights()
    problem = toy_problem(linear(w))
    assert close(values(GuidedIG(n_steps=7, fraction=fraction, max_dist=0.4), problem), problem.x * w, 1e-8)


def error_of(problem: Problem, **settings: Any) -> float:
    return GuidedIG(**settings)(problem)[0].scores[0].value


@pytest.mark.parametrize("rule", RULES)
def test_it_becomes_complete_on_a_smooth_network(rule: str) -> None:
    errors = [error_of(toy_problem(net_score()), n_steps=n, rule=rule) for n in (10, 400)]
    assert errors[1] < 0.01 and errors[1] < 0.1 * errors[0]
    same = toy_problem(net_score())
    same = replace(same, x=torch.zeros_like(same.x))
    assert not values(GuidedIG(n_steps=5, rule=rule), same).any(), "a picture that is its baseline"


def test_with_rectifiers_both_ends_of_a_step_miss_less_than_its_start_which_chose_what_is_flat() -> None:
    errors = {
        rule: [error_of(toy_problem(score(network())), n_steps=n, max_dist=0.4, rule=rule) for n in (10, 40, 160)]
        for rule in RULES
    }
    coarse, middle, fine = errors["trapezoid"]
    assert fine < middle < coarse and fine < 0.5 * coarse
    assert all(ours < 0.4 * published for ours, published in zip(*(errors[r] for r in RULES), strict=True))
    assert errors["left"][-1] > 0.2


def test_the_warning_names_what_helps() -> None:
    for rule, advice in (("left", "rule=trapezoid"), ("trapezoid", "more n_steps")):
        (e,) = GuidedIG(n_steps=1, rule=rule)(toy_problem(score(network())))
        assert e.scores[0].value > 0.05 and advice in e.warnings[0]


def test_its_path_is_complete_though_the_gradient_at_each_step_s_start_is_not() -> None:
    """So what misses the score's change is the published rule along the path, not the path."""
    n, finer = 12, 16
    problem = toy_problem(score(network()), 1, size=(9, 10))
    x = problem.x.flatten(1)

    def gradient(a: Tensor) -> Tensor:
        p = (a * x).view(1, 1, *problem.x.shape[1:]).clone().requires_grad_(True)
        (g,) = torch.autograd.grad(problem.score(p).sum(), p)
        return g.flatten(1)

    a, published, integral = torch.zeros_like(x), 0.0, 0.0
    for s in range(n):
        due = (s + 1) / n
        g = gradient(a)
        moved = advance(a, x, g.abs(), due, max(due - 0.4, 0.0), min(due + 0.4, 1.0), 0.25)
        step = (moved - a) * x
        published += float((step * g).sum())
        amid = [gradient(torch.lerp(a, moved, (j + 0.5) / finer)) for j in range(finer)]
        integral += float((step * torch.stack(amid).mean(dim=0)).sum())
        a = moved
    ends = problem.score(torch.stack([problem.x, torch.zeros_like(problem.x)], dim=1))[0]
    change = float(ends[0] - ends[1])
    made = values(GuidedIG(n_steps=n, max_dist=0.4, rule="left"), problem)
    assert float(made.sum()) == pytest.approx(published, rel=1e-9)
    assert abs(integral - change) < 0.01 * abs(change) < 0.2 * abs(published - change)


def test_an_advance_goes_the_distance_that_is_due_within_its_band() -> None:
    torch.manual_seed(0)
    d, g = torch.rand(3, 50, dtype=torch.float64), torch.rand(3, 50, dtype=torch.float64)
    d[0, :10] = 0
    a, before = torch.zeros_like(d), torch.zeros(3, dtype=torch.float64)
    for s in range(10):
        due, low, high = (s + 1) / 10, max((s + 1) / 10 - 0.2, 0), min((s + 1) / 10 + 0.2, 1.0)
        made = advance(a, d, g, due, low, high, 0.1)
        gone = (d * made).sum(dim=1)
        assert torch.allclose(gone, due * d.sum(dim=1)) and (gone > before).all()
        assert (made >= a).all() and made.min() >= low and made.max() <= high + 1e-12
        a, before = made, gone
    first = advance(torch.zeros_like(d), d, g, 0.1, 0, 0.3, 0.1)[1]
    assert g[1][first > 0].max() <= g[1][first == 0].min(), "the smallest gradients go first"
    advance(torch.zeros_like(d), d, g * float("nan"), 0.5, 0, 1, 0.1)  # comes to an end


@pytest.mark.parametrize("n", [2, 5, 9])
def test_idgi_is_complete_for_any_number_of_steps(n: int) -> None:
    problem = toy_problem(net_score(3), 3, batch=4)
    made = values(IDGI(n_steps=n), problem)
    ends = problem.score(torch.stack([problem.x, torch.zeros_like(problem.x)], dim=1))
    assert torch.allclose(made.sum(dim=(1, 2, 3)), ends[:, 0] - ends[:, 1], atol=1e-14)
    assert problem.score.backward_images.tolist() == [n] * 3


def test_idgi_follows_its_formula_and_survives_a_gradient_of_zero() -> None:
    net, problem = TinyNet(2), toy_problem(net_score(2), 2)
    points = [(problem.x[:1] * j / 3).requires_grad_(True) for j in range(4)]
    f = [net(p)[0, 1] for p in points]
    g = [torch.autograd.grad(v, p)[0][0] for v, p in zip(f, points, strict=True)]
    expected = sum((f[j + 1] - f[j]) * g[j] ** 2 / (g[j] ** 2).sum() for j in range(3))
    assert isinstance(expected, Tensor)
    assert close(values(IDGI(n_steps=4), problem)[1], expected.detach(), 1e-12)
    assert not shares(torch.zeros(3, 2, 2)).any()
    tiny = torch.full((3, 2, 2), 1e-30)
    assert float(shares(tiny).sum()) == pytest.approx(1), "its square alone would vanish in float32"

    def late(p: Tensor, r: Tensor) -> Tensor:
        return (p.mean(dim=(1, 2, 3)) - 0.25).clamp(min=0)

    assert values(IDGI(n_steps=6), toy_problem(late)).isfinite().all()


@pytest.mark.parametrize(("padding", "theirs"), [("constant", "constant"), ("reflect", "mirror")])
@pytest.mark.parametrize("sigma", [0.3, 2.1, 11.1])
def test_the_blur_is_scipy_s_and_its_change_the_derivative(padding: str, theirs: Any, sigma: float) -> None:
    x = np.random.default_rng(0).random((24, 31))
    rows, columns = gaussian(24, sigma, padding)[0], gaussian(31, sigma, padding)[0]
    ours = rows @ torch.from_numpy(x) @ columns.T
    assert np.allclose(ours, ndimage.gaussian_filter(x, sigma, mode=theirs, truncate=6), atol=1e-6)
    h = 1e-5
    difference = (gaussian(24, sigma + h, padding)[0] - gaussian(24, sigma - h, padding)[0]) / (2 * h)
    assert torch.allclose(gaussian(24, sigma, padding)[1], difference, atol=1e-6)
    assert torch.equal(gaussian(5, 0.0, padding)[0], torch.eye(5, dtype=torch.float64))


def test_blur_ig_follows_its_formula() -> None:
    """Against a difference of h, as the published code takes it with h = 0.01."""
    net, problem, n, h = TinyNet(2), toy_problem(net_score(2), 2), 5, 1e-4
    x = problem.x[0].numpy()

    def blurred(s: float) -> Tensor:
        return torch.from_numpy(np.stack([ndimage.gaussian_filter(c, s, mode="constant", truncate=8) for c in x]))

    expected = torch.zeros(3, 24, 32, dtype=torch.float64)
    for i in range(n):
        p = blurred(4 * i / n)[None].requires_grad_(True)
        (g,) = torch.autograd.grad(net(p)[0, 1], p)
        expected -= 4 / n * (blurred(4 * i / n + h) - blurred(4 * i / n)) / h * g[0]
    assert close(values(BlurIG(n_steps=n, s_max=4, power=1), problem)[1], expected, 1e-3)


@pytest.mark.parametrize("padding", ["constant", "reflect"])
def test_blur_ig_is_complete(padding: str) -> None:
    (e,) = BlurIG(n_steps=80, s_max=6, padding=padding, rule="gausslegendre")(toy_problem(net_score()))
    assert e.scores[0].value < 0.01 and e.warnings == () and abs(e.scores[0].detail["score_change"]) > 0.01
    assert not torch.equal(raw(e), torch.zeros(3, 24, 32))


def test_steps_that_lie_closer_at_small_sigmas_miss_less_of_a_score_that_changes_there() -> None:
    even, near = (BlurIG(n_steps=50, power=p)(toy_problem(net_score(seed=2)))[0].scores[0].value for p in (1, 3))
    assert near < 0.01 and even > 0.1


def test_blur_ig_of_a_constant_picture_or_without_blur_is_zero() -> None:
    problem = toy_problem(net_score())
    constant = replace(problem, x=torch.full_like(problem.x, 0.7))
    assert float(values(BlurIG(n_steps=5, padding="reflect"), constant).abs().max()) < 1e-12
    assert not values(BlurIG(n_steps=5, s_max=0), problem).any()
