"""What makes scoring fast changes no score: folded norms, and only those levels and heads that a target needs."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.ops import FrozenBatchNorm2d

from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimVGG
from detectors.fold import fold
from detectors.rcnn import RCNNAdapter
from detectors.rcnn_files import build
from detectors.regions import pyramid
from detectors.yolov3 import YOLOAdapter
from igos.types import Target
from tests.detectors.test_target_parts import rcnn
from tests.detectors.test_yolov3 import TINY, noise, tiny_network

FOLDED = {  # of all norms; DenseNet's others stand before an activation and a convolution
    "resnet18": (20, 20), "slim vgg": (8, 8), "mobilenet_v2": (52, 52), "mobilenet_v3_small": (34, 34),
    "googlenet": (57, 57), "densenet121": (59, 121), "squeezenet1_1": (0, 0), "efficientnet_b0": (49, 49),
}  # fmt: skip


def lively(net: nn.Module, frozen: bool = False) -> nn.Module:
    """Norms that do something, in eval mode; frozen: torchvision's FrozenBatchNorm2d."""
    torch.manual_seed(1)
    for name, m in list(net.named_modules()):
        if isinstance(m, nn.BatchNorm2d):
            m.weight.data.uniform_(0.7, 1.3)
            m.bias.data.uniform_(-0.2, 0.2)
            m.running_mean.uniform_(-0.2, 0.2)  # type: ignore[union-attr]
            m.running_var.uniform_(0.7, 1.3)  # type: ignore[union-attr]
            if frozen:
                other = FrozenBatchNorm2d(m.num_features, m.eps)
                other.load_state_dict({k: v for k, v in m.state_dict().items() if "tracked" not in k})
                parent, _, leaf = name.rpartition(".")
                setattr(net.get_submodule(parent), leaf, other)
    return net.eval().requires_grad_(False)


def norms(net: nn.Module) -> list[nn.Module]:
    return [m for m in net.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))]


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("name", FOLDED)
def test_norms_right_behind_convolutions_fold_away(name: str, frozen: bool) -> None:
    if frozen and name != "resnet18":
        return
    options = {"aux_logits": False, "init_weights": False} if name == "googlenet" else {}
    torch.manual_seed(0)
    plain = (
        SlimVGG(4, batch_norm=True) if name == "slim vgg" else get_model(name, weights=None, num_classes=4, **options)
    )
    net = lively(plain, frozen).double()
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    expected, before = net(x), len(norms(net))
    folded, out = fold(net, lambda: net(x[:1]))
    assert torch.equal(out, net(x[:1]))
    assert (folded, before) == FOLDED[name] and len(norms(net)) == before - folded
    assert torch.allclose(net(x), expected, rtol=1e-5, atol=1e-6 * float(expected.abs().max()))


