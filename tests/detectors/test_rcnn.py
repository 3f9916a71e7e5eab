"""Faster and Mask R-CNN: torchvision's own detections to the bit, pinned scores, masks, and proposals."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.roi_heads import expand_boxes
from torchvision.ops import FrozenBatchNorm2d

from detectors.rcnn import RCNNAdapter
from detectors.rcnn_files import build, load_rcnn
from igos.types import Adapter, ConfigError, Image, Target, WeightsError, passing

R50, MASK = "fasterrcnn_resnet50_fpn", "maskrcnn_resnet50_fpn"
V2, MOBILE = "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_320_fpn"
SIDE = 128  # px, the short side in these tests
State = dict[str, Tensor]


@cache
def random_state(name: str, classes: int = 91) -> State:
    """Random weights with lively batch norms, whose class scores spread out enough to make detections."""
    torch.manual_seed(0)
    net: Any = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        nn.init.uniform_(norm.weight, 0.5, 1.5)
        nn.init.uniform_(norm.bias, -0.2, 0.2)
    x = torch.stack([as_tensor(picture(SIDE, SIDE, seed)) for seed in range(2)])
    box = torch.tensor([[8.0, 8.0, 60.0, 40.0], [30.0, 10.0, 120.0, 110.0], [0.0, 70.0, 50.0, 128.0]])
    with torch.no_grad():
        net.train()
        features = net.backbone(net.transform.normalize(x))
        inside = net.roi_heads.box_head(net.roi_heads.box_roi_pool(features, [box] * 2, [(SIDE, SIDE)] * 2))
        logits, _ = net.roi_heads.box_predictor(inside)
        net.roi_heads.box_predictor.cls_score.weight.mul_(1.0 / logits.std())
    return net.state_dict()


def blank_state(name: str, classes: int) -> State:
    """Zeros of all the right shapes: enough to load."""
    with torch.device("meta"):
        shapes = get_model(name, weights=None, weights_backbone=None, num_classes=classes).state_dict()
    return {k: torch.zeros(v.shape, dtype=v.dtype) for k, v in shapes.items()}


@contextlib.contextmanager
def published(name: str, state: State) -> Iterator[Any]:
    """As if `state` were what torchvision's server holds for this network, which is built without drawing others."""
    enum: Any = get_model_weights(name)
    with contextlib.ExitStack() as stack:
        for draw in ("uniform_", "normal_", "kaiming_uniform_", "kaiming_normal_"):
            stack.enter_context(mock.patch.object(nn.init, draw, lambda tensor, *_, **__: tensor))
        stack.enter_context(mock.patch.object(enum, "get_state_dict", lambda self, *a, **k: dict(state)))
        yield enum.COCO_V1


@cache
def reference(name: str) -> Any:
    """torchvision's own network, its weights loaded by torchvision."""
    with published(name, random_state(name)) as weights:
        net: Any = get_model(name, weights=weights, min_size=SIDE, max_size=longest(name))
    return quick(net.eval())


@cache
def adapter_of(name: str) -> RCNNAdapter:
    with published(name, random_state(name)):
        adapter = load_rcnn(name, pretrained=True, input_size=SIDE)
    assert adapter.plain is not None
    quick(adapter.module)
    quick(adapter.plain.module)
    return adapter


def unfolded(name: str) -> RCNNAdapter:
    """The adapter around torchvision's network as it is, every norm in its place."""
    plain = adapter_of(name).plain
    assert plain is not None
    return plain


def quick(net: Any) -> Any:
    """40 proposals in place of 1000, of which 20 are detections: most of the time of these tests."""
    net.rpn._post_nms_top_n = {"training": 40, "testing": 40}
    net.roi_heads.detections_per_img = 20
    return net


def longest(name: str) -> int:
    return round(SIDE * (2 if name == MOBILE else 1333 / 800))


@cache
def picture(height: int = 120, width: int = 163, seed: int = 3) -> np.ndarray:
    """Soft coloured blobs, (H,W,3) uint8."""
    noise = torch.rand(1, 3, 6, 8, generator=torch.Generator().manual_seed(seed))
    soft = nn.functional.interpolate(noise, (height, width), mode="bicubic").clamp(0, 1)[0]
    return (soft.permute(1, 2, 0).numpy() * 255).astype(np.uint8)


def as_tensor(rgb: np.ndarray) -> Tensor:
    return torch.from_numpy(rgb.copy()).permute(2, 0, 1).float() / 255


