"""Grad-CAM against captum, ODAM and D-RISE against sums written out by hand; each finds what a toy looks at."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model
from torchvision.ops import box_iou

import igos
from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimResNet, SlimVGG
from detectors.yolov3 import YOLOAdapter
from igos.base.ops import to_grid
from igos.methods.blackbox.drise import DRISE, similarity
from igos.methods.blackbox.rise import RISE
from igos.methods.layer.grad_cam import GradCAM
from igos.methods.layer.layer import over_picture
from igos.methods.layer.odam import ODAM
from igos.run.problem import make_problem
from igos.types import ConfigError, Detections, Problem, Scorer, Target
from tests.conftest import Later, net_score, toy_image, toy_problem
from tests.detectors.test_target_parts import rcnn, target
from tests.detectors.test_yolov3 import noise, tiny_network

captum_attr = Later("captum.attr")


def classifier(net: nn.Module, crop: int = 64) -> ClassifierAdapter:
    return ClassifierAdapter(net, list("abcde"), name="net", crop=crop, resize=crop)


def networks() -> dict[str, nn.Module]:
    torch.manual_seed(0)
    return {
        "slim resnet": SlimResNet(5),
        "slim vgg": SlimVGG(5),
        "mobilenet": get_model("mobilenet_v3_small", weights=None, num_classes=5),
    }


# --- Grad-CAM -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", ["prob", "logit"])
@pytest.mark.parametrize(
    "name", ["slim resnet/layer3", "slim resnet/layer1", "slim vgg/features.3", "mobilenet/features.9"]
)
def test_grad_cam_is_captums(name: str, score: str) -> None:
    name, layer = name.split("/")
    adapter = classifier(networks()[name])
    image = adapter.read(noise(80, 80))
    targets = [Target(i, "t", 0.5) for i in (3, 0)]
    problem = make_problem(adapter, image, targets, score=score)
    made = GradCAM(size=20, layer=layer)(problem)
    oracle = captum_attr.LayerGradCam(problem.score.forward, adapter.module.get_submodule(layer))
    for i, e in enumerate(made):
        raw = oracle.attribute(problem.x[i : i + 1], additional_forward_args=torch.tensor([i]), relu_attributions=True)
        full = nn.functional.interpolate(raw.detach(), size=(64, 64), mode="bilinear", align_corners=False)[:, 0]
        expected = to_grid(full, (20, 20))[0]
        assert expected.max() > 0
        assert torch.allclose(e.saliency, expected, rtol=1e-4, atol=1e-5 * float(expected.max()))
    assert problem.score.forward_images.tolist() == problem.score.backward_images.tolist() == [1 + 2, 1 + 2], (
        "the check that the layer cuts takes two"
    )


@pytest.mark.parametrize(
    ("name", "layer"), [("slim resnet", "layer3"), ("slim vgg", "avgpool"), ("mobilenet", "features")]
)
def test_the_last_map_of_features_is_the_usual_layer(name: str, layer: str) -> None:
    adapter = classifier(networks()[name], 96)
    assert adapter.feature_layer == layer
    found = adapter.scorer([Target(1, "b", 0.5)] * 2)
    assert found.feature_layers(torch.rand(2, 3, 96, 96)) == [layer] * 2
    found.cuts(layer, torch.rand(1, 3, 96, 96), torch.zeros(1, dtype=torch.long))


def test_a_layer_that_does_not_cut_is_refused() -> None:
    adapter = classifier(networks()["slim resnet"])
    image = adapter.read(noise(80, 80))
    with pytest.raises(
        ConfigError, match=r"layer layer2.0.conv1: \d+% of the gradient goes round it; these cut it: .*layer"
    ):
        igos.explain(adapter, image, [Target(1, "b", 0.5)], "grad_cam", layer="layer2.0.conv1", metrics=())
    with pytest.raises(ConfigError, match="near: layer"):
        igos.explain(adapter, image, [Target(1, "b", 0.5)], "grad_cam", layer="layer9", metrics=())


LAID = [((10, 12), (320, 384), (320, 384)), ((56, 64), (205, 250), (224, 256)), ((8, 8), (299, 299), (299, 299))]


@pytest.mark.parametrize(("cells", "size", "full"), LAID)
def test_a_map_is_laid_where_its_cells_look(
    cells: tuple[int, int], size: tuple[int, int], full: tuple[int, int]
) -> None:
    """Cell 3, 5 of a map covers the picture from 3 and 5 strides on; padding below and right is cut off."""
    maps = torch.zeros(1, *cells)
    maps[0, 3, 5] = 1
    laid = over_picture(maps, size)[0]
    y, x = divmod(int(laid.argmax()), size[1])
    stride = full[0] / cells[0], full[1] / cells[1]
    assert laid.shape == size and abs(y + 0.5 - 3.5 * stride[0]) <= 1 and abs(x + 0.5 - 5.5 * stride[1]) <= 1


# --- ODAM ---------------------------------------------------------------------------------------------


class Places(nn.Module):
    """Features A = stem(x) of stride 8; output k weighs A by its own fixed weights over channels and positions."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 2, 8, stride=8, bias=False)
        self.weight = nn.Parameter(torch.zeros(2, 2, 3, 4))
        self.weight.data[0, :, :, :2] = torch.randn(2, 3, 2)  # object 0 on the left
        self.weight.data[1, :, :, 2:] = torch.randn(2, 3, 2)  # object 1 on the right
        self.double().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return (self.weight * self.stem(x)[:, None]).sum(dim=(2, 3, 4))


