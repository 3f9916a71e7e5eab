"""A network cut in two at a layer: the halves make the whole, nothing is left behind, and a way round is refused."""

from __future__ import annotations

import copy
from unittest import mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

from detectors.emblem import SlimVGG
from igos.types import ConfigError, Scorer

NETS = {  # layers that cut, in place and shared ones among them
    "slim vgg": ["features.3", "features.5", "features.23"],
    "resnet18": ["maxpool", "layer2", "layer3.0", "layer4.1"],
    "mobilenet_v3_small": ["features.4", "features.11"],
    "densenet121": ["features.denseblock2", "features.norm5"],
    "googlenet": ["inception4b"],
    "squeezenet1_1": ["features.7", "features.12"],
}


class Skip(nn.Module):
    """A block whose `body` can be gone round, with one ReLU in place that runs twice."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.body, self.head = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 2, 3)
        self.relu = nn.ReLU(inplace=True)
        self.unused = nn.Conv2d(3, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.stem(x))
        return self.head(self.relu(x + self.body(x))).mean(dim=(2, 3))


def scorer_of(net: nn.Module, k: int = 2, batch: int = 2) -> Scorer:
    net.eval().requires_grad_(False)
    return Scorer(lambda x, rows: net(x).gather(1, rows[:, None])[:, 0], k, batch, module=net)


def network(name: str) -> nn.Module:
    torch.manual_seed(0)
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    slim = name == "slim vgg"
    net = SlimVGG(5, batch_norm=True) if slim else get_model(name, weights=None, num_classes=5, **options)
    net = net.eval().double()
    with torch.no_grad():  # batch norms that are not the identity
        for m in net.modules():
            if isinstance(m, nn.BatchNorm2d):
                m.running_mean.uniform_(-0.1, 0.1)
                m.running_var.uniform_(0.5, 1.5)
    return net


def traces(net: nn.Module) -> list[object]:
    return [(m._forward_hooks, m._forward_pre_hooks, "forward" in m.__dict__) for m in net.modules()]


@pytest.mark.parametrize(("name", "layer"), [(n, x) for n, layers in NETS.items() for x in layers])
def test_the_halves_make_the_whole_and_its_gradient(name: str, layer: str) -> None:
    net = network(name)
    scorer = scorer_of(net, 3)
    x = torch.rand(3, 3, 40, 48, dtype=torch.float64, requires_grad=True)
    rows = torch.tensor([2, 0, 1])
    clean = copy.deepcopy(traces(net))
    lower, upper = scorer.split(layer)
    features = lower(x)
    kept = features.detach().clone()
    scores = upper(features, rows)
    whole = scorer.forward(x, rows)
    assert torch.allclose(scores, whole, rtol=0, atol=1e-12)
    (g,), (expected,) = torch.autograd.grad(scores.sum(), x), torch.autograd.grad(whole.sum(), x)
    assert expected.abs().max() > 0 and torch.allclose(g, expected, rtol=0, atol=1e-12)
    assert torch.equal(features, kept), "layers that work in place do not write into the features"
    changed = upper(features.detach() * 0.5, rows)
    assert not torch.allclose(changed, scores)
    scorer.cuts(layer, x.detach(), rows)
    assert traces(net) == clean


def test_what_lies_below_the_layer_is_not_run_again() -> None:
    net = network("resnet18")
    scorer = scorer_of(net)
    lower, upper = scorer.split("layer3")
    features = lower(torch.rand(2, 3, 64, 64, dtype=torch.float64))
    with mock.patch.object(nn.Conv2d, "_conv_forward", autospec=True, side_effect=nn.Conv2d._conv_forward) as ran:
        upper(features[:1].expand(3, -1, -1, -1), torch.tensor([0, 1, 0]))
    own = {m for m in net.get_submodule("layer4").modules() if type(m) is nn.Conv2d}
    assert {call.args[0] for call in ran.call_args_list} == own and ran.call_count == 2 * 5  # in two chunks
    assert scorer.forward_images.tolist() == [2, 1] and scorer.backward_images.tolist() == [0, 0]


def test_a_layer_that_can_be_gone_round_is_refused_with_its_share() -> None:
    net = Skip().double()
    scorer = scorer_of(net)
    x = torch.rand(2, 3, 12, 12, dtype=torch.float64)
    with pytest.raises(
        ConfigError, match=r"layer body: \d+% of the gradient goes round it; these cut it: .*stem"
    ) as told:
        scorer.cuts("body", x, torch.tensor([0, 1]))
    assert "unused" not in str(told.value) and "\n" not in str(told.value)
    found = {layer.name: layer.cuts for layer in scorer.layers(x, torch.tensor([0, 1]))}
    assert found == {"stem": True, "body": False, "head": True}, "the ReLU runs twice, unused never"

    def detached(x: Tensor) -> Tensor:  # the share by hand
        a = F.relu(net.stem(x))
        return net.head(F.relu(a + net.body(a).detach())).mean(dim=(2, 3))

    x.requires_grad_(True)
    past, whole = (torch.autograd.grad(f(x)[:, 0].sum(), x)[0].abs().sum() for f in (detached, net))
    with pytest.raises(ConfigError, match=f"{past / whole:.0%} of the gradient"):
        scorer.cuts("body", x.detach(), torch.zeros(2, dtype=torch.long))


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ("stm", "near: stem"), ("unused", "takes no part"), ("relu", "runs more than once"),
        ("zzz", "near: stem, body, head"),
    ],
)  # fmt: skip
def test_layers_that_cannot_be_used_are_refused_and_leave_nothing(layer: str, words: str) -> None:
    net = Skip()
    scorer, clean = scorer_of(net), copy.deepcopy(traces(net))
    with pytest.raises(ConfigError, match=words):
        lower, upper = scorer.split(layer)
        upper(lower(torch.rand(2, 3, 12, 12)), torch.tensor([0, 1]))
    assert traces(net) == clean


def test_the_end_of_a_name_is_enough_if_it_is_the_only_one() -> None:
    scorer = scorer_of(network("resnet18"))
    x = torch.rand(1, 3, 64, 64, dtype=torch.float64)
    assert torch.equal(scorer.split("layer4.1")[0](x), scorer.split("layer4")[0](x))
    with pytest.raises(ConfigError, match="could be any of"):
        scorer.split("bn2")


def test_an_exception_inside_leaves_nothing_behind() -> None:
    class Broken(Skip):
        def forward(self, x: Tensor) -> Tensor:
            out = super().forward(x)
            if bool(x.sum() == 0):
                raise ValueError("broken")
            return out

    net = Broken()
    scorer, clean = scorer_of(net), copy.deepcopy(traces(net))
    lower, upper = scorer.split("stem")
    features = lower(torch.rand(1, 3, 12, 12))
    with pytest.raises(ValueError, match="broken"):
        upper(features, torch.tensor([0]))
    with pytest.raises(ValueError, match="broken"):
        scorer.layers(torch.zeros(1, 3, 12, 12), torch.tensor([0]))
    assert traces(net) == clean


def test_a_black_box_has_no_layers() -> None:
    with pytest.raises(ConfigError, match="black box"):
        Scorer(lambda x, r: x.sum(dim=(1, 2, 3)), 1).split("a")


# --- memory -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["accelerator", "cpu"])
@pytest.mark.parametrize("gradient", [False, True])
def test_a_chunk_that_does_not_fit_is_halved(kind: str, gradient: bool, caplog: pytest.LogCaptureFixture) -> None:
    largest = 0

    def forward(x: Tensor, rows: Tensor) -> Tensor:
        nonlocal largest
        if len(x) > 3:
            raise (
                torch.OutOfMemoryError("out of memory")
                if kind == "accelerator"
                else RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory")
            )
        largest = max(largest, len(x))
        return (x**2).sum(dim=(1, 2, 3)) * (rows + 1)

    x, rows = torch.rand(19, 3, 4, 5), torch.arange(19) % 2
    scorer = Scorer(forward, 2, 16)
    found = list(scorer.stream(rows, lambda part: x[part], gradient))
    assert torch.allclose(torch.cat([s for _, s, _ in found]), (x**2).sum(dim=(1, 2, 3)) * (rows + 1))
    assert [i for part, _, _ in found for i in range(part.start, part.stop)] == list(range(19))
    if gradient:
        g = torch.cat([g for _, _, g in found if g is not None])
        assert torch.allclose(g, 2 * x * (rows + 1)[:, None, None, None])
    assert (largest, scorer.batch) == (2, 2) and scorer.forward_images.tolist() == [10, 9]
    assert [r.getMessage() for r in caplog.records] == [
        f"out of memory with {n} pictures at once: going on with {n // 2}" for n in (16, 8, 4)
    ]


def test_not_even_one_picture_and_other_errors() -> None:
    def full(x: Tensor, rows: Tensor) -> Tensor:
        raise torch.OutOfMemoryError("out of memory")

    def broken(x: Tensor, rows: Tensor) -> Tensor:
        raise RuntimeError("shapes do not fit")

    x = torch.rand(4, 3, 4, 4)
    with pytest.raises(ConfigError, match="single picture"):
        list(Scorer(full, 1, 4).stream(torch.zeros(4, dtype=torch.long), lambda part: x[part]))
    with pytest.raises(RuntimeError, match="shapes"):
        list(Scorer(broken, 1, 4).stream(torch.zeros(4, dtype=torch.long), lambda part: x[part]))
