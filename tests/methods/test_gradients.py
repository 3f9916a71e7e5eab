"""The gradient methods against captum, closed forms and formulas; the defects of earlier code stay away."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from detectors.darknet import Darknet, parse_cfg
from detectors.yolov3 import YOLOAdapter
from igos.base.baselines import BASELINES
from igos.methods import METHODS, map_method
from igos.methods.backward.substitute import substitutable
from igos.methods.gradient import gradients
from igos.methods.gradient.expected_gradients import ExpGrad, GradientShap
from igos.methods.gradient.gradients import (
    GradXInput,
    SmoothGrad,
    SmoothGrad2,
    SmoothIntegratedGrad,
    VanillaGrad,
    VarGrad,
)
from igos.methods.gradient.integrated_gradients import IntegratedGradients, IntegrateGrad
from igos.run.problem import make_problem
from igos.types import ConfigError, Explanation, Problem, Target
from tests.conftest import TinyNet, net_score, toy_image, toy_problem
from tests.detectors.test_darknet import SMALL, enliven

Settings = dict[str, Any]
# layers, or detections: test_peers.py; patterns: test_patterns.py; statistics: test_iba.py
NEED_MORE = (
    *("grad_cam", "odam", "drise", "iba", "input_iba"),
    *("pattern_net", "pattern_vanilla_grad", "pattern_integrate_grad"),
)
QUICK: dict[str, Settings] = {
    "rise": {"n_masks": 6},
    "sg_ig": {"n_steps": 2, "n_samples": 3},
    **{m: {"iterations": 2, "ig_iter": 1, "sure": False} for m in ("I-GOS", "iGOS+", "iGOS++")},
    **{m: {"n_samples": 5} for m in ("smooth_grad", "smooth_grad2", "var_grad", "exp_grad", "gradient_shap")},
    **{m: {"n_steps": 6} for m in ("guided_ig", "blur_ig", "idgi", "xrai", "integrate_grad", "interior")},
    **{m: {"n_steps": 6} for m in ("integrated_gradients", "guided_integrated_gradients", "pattern_integrate_grad")},
}


@pytest.fixture(autouse=True)
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """XRAI segments small pictures here; at its own size it is looked at in test_xrai.py."""
    monkeypatch.setattr("igos.methods.gradient.xrai.SIDE", 96)


def raw(e: Explanation) -> Tensor:
    assert e.attribution is not None
    return e.attribution.double()


def values(method: Any, problem: Problem) -> Tensor:
    """The attribution (K,3,H,W) before it is rounded to float32."""
    return method.attribute(problem).values


def close(ours: Tensor, theirs: Tensor, share: float = 1e-6) -> bool:
    return torch.allclose(ours, theirs, rtol=0, atol=share * float(theirs.abs().max()))


def linear(weight: Tensor):  # type: ignore[no-untyped-def]
    return lambda p, r: (p * weight).sum(dim=(1, 2, 3))


def weights(seed: int = 0) -> Tensor:
    return torch.randn(3, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def with_references(problem: Problem, count: int = 4) -> Problem:
    pictures = [toy_image(*problem.size, seed=10 + i).pixels for i in range(count)]
    return replace(problem, ingredients={**problem.ingredients, "references": torch.stack(pictures).to(problem.x)})


def test_the_gradient_and_gradient_x_input_equal_captum() -> None:
    from captum.attr import InputXGradient, Saliency

    problem, net, target = toy_problem(net_score(3), 3, batch=2), TinyNet(3), torch.arange(3)
    theirs = Saliency(net).attribute(problem.x.clone(), target=target, abs=False)
    assert close(values(VanillaGrad(), problem), theirs)
    assert close(values(GradXInput(), problem), InputXGradient(net).attribute(problem.x.clone(), target=target))
    made = VanillaGrad(size=6)(problem)
    assert all(close(raw(e), g) for e, g in zip(made, theirs, strict=True))
    assert made[0].saliency.min() < 0, "the map is signed"
    assert problem.score.backward_images.tolist() == [3, 3, 3]


@pytest.mark.parametrize(
    ("method", "kind"), [(SmoothGrad, "smoothgrad"), (SmoothGrad2, "smoothgrad_sq"), (VarGrad, "vargrad")]
)
def test_smoothing_equals_captum_fed_the_same_noise(
    method: type[SmoothGrad], kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also: no noise on noise, and no running sum of gradients, as in PGIG's baselines."""
    from captum.attr import NoiseTunnel, Saliency

    n, problem = 5, toy_problem(net_score(2), 2, batch=3)
    stdev = 0.15 * float(problem.x[0].max() - problem.x[0].min())
    captum = NoiseTunnel(Saliency(TinyNet(2)))
    torch.manual_seed(3)
    theirs = captum.attribute(
        problem.x.clone(), nt_type=kind, nt_samples=n, stdevs=stdev, target=torch.arange(2), abs=False
    )
    torch.manual_seed(3)
    drawn = torch.normal(0, torch.tensor(stdev).repeat(2 * n, 3, 24, 32)).double() / stdev
    monkeypatch.setattr(gradients, "seeds", lambda problem: torch.arange(2) * n)
    monkeypatch.setattr(gradients, "noise", lambda seed, like: drawn[seed])
    assert close(values(method(n_samples=n), problem), theirs, 2e-6)


