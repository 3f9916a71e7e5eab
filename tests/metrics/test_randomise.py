"""Layers drawn anew: on a copy, from the top down, the user's network untouched; the cascade on a bundled network."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import igos
from igos.base import resources
from igos.metrics import METRICS
from igos.metrics.metric import Context
from igos.metrics.randomise import cascade, layers, randomise
from igos.results.rows import Row
from igos.run.explain import explain_problem
from igos.run.problem import make_problem
from igos.types import Adapter, ConfigError, Explanation, Problem


class Net(nn.Module):
    """Registered in another order than it runs, one layer never called, one called twice."""

    def __init__(self) -> None:
        super().__init__()
        self.top = nn.Linear(4, 2)
        self.idle = nn.Linear(4, 4)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        self.shared = nn.Linear(4, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).mean(dim=(2, 3))
        return self.top(self.shared(self.shared(x)))


@pytest.fixture
def net() -> Iterator[nn.Module]:
    torch.manual_seed(0)
    yield Net().eval()


def test_layers_come_in_the_order_of_the_call_from_the_top(net: nn.Module) -> None:
    names = layers(net, lambda: net(torch.rand(1, 3, 8, 8)))
    assert names == ["top", "shared", "body.1", "body.0"], "idle is never called, ReLU has no parameters"
    assert not any(m._forward_hooks for m in net.modules())
    with pytest.raises(RuntimeError):
        layers(net, lambda: net(torch.rand(1, 1, 8, 8)))
    assert not any(m._forward_hooks for m in net.modules()), "hooks go after an error too"


def test_only_the_copy_changes_and_only_where_it_was_asked(net: nn.Module) -> None:
    before = copy.deepcopy(net.state_dict())
    state = torch.get_rng_state()
    made = randomise(net, ["top", "body.0"])
    assert torch.equal(torch.get_rng_state(), state), "torch's own generator rests"
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())
    for key, value in made.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith(("top", "body.0")), key


def test_a_layer_is_drawn_alike_at_every_depth_with_its_own_spread(net: nn.Module) -> None:
    one, two = (randomise(net, names).get_parameter("top.weight") for names in (["top"], ["top", "shared"]))
    assert torch.equal(one, two)
    assert not torch.equal(one, randomise(net, ["top"], seed=1).get_parameter("top.weight"))
    wide = nn.Sequential(nn.Linear(200, 200))
    nn.init.normal_(wide[0].weight, 3.0, 0.5)
    drawn = randomise(wide, ["0"]).get_parameter("0.weight")
    assert float(drawn.detach().mean()) == pytest.approx(3, abs=0.02)
    assert float(drawn.detach().std()) == pytest.approx(0.5, rel=0.02)
    assert (
        drawn.dtype == torch.float32
        and np.corrcoef(drawn.detach().flatten(), wide[0].weight.detach().flatten())[0, 1] < 0.05
    )


def test_an_unknown_layer_is_refused(net: nn.Module) -> None:
    with pytest.raises(ConfigError, match="'head' is not one of the network's: top"):
        randomise(net, ["head"])


@pytest.fixture(scope="module")
def bundled() -> tuple[Adapter, Problem]:
    adapter = igos.load("emblem-resnet")
    image = adapter.read(resources.folder("samples") / "singles" / first_single())
    return adapter, make_problem(adapter, image, adapter.detect(image)[:1])


def first_single() -> str:
    return sorted(p.name for p in (resources.folder("samples") / "singles").glob("*.png"))[0]


def test_the_cascade_leaves_the_adapter_alone_and_sanity_runs_on_it(bundled: tuple[Adapter, Problem]) -> None:
    adapter, problem = bundled
    before = copy.deepcopy(adapter.module.state_dict())
    pushed = problem.score.forward_images.copy()
    names, randomised = cascade(adapter, problem)
    assert (problem.score.forward_images == pushed).all()
    kinds: list[Any] = [type(adapter.module.get_submodule(n)) for n in names]
    assert kinds[0] is nn.Linear and kinds[-1] in (nn.Conv2d, nn.BatchNorm2d)
    assert sum(k is nn.Conv2d for k in kinds) == sum(isinstance(m, nn.Conv2d) for m in adapter.module.modules())
    clean = float(problem.score(problem.x[:, None]))
    gone = float(randomised(len(names)).score(problem.x[:, None]))
    assert float(randomised(0).score(problem.x[:, None])) == clean and abs(gone - clean) > 0.1

    method = METHODS_IG(n_steps=8, size=12, aggregate="sum_abs", baseline="blur")

    def explain(p: Problem) -> list[Explanation]:
        return method(p)  # type: ignore[no-any-return]

    context = Context(explain=explain, layers=names, randomised=randomised)
    (e,) = explain_problem(problem, method, [METRICS["sanity"](stages=2)], context)
    score = e.scores[-1]
    assert -0.5 < score.value < 0.9 and -1 <= score.detail["sanity_ssim"] < 0.9
    assert all(torch.equal(v, before[k]) for k, v in adapter.module.state_dict().items())
    assert all(not p.requires_grad for p in adapter.module.parameters())


def test_explain_fills_in_what_metrics_need_to_explain_again(bundled: tuple[Adapter, Problem]) -> None:
    adapter, problem = bundled
    metrics = [METRICS["sanity"](stages=1), METRICS["max_sensitivity"](samples=1), "completeness"]
    (e,) = igos.explain(adapter, problem.images[0], problem.targets, "IG", n_steps=4, size=8, metrics=metrics)
    *_, sanity, moved, complete = e.scores
    assert (
        np.isfinite([sanity.value, moved.value, complete.value]).all() and e.network_images == 4 + 2
    )  # IG scores the ends of its path
    assert moved.detail["max_sensitivity_floor"] == 0, "Integrated Gradients draws nothing"
    assert Row.of(e, "there").as_dict()["sanity"] == sanity.value


METHODS_IG = igos.METHODS["integrated_gradients"]
