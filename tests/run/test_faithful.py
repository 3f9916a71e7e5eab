"""What is explained is what was detected: shortcuts that differ are left, and those that agree are taken."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, ssdlite320_mobilenet_v3_large
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

import igos
from detectors.emblem import PYRAMID, WIDTHS, SlimResNet, build_rcnn
from igos.results.manifest import target_of, target_record
from igos.results.rows import Row
from igos.run.faithful import SLOWER
from igos.types import Adapter, ConfigError, Image, Target
from tests.detectors.test_levers import lively
from tests.detectors.test_yolov3 import noise, tiny_network

NEAR = 1e-4


class Brighter(FeaturePyramidNetwork):
    """A pyramid with one step more."""

    def forward(self, x: Any) -> Any:
        return {k: v * 1.5 for k, v in super().forward(x).items()}


def norm_layer(net: FasterRCNN) -> None:
    net.backbone.fpn = FeaturePyramidNetwork(list(WIDTHS), PYRAMID, LastLevelMaxPool(), partial(nn.GroupNorm, 8))


def subclass(net: FasterRCNN) -> None:
    net.backbone.fpn = Brighter(list(WIDTHS), PYRAMID, LastLevelMaxPool())


def hooked(net: FasterRCNN) -> None:
    net.backbone.fpn.register_forward_hook(lambda m, a, out: {k: v * 1.5 for k, v in out.items()})  # type: ignore[operator]


def wide(net: FasterRCNN) -> None:
    fpn: Any = net.backbone.fpn
    for block in fpn.layer_blocks:
        block[0] = nn.Conv2d(PYRAMID, PYRAMID, 7, padding=3)


def own_forward(net: FasterRCNN) -> None:
    block: Any = net.backbone.fpn.layer_blocks[0]  # type: ignore[union-attr, index]
    before = block[0].forward
    block[0].forward = lambda x: before(x) + x.mean(dim=(2, 3), keepdim=True)


PYRAMIDS: dict[str, Callable[[FasterRCNN], None]] = {
    "GroupNorm": norm_layer, "subclass": subclass, "hook": hooked, "wide convolution": wide, "forward": own_forward,
}  # fmt: skip


def rcnn(change: Callable[[FasterRCNN], None] = lambda net: None, side: int = 96) -> FasterRCNN:
    """With random weights; side: the short side (px) of the pictures that it sees."""
    torch.manual_seed(0)
    net = build_rcnn(5, False)
    net.transform.min_size, net.transform.max_size = (side,), 2 * side
    nn.init.normal_(net.roi_heads.box_predictor.cls_score.weight, std=0.5)
    change(net)
    return lively(net)  # type: ignore[return-value]


def adapted(model: nn.Module, image: Any = None, n: int = 4, **options: Any) -> tuple[Adapter, Image, list[Target]]:
    adapter = igos.adapt(model, list("abcd"), **options)
    shown = adapter.read(noise(160, 200) if image is None else image)
    return adapter, shown, adapter.detect(shown, 0.0)[:n]


def explained(adapter: Adapter, image: Image, targets: Any, **more: Any) -> list[igos.Explanation]:
    return igos.explain(adapter, image, targets, "vanilla_grad", metrics=(), **more)


def pinned_logits(net: FasterRCNN, pixels: Tensor, targets: list[Target]) -> Tensor:
    """The network's own logits at the targets' boxes."""
    heads: Any = net.roi_heads
    size = tuple(pixels.shape[1:])
    x = net.transform.normalize(pixels)[None]
    x = nn.functional.pad(x, (0, -size[1] % 32, 0, -size[0] % 32))
    pooled = heads.box_roi_pool(net.backbone(x), [torch.stack([t.box for t in targets])], [size])  # type: ignore[misc]
    logits, _ = heads.box_predictor(heads.box_head(pooled))
    return logits[range(len(targets)), [t.label for t in targets]]


@pytest.mark.parametrize("kind", PYRAMIDS)
def test_a_pyramid_that_is_not_torchvisions_own_is_run_as_it_is(kind: str) -> None:
    net = rcnn(PYRAMIDS[kind])
    adapter, image, targets = adapted(net)
    with torch.no_grad():
        own = pinned_logits(net, image.pixels, targets).tolist()
    together = [e.score_original for e in explained(adapter, image, targets, score="logit")]
    alone = [explained(adapter, image, [t], score="logit")[0].score_original for t in targets]
    assert together == pytest.approx(own, abs=NEAR) and alone == pytest.approx(own, abs=NEAR)
    assert len({round(v, 3) for v in own}) > 1


@pytest.mark.parametrize("kind", ["GroupNorm", "wide convolution"])
def test_a_shortcut_that_changes_the_score_is_left_at_run_time(kind: str) -> None:
    """Were the types not looked at, the score itself would tell."""
    adapter, image, targets = adapted(rcnn(PYRAMIDS[kind]))
    with mock.patch("detectors.rcnn.windowed", return_value=True):
        made = explained(adapter, image, targets)
    expected = [t.own["prob"] for t in targets if t.own]
    assert [e.score_original for e in made] == pytest.approx(expected, abs=NEAR)
    left = [e for e in made if e.shortcut == "left"]
    assert left and all(e.warnings == (SLOWER,) and e.network_images == 2 for e in left)
    assert {e.shortcut for e in made} <= {"left", "taken"}
    plain = adapter.plain  # type: ignore[attr-defined]
    for e, truth in zip(made, explained(plain, image, targets), strict=True):
        if e.shortcut == "left":
            assert torch.allclose(e.saliency, truth.saliency, atol=1e-3 * float(truth.saliency.abs().max()))


def test_only_the_targets_that_differ_are_explained_anew() -> None:
    adapter, image, targets = adapted(rcnn(side=160))
    own = adapter.scorer

    def off(t: Any, score: str = "prob", batch: int | None = None) -> Any:
        scorer = own(t, score, batch)
        forward = scorer.forward
        wrong = torch.tensor([0.05 if one.label == targets[0].label else 0.0 for one in t])
        scorer.forward = scorer.whole = lambda x, rows: forward(x, rows) + wrong[rows]
        return scorer

    with mock.patch.object(adapter, "scorer", off):
        made = explained(adapter, image, targets)
    wrong = [t.label == targets[0].label for t in targets]
    assert [e.shortcut == "left" for e in made] == wrong and 0 < sum(wrong) < len(wrong)
    assert [e.target for e in made] == targets
    assert [e.network_images for e in made] == [1 + w for w in wrong]
    truth = explained(adapter, image, targets)
    assert all(torch.allclose(a.saliency, b.saliency, atol=1e-5) for a, b in zip(made, truth, strict=True))


@pytest.mark.parametrize("score", ["prob", "logit"])
@pytest.mark.parametrize("family", ["rcnn", "yolo", "classifier"])
def test_shortcuts_that_agree_are_taken_and_cost_no_picture(tmp_path: Path, family: str, score: str) -> None:
    model = {"rcnn": rcnn, "yolo": lambda: tiny_network(tmp_path), "classifier": lambda: lively(SlimResNet(4))}[
        family
    ]()
    options = {"crop": 96, "resize": 96} if family == "classifier" else {}
    adapter = igos.adapt(model, list("abcd")[: 3 if family == "yolo" else 4], **options)
    image = adapter.read(noise(160, 200))
    targets = adapter.detect(image, 0.0)[:2]
    made = explained(adapter, image, targets, score=score)
    assert [(e.shortcut, e.network_images, e.warnings) for e in made] == [("taken", 1, ())] * 2
    for e, t in zip(made, targets, strict=True):
        assert t.own is not None and e.score_original == pytest.approx(
            t.own[score], abs=NEAR * max(1, abs(t.own[score]))
        )
        assert family == "rcnn" or t.own["prob"] == t.score
    assert Row.of(made[0], "f").as_dict()["shortcut"] == "taken"


@pytest.mark.parametrize("change", [{"part": "box"}, {"own": None}], ids=str)
def test_a_target_without_a_score_of_its_own_costs_one_picture(change: dict[str, Any]) -> None:
    adapter, image, targets = adapted(rcnn(), n=2)
    made = explained(adapter, image, [replace(t, **change) for t in targets])
    assert [(e.shortcut, e.network_images, e.warnings) for e in made] == [("taken", 2, ())] * 2
    with mock.patch("detectors.rcnn.windowed", return_value=True):
        adapter, image, targets = adapted(rcnn(norm_layer), n=2)
        made = explained(adapter, image, [replace(t, **change) for t in targets])
    truth = explained(adapter.plain, image, [replace(t, **change) for t in targets])  # type: ignore[attr-defined]
    assert [e.score_original for e in made] == pytest.approx([e.score_original for e in truth], abs=NEAR)


def test_lower_precision_is_held_against_its_own_bounds() -> None:
    adapter, image, targets = adapted(lively(SlimResNet(4)), crop=96, resize=96)
    made = explained(adapter, image, targets, precision="bfloat16")
    assert all(e.shortcut == "taken" for e in made)
    assert all(abs(e.score_original - t.score) <= 2e-2 for e, t in zip(made, targets, strict=True))  # type: ignore[operator]


def test_a_model_without_shortcuts_has_no_word_for_them_and_must_still_agree() -> None:
    answers = [0.8]

    def call(x: Tensor) -> Any:
        answers.append(answers[-1] - 0.1)  # another answer each time
        return [{"boxes": [[2.0, 2, 30, 30]], "scores": [answers[-1]], "labels": [0]} for _ in x]

    adapter = igos.adapt(call, ["a"])
    image = adapter.read(noise(40, 40))
    (e,) = igos.explain(adapter, image, adapter.detect(image), "rise", metrics=(), n_masks=4)
    assert e.shortcut is None and Row.of(e, "f").as_dict()["shortcut"] is None
    assert e.warnings == ("the model's score was 0.7 as it detected and is 0.6 when asked again",)


def test_what_a_hook_does_in_a_darknet_is_explained(tmp_path: Path) -> None:
    """Folding lets go of a norm, pruning of the heads that a hook may look at."""
    for place in ("norm", "network"):
        net = tiny_network(tmp_path)
        part = net if place == "network" else net.module_list[0].BatchNorm2d
        part.register_forward_hook(lambda m, a, out: out * 0.5)  # type: ignore[union-attr]
        adapter = igos.adapt(net, list("abc"))
        image = adapter.read(noise(160, 200))
        targets = adapter.detect(image, 0.0)[:3]
        with torch.no_grad():
            rows = net.eval()(image.pixels[None])[0]
        for e, t in zip(explained(adapter, image, targets), targets, strict=True):
            own = float(rows[t.index, 4].sigmoid() * rows[t.index, 5 + t.label].sigmoid())
            assert t.score == pytest.approx(own, abs=NEAR) and e.score_original == pytest.approx(own, abs=NEAR)


def test_a_norm_with_a_hook_and_a_norm_of_another_kind_are_not_folded() -> None:
    class Odd(nn.BatchNorm2d):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) * 2

    for kind in ("hook", "class"):
        net: Any = lively(SlimResNet(4))
        if kind == "hook":
            net.bn1.register_forward_hook(lambda m, a, out: out * 2)
        else:
            odd = Odd(24).eval()
            odd.load_state_dict(net.bn1.state_dict())
            net.bn1 = odd
        adapter, image, targets = adapted(net, crop=96, resize=96)
        with torch.no_grad():
            own = net((image.pixels[None] - adapter._mean) / adapter._std).softmax(1)[0]  # type: ignore[attr-defined]
        for e, t in zip(explained(adapter, image, targets), targets, strict=True):
            assert e.score_original == pytest.approx(float(own[t.label]), abs=NEAR)


class Sharper(FasterRCNN):
    def forward(self, images: Any, targets: Any = None) -> Any:
        return super().forward([i * 0.5 for i in images], targets)


def test_an_rcnn_whose_own_steps_are_others_is_refused() -> None:
    hooked, heads, halved, subclass = rcnn(), rcnn(), rcnn(), rcnn()
    hooked.register_forward_hook(lambda m, a, out: out)
    heads.roi_heads.register_forward_hook(lambda m, a, out: out)
    step = halved.roi_heads.postprocess_detections
    halved.roi_heads.postprocess_detections = lambda *a: [[x * 0.5 for x in part] for part in step(*a)]
    subclass.__class__ = Sharper
    wanted = {
        r"the network \(FasterRCNN\) has hooks": hooked,
        r"its roi_heads \(RoIHeads\) has hooks": heads,
        r"its roi_heads \(RoIHeads\) has hooks or functions of its own": halved,
        r"the network \(Sharper\) works otherwise": subclass,
    }
    for words, net in wanted.items():
        with pytest.raises(ConfigError, match=f"{words}.*would be left out; give it as a black box"):
            igos.adapt(net, list("abcd"))


def test_a_one_stage_detector_whose_own_steps_are_others_is_refused() -> None:
    build: Any = partial(ssdlite320_mobilenet_v3_large, weights=None, weights_backbone=None, num_classes=4)
    halved, hooked, own = build().eval(), build().eval(), build().eval()
    step = halved.postprocess_detections
    halved.postprocess_detections = lambda *a: [{**d, "scores": d["scores"] * 0.5} for d in step(*a)]
    hooked.transform.register_forward_hook(lambda m, a, out: out)
    own.transform.normalize = lambda x: x * 2
    for words, net in {"the network": halved, "its transform": hooked, r"its transform \(Gen.*own": own}.items():
        with pytest.raises(ConfigError, match=f"{words}.*would be left out; give it as a black box"):
            igos.adapt(net, list("abc"))


def test_the_plain_network_shares_what_it_can_and_is_the_one_that_was_given() -> None:
    net = lively(SlimResNet(4))
    state = copy.deepcopy(net.state_dict())
    adapter, image, targets = adapted(net, crop=96, resize=96)
    plain = adapter.plain  # type: ignore[attr-defined]
    assert all(torch.equal(v, state[k]) for k, v in plain.module.state_dict().items())
    assert plain.module.fc.weight is adapter.module.fc.weight  # type: ignore[union-attr]
    assert plain.plain is None and [t.label for t in plain.detect(image, 0.0)] == [t.label for t in targets]


def test_the_own_score_goes_into_the_manifest_and_back() -> None:
    t = Target(1, "a", 0.5, own={"prob": 0.5, "logit": 0.25})
    assert target_of(target_record(t, "f"), torch.device("cpu"), (8, 8)).own == t.own
    assert target_of(target_record(Target(1, "a", 0.5), "f"), torch.device("cpu"), (8, 8)).own is None


def test_the_picture_is_pushed_once_for_the_check_and_the_row() -> None:
    adapter, image, targets = adapted(lively(SlimResNet(4)), n=1, crop=96, resize=96)
    seen: list[int] = []
    handle = adapter.module.register_forward_hook(lambda m, a, out: seen.append(len(a[0])))
    explained(adapter, image, targets)
    handle.remove()
    assert sum(seen) == 3  # the picture, its baseline, the gradient