def test_noise_is_a_share_of_each_picture_s_own_range() -> None:
    """Not of the whole batch's, and around the picture itself for every sample."""
    seen: list[tuple[int, Tensor]] = []

    def forward(p: Tensor, r: Tensor) -> Tensor:
        seen.extend(zip(r.tolist(), p.detach(), strict=True))
        return p.sum(dim=(1, 2, 3))

    problem = toy_problem(forward, 2)
    x = torch.stack([problem.x[0], 0.1 * problem.x[1]])
    SmoothGrad(n_samples=12)(replace(problem, x=x))
    for k, spread in ((0, 1.0), (1, 0.1)):
        off = [float((p - x[k]).std()) for row, p in seen if row == k]
        assert len(off) == 12 and all(v == pytest.approx(0.15 * spread, rel=0.06) for v in off)


def test_smoothed_ig_without_noise_is_ig_and_on_a_linear_score_exact() -> None:
    problem = toy_problem(net_score(2), 2)
    ours = values(SmoothIntegratedGrad(n_steps=7, n_samples=2, stdev=0), problem)
    assert close(ours, values(IntegrateGrad(n_steps=7), problem), 1e-12)
    w = weights()
    problem = toy_problem(linear(w))
    d = problem.x - BASELINES["mean"](problem.x)
    assert close(values(SmoothIntegratedGrad(n_steps=3, n_samples=2), problem), d * w, 1e-12)
    assert problem.score.backward_images.tolist() == [6]


def test_the_settings_of_pgig_lose_no_step() -> None:
    """24 points of weight 1/25 would leave 4 % out."""
    w = weights()
    problem = toy_problem(linear(w))
    (e,) = IntegrateGrad()(problem)
    d = problem.x - BASELINES["mean"](problem.x)
    assert close(raw(e), (d * w)[0]) and e.scores[0].value < 1e-9
    assert problem.score.backward_images.tolist() == [25]


def test_the_trapezoid_is_captum_s_without_its_bias() -> None:
    from captum.attr import IntegratedGradients as Captum

    problem = toy_problem(net_score(2), 2)
    theirs = Captum(TinyNet(2)).attribute(
        problem.x, torch.zeros_like(problem.x), target=torch.arange(2), n_steps=51, method="riemann_trapezoid"
    )
    ours = values(IntegratedGradients(n_steps=51, rule="trapezoid"), problem)
    assert close(ours, theirs * 51 / 50)


