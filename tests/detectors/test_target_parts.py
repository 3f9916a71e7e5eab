"""--part: class, box, class_box and mask of a pinned detection, each against a figure worked out by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision.models.detection.roi_heads import maskrcnn_inference, paste_masks_in_image
from torchvision.ops import box_iou, clip_boxes_to_image

import igos
from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimResNet, build_rcnn
from detectors.rcnn import RCNNAdapter
from detectors.targets import box_parts, overlap
from detectors.yolov3 import YOLOAdapter
from igos.base.names import EDGES, PARTS
from igos.types import ConfigError, Image, Target
from tests.detectors.test_yolov3 import noise, tiny_network

X, Y = 48, 32  # the tiny YOLO's picture


@cache
def rcnn(masks: bool = True) -> RCNNAdapter:
    torch.manual_seed(0)
    net = build_rcnn(5, masks)
    torch.nn.init.normal_(net.roi_heads.box_predictor.cls_score.weight, std=0.5)
    torch.nn.init.normal_(net.roi_heads.box_predictor.bbox_pred.weight, std=1.0)
    if masks:
        torch.nn.init.normal_(net.roi_heads.mask_predictor.mask_fcn_logits.weight, std=2.0)
    return RCNNAdapter(net, ["__background__", *"abcd"], name="slim")


@pytest.fixture
def yolo(tmp_path: Path) -> YOLOAdapter:
    return YOLOAdapter(tiny_network(tmp_path), ["a", "b", "c"], name="tiny", size=(Y, X))


def target(
    part: str = "class", mask: Tensor | None = None, box: tuple[float, ...] = (20.0, 30.0, 110.0, 96.0)
) -> Target:
    return Target(2, "b", 0.5, torch.tensor(box), mask, 0, part)


def one(adapter: RCNNAdapter | YOLOAdapter, image: Image, t: Target, score: str = "prob") -> float:
    return float(adapter.scorer([t], score)(image.pixels[None, None]))


@given(st.lists(st.floats(0, 50), min_size=8, max_size=8))
@settings(max_examples=50, deadline=None)
def test_overlap_is_iou(v: list[float]) -> None:
    a, b = (torch.tensor([[x, y, x + w + 0.1, y + h + 0.1]]) for x, y, w, h in (v[:4], v[4:]))
    assert torch.allclose(overlap(a, b), box_iou(a, b)[0], atol=1e-5)
    assert float(overlap(a, a)) == pytest.approx(1, abs=1e-5)


def test_the_box_of_a_yolo_row_by_hand(yolo: YOLOAdapter) -> None:
    """Row 0 is cell (0,0) of the head with stride 8 and anchor 14 x 11."""
    image = yolo.read(noise())
    tx, ty, tw, th, objectness, _, b = yolo.module(image.pixels[None])[0, 0, :7].tolist()

    def sigmoid(v: float) -> float:
        return 1 / (1 + math.exp(-v))

    cx, cy, w, h = 8 * sigmoid(tx), 8 * sigmoid(ty), 14 * math.exp(tw), 11 * math.exp(th)
    x1, y1, x2, y2 = max(cx - w / 2, 0), max(cy - h / 2, 0), min(cx + w / 2, X), min(cy + h / 2, Y)
    assert x1 < 6 < x2 and y1 < 5 < y2
    own = target("box", box=(0.0, 0.0, 6.0, 5.0))
    both = (6 - x1) * (5 - y1)
    iou = both / (30 + (x2 - x1) * (y2 - y1) - both)
    own = replace(own, label=1)
    p = sigmoid(objectness) * sigmoid(b)
    assert one(yolo, image, own) == pytest.approx(iou, abs=1e-5)
    assert one(yolo, image, replace(own, part="class_box")) == pytest.approx(iou * p, abs=1e-5)
    assert one(yolo, image, replace(own, part="class")) == pytest.approx(p, abs=1e-5)


def test_a_detection_of_yolo_fits_its_own_box(yolo: YOLOAdapter) -> None:
    image = yolo.read(noise())
    found = yolo.detect(image, 0.1)
    assert len(found) >= 3
    boxes = [replace(t, part="box") for t in found]
    assert torch.allclose(yolo.scorer(boxes)(image.pixels.expand(len(boxes), 1, -1, -1, -1)), torch.tensor(1.0))


def test_the_box_of_an_rcnn_by_hand() -> None:
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    t, size = target("box"), image.geometry.network
    assert t.box is not None
    heads = adapter.module.roi_heads
    with torch.no_grad():
        _, features = adapter._features(image.pixels[None])
        logits, deltas = heads.box_predictor(heads.box_head(heads.box_roi_pool(features, [t.box[None]], [size])))
    dx, dy, dw, dh = (deltas[0].view(5, 4)[2] / torch.tensor([10.0, 10.0, 5.0, 5.0])).tolist()
    cx, cy, w, h = 65 + 90 * dx, 63 + 66 * dy, 90 * math.exp(dw), 66 * math.exp(dh)
    made = torch.tensor([[cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2]])
    assert (made - t.box).abs().max() > 1, "a box that moved"
    iou = float(box_iou(clip_boxes_to_image(made, size), t.box[None]))
    p = float(logits.softmax(-1)[0, 2])
    assert 0.05 < iou < 0.99
    assert one(adapter, image, t) == pytest.approx(iou, abs=1e-4)
    assert one(adapter, image, target("class_box")) == pytest.approx(iou * p, abs=1e-4)


def test_an_edge_counts_alone_by_hand() -> None:
    """A box of 10 x 20 whose left edge moves in by 2, top out by 5, right by nothing, bottom beyond its top."""
    own, made = torch.tensor([[10.0, 10.0, 20.0, 30.0]]), torch.tensor([[12.0, 5.0, 20.0, 4.0]])
    values = box_parts(made, own, torch.tensor([0.5]))
    told = {k: round(float(v), 5) for k, v in values.items()}
    assert told == {"box": 0.0, "class_box": 0.0, "left": 0.8, "top": 0.8, "right": 1.0, "bottom": 0.0}


def test_every_edge_of_a_detection_holds_in_its_own_picture(yolo: YOLOAdapter) -> None:
    image = yolo.read(noise())
    edges = [replace(yolo.detect(image, 0.1)[0], part=edge) for edge in EDGES]
    pictures = image.pixels.expand(4, 1, -1, -1, -1).clone().requires_grad_()
    held = yolo.scorer(edges)(pictures)
    assert torch.allclose(held, torch.tensor(1.0), atol=1e-5)
    moved = yolo.scorer(edges)(image.pixels.flip(2).expand(4, 1, -1, -1, -1))
    assert ((moved >= 0) & (moved <= 1)).all() and (moved < 1).any()


@pytest.mark.parametrize("where", ["all", "left", "pixel"])
def test_the_mask_is_the_mean_probability_over_the_instance(where: str) -> None:
    """Against torchvision's own mask branch: all of the box, its left half, one cell."""
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    height, width = image.geometry.network
    mask = torch.zeros(height, width, dtype=torch.bool)
    box, n = (20.0, 30.0, 132.0, 142.0), 28  # 112 px: a cell of the branch is 4 px
    columns = {"all": slice(0, 28), "left": slice(0, 14), "pixel": slice(5, 6)}[where]
    rows = slice(3, 4) if where == "pixel" else slice(0, 28)
    mask[30 + 4 * rows.start : 30 + 4 * rows.stop, 20 + 4 * columns.start : 20 + 4 * columns.stop] = True
    t = target("mask", mask, box)
    heads = adapter.module.roi_heads
    with torch.no_grad():
        _, features = adapter._features(image.pixels[None])
        assert t.box is not None
        pooled = heads.mask_roi_pool(features, [t.box[None]], [(height, width)])
        shown = maskrcnn_inference(heads.mask_predictor(heads.mask_head(pooled)), [torch.tensor([2])])[0][0, 0]
    assert shown.shape == (n, n) and shown.std() > 0.05
    tolerance = 0.06 if where == "pixel" else 0.01  # a mask's edge lies between the pixels that are sampled
    assert one(adapter, image, t) == pytest.approx(float(shown[rows, columns].mean()), abs=tolerance)
    pasted = paste_masks_in_image(shown[None, None], t.box[None], (height, width))[0, 0]
    assert one(adapter, image, t) == pytest.approx(float(pasted[mask].mean()), abs=max(0.02, tolerance))


