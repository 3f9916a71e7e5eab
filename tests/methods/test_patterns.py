"""Patterns against covariances, unfolded patches and closed forms; the backward passes that go through them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import _get_current_function_mode
from torchvision.ops import FrozenBatchNorm2d

import igos
from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimResNet, SlimVGG
from igos.data.emblems import scene
from igos.methods.backward.pattern import PatternAttribution, PatternIntegrateGrad, PatternNet
from igos.methods.backward.pattern_fit import Estimator, Sums, fit
from igos.methods.backward.substitute import Convolution, Matrix, Substitute, substitutable
from igos.methods.gradient.gradients import VanillaGrad
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.run.problem import make_problem
from igos.types import ConfigError, Image, Problem, Scorer
from tests.conftest import toy_image, toy_problem

KINDS = [
    Convolution(),
    Convolution(2, 1),
    Convolution((2, 1), (0, 2), (1, 2)),
    Convolution(1, 1, 1, 2),
    Matrix(),
]


def layer_of(kind: Convolution | Matrix, seed: int = 0) -> tuple[nn.Module, Tensor]:
    """A layer in double precision and a batch of samples whose channels differ in mean and spread."""
    torch.manual_seed(seed)
    if isinstance(kind, Matrix):
        return nn.Linear(6, 5).double(), torch.randn(40, 6, dtype=torch.float64) * torch.arange(1, 7) + 1
    s, p, d, g = kind
    layer = nn.Conv2d(4, 6, 3, s, p, d, g).double()  # type: ignore[arg-type]
    x = torch.randn(7, 4, 9, 8, dtype=torch.float64) * torch.arange(1, 5)[:, None, None] + 1
    return layer, x


def summed(layer: Any, kind: Convolution | Matrix, x: Tensor, estimator: str, *, bias: Any = None) -> Sums:
    made = Sums(layer.weight.detach(), estimator)
    with torch.no_grad():
        made.add(kind, x, kind.forward(x, layer.weight, layer.bias if bias is None else bias))
    return made


def patches(kind: Convolution | Matrix, x: Tensor, layer: Any, o: int) -> Tensor:
    """Every sample (n,D) that output o of the layer sees, one by one."""
    if isinstance(kind, Matrix):
        return x
    groups, wide = kind.groups, x.shape[1] // kind.groups
    first = o // (len(layer.weight) // groups) * wide
    cut = F.unfold(x[:, first : first + wide], 3, kind.dilation, kind.padding, kind.stride)
    return cut.transpose(1, 2).flatten(0, 1)


@pytest.mark.parametrize("estimator", ["linear", "positive"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_pattern_is_that_of_all_patches_cut_out(kind: Convolution | Matrix, estimator: str) -> None:
    """The formula over unfolded patches; for the linear one np.cov(x, y) / var(y) as well; w . a = 1."""
    layer, x = layer_of(kind)
    made = summed(layer, kind, x, estimator).pattern()
    assert made.unused == made.flat == made.negative == 0
    for o, w in enumerate(layer.weight.detach().flatten(1)):  # type: ignore[union-attr,operator]
        p = patches(kind, x, layer, o)
        y = p @ w + layer.bias[o].detach()  # type: ignore[index,union-attr]
        m = (y > 0).double() if estimator == "positive" else torch.ones_like(y)
        c = (m * y) @ p / m.sum() - m @ p / m.sum() * y.mean()
        a = made.values[o].flatten()
        assert torch.allclose(a, c / (c @ w), rtol=0, atol=1e-12 * float(a.abs().max()))
        assert float(a @ w) == pytest.approx(1, abs=1e-12)
        if estimator == "linear":
            joint = torch.cov(torch.cat([p, y[:, None]], 1).T, correction=0)
            assert torch.allclose(a, joint[:-1, -1] / joint[-1, -1], atol=1e-12)
            rest = p - y[:, None] * a  # what the pattern leaves does not go with y: the measure rho is 1
            assert float((rest.T @ (y - y.mean())).abs().max()) < 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_any_cut_and_order_of_the_samples_gives_the_same(kind: Convolution | Matrix) -> None:
    layer, x = layer_of(kind)
    whole = summed(layer, kind, x, "positive").pattern().values
    parts = Sums(layer.weight.detach(), "positive")  # type: ignore[union-attr,operator]
    with torch.no_grad():
        for part in reversed(x.split([1, 4, len(x) - 5])):
            parts.add(kind, part, layer(part))
    assert torch.allclose(parts.pattern().values, whole, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("estimator", ["linear", "positive"])
def test_a_bias_changes_a_pattern_by_its_mask_alone(estimator: str) -> None:
    layer, x = layer_of(Matrix())
    shift = torch.linspace(-2, 3, 5, dtype=torch.float64)

    def fitted(shift: Tensor | float) -> Tensor:
        y = layer(x).detach()
        sums = Sums(layer.weight.detach(), estimator)  # type: ignore[union-attr,operator]
        m = (y > 0).double() if estimator == "positive" else torch.ones_like(y)
        sums.m, sums.samples = m.sum(0), len(x)
        sums.y, sums.x, sums.xy = (y + shift).sum(0), m.T @ x, (m * (y + shift)).T @ x
        return sums.pattern().values

    assert torch.allclose(fitted(shift), fitted(0.0), atol=1e-11)
    assert torch.allclose(fitted(0.0), summed(layer, Matrix(), x, estimator).pattern().values, atol=1e-12)


def test_dead_units_are_zero_and_counted_by_their_sign() -> None:
    layer = nn.Linear(2, 4).double().requires_grad_(False)
    layer.weight.copy_(torch.tensor([[1.0, 0], [1, 0], [0, 1], [1, 0]]))
    layer.bias.copy_(torch.tensor([0.0, -100, 0.5, 2]))
    x = torch.tensor([[-1.0, 0], [-1.5, 0], [-2.5, 0], [0.5, 0]], dtype=torch.float64)
    made = summed(layer, Matrix(), x, "positive").pattern()
    # the first lives; the second is never positive; the third does not move; the fourth is on where x < 0: E+[y0] < 0
    assert (made.unused, made.flat) == (1, 1)
    gain = (made.values * layer.weight).sum(1)
    assert torch.allclose(gain[0], torch.ones((), dtype=torch.float64)) and not made.values[1:3].any()
    layer.bias.copy_(torch.tensor([0.0, -100, 0.5, 2]))
    x = torch.tensor([[-1.0, 0], [-1.1, 0], [-1.2, 0], [-9.0, 0]], dtype=torch.float64)
    made = summed(layer, Matrix(), x, "positive").pattern()
    assert (made.unused, made.flat, made.negative) == (2, 1, 1) and not made.values.any()
    kept = summed(layer, Matrix(), x, "positive").pattern("keep")  # as the authors' estimator, which divides by w . c
    assert (kept.unused, kept.flat, kept.negative) == (2, 1, 1)
    gain = (kept.values * layer.weight).sum(1)
    assert gain.ne(0).sum() == 1 and torch.allclose(gain[gain != 0], torch.ones(1, dtype=torch.float64))


class Uses(nn.Module):
    """Layers whose outputs go to different places."""

    def __init__(self) -> None:
        super().__init__()
        self.alone, self.in_place, self.leaky, self.dropped, self.shared, self.both, self.added, self.last = (
            nn.Linear(4, 4) for _ in range(8)
        )
        self.drop, self.relu = nn.Dropout(0.5), nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.alone(x))
        x = self.relu(self.in_place(x)) * 2
        x = F.leaky_relu(self.leaky(x), 0.1)
        x = torch.relu(self.drop(self.dropped(x)))
        x = F.relu(self.shared(F.relu(self.shared(x))))
        y = self.both(x)
        x = F.relu(y) + y.sum() + (self.added(x) + x).relu()
        assert y.shape == x.shape and y.dim() == 2
        return self.last(x).softmax(1)


def test_an_output_that_feeds_an_activation_alone_has_the_positive_estimator() -> None:
    net = Uses().eval()
    estimator = Estimator({n: m.weight for n, m in substitutable(net).items()})
    for _ in range(2):
        with torch.no_grad(), estimator:
            net(torch.randn(3, 4))
        estimator.end_pass()
    kinds = {n: s.estimator for n, s in estimator.sums.items()}
    positive = {"alone", "in_place", "leaky", "dropped", "shared"}
    assert kinds == {n: "positive" if n in positive else "linear" for n in kinds} and len(kinds) == 8
    assert estimator.sums["shared"].samples == 12 and estimator.sums["alone"].samples == 6


def test_an_in_place_activation_does_not_reach_what_was_summed() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.ReLU(inplace=True)).double().requires_grad_(False)
    x = torch.randn(50, 3, dtype=torch.float64)
    estimator = Estimator({"0": net[0].weight})
    with torch.no_grad(), estimator:
        net(x)
    estimator.end_pass()
    wanted = summed(net[0], Matrix(), x, "positive").pattern().values
    assert torch.allclose(estimator.sums["0"].pattern().values, wanted, atol=1e-12)


# --- backward


def network(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return (
        nn.Sequential(
            nn.Conv2d(3, 6, 3, stride=2, padding="valid"),
            nn.ReLU(inplace=True),
            nn.Conv2d(6, 6, (3, 2), padding="same", groups=2, dilation=(1, 3)),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(6 * 5 * 7, 2),
        )
        .double()
        .eval()
        .requires_grad_(False)
    )


def problem_of(net: nn.Module, change: Callable[[Tensor], Tensor], k: int = 2) -> Problem:
    """k outputs of a network that sees toy pictures, with patterns made from its weights."""

    def forward(p: Tensor, r: Tensor) -> Tensor:
        return net(p).gather(1, r[:, None])[:, 0]

    problem = toy_problem(forward, k, batch=3)
    patterns = {n: change(m.weight) for n, m in substitutable(net).items()}
    return replace(problem, score=Scorer(forward, k, 3, module=net), ingredients={"patterns": patterns})


def values(method: Any, problem: Problem) -> Tensor:
    made: Tensor = method.attribute(problem).values
    return made


def test_patterns_that_change_nothing_leave_gradients_and_ig() -> None:
    """PatternNet with A = W and PatternAttribution with A = 1 are the gradient; PGIG with A = 1 is IG."""
    net = network()
    plain = values(VanillaGrad(), problem_of(net, torch.ones_like))
    ones, own = problem_of(net, torch.ones_like), problem_of(net, torch.clone)
    assert torch.allclose(values(PatternAttribution(backward_seed="one"), ones), plain, rtol=1e-12, atol=1e-14)
    assert torch.allclose(values(PatternNet(backward_seed="one"), own), plain, rtol=1e-12, atol=1e-14)
    ig = values(IntegratedGradients(n_steps=6, baseline="mean"), ones)
    assert torch.allclose(values(PatternIntegrateGrad(n_steps=6), ones), ig, rtol=1e-12, atol=1e-14)
    assert not torch.allclose(values(PatternIntegrateGrad(n_steps=6), own), ig, rtol=1e-2)


def test_the_rule_is_a_network_whose_backward_has_other_weights() -> None:
    """Against the chain rule by hand: gates of the true forward pass, W * A on the way back."""
    torch.manual_seed(1)
    first, second = nn.Linear(5, 4).double(), nn.Linear(4, 1).double()
    net = nn.Sequential(first, nn.ReLU(), second).requires_grad_(False)
    a1, a2 = torch.randn(4, 5, dtype=torch.float64), torch.randn(1, 4, dtype=torch.float64)
    x = torch.randn(6, 5, dtype=torch.float64, requires_grad=True)
    with Substitute(net, {"0": first.weight * a1, "2": second.weight * a2}):
        out = net(x)
    assert torch.equal(out, net(x))
    (g,) = torch.autograd.grad(out.sum(), x)
    gate = (first(x) > 0).double()
    assert torch.allclose(g, (gate * (second.weight * a2)) @ (first.weight * a1), atol=1e-14)


def test_relevance_is_conserved_where_patterns_are_fitted() -> None:
    """Each unit's own relevance arrives at its inputs whole, as w . a = 1; so a linear network's sums to the seed."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 4, bias=False), nn.ReLU(), nn.Linear(4, 1, bias=False)).double()
    net.requires_grad_(False)
    x = torch.randn(200, 6, dtype=torch.float64)
    a1 = summed(net[0], Matrix(), x, "positive").pattern().values
    a2 = summed(net[2], Matrix(), net[1](net[0](x)), "linear").pattern().values
    leaf = x[:5].clone().requires_grad_()
    with Substitute(net, {"0": net[0].weight * a1, "2": net[2].weight * a2}):
        out = net(leaf)
    (g,) = torch.autograd.grad((out * out.detach()).sum(), leaf)
    hidden = (net[0](leaf) > 0).double() * (net[2].weight * a2) * net(leaf)
    assert torch.allclose(g.sum(1), hidden.sum(1), atol=1e-13)
    with Substitute(net[2], {"": net[2].weight * a2}):
        y = net[2](h := torch.rand(3, 4, dtype=torch.float64, requires_grad=True))
    (g,) = torch.autograd.grad((y * y.detach()).sum(), h)
    assert torch.allclose(g, y.detach() * (net[2].weight * a2)) and torch.allclose(g.sum(1, keepdim=True), y)