def test_the_completeness_error_is_captum_s_delta_and_warns_above_five_percent() -> None:
    from captum.attr import IntegratedGradients as Captum

    problem = toy_problem(net_score(2), 2)
    _, delta = Captum(TinyNet(2)).attribute(
        problem.x, torch.zeros_like(problem.x), target=torch.arange(2), n_steps=3, method="riemann_left",
        return_convergence_delta=True,
    )  # fmt: skip
    made = IntegratedGradients(n_steps=3, rule="left")(problem)
    for e, d in zip(made, delta, strict=True):
        (score,) = e.scores
        assert score.detail["convergence_delta"] == pytest.approx(float(d), abs=1e-6)
        assert score.value == pytest.approx(abs(score.detail["convergence_delta"] / score.detail["score_change"]))
        assert bool(e.warnings) == (score.value > 0.05)
    assert any(e.warnings for e in made) and all("\n" not in w for e in made for w in e.warnings)
    (good,) = IntegratedGradients(n_steps=40)(toy_problem(net_score()))
    assert good.scores[0].value < 1e-6 and good.warnings == ()


def test_a_noise_baseline_is_averaged_over_draws_of_each_explanation_s_own() -> None:
    w = weights()
    problem = toy_problem(linear(w), 2, seeds=[1, 2])
    first, second = values(IntegratedGradients(n_steps=400, baseline="noise", draws=200), problem)
    expected = (problem.x[0] - 0.5) * w  # the mean of uniform noise is 1/2
    error = ((first - expected) / w).abs()
    assert float(error.mean()) == pytest.approx(0.8 * (1 / 12 / 200) ** 0.5, rel=0.1)
    assert not torch.equal(first, second)
    (e,) = IntegratedGradients(n_steps=60, baseline="noise", draws=3)(toy_problem(net_score()))
    assert e.scores[0].value < 1e-6
    with pytest.raises(ConfigError, match=r"multiple of draws \(10\), as 30 is"):
        IntegratedGradients(n_steps=25, baseline="noise", draws=10)


def test_each_draw_of_a_noise_baseline_has_the_steps_to_sum_to_the_score_s_change() -> None:
    """Where the score turns within a twentieth of the path; ten draws of six points miss it by two thirds."""

    def steep(p: Tensor, r: Tensor) -> Tensor:
        return torch.sigmoid(150 * (p.mean(dim=(1, 2, 3)) - 0.45))

    problem = toy_problem(steep)
    problem = replace(problem, x=problem.x * 0.4)
    method = IntegratedGradients(baseline="noise")
    assert method.n_steps // method.draws >= 20
    assert method(problem)[0].scores[0].value < 0.05
    assert replace(method, draws=10)(problem)[0].scores[0].value > 0.3


def test_expected_gradients_take_every_reference_once_and_are_exact_on_a_linear_score() -> None:
    w = weights()
    for count in (1, 4):  # the earlier code refuses fewer references than samples
        problem = with_references(toy_problem(linear(w), 2, seeds=[3, 4]), count)
        expected = (problem.x - problem.ingredients["references"].mean(dim=0)) * w
        assert close(values(ExpGrad(n_samples=8), problem), expected, 1e-12)
    with pytest.raises(ConfigError, match="references"):
        ExpGrad()(toy_problem(linear(w)))
    with pytest.raises(ConfigError, match="references"):
        replace(toy_problem(linear(w)), ingredients={"references": torch.zeros(2, 3, 5, 5)})


def test_places_on_the_path_are_each_explanation_s_own_and_spread_evenly() -> None:
    which, a = ExpGrad(n_samples=20).draw(7, torch.Generator().manual_seed(0))
    assert sorted((a * 20).int().tolist()) == list(range(20)), "one in each twentieth"
    assert set(torch.bincount(which, minlength=7).tolist()) == {2, 3}
    _, other = ExpGrad(n_samples=20).draw(7, torch.Generator().manual_seed(1))
    assert not torch.equal(a, other)