def test_parts_of_one_batch_do_not_mix_and_all_have_gradients() -> None:
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    mask = torch.zeros(image.geometry.network, dtype=torch.bool)
    mask[40:80, 30:90] = True
    targets = [target(part, mask) for part in PARTS]
    alone = [one(adapter, image, t) for t in targets]
    scorer = adapter.scorer(targets, batch=3)
    rows = torch.tensor([3, 0, 1, 2, 1])
    x = image.pixels.expand(5, -1, -1, -1)
    found = list(scorer.stream(rows, lambda part: x[part], gradient=True))
    assert torch.allclose(torch.cat([s for _, s, _ in found]), torch.tensor(alone)[rows], atol=1e-5)
    assert all(g is not None and bool((g.flatten(1).abs().amax(dim=1) > 0).all()) for _, _, g in found)
    assert len({round(a, 4) for a in alone}) == len(PARTS)


@pytest.mark.parametrize("part", ["box", "class_box", "left", "bottom", "mask"])
def test_the_gradient_of_a_part_is_right(part: str) -> None:
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    mask = torch.zeros(image.geometry.network, dtype=torch.bool)
    mask[40:80, 30:90] = True
    scorer, x = adapter.scorer([target(part, mask)]), image.pixels[None]
    ((_, _, g),) = scorer.stream(torch.zeros(1, dtype=torch.long), lambda s: x[s], gradient=True)
    assert g is not None
    step = 2e-3 * g / g.norm() ** 2
    with torch.no_grad():
        near = [float(scorer.forward(x + sign * step, torch.zeros(1, dtype=torch.long))) for sign in (1, -1)]
    assert near[0] - near[1] == pytest.approx(4e-3, rel=0.1)