def places() -> tuple[Places, Problem]:
    net = Places()
    problem = toy_problem(lambda x, rows: net(x).gather(1, rows[:, None])[:, 0], 2)
    score = Scorer(problem.score.forward, 2, 1, module=net, layers=lambda _: ["stem", "stem"])
    return net, replace(problem, score=score)


def test_odam_weighs_every_position_by_its_own_gradient() -> None:
    net, problem = places()
    made = ODAM(size=8)(problem)
    a = net.stem(problem.x[:1])[0]
    for k, e in enumerate(made):
        by_hand = torch.zeros(3, 4, dtype=torch.float64)
        for i in range(3):
            for j in range(4):
                by_hand[i, j] = max(sum(float(net.weight[k, c, i, j] * a[c, i, j]) for c in range(2)), 0)
        assert by_hand.max() > 0
        expected = to_grid(over_picture(by_hand[None], (24, 32)), (8, 8))[0]
        assert torch.allclose(e.saliency, expected.float(), atol=1e-5)
    left, right = (e.saliency for e in made)
    assert left[:, 6:].sum() == 0 and right[:, :2].sum() == 0
    both = [e.saliency for e in GradCAM(size=8)(problem)]
    assert both[0][:, 6:].sum() > 0 or both[1][:, :2].sum() > 0, "Grad-CAM has one weight per channel"


def test_odam_reads_the_level_that_a_box_is_pooled_from() -> None:
    adapter = rcnn()
    image = adapter.read(noise(160, 200))
    targets = [target(box=(4.0, 4.0, 4.0 + side, 4.0 + side)) for side in (20, 60, 150)]
    levels = adapter.module.roi_heads.box_roi_pool.map_levels(
        [torch.stack([t.box for t in targets if t.box is not None])]
    )
    problem = make_problem(adapter, image, targets)
    names = problem.score.feature_layers(problem.x)
    assert names == [f"backbone.fpn.layer_blocks.{level}" for level in levels.tolist()] and len(set(names)) == 2
    for i, name in enumerate(names):
        problem.score.cuts(name, problem.x[:1], torch.tensor([i]))
    made = ODAM()(problem)
    for e, t in zip(made, targets, strict=True):
        assert t.box is not None
        x1, y1, x2, y2 = (t.box * 28 / torch.tensor([200, 160, 200, 160])).tolist()
        inside = e.saliency[max(int(y1) - 1, 0) : math.ceil(y2) + 2, max(int(x1) - 1, 0) : math.ceil(x2) + 2].sum()
        assert e.saliency.sum() > 0 and inside / e.saliency.sum() > 0.95, "pooling reads the box alone"


def test_odam_of_yolo_reads_the_map_before_the_head(tmp_path: Path) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path), list("abc"), size=(32, 48))
    image = adapter.read(noise())
    box = torch.tensor([1.0, 1.0, 30.0, 30.0])
    targets = [Target(1, "b", 0.5, box, index=i) for i in (0, 47, 48, 143)]
    problem = make_problem(adapter, image, targets)
    assert problem.score.feature_layers(problem.x) == [
        "module_list.1",
        "module_list.1",
        "module_list.4",
        "module_list.4",
    ]
    maps = [e.saliency for e in ODAM(size=16)(problem)]
    top, left = maps[2].nonzero().amax(dim=0).tolist() if maps[2].any() else (0, 0)
    assert max(top, left) <= 4, "row 48 is the first cell: nothing far from the corner"
    short = make_problem(adapter, image, targets[:1])
    assert torch.equal(ODAM(size=16, layer="1")(short)[0].saliency, maps[0]), "the end of a name is enough"


# --- D-RISE -------------------------------------------------------------------------------------------


def test_similarity_by_hand() -> None:
    box = torch.tensor([0.0, 0.0, 10.0, 10.0])
    vector = torch.tensor([0.8, 0.6])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 5], [20, 20, 30, 30]])
    probs = torch.tensor([[0.6, 0.8], [0.8, 0.6], [0.8, 0.6]])
    objectness = torch.tensor([0.5, 0.9, 1.0])
    assert float(similarity(box, vector, (boxes, probs, objectness))) == pytest.approx(max(0.96 * 0.5, 0.5 * 0.9, 0))
    assert float(similarity(box, vector, (boxes, probs, torch.tensor([0.4, 0.9, 1.0])))) == pytest.approx(0.45)
    assert float(similarity(box, vector, (boxes[:0], probs[:0], objectness[:0]))) == 0


