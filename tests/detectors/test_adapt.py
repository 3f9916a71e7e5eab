"""A user's own model: the right adapter or one line why not, and the model as it was; bad weights and answers."""

from __future__ import annotations

import copy
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.ops import MultiScaleRoIAlign

import igos
from detectors.darknet import Darknet, parse_cfg
from detectors.emblem import SlimResNet, build_rcnn
from detectors.yolov3 import load_yolo
from igos.types import Adapter, ConfigError, IgosError, WeightsError
from tests.detectors.test_yolov3 import TINY, noise, tiny_network


def single_map() -> FasterRCNN:
    """A FasterRCNN around a backbone with one map and no pyramid, as torchvision's own tutorial builds it."""
    backbone = nn.Sequential(
        nn.Conv2d(3, 8, 3, 4, 1), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Conv2d(8, 16, 3, 4, 1)
    )
    backbone.out_channels = 16  # type: ignore[assignment]
    pool = MultiScaleRoIAlign(["0"], 7, 2)
    anchors = AnchorGenerator(((32, 64),), ((1.0,),))
    return FasterRCNN(backbone, 4, rpn_anchor_generator=anchors, box_roi_pool=pool, min_size=96, max_size=128)


def model_of(kind: str, tmp_path: Path) -> nn.Module:
    torch.manual_seed(0)
    if kind == "darknet":
        return tiny_network(tmp_path)
    if kind == "classifier":
        return SlimResNet(4)
    made = single_map() if kind == "single map" else build_rcnn(4, kind == "mask")
    made.rpn._pre_nms_top_n = {"training": 100, "testing": 100}  # most of the time of these tests
    made.rpn._post_nms_top_n = {"training": 20, "testing": 20}
    return made


def options_of(kind: str) -> dict[str, Any]:
    return {"crop": 64} if kind == "classifier" else {}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", ["mask", "faster", "single map", "classifier", "darknet"])
