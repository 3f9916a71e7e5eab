"""The bottlenecks: information against torch.distributions, limits, noise, and what they leave alone."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence

import igos
from detectors.classifier import ClassifierAdapter
from igos.data.emblems import scene
from igos.methods.bottleneck import bottleneck
from igos.methods.bottleneck.bottleneck import Course, gates, information, kept, log_loss, warned
from igos.methods.bottleneck.iba import IBA, fitted
from igos.methods.bottleneck.input_iba import InputIBA
from igos.methods.map_method import noise
from igos.run.problem import make_problem
from igos.types import ConfigError, Problem, Target
from tests.bottlenecks import QUICK, Corner, known, problem_of
from tests.bottlenecks import adapter as adapter
from tests.conftest import toy_image

# --- the information ----------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.0, 1.0])
def test_information_is_the_divergence_of_the_two_normals(sigma: float) -> None:
    g = torch.Generator().manual_seed(0)
    alpha, r = (3 * torch.randn(2, 3, 7, 6, dtype=torch.float64, generator=g) for _ in range(2))
    m = torch.rand(2, 3, 7, 6, dtype=torch.float64, generator=g)
    mu, s = torch.tensor(0.4, dtype=torch.float64), torch.tensor(1.7, dtype=torch.float64)
    opened = gates(alpha, sigma)
    assert torch.allclose(opened.open + opened.shut, torch.ones_like(alpha), atol=1e-12)
    lam = opened.open

    def normal(open: Tensor) -> Normal:
        return Normal(open * r + (1 - open) * mu, (1 - open) * s)

    plain = kl_divergence(normal(lam), Normal(mu, s))
    masked = kl_divergence(normal(lam), normal(m * lam))
    assert torch.allclose(information(opened, (r - mu) / s), plain, rtol=1e-9, atol=1e-12)
    assert torch.allclose(information(opened, (r - mu) / s, m), masked, rtol=1e-9, atol=1e-12)


def test_a_prior_of_nothing_is_the_plain_term_and_one_of_everything_costs_nothing() -> None:
    alpha, r = torch.linspace(-9, 9, 24).view(1, 2, 3, 4), torch.randn(1, 2, 3, 4)
    g = gates(alpha)
    assert torch.equal(information(g, r, torch.zeros_like(r)), information(g, r))
    assert information(g, r, torch.ones_like(r)).abs().max() < 1e-6
    assert (information(g, r) >= -1e-6).all()


@pytest.mark.parametrize("sigma", [0.0, 1.0])
@pytest.mark.parametrize("prior", [0.0, 0.5, 1.0])
def test_an_open_gate_stays_finite_in_single_precision(sigma: float, prior: float) -> None:
    """At alpha = 17, where sigmoid is 1 in float32, log(1 - lambda) is still -17; nothing is NaN far beyond."""
    assert torch.sigmoid(torch.tensor(17.0)) == 1
    assert gates(torch.tensor(17.0)).log_shut == -17
    for value in (17.0, 60.0, 200.0, -200.0):
        alpha = torch.full((1, 1, 6, 6), value).requires_grad_(True)
        found = information(gates(alpha, sigma), torch.ones(1, 1, 6, 6), torch.full((1, 1, 6, 6), prior))
        (slope,) = torch.autograd.grad(found.sum(), alpha)
        assert found.isfinite().all() and slope.isfinite().all()


def test_the_loss_takes_probabilities_only() -> None:
    assert torch.allclose(log_loss(torch.tensor([1.0, 0.5])), torch.tensor([0.0, math.log(2)]))
    with pytest.raises(ConfigError, match="--score logit"):
        log_loss(torch.tensor([0.5, 3.0]))


# --- the feature bottleneck ---------------------------------------------------------------------------


def test_the_map_lies_where_the_class_looks(adapter: ClassifierAdapter) -> None:
    first, second = IBA(size=8, beta=0.3, opt_steps=20)(problem_of(adapter))
    for made, place in ((first, slice(0, 4)), (second, slice(4, 8))):
        inside = made.saliency[place, place].clamp(min=0).sum() / made.saliency.clamp(min=0).sum()
        assert inside > 0.7, "a quarter of the picture"
        assert made.status == "ok" and made.arrays["feat_mask"].shape == (32, 32)
        assert made.arrays["feat_mask"].min() >= -1e-6


def test_without_a_price_everything_passes_and_at_a_high_one_nothing(adapter: ClassifierAdapter) -> None:
    problem = problem_of(adapter)
    free, dear = (IBA(beta=beta, opt_steps=30).learn(problem) for beta in (0.0, 1e4))
    assert dear.open.max() < 1e-3 and dear.nats.max() < 1e-3
    looked_at = free.open[0, :, :8, :8]
    assert looked_at.min() > 0.99, "the task alone opens what it looks at"
    assert float(free.course.loss[-1].max()) < float(dear.course.loss[-1].min())


def test_the_score_behind_open_gates_is_the_models_own(adapter: ClassifierAdapter) -> None:
    problem = replace(problem_of(adapter), ingredients={"statistics": known(adapter, std=torch.full((6, 1, 1), 1e-9))})
    passed = IBA(opt_steps=1, lr=0.0, copies=3).learn(problem)
    score = problem.score(problem.x[:, None])[:, 0]
    assert torch.allclose(passed.course.loss[0], -score.log(), atol=0.05), "lambda = 0.993"


def test_every_copy_has_fresh_noise_and_none_depends_on_the_batch(adapter: ClassifierAdapter) -> None:
    both = IBA(size=8)(problem_of(adapter))
    again, alone = IBA(size=8)(problem_of(adapter)), IBA(size=8)(problem_of(adapter, (1,)))
    assert torch.equal(both[0].saliency, again[0].saliency)
    assert torch.allclose(both[1].saliency, alone[0].saliency, rtol=1e-3, atol=1e-6)
    small = replace(problem_of(adapter))
    small.score.batch = 3
    assert torch.allclose(IBA(size=8)(small)[0].saliency, both[0].saliency, rtol=1e-3, atol=1e-6)
    drawn = noise(torch.arange(4), torch.zeros(1, 6, 16, 16))
    assert (drawn.flatten(1)[:, None] != drawn.flatten(1)).any(dim=2).sum() == 12


def watched(problem: Problem, monkeypatch: pytest.MonkeyPatch) -> list[Tensor]:
    """What comes to the upper half of the network, gates shut from the start."""
    monkeypatch.setattr(bottleneck, "START", -60.0)
    seen: list[Tensor] = []
    split = problem.score.split

    def halves(layer: str) -> tuple[Any, Any]:
        lower, upper = split(layer)
        return lower, lambda z, rows: (seen.append(z.detach()), upper(z, rows))[1]

    monkeypatch.setattr(problem.score, "split", halves)
    return seen


def test_behind_shut_gates_is_noise_anew_in_every_step_and_copy(
    adapter: ClassifierAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    mu, sigma = torch.linspace(-1, 1, 6).view(6, 1, 1), torch.linspace(0.1, 2, 6).view(6, 1, 1)
    problem = problem_of(adapter, (0,), mean=mu, std=sigma)
    seen = watched(problem, monkeypatch)
    IBA(opt_steps=4, copies=8, lr=0.0)(problem)
    z = (torch.cat(seen) - mu) / sigma
    assert z.shape[0] == 32 and len({float(v) for v in z[:, 0, 0, 0]}) == 32
    assert z.mean(dim=(0, 2, 3)).abs().max() < 0.05 and (z.std(dim=(0, 2, 3)) - 1).abs().max() < 0.05


def test_bits_per_pixel_add_up_to_the_information(adapter: ClassifierAdapter) -> None:
    passed = IBA(opt_steps=3).learn(problem_of(adapter))
    flat = passed._replace(nats=torch.full_like(passed.nats, 0.7))
    assert torch.allclose(flat.bits((32, 32)), torch.tensor(6 * 0.7 / math.log(2) / 4)), "6 channels, cells of 4 pixels"
    total = passed.nats.sum(dim=(1, 2, 3)) / math.log(2)
    assert torch.allclose(passed.bits((32, 32)).sum(dim=(1, 2)), total, rtol=0.1), "but for what resizing does"


def test_what_is_left_of_the_score_is_told(adapter: ClassifierAdapter) -> None:
    falls = torch.tensor([[0.1, 0.1], *[[0.2, 0.2]] * 20, *[[0.3, 2.0]] * bottleneck.LAST])
    course = Course(torch.zeros(2, 1), falls, falls)
    (first,), (second,) = kept(course)
    assert first.value == pytest.approx(math.exp(-0.3)) and second.value == pytest.approx(math.exp(-2))
    assert first.detail["score_kept_of"] == pytest.approx(math.exp(-0.1))
    fine, lost = warned(course, torch.ones(2, 1))
    assert fine == () and "0.14 is left of the score 0.9" in lost[0]
    (e,) = IBA(opt_steps=12, copies=2)(problem_of(adapter, (0,)))
    assert e.scores[0].value == pytest.approx(math.exp(-e.trace["feat_loss"][-bottleneck.LAST :].mean()))


def test_neurons_that_are_never_active_are_shut(adapter: ClassifierAdapter) -> None:
    active = torch.ones(6, 1, 1, dtype=torch.bool)
    active[2:] = False
    passed = IBA(opt_steps=2).learn(problem_of(adapter, active=active))
    assert passed.nats[:, 2:].abs().max() == 0 and passed.nats[:, :2].max() > 0


def test_pictures_pushed_are_counted(adapter: ClassifierAdapter) -> None:
    problem = problem_of(adapter)
    IBA(opt_steps=3, copies=5)(problem)
    assert problem.score.forward_images.tolist() == [17, 17] == problem.score.backward_images.tolist()
    problem = problem_of(adapter)
    InputIBA(**QUICK)(problem)
    assert problem.score.forward_images.tolist() == [2 + 3 * 2 + 3 * 2 + 3 * 2] * 2
    assert problem.score.backward_images.tolist() == [2 + 3 * 2 + 2 * 2 + 3 * 2] * 2, "the critic's own step needs none"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"mean": torch.zeros(5, 1, 1)}, "5 x 1 x 1 features per channel, this picture gives 6 x 16 x 16"),
        ({"per": "neuron", "mean": torch.zeros(6, 9, 9)}, "--per channel"),
        ({"layer": "frist"}, "near: first"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(adapter: ClassifierAdapter, change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        IBA()(problem_of(adapter, **change))
    with pytest.raises(ConfigError, match="--stats FILE"):
        IBA()(replace(problem_of(adapter), ingredients={}))


def test_spreads_have_a_floor(adapter: ClassifierAdapter) -> None:
    assert fitted(known(adapter, std=torch.zeros(6, 1, 1)), torch.zeros(1, 6, 2, 2))[1].min() == pytest.approx(0.01)


def test_a_layer_that_can_be_gone_round_is_refused() -> None:
    class Skip(Corner):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) + x.mean(dim=(1, 2, 3))[:, None] * torch.tensor([1.0, -1.0])

    adapter = ClassifierAdapter(Skip(), ["a", "b"], crop=32, resize=32)
    with pytest.raises(ConfigError, match=r"layer first: \d+% of the gradient goes round it"):
        IBA()(problem_of(adapter))


# --- both ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "after"),
    [(IBA(opt_steps=2, copies=2), 3), (InputIBA(**QUICK), 3), (InputIBA(**QUICK), 9), (InputIBA(**QUICK), 12)],
)
def test_the_network_is_untouched_also_after_an_exception(adapter: ClassifierAdapter, method: Any, after: int) -> None:
    before = copy.deepcopy(adapter.module.state_dict())
    method(problem_of(adapter))
    problem = problem_of(adapter)
    calls = []

    def fails(pictures: Tensor, rows: Tensor) -> Tensor:
        calls.append(len(rows))
        if len(calls) > after:
            raise ValueError("broken")
        return problem.score.forward(pictures, rows)

    with pytest.raises(ValueError, match="broken"):
        method(replace(problem, score=problem.score.scoring(fails)))
    now = adapter.module.state_dict()
    assert all(torch.equal(before[k], now[k]) for k in before)
    assert not any(
        m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__ for m in adapter.module.modules()
    )
    assert not adapter.module.training


@pytest.mark.parametrize(
    "wrong",
    [
        {"real_mask": "x"},
        {"features": "x"},
        {"gan_batch": 1},
        {"opt_steps": 0},
        {"critic_size": 2},
        {"clip": -1},
        {"grain": -1},
        {"over": "x"},
    ],  # fmt: skip
)
def test_wrong_settings_are_refused_by_name(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        InputIBA(**wrong)


def test_a_bundled_model_runs_at_once() -> None:
    adapter = igos.load("emblem-yolov3spp")
    image = adapter.read(scene(4, 0).picture())
    (made,) = igos.explain(adapter, image, adapter.detect(image)[:1], "IBA", opt_steps=3, copies=2, metrics=())
    assert made.settings["layer"] == "module_list.12" and made.network_images == 2 + 6


def test_a_bottleneck_that_lets_nothing_pass_says_so(adapter: ClassifierAdapter) -> None:
    problem = problem_of(adapter)
    kept, shut = (IBA(beta=beta, opt_steps=30, copies=2)(problem)[0].warnings for beta in (0.0, 1e4))
    assert kept == () and "smaller beta" in shut[0]


def test_the_halves_run_in_the_precision_that_is_asked() -> None:
    """bfloat16 moves features and score by its rounding, 2^-8, and no further; what comes out is float32."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.Conv2d(6, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made = ClassifierAdapter(net, ["a", "b"], name="two", crop=32, resize=32, mean=(0, 0, 0), std=(1, 1, 1))
    problem, row = make_problem(made, toy_image(32, 32), [Target(0, "a", 0.5)]), torch.tensor([0])
    lower, upper = problem.score.split("0")
    full = lower(problem.x)
    exact = upper(full, row)
    problem.score.precision = torch.bfloat16
    half, rounded = lower(problem.x), upper(full, row)
    assert half.dtype == rounded.dtype == torch.float32
    assert 0 < float((half - full).abs().max()) < 0.02 * float(full.abs().max())
    assert 0 < abs(float(rounded - exact)) < 0.02