def test_the_seeds() -> None:
    net = network()
    problem = problem_of(net, torch.randn_like)
    one = values(PatternNet(backward_seed="one"), problem)
    y = net(problem.x[:1])[0]
    p = y.softmax(0)
    assert torch.allclose(values(PatternNet(), problem), one * y[:, None, None, None], rtol=1e-12)
    prob = Scorer(lambda x, r: net(x).softmax(1).gather(1, r[:, None])[:, 0], 2, module=net)
    soft = values(PatternNet(backward_seed="softmax"), replace(problem, probability=prob))
    assert torch.allclose(soft, one * p[:, None, None, None], rtol=1e-12)
    of_prob = replace(problem, score=prob)  # PGIG's images: p_c at the softmax, on through it
    through = values(PatternNet(backward_seed="softmax"), of_prob)
    logits = p[:, None, None, None] ** 2 * (one - (p[:, None, None, None] * one).sum(0))
    assert torch.allclose(through, logits, rtol=1e-10) and torch.equal(through, values(PatternNet(), of_prob))
    with pytest.raises(ConfigError, match="backward_seed"):
        PatternNet(backward_seed="two")


def test_the_settings_of_pgig_s_own_code() -> None:
    """24 points of weight 1/25; of a linear network 24/25 of (x - x') * (W * A)."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 24 * 32, 2)).double().requires_grad_(False)
    problem = problem_of(net, torch.randn_like)
    ours = values(PatternIntegrateGrad(baseline="black"), problem)
    wanted = problem.x * (net[1].weight * problem.ingredients["patterns"]["1"]).view(2, 3, 24, 32)
    assert torch.allclose(ours, wanted, rtol=1e-10)
    theirs = values(PatternIntegrateGrad(baseline="black", rule="pgig", n_steps=24), problem)
    assert torch.allclose(theirs, wanted * 24 / 25, rtol=1e-10)


def test_the_network_is_the_same_afterwards_also_after_an_exception() -> None:
    net = network()
    problem = problem_of(net, torch.randn_like)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    values(PatternIntegrateGrad(n_steps=3), problem)
    (e, _) = PatternAttribution(size=6)(problem)
    assert e.method == "pattern_vanilla_grad" and e.status == "ok" and e.scores == ()
    without = replace(
        problem, ingredients={"patterns": {k: v for k, v in problem.ingredients["patterns"].items() if k != "2"}}
    )
    with pytest.raises(ConfigError, match="layer 2 has no pattern"):
        values(PatternNet(), without)
    assert _get_current_function_mode() is None
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._backward_hooks or m._forward_pre_hooks for m in net.modules())


@pytest.mark.parametrize(
    "layer", [nn.BatchNorm2d(3), FrozenBatchNorm2d(3), nn.ConvTranspose2d(3, 3, 1), nn.LayerNorm(8), nn.PReLU()]
)
def test_another_layer_with_parameters_is_refused_by_name(layer: nn.Module) -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), layer).eval().requires_grad_(False)
    with (
        Substitute(net, {"0": net[0].weight}),
        pytest.raises(ConfigError, match=rf"layer 1 \({type(layer).__name__}\)"),
    ):
        net(torch.rand(1, 3, 8, 8))


def test_what_has_no_parameters_keeps_its_gradient() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False, track_running_stats=False), nn.Upsample(4))
    net.register_buffer("mean", torch.rand(3, 1, 1))
    x = torch.rand(1, 3, 2, 2, requires_grad=True)
    with Substitute(net, {"0": torch.ones_like(net[0].weight)}):
        out = net(x) - net.mean
    assert torch.autograd.grad(out[0, 0, 0, 0], x)[0].isfinite().all()


# --- whole networks


def pictures(count: int, size: int = 32) -> Iterator[Any]:
    return (scene(9, i, size, single=True).picture() for i in range(count))


def classifier(kind: Any, **more: Any) -> ClassifierAdapter:
    torch.manual_seed(0)
    net = kind(4, **more)
    for m in net.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            m.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    return ClassifierAdapter(net, list("abcd"), name="small", crop=32, resize=32)


@pytest.mark.parametrize(("kind", "layers"), [(SlimVGG, 10), (SlimResNet, 17)])
def test_every_layer_of_a_classifier_is_fitted_with_unit_gain(kind: Any, layers: int) -> None:
    adapter = classifier(kind)
    made = fit(adapter, (adapter.read(p) for p in pictures(6)))
    assert len(made) == layers
    for name, pattern in made.items():
        w = substitutable(adapter.module)[name].weight.double()
        gain = (w * pattern.values).flatten(1).sum(1)
        live = pattern.values.flatten(1).any(1)
        assert torch.allclose(gain[live], torch.ones_like(gain[live]), atol=1e-9)
        assert int((~live).sum()) == pattern.unused + pattern.flat + pattern.negative
    kinds = {n: p.estimator for n, p in made.items()}
    if kind is SlimVGG:
        assert [*kinds.values()] == ["positive"] * 9 + ["linear"], "all but the logits feed a ReLU"
    else:
        assert {n.split(".")[-1] for n, k in kinds.items() if k == "positive"} == {"conv1"}, "the others are added"
    image = adapter.read(next(pictures(1)))
    problem = make_problem(
        adapter,
        image,
        adapter.detect(image, 0.0)[:2],
        ingredients={"patterns": lambda _: {n: p.values.float() for n, p in made.items()}},
    )
    e, other = PatternAttribution(size=8)(problem)
    assert e.status == "ok" and not torch.allclose(e.saliency, other.saliency)


def test_one_pass_with_folded_norms_is_the_formula_on_the_layer_s_own_inputs() -> None:
    adapter = classifier(SlimVGG, batch_norm=True)
    images: list[Image] = [adapter.read(p) for p in pictures(4)]
    made = fit(adapter, images)
    name, layer = next((n, m) for n, m in adapter.module.named_modules() if isinstance(m, nn.Conv2d))
    x = torch.cat([(i.pixels[None] - adapter._mean) / adapter._std for i in images]).double()
    y = F.conv2d(x, layer.weight.double(), layer.bias.double(), padding=1)  # type: ignore[union-attr]
    p, y0 = F.unfold(x, 3, padding=1).transpose(1, 2).flatten(0, 1), y[:, 0].flatten()
    m = y0 > 0
    c = (p[m] * y0[m, None]).mean(0) - p[m].mean(0) * y0.mean()
    expected = c / (c @ layer.weight[0].double().flatten())
    assert torch.allclose(made[name].values[0].flatten(), expected, rtol=1e-4, atol=1e-5 * float(expected.abs().max()))


def test_a_network_that_patterns_do_not_know_is_refused_before_the_pass() -> None:
    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv = nn.BatchNorm2d(3), nn.Conv2d(3, 2, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.conv(self.norm(x)).mean(dim=(2, 3))

    adapter = igos.adapt(Normed(), ["a", "b"], crop=32)
    seen = []

    def images() -> Iterator[Image]:
        for p in pictures(3):
            seen.append(1)
            yield adapter.read(p)

    with pytest.raises(ConfigError, match=r"layer norm \(BatchNorm2d\).*neither Conv2d nor Linear"):
        fit(adapter, images())
    assert len(seen) == 1
    many = nn.Sequential(Normed(), nn.Linear(2, 1200)).requires_grad_(False)  # 1/1200 is below the usual threshold
    many[1].weight.zero_(), many[1].bias.zero_()
    unsure = igos.adapt(many, [str(i) for i in range(1200)], crop=32)
    image = unsure.read(next(iter(pictures(1))))
    assert not unsure.detect(image)
    with pytest.raises(ConfigError, match=r"layer 0.norm \(BatchNorm2d\)"):
        fit(unsure, [image])
    with pytest.raises(ConfigError, match="no pictures"):
        fit(classifier(SlimResNet), [])
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    box = igos.adapt(lambda x: [nothing] * len(x), ["a"], name="box")
    with pytest.raises(ConfigError, match="box has no Conv2d and no Linear"):
        fit(box, [toy_image()])


def test_gates_of_the_synthetic_path_close() -> None:
    """IG's gradient on the plateau is zero, and so is PatternAttribution's: it starves."""
    net = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 1)).double().requires_grad_(False)
    net[0].weight.copy_(torch.tensor([[-1.0, 1]]))
    net[0].bias.fill_(1)
    net[2].weight.fill_(-1)
    net[2].bias.fill_(1)
    t = torch.tensor([[0.5, 0.0], [1.5, 0.0]], dtype=torch.float64, requires_grad=True)
    with Substitute(net, {"0": net[0].weight * torch.tensor([[-1.0, 0]]), "2": torch.full((1, 1), -1.0)}):
        out = net(t)
    (g,) = torch.autograd.grad(out.sum(), t)
    assert g.tolist() == [[-1.0, 0.0], [0.0, 0.0]] and all(a >= b for a, b in pairwise(out.flatten().tolist()[::-1]))
