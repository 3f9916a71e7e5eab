"""Backward rules: hand cases, captum, an autograd function of our own; nothing is left behind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode

from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimResNet
from igos.methods import METHODS
from igos.methods.backward.guided_backprop import GuidedBackprop, GuidedIntegratedGradients
from igos.methods.backward.rules import Rules
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.run import explain
from igos.run.plan import resolve
from igos.types import Image, Problem
from tests.conftest import net_score, toy_image, toy_problem
from tests.methods.test_gradients import close, raw, values


def conv(a: int, b: int, seed: int, size: int = 3) -> nn.Conv2d:
    layer = nn.Conv2d(a, b, size, padding=size // 2).double().requires_grad_(False)
    for p in layer.parameters():
        p.data = torch.randn(p.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 0.3
    return layer


def network(*middle: nn.Module, activation: Callable[[], nn.Module] = nn.ReLU) -> nn.Sequential:
    """(N,3,H,W) -> (N,2) logits: conv, activation, what is given, conv, activation, conv, mean."""
    head = nn.Sequential(conv(6, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return nn.Sequential(conv(3, 6, 1), activation(), *middle, conv(6, 6, 2), activation(), head)


def score(net: nn.Module) -> Callable[[Tensor, Tensor], Tensor]:
    return lambda p, r: net(p).gather(1, r[:, None])[:, 0]


def problem_of(net: nn.Module, k: int = 2, **more: Any) -> Problem:
    return toy_problem(score(net), k, **more)


def guided(f: Callable[[Tensor], Tensor], x: list[float], activations: str = "relu") -> list[float]:
    """R at x of the sum of f, all one rule."""
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    with Rules(activations):
        out = f(leaf).sum()
    out.backward()
    assert leaf.grad is not None
    return leaf.grad.tolist()


def test_the_hand_cases_of_guided_non_linearity() -> None:
    def signs(p: Tensor, r: Tensor) -> Tensor:
        return torch.relu(p[:, 0, 0, 0]) - torch.relu(p[:, 1, 0, 0])

    problem = toy_problem(signs)
    x1, x2 = (float(v) for v in problem.x[0, :2, 0, 0])
    plain = values(IntegratedGradients(n_steps=4), problem)[0, :2, 0, 0]
    ours = values(GuidedIntegratedGradients(n_steps=4, baseline="black"), problem)[0, :2, 0, 0]
    assert plain.tolist() == pytest.approx([x1, -x2]) and ours.tolist() == pytest.approx([x1, 0])


def test_relu6_passes_what_is_positive_where_it_does_not_saturate() -> None:
    sign = torch.tensor([1.0, -1, 1, 1], dtype=torch.float64)
    for f in (F.relu6, nn.ReLU6(), nn.ReLU6(inplace=True), lambda x: F.hardtanh(x, 0, 6)):
        assert guided(lambda x, f=f: sign * f(x * 1), [1, 1, -1, 7]) == [1, 0, 0, 0]  # type: ignore[misc]


@pytest.mark.parametrize(
    "f",
    [
        F.relu, torch.relu, Tensor.relu, nn.ReLU(), nn.ReLU(inplace=True), torch.relu_, Tensor.relu_, F.relu_,
        lambda x: F.relu(x, inplace=True), lambda x: F.relu(input=x),
    ],
)  # fmt: skip
def test_every_spelling_of_relu_is_seen(f: Callable[[Tensor], Tensor]) -> None:
    assert guided(lambda x: x * 1 - f(x * 1), [2.0, -2.0]) == [1.0, 1.0], "the minus never passes"
    assert guided(lambda x: f(x * 1), [2.0, -2.0]) == [1.0, 0.0]


OTHERS: list[Callable[[Tensor], Tensor]] = [
    nn.LeakyReLU(0.1), nn.LeakyReLU(0.1, inplace=True), F.silu, nn.SiLU(inplace=True), nn.Mish(), nn.Mish(inplace=True),
    nn.Hardswish(), nn.Hardswish(inplace=True), F.leaky_relu_, F.gelu, nn.ELU(inplace=True), F.softplus,
]  # fmt: skip


@pytest.mark.parametrize("f", OTHERS)
def test_other_activations_are_guided_only_if_asked(f: Callable[[Tensor], Tensor]) -> None:
    x = [1.5, -0.5]
    leaf = torch.tensor(x, dtype=torch.float64, requires_grad=True)
    f(leaf * 1).sum().backward()
    assert leaf.grad is not None
    assert guided(lambda x: -f(x * 1), x) == (-leaf.grad).tolist()
    assert guided(lambda x: -f(x * 1), x, "all") == (-leaf.grad).clamp(min=0).tolist()


@pytest.mark.parametrize("f", [torch.relu_, nn.ReLU(inplace=True), nn.SiLU(inplace=True), F.leaky_relu_])
def test_in_place_stays_in_place_and_other_readers_keep_their_gradient(f: Callable[[Tensor], Tensor]) -> None:
    def read_afterwards(x: Tensor) -> Tensor:
        before = x * 1
        after = f(before)
        assert after is before
        return -before

    x = torch.tensor([2.0, -1.0], dtype=torch.float64)
    with Rules("all"):
        made = read_afterwards(x.clone().requires_grad_())
    assert torch.equal(made, -f(x.clone()))
    assert all(v >= 0 for v in guided(read_afterwards, [2.0, -1.0], "all"))
    both = guided(lambda x: (-F.relu(y := x * 1)) + 3 * y, [2.0])
    assert both == [3.0], "only the call's own path is clamped"


def test_guided_backprop_equals_captum() -> None:
    from captum.attr import GuidedBackprop as Captum

    for middle in ([], [nn.MaxPool2d(2)], [nn.MaxPool2d(3, 2, 1)]):
        net = network(*middle)
        theirs = Captum(net).attribute(toy_problem(score(net), 2).x.clone(), target=torch.arange(2))
        assert close(values(GuidedBackprop(), problem_of(net)), theirs, 1e-10)


def test_gnl_is_the_path_s_mean_of_captum_s_guided_backprop() -> None:
    from captum.attr import GuidedBackprop as Captum

    net = network(nn.MaxPool2d(2))
    method = GuidedIntegratedGradients(n_steps=6, rule="right", baseline="black", pool_rule="none")
    problem = problem_of(net)
    captum = Captum(net)
    steps = [captum.attribute(problem.x * (k + 1) / 6, target=torch.arange(2)) for k in range(6)]
    expected = problem.x * torch.stack(steps).mean(dim=0)
    assert close(values(method, problem), expected, 1e-10)
    for rule in ("clamp", "reference"):  # after a ReLU, without overlap, they change nothing
        assert torch.equal(values(replace(method, pool_rule=rule), problem), values(method, problem))


def by_hand(x: Tensor, g: Tensor, rule: str) -> Tensor:
    """R at the input of a 3x3/s2/p1 pool, from its windows one by one."""
    out = torch.zeros_like(x)
    (h, w), (ho, wo) = x.shape[-2:], g.shape[-2:]
    up = torch.zeros_like(x)
    for i in range(ho):
        for j in range(wo):
            rows = range(max(2 * i - 1, 0), min(2 * i + 2, h))
            columns = range(max(2 * j - 1, 0), min(2 * j + 2, w))
            best = max((float(x[0, 0, y, z]), -y, -z) for y in rows for z in columns)
            passed = float(g[0, 0, i, j])
            out[0, 0, -best[1], -best[2]] += max(passed, 0) if rule == "clamp" else passed
    for y in range(h):
        for z in range(w):
            up[0, 0, y, z] = float(g[0, 0, y * ho // h, z * wo // w] > 0)
    return out * up if rule == "reference" else out


@pytest.mark.parametrize("rule", ["clamp", "reference", "none"])
@pytest.mark.parametrize("f", [F.max_pool2d, torch.max_pool2d, nn.MaxPool2d, "indices"])
def test_overlapping_max_pools_of_a_picture_that_is_not_square(rule: str, f: Any) -> None:
    torch.manual_seed(1)
    x = torch.rand(1, 1, 7, 10, dtype=torch.float64, requires_grad=True)
    g = torch.randn(1, 1, 4, 5, dtype=torch.float64)
    with Rules(pool_rule=rule):
        if f == "indices":
            y = F.max_pool2d(x, 3, 2, 1, return_indices=True)[0]
        else:
            y = f(3, 2, 1)(x) if f is nn.MaxPool2d else f(x, 3, 2, 1)
    (made,) = torch.autograd.grad((y * g).sum(), x)
    expected = by_hand(x.detach(), g, rule)
    assert torch.allclose(made, expected, atol=1e-15)
    assert (made == by_hand(x.detach(), g, "none")).all() == (rule == "none")


class Clamped(torch.autograd.Function):
    """ReLU whose backward is guided, as an oracle."""

    @staticmethod
    def forward(ctx: Any, z: Tensor) -> Tensor:
        ctx.save_for_backward(z)
        return z.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:  # type: ignore[override]
        return g.clamp(min=0) * (ctx.saved_tensors[0] > 0)


def slim() -> SlimResNet:
    torch.manual_seed(0)
    return SlimResNet(2).double().eval().requires_grad_(False)


def test_a_relu_module_that_serves_several_times_is_guided_each_time(monkeypatch: pytest.MonkeyPatch) -> None:
    net = slim()  # the residual blocks use one in-place ReLU twice
    ours = values(GuidedBackprop(), problem_of(net))
    plain = values(METHODS["vanilla_grad"](), problem_of(net))
    monkeypatch.setattr(F, "relu", lambda z, inplace=False: Clamped.apply(z))
    theirs = values(METHODS["vanilla_grad"](), problem_of(net))
    assert close(ours, theirs, 1e-12) and not close(ours, plain, 1e-2)


def test_every_gradient_at_a_relu_s_input_is_at_least_zero() -> None:
    net = network(nn.MaxPool2d(3, 2, 1))
    seen: list[Tensor] = []

    def watch(m: nn.Module, given: Any, out: Tensor) -> None:
        if out.requires_grad:
            out.register_hook(lambda g: seen.append(g))

    for layer in net:
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(watch)
    GuidedIntegratedGradients(n_steps=3)(problem_of(net))
    assert len(seen) == 2 and all(g.min() >= 0 for g in seen)
    seen.clear()
    IntegratedGradients(n_steps=3)(problem_of(net))
    assert any(g.min() < 0 for g in seen)


def test_positive_weights_leave_integrated_gradients() -> None:
    net = network(nn.MaxPool2d(3, 2, 1))
    for p in list(net.parameters())[2:]:  # all but the first layer
        p.data.abs_()
    plain = IntegratedGradients(n_steps=5, baseline="mean")
    assert close(values(GuidedIntegratedGradients(n_steps=5), problem_of(net)), values(plain, problem_of(net)), 1e-12)


def test_without_relu_it_is_integrated_gradients_to_the_bit_and_says_so() -> None:
    plain = values(IntegratedGradients(n_steps=5, baseline="mean"), toy_problem(net_score(2), 2))
    method = GuidedIntegratedGradients(n_steps=5)
    assert torch.equal(values(method, toy_problem(net_score(2), 2)), plain)
    (e, _) = method(toy_problem(net_score(2), 2))
    assert "no ReLU" in e.warnings[0] and "activations=all" not in e.warnings[0]
    leaky = network(activation=lambda: nn.LeakyReLU(0.1))
    (e, _) = method(problem_of(leaky))
    assert "activations=all" in e.warnings[0] and "leaky_relu" in e.warnings[0]
    (e, _) = replace(method, activations="all")(problem_of(leaky))
    assert e.warnings == ()
    assert GuidedBackprop()(problem_of(network()))[0].warnings == ()


def test_a_warning_says_what_is_guided_and_what_is_not() -> None:
    gnl, pool = GuidedIntegratedGradients(n_steps=2), nn.MaxPool2d(3, 2, 1)

    def warnings(net: nn.Module, method: Any = gnl) -> tuple[str, ...]:
        return method(problem_of(net))[0].warnings  # type: ignore[no-any-return]

    (pools_alone,) = warnings(network(pool, activation=nn.Identity))
    assert "max-pools only" in pools_alone and "no ReLU" in pools_alone and "stay as they are" not in pools_alone
    (leaky,) = warnings(network(pool, activation=nn.LeakyReLU))
    assert "max-pools only" in leaky and "leaky_relu" in leaky and "activations=all" in leaky
    (none,) = warnings(network(pool, activation=nn.LeakyReLU), replace(gnl, pool_rule="none"))
    assert "no ReLU to guide, so its gradients stay as they are" in none
    for method in (gnl, GuidedBackprop()):
        (mixed,) = warnings(network(pool, nn.Hardswish()), method)
        assert "ReLUs" in mixed and "hardswish" in mixed and "activations=all" in mixed
        assert ("max-pools" in mixed) == (method is gnl)
        assert warnings(network(pool, nn.Hardswish()), replace(method, activations="all")) == ()


def test_the_model_is_the_same_afterwards_also_after_an_exception() -> None:
    net = slim()
    problem = problem_of(net)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    plain = values(IntegratedGradients(n_steps=3), problem)
    GuidedIntegratedGradients(n_steps=3)(problem)
    calls = []

    def breaks(p: Tensor, r: Tensor) -> Tensor:
        calls.append(len(p))
        if len(calls) > 1:
            raise RuntimeError("the network fails")
        return score(net)(p, r)

    with pytest.raises(RuntimeError, match="fails"):
        GuidedIntegratedGradients(n_steps=9)(toy_problem(breaks, 2))
    assert _get_current_function_mode() is None
    assert torch.equal(values(IntegratedGradients(n_steps=3), problem), plain)
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert net.relu.inplace and not any(m._forward_hooks or m._backward_hooks for m in net.modules())


def test_the_map_is_the_absolute_channel_sum_from_the_mean_colour() -> None:
    (e,) = GuidedIntegratedGradients(n_steps=4, size=24)(problem_of(network(), 1))
    assert e.saliency.min() >= 0 and e.settings["aggregate"] == "abs_sum" and e.settings["baseline"] == "mean"
    assert raw(e).min() < 0
    assert e.scores[0].name == "completeness_error" and not any("sums to" in w for w in e.warnings)


def adapter() -> ClassifierAdapter:
    torch.manual_seed(0)
    net = SlimResNet(3)
    return ClassifierAdapter(net, ["a", "b", "c"], crop=32, resize=32)


def test_the_logit_is_explained_by_default_and_metrics_still_ask_the_probability() -> None:
    ours, image = adapter(), toy_image(32, 32)
    targets = ours.detect(image, 0.0)[:1]
    logit = float(ours.scorer(targets, "logit")(image.pixels[None, None]))
    prob = float(ours.scorer(targets, "prob")(image.pixels[None, None]))
    for method, asked, explained, judged in [
        ("gnl", None, logit, prob),
        ("gnl", "logit", logit, logit),
        ("gnl", "prob", prob, prob),
        ("IG", None, prob, prob),
    ]:
        (e,) = explain.explain(ours, image, targets, method, metrics=("deletion",), score=asked, n_steps=2)
        assert e.score_original == pytest.approx(explained, rel=1e-5)
        assert e.scores[1].curve is not None and e.scores[1].curve[1, 0] == pytest.approx(judged, rel=1e-5)


def test_the_command_resolves_the_score_the_same_way(tmp_path: Path) -> None:
    for flags, score_ in [({}, "prob"), ({"method": "gnl"}, "logit"), ({"method": "gnl", "score": "prob"}, "prob")]:
        plan = resolve(flags, "classify")
        assert plan.score == score_ and plan.as_preset().get("score") == flags.get("score")


@pytest.mark.parametrize("name", ["googlenet", "mobilenet_v2", "vgg11"])
def test_torchvision_s_own_networks_are_guided(name: str) -> None:
    """GoogLeNet's ReLUs are functions, MobileNet's are ReLU6, VGG's are in place."""
    from torchvision.models import get_model

    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    with torch.device("meta" if name == "vgg11" else "cpu"):
        net = get_model(name, weights=None, num_classes=3, **options)
    if name == "vgg11":  # its last layers hold 120 million weights, which are long to draw
        net.classifier[0], net.classifier[3] = nn.Linear(512 * 7 * 7, 32), nn.Linear(32, 32)
        net.classifier[6] = nn.Linear(32, 3)
        for m in net.features.to_empty(device="cpu"):
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(m.bias)
    made: list[Image] = [toy_image(64, 64)]
    ours = ClassifierAdapter(net, ["a", "b", "c"], crop=64, resize=64)
    targets = ours.detect(made[0], 0.0)[:1]
    (e,) = explain.explain(ours, made[0], targets, "gnl", metrics=(), n_steps=2)
    (plain,) = explain.explain(ours, made[0], targets, "IG", metrics=(), n_steps=2, baseline="mean", score="logit")
    assert e.status == "ok" and e.warnings == () and not close(raw(e), raw(plain), 0.05)