def test_what_a_model_has_not_is_refused_in_one_line(yolo: YOLOAdapter) -> None:
    classifier = ClassifierAdapter(SlimResNet(3), ["a", "b", "c"], name="slim", crop=32, resize=32)
    seen = torch.ones(160, 200, dtype=torch.bool)
    cases = [
        (classifier, target("box"), "slim has no such part; it has class"),
        (yolo, target("mask", seen), "tiny has no such part; it has class, box, class_box"),
        (rcnn(False), target("mask", seen), "slim has no such part; it has class, box, class_box"),
        (rcnn(), target("mask"), "needs the target's instance mask"),
        (rcnn(), target("mask", seen & False), "at least one pixel"),
        (yolo, Target(1, "b", 0.5, index=0, part="box"), "needs the target's box"),
        (rcnn(), replace(target(), label=5), "class 5 is not among the 5 classes"),
        (yolo, replace(target(), label=3), "class 3 is not among the 3 classes"),
        (yolo, replace(target(), index=999), "row 999 is not among the 144 rows"),
        (yolo, replace(target(), index=None), "row None is not among"),
        (rcnn(), target(box=(5.0, 5.0, 5.0, 9.0)), "has no area"),
        (rcnn(), target(box=(5.0, 5.0, float("nan"), 9.0)), "has no area"),
    ]  # fmt: skip
    for adapter, t, words in cases:
        with pytest.raises(ConfigError, match=words) as told:
            adapter.scorer([t])
        assert "\n" not in str(told.value)
    with pytest.raises(ConfigError, match="part box needs score prob"):
        yolo.scorer([target("box")], "logit")
    with pytest.raises(ConfigError, match="part 'legs' is not one of class, box, class_box, left, top, right, bottom"):
        target("legs")


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ((300.0, 10.0, 310.0, 20.0), "lies outside of the network's picture of 200 x 160 px"),
        ((-20.0, 10.0, -5.0, 20.0), "lies outside"),
        ((10.0, 10.0, 10.0, 20.0), "has no area"),
    ],
)
def test_boxes_that_show_nothing_are_refused(box: tuple[float, ...], words: str) -> None:
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    with pytest.raises(ConfigError, match=words):
        igos.explain(adapter, image, [target(box=box)])


def test_each_part_draws_its_own_map() -> None:
    adapter = rcnn()
    image = adapter.read(np.asarray(noise(160, 200)))
    mask = torch.zeros(image.geometry.network, dtype=torch.bool)
    mask[40:80, 30:90] = True
    targets = [target(part, mask) for part in PARTS]
    made = igos.explain(adapter, image, targets, iterations=2, ig_iter=1, size=8, sure=False, metrics=())
    assert [e.target.part for e in made] == list(PARTS)
    assert all(not torch.equal(a.saliency, b.saliency) for i, a in enumerate(made) for b in made[:i])
