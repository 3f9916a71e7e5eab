"""The contract of detectors that answer all candidates at once: scores, suppression, input, pinned queries."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import batched_nms

import igos
from detectors.dense import DenseAdapter
from detectors.inputs import Input
from detectors.pins import choosing, noting
from detectors.suppress import NMS, Everything
from igos.results.manifest import target_of, target_record
from igos.types import Adapter, Candidates, ConfigError, Target
from tests.detectors.test_yolov3 import noise


def some(**more: object) -> Candidates:
    torch.manual_seed(0)
    boxes = torch.rand(2, 5, 4) * 40
    boxes[..., 2:] += boxes[..., :2]
    return Candidates(boxes, torch.randn(2, 5, 3) * 3, **more)  # type: ignore[arg-type]


# --- scores -------------------------------------------------------------------------------------------


def test_scores_are_those_of_the_formulas() -> None:
    plain, soft = some(), some(activation="softmax", none=-1)
    obj = torch.randn(2, 5)
    assert torch.allclose(plain.scores(), plain.logits.sigmoid())
    assert torch.allclose(soft.scores(), soft.logits.softmax(-1))
    both = some(objectness=obj, powers=(0.6, 0.4))
    assert torch.allclose(both.scores(), obj.sigmoid()[..., None] ** 0.6 * both.logits.sigmoid() ** 0.4, atol=1e-6)
    for c in (plain, soft, both, some(objectness=obj, activation="softmax")):
        assert torch.allclose(c.scores("logit").sigmoid(), c.scores(), atol=1e-6)
    assert torch.equal(soft.without_none(soft.scores())[..., 2], torch.zeros(2, 5))


def test_scores_near_0_and_1_keep_their_logit_and_their_gradient() -> None:
    logits = torch.tensor([[[-60.0, 60.0, 0.0]]], requires_grad=True)
    for c in (Candidates(None, logits), Candidates(None, logits, objectness=torch.tensor([[9.0]]))):
        z = c.scores("logit")[0, 0]
        assert bool(z.isfinite().all()) and float(z[0].detach()) == pytest.approx(-60, abs=0.01)
        (g,) = torch.autograd.grad(z[0], logits)
        assert float(g[0, 0, 0]) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("more", [{}, {"activation": "softmax"}, {"o": 1.0, "powers": (0.6, 0.4)}, {"o": 1.0},
                                  {"o": 1.0, "activation": "softmax", "powers": (0.6, 0.4)}])  # fmt: skip
def test_log_odds_are_those_of_the_exact_probability(more: dict[str, Any]) -> None:
    """Of logits up to 25, where float32 rounds 1 - p to 0; the oracle is float64 with sums of what is not the class."""
    g = torch.Generator().manual_seed(0)
    z, o = torch.randn(1, 40, 4, generator=g) * 12, torch.randn(1, 40, generator=g) * 8
    with_objectness = more.pop("o", None) is not None
    c = Candidates(None, z, o if with_objectness else None, **more)
    a, b = c.powers
    e = z.double().exp()
    others = e.sum(-1, keepdim=True) - e if c.activation == "softmax" else torch.ones_like(e)
    if c.activation == "softmax":
        others = torch.stack([e[..., [j for j in range(4) if j != i]].sum(-1) for i in range(4)], -1)
    log_p = b * -torch.log1p(others / e)
    log_p = log_p + a * -torch.log1p((-o.double()).exp())[..., None] if with_objectness else log_p
    assert torch.allclose(c.scores("logodds").double(), log_p - (-torch.expm1(log_p)).log(), rtol=2e-5, atol=2e-4)
    assert bool((c.scores() == 1).any()) or with_objectness, "some are 1 in float32"


def test_a_margin_is_the_difference_of_log_probabilities_or_logits() -> None:
    soft, plain = some(activation="softmax"), some(objectness=torch.randn(2, 5))
    log_p = soft.scores().log()
    margin = soft.scores("margin")
    assert torch.allclose(margin[..., 0] - margin[..., 2], log_p[..., 0] - log_p[..., 2], atol=1e-4)
    assert torch.equal(plain.scores("margin"), plain.logits)


def test_a_row_is_taken_from_its_own_picture() -> None:
    c = some(objectness=torch.randn(2, 5))
    one = c.at(torch.tensor([4, 1]))
    assert one.boxes is not None and c.boxes is not None
    assert torch.equal(one.boxes[1, 0], c.boxes[1, 1]) and torch.equal(one.scores()[0, 0], c.scores()[0, 4])


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (lambda: Candidates(torch.rand(1, 4, 4), torch.rand(1, 5, 2)), r"boxes \(N,A,4\)"),
        (lambda: Candidates(torch.rand(1, 5, 4), torch.rand(1, 5, 2), torch.rand(1, 4)), r"objectness \(N,A\)"),
        (lambda: Candidates(None, torch.rand(1, 5, 2), activation="relu"), "not one of sigmoid, softmax"),
    ],
)  # fmt: skip
def test_candidates_of_other_shapes_are_refused(made: partial[Candidates], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        made()


# --- suppression --------------------------------------------------------------------------------------


def test_suppression_is_that_of_torchvision() -> None:
    torch.manual_seed(1)
    boxes = torch.rand(1, 60, 4) * 30
    boxes[..., 2:] += boxes[..., :2] + 5
    c = Candidates(boxes, torch.randn(1, 60, 3))
    scores = c.scores()[0]
    rows, labels = NMS(0.4)(c, 0.3)
    every, of = (scores >= 0.3).nonzero(as_tuple=True)
    kept = batched_nms(boxes[0, every], scores[every, of], of, 0.4)
    assert torch.equal(rows, every[kept]) and torch.equal(labels, of[kept])
    rows, labels = NMS(0.4, per_class=False, best=True, most=4)(c, 0.3)
    assert len(rows) == 4 and torch.equal(labels, scores[rows].argmax(1))
    rows, labels = Everything()(c, 0.3)
    found = scores[rows, labels]
    assert len(rows) == int((scores >= 0.3).sum()) and torch.equal(found, found.sort(descending=True).values)
    none = Candidates(boxes, c.logits, activation="softmax", none=0)
    assert 0 not in Everything()(none, 0.0)[1].tolist() and 0 not in NMS(best=True)(none, 0.1)[1].tolist()


# --- input --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "letterbox-corner"])
@pytest.mark.parametrize("interpolation", ["linear", "area", "antialias"])
def test_a_picture_is_brought_to_size(fit: str, interpolation: str) -> None:
    rgb = np.zeros((100, 200, 3), np.uint8)
    rgb[20:60, 50:150] = (255, 128, 0)
    way = Input((96, 128), fit, pad=7, interpolation=interpolation)
    image = way.read(rgb)
    box = image.geometry.to_network(torch.tensor([50.0, 20, 150, 60])).round().long().tolist()
    inside = image.pixels[:, box[1] + 1 : box[3] - 1, box[0] + 1 : box[2] - 1]
    assert torch.allclose(inside, torch.tensor([1, 128 / 255, 0])[:, None, None].expand_as(inside))
    padded = {"stretch": [], "letterbox": [0, -1], "letterbox-corner": [-1]}[fit]
    assert all(torch.allclose(image.pixels[:, y], torch.tensor(7 / 255)) for y in padded)
    assert image.geometry.offset == ((16.0, 0.0) if fit == "letterbox" else (0.0, 0.0))


def test_a_picture_is_prepared_as_the_network_was_trained() -> None:
    x = torch.rand(2, 3, 4, 5, requires_grad=True)
    way = Input((4, 5), color="bgr", range=255.0, mean=(103.53, 116.28, 123.675), std=(57.375, 57.12, 58.395))
    made = way.prepare(x)
    wanted = (x[:, [2, 1, 0]] * 255 - torch.tensor(way.mean)[:, None, None]) / torch.tensor(way.std)[:, None, None]
    assert torch.allclose(made, wanted) and made.requires_grad
    for bad in ({"fit": "crop"}, {"color": "hsv"}, {"pad": 256}, {"std": (1.0, 0.0, 1.0)}, {"size": (0, 4)}):
        with pytest.raises(ConfigError):
            Input(**bad)  # type: ignore[arg-type]


# --- queries that the network chooses -----------------------------------------------------------------


class Choosy(nn.Module):
    """A picture in places of 8 px; the 4 brightest become queries, each with its place as box."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 2, 8, 8)
        self.stem.weight.data.fill_(1 / 192)
        self.stem.bias.data.zero_()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        places = self.stem(x).flatten(2).mT
        chosen = torch.topk(places.max(-1).values, 4, dim=1).indices
        values = places.gather(1, chosen[..., None].expand(-1, -1, 2))
        finest, _ = values.topk(1, dim=-1)  # of another kind: it stays as it is
        side = x.shape[-1] // 8
        corner = torch.stack([chosen % side, chosen // side], -1) * 8.0
        return torch.cat([corner, corner + 8], -1), 6 * (values + finest - 1), chosen


def choosy(module: nn.Module, pictures: Tensor) -> Candidates:
    boxes, logits, _ = module(pictures)
    return Candidates(boxes, logits)


def picture_with_lights() -> np.ndarray:
    rgb = np.full((64, 64, 3), 20, np.uint8)
    for k, (y, x) in enumerate([(0, 0), (0, 8), (40, 40), (48, 16)]):
        rgb[y : y + 8, x : x + 8] = 250 - 10 * k
    return rgb


def test_queries_stay_where_the_untouched_picture_put_them(tmp_path: Path) -> None:
    """With the corner hidden that held the first two queries the others have other numbers, but not other places."""
    adapter = DenseAdapter(
        Choosy(), choosy, ["a", "b"], reader=Input((64, 64)).read, suppress=Everything(best=True), name="choosy"
    )
    assert isinstance(adapter, Adapter)
    image = adapter.read(picture_with_lights())
    targets = adapter.detect(image, 0.5)
    assert len(targets) == 4 and all(len(t.pins) == 1 and len(t.pins[0]) == 4 for t in targets)
    third = targets[2]
    assert third.box is not None and third.box.tolist() == [40, 40, 48, 48]
    hidden = image.pixels.clone()
    hidden[:, :16, :16] = 0
    with torch.no_grad():
        assert int(adapter.module(hidden[None])[2][0, third.index]) != int(third.pins[0][third.index])
        with choosing([third.pins]):
            assert int(adapter.module(hidden[None])[2][0, third.index]) == int(third.pins[0][third.index])
    scorer = adapter.scorer(targets)
    scores = scorer(torch.stack([image.pixels, hidden])[None].expand(4, -1, -1, -1, -1))
    assert scores[2, 0] == pytest.approx(third.score, abs=1e-6) and scores[2, 1] == scores[2, 0]
    assert scores[0, 1] < 0.1 < scores[0, 0]
    (e,) = igos.explain(adapter, image, [third], "iGOS+", metrics=(), size=8, iterations=4)
    heat = e.saliency / e.saliency.sum()
    assert float(heat[4:7, 4:7].sum()) > 0.5
    again = target_of(target_record(third, "0"), torch.device("cpu"), image.geometry.network)
    assert torch.equal(again.pins[0], third.pins[0])
    for other in ((), (torch.tensor([1, 2]),), (torch.tensor([1, 2, 3, 99]),)):
        bare = Target(third.label, third.name, third.score, third.box, index=third.index, pins=other)
        with pytest.raises(ConfigError, match="queries from the picture|not of this network"):
            adapter.scorer([bare])(image.pixels[None, None])


def test_what_is_chosen_is_noted_in_order_and_otherwise_nothing_changes() -> None:
    x = torch.rand(2, 9)
    with noting() as seen:
        a, b = torch.topk(x[:1], 3, dim=1), x[:1].topk(2)
    assert [len(p) for p in seen.pins] == [3, 2]
    assert torch.equal(a.values, x[:1].topk(3).values) and torch.equal(b.indices, x[:1].topk(2).indices)
    with choosing([seen.pins, seen.pins]):
        values, indices = x.topk(3, dim=-1)
    assert torch.equal(indices[1], seen.pins[0]) and torch.equal(values, x.gather(1, indices))


# --- the adapter --------------------------------------------------------------------------------------


class Grid(nn.Module):
    """Two levels (strides 8 and 16), one row per cell; the score looks at a neighbourhood of 3 x 3 cells."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.stem = nn.Conv2d(3, 6, 8, 8)
        self.level1, self.level2 = nn.Conv2d(6, 6, 3, 1, 1), nn.Conv2d(6, 6, 3, 2, 1)
        self.head1, self.head2 = nn.Conv2d(6, 7, 3, 1, 1), nn.Conv2d(6, 7, 1)

    def forward(self, x: Tensor) -> Tensor:
        f = self.stem(x).tanh()
        rows = [self.head1(self.level1(f).tanh()), self.head2(self.level2(f).tanh())]
        return torch.cat([r.flatten(2).mT for r in rows], 1)


def grid(module: nn.Module, pictures: Tensor) -> Candidates:
    rows = module(pictures)
    places = []
    for stride in (8, 16):
        h, w = pictures.shape[-2] // stride, pictures.shape[-1] // stride
        y, x = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
        places.append(torch.stack([x, y], -1).view(-1, 2) * stride)
    centre = torch.cat(places)
    boxes = torch.cat([centre - 8 * rows[..., :2].exp(), centre + 8 * rows[..., 2:4].exp()], -1)
    return Candidates(boxes, rows[..., 5:], rows[..., 4])


def grid_adapter() -> DenseAdapter:
    return DenseAdapter(Grid(), grid, ["a", "b"], reader=Input((48, 64)).read, suppress=NMS(0.5), name="grid")


def test_the_score_is_the_rows_own_and_its_gradient_is_right() -> None:
    adapter = grid_adapter()
    image = adapter.read(noise(48, 64))
    targets = adapter.detect(image, 0.1)
    own = adapter.candidates(image)
    assert own.boxes is not None
    for t in targets[:5]:
        assert t.score == pytest.approx(float(own.scores()[0, t.index, t.label]), abs=1e-6)
    pair = [targets[0], Target(1, "b", 0.0, targets[1].box, index=59, part="class_box")]
    scorer = adapter.scorer(pair)
    scores = scorer(image.pixels.expand(2, 1, -1, -1, -1))
    assert float(scores[0, 0]) == pytest.approx(targets[0].score, abs=1e-6)
    box = adapter.scorer([targets[0]], batch=1)
    own_box = adapter.scorer([replace(targets[0], part="box")])(image.pixels[None, None])
    assert float(own_box) == pytest.approx(1, abs=1e-4)
    x = image.pixels.double()[None].requires_grad_(True)
    adapter.module.double()
    (g,) = torch.autograd.grad(box.forward(x, torch.tensor([0])).sum(), x)
    step = torch.zeros_like(x)
    step[0, 1, 20, 30] = 1e-4
    with torch.no_grad():
        ahead, behind = (box.forward(x + s * step, torch.tensor([0])) for s in (1, -1))
    assert float((ahead - behind) / 2e-4) == pytest.approx(float(g[0, 1, 20, 30]), rel=1e-3, abs=1e-8)
    logit = adapter.scorer([targets[0]], "logit").forward(x.detach(), torch.tensor([0]))
    assert float(logit) == pytest.approx(math.log(targets[0].score / (1 - targets[0].score)), abs=1e-3)


def test_the_layer_is_that_of_the_rows_level_and_wider_than_its_cell() -> None:
    adapter = grid_adapter()
    image = adapter.read(noise(48, 64))
    box = torch.tensor([8.0, 8, 40, 40])
    first, second = Target(0, "a", 0.5, box, index=19), Target(0, "a", 0.5, box, index=48 + 5)
    scorer = adapter.scorer([first, second])
    x = image.pixels.expand(2, -1, -1, -1)
    assert scorer.feature_layers(x) == ["level1", "stem"]  # head2 reads the one cell of level2
    for method in ("grad_cam", "odam"):
        for e in igos.explain(adapter, image, [first, second], method, metrics=()):
            assert bool(e.saliency.isfinite().all()) and float(e.saliency.max()) > 0


def test_drise_sees_rows_boxes_classes_and_certainty() -> None:
    adapter = grid_adapter()
    image = adapter.read(noise(48, 64))
    ((boxes, classes, sure),) = adapter.detections(image.pixels[None])
    own = adapter.candidates(image)
    assert own.objectness is not None and torch.allclose(sure, own.objectness[0].sigmoid())
    assert torch.allclose(classes, own.logits[0].sigmoid()) and float(boxes[:, 2].max()) <= 64
    no_objectness = Candidates(own.boxes, F.pad(own.logits, (1, 0)), activation="softmax", none=0)
    assert torch.allclose(no_objectness.certainty(), no_objectness.classes()[..., 1:].amax(-1))
    made = igos.explain(adapter, image, adapter.detect(image, 0.1)[:1], "drise", metrics=(), n_masks=8)
    assert float(made[0].saliency.max()) > 0


def test_what_a_row_cannot_be_is_refused() -> None:
    adapter = grid_adapter()
    image, box = adapter.read(noise(48, 64)), torch.tensor([8.0, 8, 40, 40])
    with pytest.raises(ConfigError, match="row None is none"):
        adapter.scorer([Target(0, "a", 0.5, box)])
    with pytest.raises(ConfigError, match="row 60 is not among the 60 rows of grid"):
        adapter.scorer([Target(0, "a", 0.5, box, index=60)])(image.pixels[None, None])
    wrong = DenseAdapter(Grid(), grid, list("abc"), reader=Input((48, 64)).read, suppress=NMS(), name="grid")
    with pytest.raises(ConfigError, match="grid: 3 labels, but its rows have 2 classes"):
        wrong.detect(image)


@pytest.mark.parametrize("name", ["emblem-m-rcnn", "emblem-yolov3spp", "emblem-vgg"])
def test_every_adapter_tells_all_of_its_candidates(name: str) -> None:
    """Its detections are among them, with their scores."""
    adapter = igos.load(name)
    image = adapter.read("samples/scene-07.png")
    c = adapter.candidates(image)
    assert len(c.logits) == 1 and c.logits.shape[2] == len(adapter.labels)
    targets = adapter.detect(image, 0.0)[:3]
    assert targets and adapter.threshold in (0.4, 0.05) and list(adapter.notes) == []
    for t in targets:
        row = t.index if t.index is not None and c.boxes is not None else 0
        assert float(c.scores()[0, row, t.label]) == pytest.approx(t.score, abs=1e-5)
        if c.boxes is not None and name != "emblem-m-rcnn":  # whose box is that of the proposal's best class
            assert t.box is not None and torch.allclose(c.boxes[0, row].clamp(0, 160), t.box, atol=1e-3)