@pytest.mark.parametrize("make", [ExpGrad, GradientShap])
def test_they_are_exact_on_a_quadratic_given_the_draws(make: Any) -> None:
    method = make(n_samples=6) if make is ExpGrad else make(n_samples=6, stdev=0)
    problem = with_references(toy_problem(lambda p, r: (p**2).sum(dim=(1, 2, 3)) / 2))
    (made,) = values(method, problem)
    which, a = method.draw(4, torch.Generator().manual_seed(0))
    x, r, t = problem.x[0], problem.ingredients["references"][which], a[:, None, None, None]
    assert close(made, ((x - r) * (r + t * (x - r))).mean(dim=0), 1e-12)


@pytest.mark.parametrize("make", [lambda: ExpGrad(n_samples=50), lambda: GradientShap(n_samples=50, stdev=0)])
def test_they_lie_within_four_standard_errors_of_the_expectation(make: Any) -> None:
    """On a quadratic it is E (x - r)(x + r)/2, and the sum of it is f(x) - E f(r)."""
    problem = with_references(toy_problem(lambda p, r: (p**2).sum(dim=(1, 2, 3)) / 2, 40, seeds=range(1, 41)))
    sums = values(make(), problem).sum(dim=(1, 2, 3))
    f = (problem.x[0] ** 2).sum() / 2 - (problem.ingredients["references"] ** 2).sum(dim=(1, 2, 3)).mean() / 2
    assert abs(float(sums.mean() - f)) < 4 * float(sums.std()) / 40**0.5


def test_gradient_shap_agrees_with_captum_within_four_standard_errors() -> None:
    from captum.attr import GradientShap as Captum

    n, runs = 20, 30
    net = TinyNet()
    problem = with_references(toy_problem(lambda p, r: net(p)[:, 0], runs, seeds=range(1, runs + 1)))
    stdev = 0.15 * float(problem.x[0].max() - problem.x[0].min())
    ours = values(GradientShap(n_samples=n), problem).sum(dim=(1, 2, 3))
    torch.manual_seed(0)
    captum = Captum(lambda x: net(x)[:, 0])
    theirs = torch.stack(
        [
            captum.attribute(problem.x[:1], problem.ingredients["references"], n_samples=n, stdevs=stdev).sum()
            for _ in range(runs)
        ]
    )
    error = (ours.var() / runs + theirs.var() / runs) ** 0.5
    assert abs(float(ours.mean() - theirs.mean())) < 4 * float(error)


@pytest.mark.parametrize("name", [m for m in METHODS if m not in NEED_MORE])
def test_an_explanation_does_not_depend_on_its_batch(name: str) -> None:
    """Also: sums over the path are not means over the batch, the earlier fault of Inception's code."""
    method = METHODS[name](**{"size": 6, **QUICK.get(name, {})})
    together = method(with_references(toy_problem(net_score(3), 3, batch=4, seeds=[5, 6, 7])))
    score = net_score(3)
    for k, e in enumerate(together):
        alone = toy_problem(lambda p, r, k=k: score(p, torch.full_like(r, k)), batch=3, seeds=[5 + k])  # type: ignore[misc]
        (own,) = method(with_references(alone))
        assert torch.allclose(e.saliency, own.saliency, rtol=1e-5, atol=1e-5 * float(own.saliency.abs().max()))
    assert not torch.allclose(together[0].saliency, together[1].saliency, rtol=1e-3)


@pytest.fixture(scope="module")
def detection(tmp_path_factory: pytest.TempPathFactory) -> Problem:
    """One row of a tiny YOLO with leaky, mish, relu and swish, shortcut, pools and routes."""
    path: Path = tmp_path_factory.mktemp("net") / "net.cfg"
    path.write_text(SMALL)
    torch.manual_seed(0)
    adapter = YOLOAdapter(enliven(Darknet(parse_cfg(path), path)), ["thing"], size=(32, 32))
    target = Target(0, "thing", 0.5, torch.tensor([4.0, 4, 20, 28]), index=3)
    patterns = {n: torch.randn_like(m.weight) for n, m in substitutable(adapter.module).items()}
    problem = make_problem(
        adapter, toy_image(32, 32), [target] * 2, batch=4, ingredients={"patterns": lambda _: patterns}
    )
    return with_references(problem)