@cache
def seen(name: str, threshold: float = 0.0) -> tuple[RCNNAdapter, Image, list[Target]]:
    adapter = adapter_of(name)
    image = adapter.read(picture())
    targets = adapter.detect(image, threshold)
    assert len(targets) >= 5
    return adapter, image, targets


def box_of(target: Target) -> Tensor:
    assert target.box is not None
    return target.box


# --- building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [R50, MASK, V2, MOBILE])
def test_a_network_is_built_as_torchvision_builds_it(name: str) -> None:
    net, ours = reference(name), unfolded(name).module
    assert type(net) is type(ours)
    assert (net.transform.min_size[-1], net.transform.max_size) == (SIDE, longest(name))
    assert (ours.transform.min_size[-1], ours.transform.max_size) == (SIDE, longest(name))
    norms = [(m.__class__, m.eps) for m in net.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))]
    assert norms == [(m.__class__, m.eps) for m in ours.modules() if isinstance(m, (nn.BatchNorm2d, FrozenBatchNorm2d))]
    x = as_tensor(picture())
    with torch.no_grad():
        (theirs,), (found,) = net([x]), ours([x])
    assert len(theirs["boxes"]) >= 5
    assert theirs.keys() == found.keys()
    assert all(torch.equal(theirs[k], found[k]) for k in theirs)


@pytest.mark.parametrize(("short", "long"), [("m-rcnn", MASK), ("f-rcnn", R50)])
def test_short_names(tmp_path: Path, short: str, long: str) -> None:
    torch.save(random_state(long), tmp_path / "a.pth")
    adapter = load_rcnn(short, tmp_path / "a.pth")
    assert adapter.name == short and type(adapter.module).__name__ == {"m": "MaskRCNN", "f": "FasterRCNN"}[short[0]]
    assert (adapter.module.transform.min_size, adapter.module.transform.max_size) == ((800,), 1333)
    assert list(adapter.labels)[:3] == ["__background__", "person", "bicycle"] and len(adapter.labels) == 91


def test_classes_are_counted_and_named(tmp_path: Path) -> None:
    torch.save(blank_state(MOBILE, 21), tmp_path / "a.pth")
    (tmp_path / "names.txt").write_text("\n".join(f"thing {i}" for i in range(20)))
    (tmp_path / "all.txt").write_text("\n".join(f"thing {i}" for i in range(21)))

    def labels(**options: Any) -> list[str]:
        return list(load_rcnn(MOBILE, tmp_path / "a.pth", **options).labels)

    assert labels()[::10] == ["__background__", "class 10", "class 20"]
    assert labels(dataset="voc")[:2] == ["__background__", "aeroplane"]
    assert labels(names=tmp_path / "names.txt")[:2] == ["__background__", "thing 0"]
    assert labels(names=tmp_path / "all.txt")[:2] == ["thing 0", "thing 1"]
    with pytest.raises(ConfigError, match="coco: 80 class names, but the network has 20 classes"):
        labels(dataset="coco")
    torch.save(blank_state(MOBILE, 91), tmp_path / "a.pth")
    assert labels(dataset="coco") == labels() == list(get_model_weights(MOBILE).COCO_V1.meta["categories"])  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match="names.txt: 20 class names, but the network has 90 classes"):
        labels(names=tmp_path / "names.txt")