class Odd(nn.Module):
    """A norm whose convolution is read by someone else too, one that runs twice, one after an activation."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.conv, self.norm, self.last = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 2, 1)

    def forward(self, x: Tensor) -> Any:
        y = self.conv(x)
        if self.kind == "read twice":
            return {"a": self.last(self.norm(y) + 0.3 * y)}
        if self.kind == "run twice":
            return [self.last(self.norm(y)), self.last(self.norm(self.conv(x * 2)))]
        return (self.last(self.norm(y.relu())),)


@pytest.mark.parametrize("kind", ["read twice", "run twice", "after an activation"])
def test_a_norm_that_cannot_be_folded_stays_to_the_bit(kind: str) -> None:
    torch.manual_seed(0)
    net = lively(Odd(kind))
    state = copy.deepcopy(net.state_dict())
    assert fold(net, lambda: net(torch.rand(1, 3, 8, 8)))[0] == 0
    assert len(norms(net)) == 1 and all(torch.equal(v, state[k]) for k, v in net.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_network_in_training_mode_is_not_folded() -> None:
    net = lively(Odd("after an activation")).train()
    assert fold(net, lambda: net(torch.rand(1, 3, 8, 8)))[0] == 0


def unfolded(module: nn.Module, run: Callable[[], Any]) -> tuple[int, Any]:
    return 0, run()


@pytest.mark.parametrize("name", ["fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_resnet50_fpn_v2"])
def test_the_adapters_fold_what_they_own(name: str) -> None:
    torch.manual_seed(0)
    net = build(name, 5)
    with mock.patch("detectors.rcnn.fold", unfolded):
        plain = RCNNAdapter(copy.deepcopy(net), ["__background__", *"abcd"])
    folded = RCNNAdapter(net, ["__background__", *"abcd"])
    assert len(norms(plain.module)) > 40 and norms(folded.module) == []
    x = torch.rand(2, 3, 96, 128)
    targets = [Target(i, "t", 0.5, torch.tensor([10.0, 12, 60 + 20 * i, 80])) for i in (1, 2)]
    a, b = (adapter.scorer(targets)(x[:, None]) for adapter in (plain, folded))
    assert torch.allclose(a, b, atol=1e-4)


def test_a_classifier_is_folded_and_scores_alike() -> None:
    torch.manual_seed(0)
    net = lively(get_model("resnet18", weights=None, num_classes=4))
    with mock.patch("detectors.classifier.fold", unfolded):
        plain = ClassifierAdapter(copy.deepcopy(net), list("abcd"), crop=64, resize=64)
    folded = ClassifierAdapter(net, list("abcd"), crop=64, resize=64)
    assert norms(folded.module) == [] and len(norms(plain.module)) == 20
    x = torch.rand(1, 3, 3, 64, 64)
    assert torch.allclose(*(a.scorer([Target(1, "b", 0.5)])(x) for a in (plain, folded)), atol=1e-5)


# --- the pyramid --------------------------------------------------------------------------------------


@pytest.mark.parametrize("levels", [["0"], ["1"], ["2"], ["0", "2"]])
def test_a_pyramid_makes_the_levels_that_are_asked_for(levels: list[str]) -> None:
    adapter = rcnn()
    backbone, x = adapter.module.backbone, torch.rand(2, 3, 96, 128)
    with torch.no_grad():
        every, found = backbone(x), pyramid(backbone, x, dict.fromkeys(levels, ()))
    for name, feature in found.items():
        assert torch.equal(feature, every[name]) if name in levels else feature.shape[2:] == (1, 1)


@pytest.mark.parametrize("side", [20, 60, 150])
def test_scores_and_gradients_are_those_of_the_whole_network(side: int) -> None:
    adapter = rcnn()
    x = torch.rand(2, 3, 160, 200)
    mask = torch.zeros(160, 200, dtype=torch.bool)
    mask[10:40, 10:40] = True
    box = torch.tensor([4.0, 4.0, 4 + side, 4 + side])
    targets = [Target(1, "a", 0.5, box, mask, part=part) for part in ("class_box", "mask")]
    rows = torch.arange(2)
    pruned = list(adapter.scorer(targets).stream(rows, lambda s: x[s], gradient=True))
    with mock.patch("detectors.rcnn.pyramid", lambda backbone, batch, _: backbone(batch)):
        whole = list(adapter.scorer(targets).stream(rows, lambda s: x[s], gradient=True))
    for (_, s, g), (_, expected, wanted) in zip(pruned, whole, strict=True):
        assert g is not None and wanted is not None
        assert torch.allclose(s, expected, rtol=0, atol=1e-5) and torch.allclose(g, wanted, rtol=1e-3, atol=1e-6)


CORNERS = [[0.0, 0, 9, 7], [3.1, 5.2, 3.2, 5.3], [150.0, 120, 200, 160], [199.5, 0, 200, 160], [0.0, 0, 200, 160]]


@pytest.mark.parametrize("order", [[0], [1], [2, 3], [4, 1, 0], [3, 2, 1, 0]])
def test_features_around_the_boxes_are_all_that_pooling_reads(order: list[int]) -> None:
    adapter = rcnn()
    x = torch.rand(len(order), 3, 160, 200)
    targets = [Target(1, "a", 0.5, torch.tensor(CORNERS[i]), part="box") for i in order]
    scorer = adapter.scorer(targets, batch=3)
    rows = torch.arange(len(order))
    assert torch.allclose(scorer.forward(x, rows), scorer.whole(x, rows), rtol=0, atol=1e-6)


def test_a_level_is_made_around_a_small_box_only() -> None:
    adapter = rcnn()
    scorer, maps = adapter.scorer([Target(1, "a", 0.5, torch.tensor([4.0, 4.0, 20.0, 20.0]))]), []
    handle = adapter.module.backbone.fpn.layer_blocks[0].register_forward_hook(lambda *a: maps.append(a[2].shape[2:]))
    for run in (scorer.forward, scorer.whole):
        run(torch.rand(1, 3, 160, 200), torch.zeros(1, dtype=torch.long))
    handle.remove()
    assert maps == [(8, 8), (40, 56)]


def test_levels_that_no_target_needs_are_not_made() -> None:
    adapter = rcnn()
    scorer = adapter.scorer([Target(1, "a", 0.5, torch.tensor([4.0, 4.0, 20.0, 20.0]))])
    blocks = adapter.module.backbone.fpn.layer_blocks
    ran: list[int] = []
    handles = [b.register_forward_hook(lambda *_, i=i: ran.append(i)) for i, b in enumerate(blocks)]  # type: ignore[misc]
    scorer(torch.rand(1, 1, 3, 160, 200))
    for handle in handles:
        handle.remove()
    assert ran == [0]


# --- the heads of YOLO --------------------------------------------------------------------------------

ROUTED = TINY + (  # a third head that hangs on the second's own convolution
    "[route]\nlayers=-2\n[convolutional]\nfilters=8\nsize=3\npad=1\nactivation=leaky\n"
    "[yolo]\nmask=0\nanchors=6,8, 14,11, 20,25\nclasses=3\n"
)


@pytest.mark.parametrize("rows", [[0], [47, 3], [48], [143], [144], [50, 200], [0, 100, 239]])
def test_only_the_heads_of_the_targets_run_and_scores_stay(tmp_path: Path, rows: list[int]) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path, ROUTED), list("abc"), size=(32, 48))
    assert adapter.module.counts((32, 48)) == [48, 96, 96]
    box = torch.tensor([1.0, 2.0, 20.0, 24.0])
    targets = [Target(1, "b", 0.5, box, index=i, part=part) for i in rows for part in ("class", "box")]
    x = torch.rand(len(targets), 3, 32, 48, generator=torch.Generator().manual_seed(len(rows)))
    ran: set[int] = set()
    handles = [
        m.register_forward_hook(lambda *_, i=i: ran.add(i))  # type: ignore[misc]
        for i, m in enumerate(adapter.module.module_list)
    ]
    scorer = adapter.scorer(targets, batch=3)
    found = scorer(x[:, None])[:, 0]
    for handle in handles:
        handle.remove()
    heads = {0 if i < 48 else 1 if i < 144 else 2 for i in rows}
    needed = set().union(*({0: {0, 1, 2}, 1: {0, 4, 5}, 2: {0, 4, 5, 7, 8}}[h] for h in heads))
    assert ran == needed
    every = adapter.module(x)
    boxes = adapter.module.decode(every, (32, 48))
    for n, t in enumerate(targets):
        row = every[n, t.index or 0]
        if t.part == "class":
            assert float(found[n]) == pytest.approx(float(row[4].sigmoid() * row[6].sigmoid()), abs=1e-5)
        else:
            alone = replace_box(t, boxes[n, t.index or 0].clamp(min=0).minimum(torch.tensor([48.0, 32, 48, 32])))
            assert float(adapter.scorer([alone])(x[n][None, None])) == pytest.approx(1, abs=1e-4)


def test_a_chunk_runs_the_heads_of_its_own_targets(tmp_path: Path) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path, ROUTED), list("abc"), size=(32, 48))
    scorer = adapter.scorer([Target(1, "b", 0.5, index=i) for i in (0, 200)])
    with mock.patch.object(
        type(adapter.module), "forward", autospec=True, side_effect=type(adapter.module).forward
    ) as run:
        list(scorer.stream(torch.tensor([0] * 8 + [1] * 8), lambda s: torch.rand(s.stop - s.start, 3, 32, 48)))
    assert [call.args[2] for call in run.call_args_list] == [[3], [9]]


def replace_box(t: Target, box: Tensor) -> Target:
    return Target(t.label, t.name, t.score, box, index=t.index, part=t.part)


def test_detecting_runs_every_head(tmp_path: Path) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path, ROUTED), list("abc"), size=(32, 48))
    image = adapter.read(noise())
    assert adapter.module(image.pixels[None]).shape[1] == 240
    assert {0, 1, 2} == {
        0 if (t.index or 0) < 48 else 1 if (t.index or 0) < 144 else 2 for t in adapter.detect(image, 0.01)
    }