def seeing(pictures: Tensor) -> list[Detections]:
    """One object where the patch is bright, of a box that shrinks with its light; nothing in the dark."""
    out = []
    for light in pictures[:, :, 6:18, 8:20].mean(dim=(1, 2, 3)):
        n = int(light > 0.05)
        box = torch.tensor([[8.0, 6.0, 8 + 12 * min(2 * float(light), 1.0), 18.0]])[:n]
        out.append((box, torch.tensor([[0.9, 0.1]])[:n], torch.full((n,), 0.5)))
    return out


def test_drise_is_the_sum_of_masks_weighted_by_the_best_match() -> None:
    seen: list[int] = []

    def counting(pictures: torch.Tensor) -> list[Detections]:
        seen.append(len(pictures))
        return seeing(pictures)

    problem = replace(toy_problem(net_score(2), 2, dtype=torch.float32), detect=counting, picture_seeds=[7, 7])
    method = DRISE(n_masks=40, grid=4, size=8)
    made = method(problem)
    for k, e in enumerate(made):
        total = torch.zeros(24, 32)
        for i in range(40):
            mask = method._mask(24, 32, 7 + i)
            ((boxes, _, _),) = seeing(problem.x[k][None] * mask)
            box = problem.targets[k].box
            assert box is not None
            total += mask * (float(box_iou(box[None], boxes).max()) * 0.5 if len(boxes) else 0)  # cos = 1, O = 0.5
        expected = to_grid(total[None] / 20, (8, 8))[0]
        assert torch.allclose(e.saliency, expected, atol=1e-5) and expected.max() > 0
    assert sum(seen) == 41, "objects of one picture share its masks"
    assert problem.score.forward_images.tolist() == [41, 41] and problem.score.backward_images.sum() == 0
    assert problem.score.seconds > 0


def test_drise_finds_the_patch_and_does_not_depend_on_chunks() -> None:
    maps = []
    for batch in (1, 7, 64):
        problem = replace(toy_problem(net_score(2), 1, dtype=torch.float32, batch=batch), detect=seeing)
        maps.append(DRISE(n_masks=300, grid=4, size=8)(problem)[0].saliency)
    assert torch.allclose(maps[0], maps[1], atol=1e-5) and torch.allclose(maps[0], maps[2], atol=1e-5)
    inside = maps[0][2:6, 2:5].mean()
    assert inside > maps[0].mean() * 1.1


def test_drise_wants_a_detector_and_rise_does_not() -> None:
    adapter = classifier(SlimVGG(5))
    image = adapter.read(noise(80, 80))
    with pytest.raises(ConfigError, match="drise matches detections"):
        igos.explain(adapter, image, [Target(1, "b", 0.5)], "drise", metrics=())
    assert igos.explain(adapter, image, [Target(1, "b", 0.5)], RISE(n_masks=4), metrics=())


def test_what_the_detectors_see_holds_their_detections(tmp_path: Path) -> None:
    """The best match of a detection in its own picture is itself: similarity = objectness."""
    yolo = YOLOAdapter(tiny_network(tmp_path), list("abc"), size=(32, 48))
    for adapter, image in ((yolo, yolo.read(noise())), (rcnn(), rcnn().read(noise(160, 200)))):
        targets = adapter.detect(image, 0.2)[:3]
        assert len(targets) == 3
        (found,) = adapter.detections(image.pixels[None])
        boxes, probs, objectness = found
        assert (
            boxes.shape == (len(probs), 4) and probs.shape[1] == len(adapter.labels) and len(objectness) == len(probs)
        )
        for t in targets:
            assert t.box is not None and t.index is not None
            same = (boxes - t.box).abs().amax(dim=1) < 1e-3
            scores = probs[same, t.label] * objectness[same]
            assert bool(((scores - t.score).abs() < 1e-4).any())
            assert float(similarity(t.box, probs[t.index], found)) >= float(objectness[t.index]) - 1e-4
    problem = make_problem(yolo, yolo.read(noise()), yolo.detect(yolo.read(noise()), 0.2)[:2])
    assert all(e.status == "ok" for e in DRISE(n_masks=6, size=8)(problem))


@pytest.mark.parametrize("method", ["odam", "drise", "iGOS+"])
def test_a_hundred_objects_at_once_are_those_of_each_alone(tmp_path: Path, method: str) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path), list("abc"), size=(32, 48))
    image = adapter.read(noise())
    box = torch.tensor([1.0, 2.0, 30.0, 28.0])
    targets = [Target(i % 3, "abc"[i % 3], 0.5, box, index=i) for i in range(100)]
    settings = {"odam": {}, "drise": {"n_masks": 5}, "iGOS+": {"iterations": 2}}[method]
    together = igos.explain(adapter, image, targets, method, size=6, metrics=(), **settings)
    assert len(together) == 100
    for i in (0, 47, 48, 99):
        (alone,) = igos.explain(adapter, image, [targets[i]], method, size=6, metrics=(), **settings)
        assert torch.allclose(alone.saliency, together[i].saliency, atol=1e-4)
        assert alone.network_images == together[i].network_images


def test_the_toy_image_is_what_these_tests_think() -> None:
    assert toy_image().pixels[:, 6:18, 8:20].mean() > 0.4