def test_the_users_model_is_explained_and_stays_as_it_was(tmp_path: Path, kind: str, training: bool) -> None:
    model = model_of(kind, tmp_path).train(training)
    list(model.parameters())[0].requires_grad_(False)
    before = copy.deepcopy(model.state_dict())
    modes = [m.training for m in model.modules()]
    wanted = [p.requires_grad for p in model.parameters()]
    adapter = igos.adapt(model, ["a", "b", "c", "d"][: 3 if kind != "classifier" else 4], **options_of(kind))
    assert isinstance(adapter, Adapter) and adapter.module is not model
    image = adapter.read(noise(160, 200))
    targets = adapter.detect(image, 0.0)[:2]
    assert len(targets) == 2
    for method, settings in (("iGOS+", {"iterations": 2}), ("odam", {})):
        made = igos.explain(adapter, image, targets, method, metrics=(), **settings)
        assert [e.status for e in made] != ["not-finite"] * 2 and all(e.score_original is not None for e in made)
    with pytest.raises(IgosError):
        igos.explain(adapter, image, targets, "grad_cam", layer="nowhere")
    after = model.state_dict()
    assert before.keys() == after.keys() and all(torch.equal(before[k], v) for k, v in after.items())
    assert [m.training for m in model.modules()] == modes
    assert [p.requires_grad for p in model.parameters()] == wanted and all(p.grad is None for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def test_an_adapted_model_scores_as_the_users_own() -> None:
    torch.manual_seed(0)
    model = build_rcnn(4, True).eval()
    adapter = igos.adapt(model, ["a", "b", "c"])
    rgb = noise(160, 200)
    with torch.no_grad():
        (theirs,) = model([torch.from_numpy(rgb).permute(2, 0, 1).float() / 255])
    found = adapter.detect(adapter.read(rgb), 0.0)
    assert len(found) == len(theirs["boxes"]) > 0
    assert torch.allclose(torch.tensor([t.score for t in found]), theirs["scores"], atol=1e-4)
    assert list(adapter.labels) == ["__background__", "a", "b", "c"]


def test_what_cannot_be_adapted_says_so_in_one_line(tmp_path: Path) -> None:
    class Stubborn(nn.Module):
        def __deepcopy__(self, memo: Any) -> Any:
            raise TypeError("a lock\ncannot be copied")

    class Detector(nn.Module):
        def forward(self, x: Tensor) -> Any:
            return [{"boxes": torch.zeros(0, 4)}] * len(x)

    bad = SlimResNet(4)
    bad.layer2[0].conv1.weight.data[0, 0, 0, 0] = float("nan")  # type: ignore[index, union-attr]
    pool = build_rcnn(4, False)
    pool.roi_heads.box_roi_pool = nn.Identity()
    head = build_rcnn(4, False)
    head.roi_heads.box_predictor = nn.Identity()
    slim, net = SlimResNet(4), tiny_network(tmp_path)
    cases: list[tuple[Any, Any, dict[str, Any], str]] = [
        (Detector(), None, {"crop": 64}, "Detector answers a list for two pictures, not logits"),
        (nn.Linear(3, 4), None, {}, "Linear cannot take pictures"),
        (nn.Conv2d(3, 4, 3), None, {"crop": 32}, r"answers shape \(2, 4, 30, 30\) for two pictures, not logits"),
        (Stubborn(), None, {}, "Stubborn cannot be copied"),
        ("resnet50", None, {}, "str is no model"),
        (slim, ["a", "b"], {"crop": 64}, "labels: 2 class names, but the network has 4 classes"),
        (build_rcnn(4, False), ["a"], {}, "labels: 1 class names, but the network has 3 classes"),
        (net, list("abcd"), {}, "labels: 4 class names, but the network has 3 classes"),
        (net, None, {"input_size": 30}, "a multiple of 8 is needed"),
        (net, None, {"fit": "crop"}, "not one of stretch, letterbox"),
        (slim, None, {"zoom": 2}, "zoom does not belong to SlimResNet, which takes: name, crop, resize, mean, std"),
        (pool, None, {}, "holds Identity in place of torchvision's own part"),
        (head, None, {}, "no cls_score"),
        (lambda x: [], None, {}, "its labels are needed"),
    ]  # fmt: skip
    for model, labels, options, words in cases:
        with pytest.raises(ConfigError, match=words) as told:
            igos.adapt(model, labels, **options)
        assert "\n" not in str(told.value)
    with pytest.raises(WeightsError, match=r"mine: layer2.0.conv1.weight holds numbers that are not finite"):
        igos.adapt(bad, None, name="mine")


# --- a black box --------------------------------------------------------------------------------------


def bright(pictures: Tensor) -> list[dict[str, Any]]:
    """One object of class 1 on the patch (16..48, 8..40), as sure as the patch is bright; numpy and lists are fine."""
    light = pictures[:, :, 8:40, 16:48].mean(dim=(1, 2, 3)).tolist()
    return [{"boxes": [[16.0, 8, 48, 40]], "scores": np.array([v]), "labels": torch.tensor([1])} for v in light]


def test_a_black_box_is_explained_by_black_box_methods() -> None:
    adapter = igos.adapt(bright, ["no", "yes"], name="mine", size=(64, 96))
    assert isinstance(adapter, Adapter)
    rgb = np.full((128, 192, 3), 200, dtype=np.uint8)
    image = adapter.read(rgb)
    assert image.geometry.network == (64, 96)
    (seen,) = adapter.detect(image)
    assert (seen.name, seen.score) == ("yes", pytest.approx(200 / 255, abs=1e-3))
    score = adapter.scorer([seen])
    assert float(score(image.pixels[None, None] / 2)) == pytest.approx(100 / 255, abs=1e-3)
    for method in ("rise", "drise"):
        (e,) = igos.explain(adapter, image, [seen], method, n_masks=400, grid=6)
        heat = e.saliency / e.saliency.max()
        assert heat[5:16, 6:13].mean() > heat.mean() + 0.03 and {s.name for s in e.scores} >= {"deletion", "insertion"}
    with pytest.raises(ConfigError, match="mine is a black box without gradients: take method rise or drise"):
        igos.explain(adapter, image, [seen], "iGOS++")
    with pytest.raises(ConfigError, match="black box"):
        igos.explain(adapter, image, [seen], "odam", metrics=())
    with pytest.raises(ConfigError, match="no score logit"):
        adapter.scorer([seen], "logit")


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (None, "must answer a list of 1 dicts"), ([], "must answer a list of 1 dicts"), ([[1]], "dict of boxes"),
        ([{"boxes": [[0, 0, 1, 1]], "scores": [], "labels": [1]}], "answers 1 boxes, 0 scores and 1 labels"),
        ([{"boxes": [[0, 0, 1, 1]], "scores": [1.0], "labels": [2]}], "answers class 2, not among its 2 labels"),
        ([{"boxes": [[0, 0, 1, 1]], "scores": [1.0], "labels": [-1]}], "answers class -1"),
    ],
)  # fmt: skip
def test_other_answers_are_refused(answer: Any, words: str) -> None:
    adapter = igos.adapt(lambda x: answer, ["a", "b"])
    with pytest.raises(ConfigError, match=words):
        adapter.detect(adapter.read(noise(40, 40)))


def test_a_detector_that_returns_no_boxes_has_no_targets() -> None:
    empty = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0), "labels": torch.zeros(0, dtype=torch.long)}
    adapter = igos.adapt(lambda x: [empty] * len(x), ["a", "b"])
    image = adapter.read(noise(40, 40))
    assert adapter.detect(image, 0.0) == [] and igos.explain(adapter, image, []) == []
    seen = igos.adapt(bright, ["a", "b"]).detect(adapter.read(np.full((64, 64, 3), 255, dtype=np.uint8)))
    assert float(adapter.scorer(seen)(image.pixels[None, None])) == 0


# --- weights that are not numbers ---------------------------------------------------------------------


def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path) -> None:
    net = get_model("squeezenet1_1", weights=None)
    net.features[3].squeeze.bias.data[1] = float("inf")
    torch.save(net.state_dict(), tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="a.pth: features.3.squeeze.bias holds numbers that are not finite"):
        igos.load("squeezenet1_1", tmp_path / "a.pth")
    cfg = tmp_path / "t.cfg"
    cfg.write_text(TINY)
    count = sum(slot.numel() for slot in Darknet(parse_cfg(cfg), cfg)._slots())
    values = np.full(count, 0.5, dtype=np.float32)
    values[-1] = np.nan
    (tmp_path / "t.weights").write_bytes(struct.pack("<iiiq", 0, 2, 5, 0) + values.tobytes())
    with pytest.raises(WeightsError, match=r"t.weights: module_list.5.Conv2d.weight holds numbers that are not finite"):
        load_yolo("darknet", tmp_path / "t.weights", cfg=cfg)