def test_refusals_are_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.pth"
    torch.save(random_state(MOBILE), path)

    def told(kind: type[Exception], name: str, *args: Any, **options: Any) -> str:
        with pytest.raises(kind) as caught:
            load_rcnn(name, *args, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "is not one of m-rcnn, f-rcnn, fasterrcnn_" in told(ConfigError, "keypointrcnn_resnet50_fpn", path)
    assert "needs --model_file PATH or --pretrained" in told(WeightsError, "m-rcnn")
    assert "give one of the two" in told(ConfigError, "m-rcnn", path, pretrained=True)
    assert "--input_size 8" in told(ConfigError, MOBILE, path, input_size=8)
    assert "does not fit MaskRCNN" in told(WeightsError, "m-rcnn", path)
    with mock.patch.object(get_model_weights(MASK), "get_state_dict", side_effect=URLError("offline")):
        assert "m-rcnn cannot be downloaded" in told(WeightsError, "m-rcnn", pretrained=True)
    with mock.patch.object(torch.hub, "load_state_dict_from_url", side_effect=AssertionError("a download")):
        build(MOBILE, 5)


# --- reading and detecting ----------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(150, 210), (211, 120), (100, 700)])
def test_reading_is_the_networks_own_resize(size: tuple[int, int]) -> None:
    adapter, rgb = adapter_of(MOBILE), picture(*size)
    image = adapter.read(rgb)
    inside, _ = adapter.module.transform([as_tensor(rgb)])
    h, w = inside.image_sizes[0]
    assert (h, w) == image.geometry.network and image.geometry.source == size
    assert min(h, w) == SIDE or max(h, w) == longest(MOBILE)
    ours = adapter.module.transform.normalize(image.pixels)
    assert torch.allclose(ours, inside.tensors[0, :, :h, :w], atol=1e-5)
    assert float(image.pixels.min()) >= 0 and float(image.pixels.max()) <= 1


@pytest.mark.parametrize("name", [MASK, MOBILE])
def test_detections_are_the_networks_own(name: str) -> None:
    adapter, image, targets = seen(name)
    with torch.no_grad():
        (theirs,) = reference(name)([as_tensor(picture())])
    assert len(theirs["boxes"]) == len(targets)
    assert torch.allclose(torch.tensor([t.score for t in targets]), theirs["scores"], atol=1e-4)
    for target in targets:
        box = image.geometry.to_source(box_of(target))
        same = (theirs["labels"] == target.label) & ((theirs["scores"] - target.score).abs() < 1e-4)
        assert float((theirs["boxes"][same] - box).abs().amax(1).min()) < 0.5
        assert target.name == adapter.labels[target.label] and target.label > 0
    scores = [t.score for t in targets]
    assert scores == sorted(scores, reverse=True)
    assert len(adapter.detect(image, scores[3])) == 4
    assert adapter.detect(image, 1.1) == []


def test_masks_are_the_networks_own() -> None:
    _, image, targets = seen(MASK)
    net, near = reference(MASK), 0
    with torch.no_grad():
        (theirs,) = net([image.pixels])
    for target in targets:
        same = theirs["labels"] == target.label
        nearest = int(((theirs["boxes"] - box_of(target)).abs().amax(1) + 1e6 * ~same).argmin())
        assert target.mask is not None and target.mask.dtype == torch.bool
        assert target.mask.shape == image.pixels.shape[1:]
        corners = expand_boxes(theirs["boxes"][nearest][None], 30 / 28)  # masks of 28 px are pasted with a rim of one
        if (corners - corners.round()).abs().min() < 5e-3:  # pasted from whole pixels on: rounding decides of which
            near += 1
            continue
        differ = target.mask != (theirs["masks"][nearest, 0] > 0.5)
        assert differ.float().mean() < 1e-3
    assert near <= len(targets) // 10
    assert any(t.mask is not None and t.mask.any() for t in targets)
    assert all(t.mask is None for t in seen(MOBILE)[2])


@pytest.mark.parametrize("name", [MASK, MOBILE])
def test_the_index_is_the_proposal_that_made_the_detection(name: str) -> None:
    """At its proposal each detection has the score that the network reported."""
    adapter, image, targets = seen(name)
    adapter = unfolded(name)
    batch, features = adapter._features(image.pixels[None])
    (proposals,), _ = adapter.module.rpn(ImageList(batch, [image.geometry.network]), features)
    assert all(t.index is not None for t in targets)
    moved = [replace(t, box=proposals[t.index]) for t in targets[:4]]
    found = adapter.scorer(moved)(image.pixels.expand(len(moved), 1, -1, -1, -1))[:, 0]
    assert torch.allclose(found, torch.tensor([t.score for t in targets[:4]]), atol=1e-5)
    assert not torch.allclose(torch.stack([box_of(t) for t in moved]), torch.stack([box_of(t) for t in targets[:4]]))


# --- scores -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["prob", "logit"])
@pytest.mark.parametrize("name", [MASK, V2, MOBILE])
def test_the_score_is_the_box_branch_at_the_final_box(name: str, score: str) -> None:
    adapter, image, targets = seen(name)
    net = reference(name)
    sizes = [image.geometry.network]
    assert sizes[0][0] != sizes[0][1] and sizes[0][1] % 32 != 0
    chosen = targets[:3]
    boxes = torch.stack([box_of(t) for t in chosen])
    with torch.no_grad():
        batch = net.transform.batch_images([net.transform.normalize(image.pixels)], 32)
        pooled = net.roi_heads.box_roi_pool(net.backbone(batch), [boxes], sizes)
        logits, _ = net.roi_heads.box_predictor(net.roi_heads.box_head(pooled))
    expected = (logits.softmax(1) if score == "prob" else logits)[range(3), [t.label for t in chosen]]
    found = adapter.scorer(chosen, score, batch=2)(image.pixels.expand(3, 1, -1, -1, -1))[:, 0]
    assert torch.allclose(found, expected, atol=1e-4 if score == "prob" else 1e-3)  # folding rounds otherwise
    plain = unfolded(name).scorer(chosen, score, batch=2)(image.pixels.expand(3, 1, -1, -1, -1))[:, 0]
    assert torch.allclose(plain, expected, atol=1e-5 if score == "prob" else 1e-4)


def test_each_row_gets_its_own_box_and_class() -> None:
    adapter, image, targets = seen(MOBILE)
    a, b = targets[0], next(t for t in targets if t.label != targets[0].label)
    alone = [float(adapter.scorer([t])(image.pixels[None, None])) for t in (a, b)]
    assert abs(alone[0] - alone[1]) > 1e-4
    forward = adapter.scorer([a, b]).forward
    dark = image.pixels * 0.5
    found = forward(torch.stack([image.pixels, image.pixels, dark, image.pixels]), torch.tensor([1, 0, 0, 1]))
    other = float(adapter.scorer([a])(dark[None, None]))
    assert found.tolist() == pytest.approx([alone[1], alone[0], other, alone[1]], abs=1e-5)


def test_the_gradient_is_right_and_the_network_stays_as_it_was() -> None:
    adapter, image, targets = seen(MOBILE)
    module = adapter.module
    before = {k: v.clone() for k, v in module.state_dict().items()}
    pools = list(module.roi_heads.box_roi_pool.scales)
    scorer = adapter.scorer(targets[:2], "logit", batch=2)
    rows, x = torch.tensor([0, 1]), image.pixels.expand(2, -1, -1, -1)
    kept = image.pixels.clone()
    ((_, scores, g),) = scorer.stream(rows, lambda part: x[part], gradient=True)
    assert g is not None and g.shape == x.shape and bool(g.isfinite().all())
    step = 0.1 * g / g.flatten(1).norm(dim=1)[:, None, None, None] ** 2
    with torch.no_grad():
        near = [scorer.forward(x + sign * step, rows) for sign in (1, -1)]
    assert torch.allclose(near[0] - near[1], torch.full((2,), 0.2), rtol=0.02)
    assert torch.equal(image.pixels, kept)
    assert all(torch.equal(v, before[k]) for k, v in module.state_dict().items())
    assert not module.training and module.roi_heads.box_roi_pool.scales == pools
    assert all(p.grad is None and not p.requires_grad for p in module.parameters())


def test_an_odd_first_picture_does_not_spoil_later_ones() -> None:
    """torchvision's poolers infer their strides from the first picture; ours were told before."""
    with published(MOBILE, random_state(MOBILE)):
        adapter = load_rcnn(MOBILE, pretrained=True, input_size=64)
    assert adapter.module.roi_heads.box_roi_pool.scales == [1 / 32, 1 / 32]
    assert adapter_of(MASK).module.roi_heads.mask_roi_pool.scales == [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    adapter.detect(adapter.read(picture(20, 380)), 0.0)
    assert adapter.module.roi_heads.box_roi_pool.scales == [1 / 32, 1 / 32]


def test_the_network_sees_channels_last() -> None:
    adapter, image, targets = seen(MOBILE)
    formats: list[bool] = []
    first = next(m for m in adapter.module.backbone.modules() if isinstance(m, nn.Conv2d))
    assert first.weight.is_contiguous(memory_format=torch.channels_last)
    with first.register_forward_pre_hook(
        lambda _, args: formats.append(args[0].is_contiguous(memory_format=torch.channels_last))
    ):
        adapter.scorer(targets[:1])(image.pixels[None, None])
        passing(adapter).detect(image, 0.0)
    assert formats == [True, True]


def test_the_adapter_keeps_its_promises() -> None:
    adapter, _, targets = seen(MOBILE)
    assert isinstance(adapter, Adapter)
    assert (adapter.preset, adapter.default_target) == ("detect-rcnn", "all")
    assert adapter.device == torch.device("cpu") and adapter.scorer(targets[:1]).batch == 4
    with pytest.raises(ConfigError, match="every target needs one"):
        adapter.scorer([Target(1, "person", 0.5)])
    with pytest.raises(ConfigError, match="score 'odds' is not one of prob, logit"):
        adapter.scorer(targets[:1], "odds")
