"""torchvision's RetinaNet, FCOS, SSD and SSDlite: detections and scores equal the network's own inference."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.models.detection.anchor_utils import DefaultBoxGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.ssd import SSD, _vgg_extractor
from torchvision.models.vgg import make_layers

import igos
from detectors import ADAPTERS
from detectors.dense import DenseAdapter
from detectors.onestage import build
from igos.types import Adapter, ConfigError, WeightsError
from tests.conftest import shared_data
from tests.detectors.test_yolov3 import noise

NAMES = ("retinanet_resnet50_fpn", "retinanet_resnet50_fpn_v2", "fcos_resnet50_fpn", "ssd300_vgg16",
         "ssdlite320_mobilenet_v3_large")  # fmt: skip
LABELS = ["a", "b", "c", "d"]


def thin_ssd() -> SSD:
    """SSD300 as torchvision builds it, on a VGG with the five pools of VGG-16 and a fortieth of its work."""
    vgg: Any = SimpleNamespace(features=make_layers([8, "M", 16, "M", 32, "M", 512, "M", 512, "M"]))
    boxes = DefaultBoxGenerator(
        [[2], [2, 3], [2, 3], [2, 3], [2], [2]],
        scales=[0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05],
        steps=[8, 16, 32, 64, 100, 300],
    )
    numbers: Any = {"image_mean": [0.48235, 0.45882, 0.40784], "image_std": [1 / 255] * 3}
    return SSD(_vgg_extractor(vgg, False, 5), boxes, (300, 300), 5, **numbers)


@cache
def network(name: str) -> Any:
    """With random weights whose scores are spread, for pictures of 96 px where the network allows it."""
    torch.manual_seed(0)
    made = thin_ssd().eval() if name == "ssd300_vgg16" else build(name, 5).eval()
    if not name.startswith("ssd"):
        made.transform.min_size, made.transform.max_size = (96,), 128
    for key, p in made.named_parameters():
        if "cls_logits.bias" in key:
            p.data.fill_(-1.5)
        if "cls_logits.weight" in key or "classification_head.module_list" in key:
            p.data.mul_(5 if p.ndim == 4 and not name.startswith("ssd3") else 1)
    made.score_thresh = 0.05
    return made


@cache
def adapter_of(name: str) -> Any:
    return igos.adapt(network(name), LABELS)


def matched(theirs: dict[str, torch.Tensor], boxes: torch.Tensor, scores: torch.Tensor, labels: torch.Tensor) -> None:
    """Each of ours is one of theirs, and each of theirs that has an area one of ours."""
    sound = (theirs["boxes"][:, 2:] > theirs["boxes"][:, :2]).all(1)
    assert len(boxes) == int(sound.sum()) > 0
    far = torch.cdist(boxes, theirs["boxes"][sound], p=torch.inf)
    far = (
        far
        + 100 * (labels[:, None] != theirs["labels"][sound])
        + 5e3 * (scores[:, None] - theirs["scores"][sound]).abs()
    )
    assert float(far.amin(0).max()) < 0.5 and float(far.amin(1).max()) < 0.5  # 0.5 px and 1e-4 of score


@pytest.mark.parametrize("name", NAMES)
def test_detections_are_the_networks_own(name: str) -> None:
    adapter = adapter_of(name)
    assert isinstance(adapter, DenseAdapter) and isinstance(adapter, Adapter)
    assert list(adapter.labels) == ["__background__", *LABELS]
    for rgb in (noise(96, 128), noise(150, 90))[: 2 if name in (NAMES[0], NAMES[4]) else 1]:
        with torch.no_grad():
            (theirs,) = network(name)([torch.from_numpy(rgb).permute(2, 0, 1).float() / 255])
        image = adapter.read(rgb)
        seen = adapter.detect(image, 0.0)
        boxes = image.geometry.to_source(torch.stack([t.box for t in seen if t.box is not None]))
        matched(theirs, boxes, torch.tensor([t.score for t in seen]), torch.tensor([t.label for t in seen]))
    some = seen[:2]
    scores = adapter.scorer(some)(image.pixels.expand(len(some), 1, -1, -1, -1))[:, 0]
    assert torch.allclose(scores, torch.tensor([t.score for t in some]), atol=1e-4)
    x = image.pixels[None].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(adapter.scorer(some[:1], "logit").forward(x, torch.tensor([0])).sum(), x)
    assert bool(g.isfinite().all()) and float(g.abs().max()) > 0
    assert network(name).transform._skip_resize is False  # the user's own stays as it was


def test_a_layer_of_the_targets_level_suits_it() -> None:
    adapter = adapter_of("retinanet_resnet50_fpn")
    image = adapter.read(noise(96, 128))
    (first, *_) = adapter.detect(image, 0.0)
    (name,) = adapter.scorer([first]).feature_layers(image.pixels[None])
    assert name.startswith("backbone.")
    for method in ("odam", "grad_cam"):
        (e,) = igos.explain(adapter, image, [first], method, metrics=())
        assert bool(e.saliency.isfinite().all())


def test_memory_is_of_another_format_only_where_a_probe_has_shown_it() -> None:
    adapter = igos.adapt(network("ssdlite320_mobilenet_v3_large"), LABELS)
    image = adapter.read(noise(96, 128))
    assert isinstance(adapter, DenseAdapter) and adapter.plain is not None
    for way, wanted in ((adapter, adapter._format), (adapter.plain, torch.contiguous_format)):
        seen = list[torch.Tensor]()
        backbone: Any = way.module.backbone
        handle = backbone.register_forward_pre_hook(lambda _, given, seen=seen: seen.append(given[0]))
        way._candidates(image)
        handle.remove()
        assert seen[0].is_contiguous(memory_format=wanted)


def test_by_name_with_weights_of_another_number_of_classes(tmp_path: Path) -> None:
    for name in ("fcos_resnet50_fpn", "ssdlite320_mobilenet_v3_large"):
        assert ADAPTERS[name].preset == "detect-dense"
        state = network(name).state_dict()
        torch.save(state, tmp_path / "own.pth")
        (tmp_path / "own.names").write_text("\n".join(LABELS))
        less: Any = {} if name.startswith("ssd") else {"input_size": 96}
        adapter = igos.load(name, tmp_path / "own.pth", names=tmp_path / "own.names", **less)
        assert list(adapter.labels) == ["__background__", *LABELS]
        assert all(torch.equal(v, state[k]) for k, v in adapter.module.state_dict().items())
    for options, kind, words in (
        ({}, WeightsError, "needs weights=PATH or pretrained=True"),
        ({"weights": tmp_path / "own.pth", "pretrained": True}, ConfigError, "give one of the two"),
        ({"weights": tmp_path / "own.pth", "names": tmp_path / "own.pth"}, ConfigError, "names"),
    ):
        with pytest.raises(kind, match=words):
            igos.load("fcos_resnet50_fpn", **options)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="input_size 320: ssd300_vgg16: its pictures have one size"):
        igos.load("ssd300_vgg16", tmp_path / "own.pth", input_size=320)
    with pytest.raises(WeightsError, match="does not fit RetinaNet"):
        igos.load("retinanet_resnet50_fpn", tmp_path / "own.pth")


def test_a_head_or_transform_of_another_kind_is_refused() -> None:
    odd = build("ssdlite320_mobilenet_v3_large", 5)
    odd.head.classification_head = torch.nn.Identity()
    with pytest.raises(ConfigError, match="no classification_head of torchvision's"):
        igos.adapt(odd)
    assert not isinstance(odd.backbone, BackboneWithFPN)
    odd.transform = torch.nn.Identity()
    with pytest.raises(ConfigError, match="holds Identity in place of torchvision's own part"):
        igos.adapt(odd)


def test_photos_are_read_as_torchvision_reads_them() -> None:
    adapter = adapter_of("ssd300_vgg16")
    image = adapter.read(shared_data("photos", "rise_catdog.png"))
    assert image.geometry.network == (300, 300) and np.asarray(image.source).dtype == np.uint8