@pytest.mark.parametrize(
    "name", [m for m in METHODS if "iba" not in m]
)  # those need statistics: tests/methods/test_iba.py
def test_every_method_explains_a_fixed_detection(name: str, detection: Problem) -> None:
    method = METHODS[name](**{"size": 6, **QUICK.get(name, {})})
    before = detection.score.forward_images.copy()
    module = detection.score.module
    assert module is not None
    given = [detection.x.clone(), *(v.clone() for v in module.state_dict().values())]
    made = method(detection)
    kept = [detection.x, *module.state_dict().values()]
    assert all(map(torch.equal, given, kept)) and not detection.x.requires_grad, "nothing is written into"
    assert not module.training and not any(m._forward_hooks or m._backward_hooks for m in module.modules())
    assert len(made) == 2 and made[0].method == name
    told = sum(map(int, re.findall(r"\d+", method.cost.rpartition("=")[2])))
    assert (detection.score.forward_images - before).max() == told, "what --list says that it costs"
    for e in made:
        assert e.saliency.shape == (6, 6) and e.saliency.isfinite().all() and e.status in ("ok", "no-effect", "stalled")
        assert e.saliency.max() > e.saliency.min(), "it ranks something"
        assert e.attribution is None or e.attribution.shape == (3, 32, 32)


@pytest.mark.parametrize("name", [m for m in METHODS if "GOS" not in m and m not in NEED_MORE])
def test_what_is_not_finite_says_so_and_what_does_not_move_too(name: str) -> None:
    method = METHODS[name](**{"size": 6, **QUICK.get(name, {})})
    bad = with_references(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * float("nan")))
    (e,) = method(bad)
    assert e.status == "not-finite" and e.saliency.isfinite().all()
    (e,) = method(with_references(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * 0)))
    assert e.status == "no-effect" and not e.saliency.any()


def test_noise_comes_from_its_own_seed_alone() -> None:
    like = torch.zeros(1, 3, 4, 5, dtype=torch.float64)
    pair = map_method.noise(torch.tensor([7, 8]), like)
    assert torch.equal(map_method.noise(torch.tensor([8]), like)[0], pair[1]) and not torch.equal(pair[0], pair[1])
    draws = map_method.uniform(torch.arange(200), like)
    assert draws.min() >= 0 and draws.max() < 1 and float(draws.mean()) == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("vanilla_grad", {"aggregate": "max"}),
        ("vanilla_grad", {"size": 0}),
        ("smooth_grad", {"n_samples": 0}),
        ("smooth_grad", {"stdev": -0.1}),
        ("smooth_grad", {"stdev": float("nan")}),
        ("var_grad", {"n_samples": 1}),
        ("sg_ig", {"n_steps": 0}),
        ("sg_ig", {"rule": "simpson"}),
        ("sg_ig", {"baseline": "pink"}),
        ("exp_grad", {"n_samples": 0}),
        ("gradient_shap", {"stdev": -1}),
        ("guided_backprop", {"activations": "some"}),
        ("guided_integrated_gradients", {"pool_rule": "max"}),
        ("guided_integrated_gradients", {"activations": "none"}),
        ("integrated_gradients", {"n_steps": 1, "rule": "trapezoid"}),
        ("integrated_gradients", {"draws": 0, "baseline": "noise"}),
        ("guided_ig", {"fraction": 0}),
        ("guided_ig", {"max_dist": 1.5}),
        ("guided_ig", {"n_steps": 0}),
        ("blur_ig", {"s_max": -1}),
        ("blur_ig", {"power": 0.5}),
        ("blur_ig", {"padding": "wrap"}),
        ("blur_ig", {"rule": "simpson"}),
        ("idgi", {"n_steps": 1}),
        ("xrai", {"n_steps": 3}),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(name: str, wrong: Settings) -> None:
    with pytest.raises(ConfigError, match=list(wrong)[0]):
        METHODS[name](**wrong)
