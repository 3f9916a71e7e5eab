"""YOLO behind the Adapter interface: what the real detectors see, and the score of one pinned row."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from detectors.darknet import BATCH_NORM_EPS, Darknet, parse_cfg
from detectors.yolov3 import ULTRALYTICS_EPS, YOLOAdapter, load_yolo
from igos.base import resources
from igos.types import Adapter, ConfigError, Image, ImageError, Target, WeightsError
from tests.conftest import darknet_options, shared_data

TINY = (  # two heads, strides 8 and 4, three classes
    "[net]\nwidth=48\nheight=32\nchannels=3\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=4\npad=1\nactivation=leaky\n"
    "[convolutional]\nbatch_normalize=1\nfilters=8\nsize=3\nstride=2\npad=1\nactivation=mish\n"
    "[convolutional]\nfilters=16\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=1,2\nanchors=6,8, 14,11, 20,25\nclasses=3\n"
    "[route]\nlayers=0\n"
    "[convolutional]\nfilters=8\nsize=1\nactivation=linear\n"
    "[yolo]\nmask=0\nanchors=6,8, 14,11, 20,25\nclasses=3\n"
)
ROWS = 2 * 4 * 6 + 8 * 12


def tiny_network(folder: Path, text: str = TINY) -> Darknet:
    path = folder / "tiny.cfg"
    path.write_text(text)
    torch.manual_seed(0)
    network = Darknet(parse_cfg(path), path)
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if "running_var" not in name and "tracked" not in name:
                values.copy_(torch.randn_like(values) * 0.6)
    return network


@pytest.fixture
def tiny(tmp_path: Path) -> YOLOAdapter:
    return YOLOAdapter(tiny_network(tmp_path), ["a", "b", "c"], size=(32, 48))


def noise(height: int = 60, width: int = 90, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pinned(*places: tuple[int, int]) -> list[Target]:
    return [Target(label=label, name="", score=0.0, index=row) for row, label in places]


@pytest.fixture(scope="module")
def real() -> YOLOAdapter:
    return load_yolo("darknet", **darknet_options())  # type: ignore[arg-type]


def photo(adapter: Adapter, name: str) -> Image:
    return adapter.read(shared_data("photos", name))


# --- the real detectors -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("darknet_dog.jpg", [("dog", 0.89), ("car", 0.87), ("bicycle", 0.86), ("cat", 0.51)]),
        ("darknet_giraffe.jpg", [("giraffe", 0.99), ("zebra", 0.95)]),
        ("darknet_eagle.jpg", [("bird", 0.99)]),
        ("darknet_person.jpg", [("person", 0.99), ("dog", 0.99), ("cow", 0.96)]),
    ],
)
def test_detections_are_those_of_the_readme(real: YOLOAdapter, name: str, expected: list[tuple[str, float]]) -> None:
    image = photo(real, name)
    found = real.detect(image, 0.5)
    assert [t.name for t in found] == [label for label, _ in expected]
    assert [t.score for t in found] == pytest.approx([score for _, score in expected], abs=0.006)
    assert (real.fit, real.size, image.geometry.offset) == ("stretch", (320, 320), (0, 0))


def test_the_boxes_lie_on_the_objects(real: YOLOAdapter) -> None:
    """The dog, the car and the bicycle of Darknet's best known picture, in its 768 x 576 pixels."""
    places = {"dog": (125, 215, 315, 545), "car": (470, 75, 690, 170), "bicycle": (120, 120, 570, 430)}
    image = photo(real, "darknet_dog.jpg")
    for target in real.detect(image, 0.8):
        assert target.box is not None
        box = image.geometry.to_source(target.box).numpy()
        assert iou(box, np.array(places[target.name], dtype=float)) > 0.6


@pytest.mark.parametrize(("small", "floats"), [(False, 923_486), (True, 346_062)])
def test_every_float_is_consumed(small: bool, floats: int) -> None:
    options = darknet_options(small)
    assert Path(options["weights"]).stat().st_size == 20 + 4 * floats
    network = Darknet(parse_cfg(options["cfg"]), options["cfg"])
    assert sum(slot.numel() for slot in network._slots()) == floats
    adapter = load_yolo("darknet", **options)  # type: ignore[arg-type]
    assert "dog" in {t.name for t in adapter.detect(photo(adapter, "darknet_dog.jpg"), 0.5)}


def test_weights_of_the_other_network_are_refused() -> None:
    options = darknet_options() | {"weights": darknet_options(small=True)["weights"]}
    with pytest.raises(WeightsError, match="346062 floats.*needs 923486"):
        load_yolo("darknet", **options)  # type: ignore[arg-type]


def test_the_score_is_that_of_the_detection(real: YOLOAdapter) -> None:
    for name in ("darknet_dog.jpg", "darknet_person.jpg"):
        image = photo(real, name)
        found = real.detect(image, 0.2)
        found = [*found[:3], found[-1]]
        x = image.pixels.expand(len(found), 1, -1, -1, -1)
        scores, logits = real.scorer(found)(x)[:, 0], real.scorer(found, "logit")(x)[:, 0]
        expected = torch.tensor([t.score for t in found])
        assert torch.allclose(scores, expected, rtol=0, atol=1e-5)
        assert torch.allclose(logits.sigmoid(), expected, rtol=0, atol=1e-5)
        double = copy.deepcopy(real.module).double()(image.pixels[None].double())[0]
        p = torch.stack([double[t.index, 4].sigmoid() * double[t.index, 5 + t.label].sigmoid() for t in found])
        assert torch.allclose(logits.double(), torch.log(p / (1 - p)), rtol=0, atol=1e-4)


@pytest.mark.parametrize("score", ["prob", "logit"])
def test_the_gradient_is_right_on_the_real_network(score: str) -> None:
    real = load_yolo("darknet", input_size=256, **darknet_options(small=True))  # type: ignore[arg-type]
    adapter = copy.copy(real)
    adapter.module = copy.deepcopy(real.module).double()
    image = photo(real, "darknet_dog.jpg")
    scorer = adapter.scorer(real.detect(image, 0.6)[:2], score)
    x = image.pixels.double().expand(2, 1, -1, -1, -1).clone().requires_grad_(True)
    (g,) = torch.autograd.grad(scorer(x).sum(), x)
    assert bool(torch.isfinite(g).all()) and bool((g != 0).any(dim=(1, 2, 3, 4)).all())
    v, step = (
        torch.randn(g.shape, generator=torch.Generator().manual_seed(0), dtype=g.dtype),
        1e-9,
    )  # a larger step crosses kinks
    with torch.no_grad():
        slope = (scorer(x + step * v) - scorer(x - step * v))[:, 0] / (2 * step)
    assert torch.allclose(slope, (g * v).sum(dim=(1, 2, 3, 4)), rtol=1e-4, atol=1e-6)


def test_the_model_is_as_it_was_after_scoring(real: YOLOAdapter) -> None:
    before = {name: value.clone() for name, value in real.module.state_dict().items()}
    image = photo(real, "darknet_dog.jpg")
    found = real.detect(image, 0.5)[:2]
    rows = torch.arange(len(found)).repeat_interleave(2)
    for _, scores, g in real.scorer(found).stream(rows, lambda p: image.pixels.expand(len(rows[p]), -1, -1, -1), True):
        assert not scores.requires_grad and g is not None and not g.requires_grad
    assert all(p.grad is None and not p.requires_grad for p in real.module.parameters())
    assert not any(module.training for module in real.module.modules())
    after = real.module.state_dict()
    assert after.keys() == before.keys() and all(torch.equal(after[k], v) for k, v in before.items())


def test_detecting_keeps_the_picture(real: YOLOAdapter) -> None:
    image = photo(real, "darknet_dog.jpg")
    before = image.pixels.clone()
    first, second = real.detect(image, 0.3), real.detect(image, 0.3)
    assert torch.equal(before, image.pixels)
    assert [(t.index, t.label, t.score) for t in first] == [(t.index, t.label, t.score) for t in second]


@pytest.mark.parametrize(("height", "width"), [(256, 416), (416, 256)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_sizes_that_are_not_square(tmp_path: Path, height: int, width: int, fit: str) -> None:
    options = darknet_options()
    text = Path(options["cfg"]).read_text().replace("width=320", f"width={width}")
    path = tmp_path / "wide.cfg"
    path.write_text(text.replace("height=320", f"height={height}"))
    adapter = load_yolo("darknet", **(options | {"cfg": str(path)}), fit=fit)  # type: ignore[arg-type]
    image = photo(adapter, "darknet_dog.jpg")
    assert adapter.size == image.geometry.network == tuple(image.pixels.shape[1:]) == (height, width)
    dog = next(t for t in adapter.detect(image, 0.3) if t.name == "dog")
    assert dog.box is not None
    box = image.geometry.to_source(dog.box).numpy()
    assert iou(box, np.array([125, 215, 315, 545], dtype=float)) > 0.6
    assert adapter.scorer([dog])(image.pixels[None, None]).item() == pytest.approx(dog.score, abs=1e-5)


def test_input_size_changes_the_network_picture(real: YOLOAdapter) -> None:
    adapter = load_yolo("darknet", **darknet_options(), input_size=416)  # type: ignore[arg-type]
    image = photo(adapter, "darknet_dog.jpg")
    assert image.pixels.shape == (3, 416, 416)
    assert {t.name for t in adapter.detect(image, 0.5)} >= {"dog", "car", "bicycle"}


def test_state_dict_and_weights_give_the_same_detector(tmp_path: Path, real: YOLOAdapter) -> None:
    """As far as the two norms' epsilon, 1e-5 and Ultralytics' 1e-4, lets them."""
    options = darknet_options()
    network = Darknet(parse_cfg(options["cfg"]), options["cfg"])
    network.load_weights(options["weights"])
    torch.save({"model": network.state_dict()}, tmp_path / "a.pt")
    adapter = load_yolo("darknet", **(options | {"weights": str(tmp_path / "a.pt")}))  # type: ignore[arg-type]
    image = photo(adapter, "darknet_giraffe.jpg")
    ours, theirs = adapter.detect(image, 0.5), real.detect(image, 0.5)
    assert [t.name for t in ours] == [t.name for t in theirs] == ["giraffe", "zebra"]
    assert [t.score for t in ours] == pytest.approx([t.score for t in theirs], abs=0.02)


# --- detecting ----------------------------------------------------------------------------------------


def iou(a: np.ndarray, b: np.ndarray) -> float:
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(width, 0) * max(height, 0)
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


def detect_loop(adapter: YOLOAdapter, image: Image, threshold: float) -> list[tuple[int, int]]:
    """(row, label) by greedy suppression per class, as a loop."""
    with torch.no_grad():
        rows = adapter.module(image.pixels[None])
        boxes = adapter.module.decode(rows, adapter.size)[0].numpy().astype(float)
    height, width = adapter.size
    boxes = np.clip(boxes, 0, [width, height, width, height])
    p = 1 / (1 + np.exp(-rows[0, :, 4:].numpy().astype(float)))
    scores = p[:, :1] * p[:, 1:]
    kept: list[tuple[int, int]] = []
    for row, label in sorted(np.ndindex(*scores.shape), key=lambda at: -scores[at]):
        x0, y0, x1, y1 = boxes[row]
        rivals = [r for r, k in kept if k == label]
        sound = scores[row, label] >= threshold and x1 > x0 and y1 > y0
        if sound and all(iou(boxes[row], boxes[r]) <= 0.45 for r in rivals):
            kept.append((row, label))
    return kept


@pytest.mark.parametrize("threshold", [0.0, 0.1, 0.2])
def test_detections_against_a_loop(tiny: YOLOAdapter, threshold: float) -> None:
    image = tiny.read(noise())
    found = tiny.detect(image, threshold)
    assert [(t.index, t.label) for t in found] == detect_loop(tiny, image, threshold) and len(found) > 3
    assert [t.name for t in found] == ["abc"[t.label] for t in found]
    scores = [t.score for t in found]
    assert scores == sorted(scores, reverse=True) and min(scores) >= threshold
    for target in found:
        assert target.box is not None
        x0, y0, x1, y1 = target.box.tolist()
        assert 0 <= x0 < x1 <= 48 and 0 <= y0 < y1 <= 32


def test_the_threshold_itself_is_enough(tiny: YOLOAdapter) -> None:
    image = tiny.read(noise())
    best = tiny.detect(image, 0.1)[0]
    assert [t.index for t in tiny.detect(image, best.score)] == [best.index]
    assert tiny.detect(image, 1.0) == []


def test_boxes_without_area_are_no_detections(tmp_path: Path) -> None:
    network = tiny_network(tmp_path)
    with torch.no_grad():
        network._blocks()[2].Conv2d.bias[2] = -200  # the width of the first 24 rows
    adapter = YOLOAdapter(network, ["a", "b", "c"], size=(32, 48))
    found = adapter.detect(adapter.read(noise()), 0.0)
    assert found and all(t.index is not None and t.index >= 24 for t in found)


def test_the_adapter_keeps_the_contract(tiny: YOLOAdapter) -> None:
    assert isinstance(tiny, Adapter)
    assert (tiny.preset, tiny.default_target, tiny.device) == ("detect-yolo", "all", torch.device("cpu"))
    with pytest.raises(ImageError, match="16"):
        tiny.read(noise(10, 40))


# --- scoring ------------------------------------------------------------------------------------------


def probability(adapter: YOLOAdapter, pictures: Tensor, targets: Sequence[Target]) -> Tensor:
    """(K,S) by the definition: objectness x class at the row, each picture on its own."""
    out = torch.zeros(pictures.shape[:2], dtype=torch.float64)
    with torch.no_grad():
        for k, target in enumerate(targets):
            for s, x in enumerate(pictures[k]):
                row = adapter.module(x[None])[0, target.index].double()
                out[k, s] = 1 / (1 + torch.exp(-row[4])) / (1 + torch.exp(-row[5 + target.label]))
    return out


@pytest.mark.parametrize("batch", [None, 1, 2, 5, 100])
def test_scores_are_objectness_times_class_in_any_batch(tiny: YOLOAdapter, batch: int | None) -> None:
    targets = pinned((0, 0), (ROWS - 1, 2), (50, 1), (50, 2))
    x = torch.rand(4, 3, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    p = probability(tiny, x, targets)
    assert torch.allclose(tiny.scorer(targets, batch=batch)(x).double(), p, rtol=0, atol=1e-6)
    logits = tiny.scorer(targets, "logit", batch)(x).double()
    assert torch.allclose(logits, torch.log(p / (1 - p)), rtol=0, atol=1e-5)


def test_targets_in_any_order_score_alike(tiny: YOLOAdapter) -> None:
    a, b = pinned((7, 1), (90, 0))
    x = torch.rand(1, 4, 3, 32, 48).expand(2, -1, -1, -1, -1)
    both, turned = tiny.scorer([a, b])(x), tiny.scorer([b, a])(x)
    assert torch.allclose(both, turned.flip(0), rtol=0, atol=1e-7)
    assert torch.allclose(both[:1], tiny.scorer([a])(x[:1]), rtol=0, atol=1e-7)
    assert not torch.allclose(both[0], both[1])


@pytest.mark.parametrize("score", ["prob", "logit"])
def test_the_scorer_is_differentiable(tiny: YOLOAdapter, score: str) -> None:
    tiny.module.double()
    scorer = tiny.scorer(pinned((3, 1), (100, 2)), score)
    x = torch.rand(2, 2, 3, 32, 48, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(scorer, (x,), fast_mode=True)
    (expected,) = torch.autograd.grad(scorer(x).sum(), x)
    rows, flat = torch.tensor([0, 0, 1, 1]), x.detach().flatten(0, 1)
    ((_, _, streamed),) = scorer.stream(rows, lambda part: flat[part], gradient=True)
    assert streamed is not None
    assert torch.allclose(streamed, expected.flatten(0, 1), rtol=1e-9, atol=1e-15)


@pytest.mark.parametrize("strength", [-200.0, -40.0, 0.0, 40.0, 200.0])
def test_log_odds_stay_finite_however_sure_the_network_is(tmp_path: Path, strength: float) -> None:
    """log(p/(1-p)) of p = sigmoid(b)^2 in float32, where p itself has long rounded to 0 or 1."""
    network = tiny_network(tmp_path)
    with torch.no_grad():
        for block in network._blocks()[2:]:
            block.Conv2d.weight.mul_(1e-3)
            block.Conv2d.bias.fill_(strength)
    adapter = YOLOAdapter(network, ["a", "b", "c"], size=(32, 48))
    x = torch.rand(1, 1, 3, 32, 48, requires_grad=True)
    logit = adapter.scorer(pinned((5, 0)), "logit")(x)
    (g,) = torch.autograd.grad(logit.sum(), x)
    b = np.longdouble(strength)
    expected = -np.log(np.exp(-b) * (2 + np.exp(-b)))
    assert logit.item() == pytest.approx(float(expected), rel=1e-3, abs=0.05)
    assert bool(torch.isfinite(g).all()) and bool((g != 0).any())
    prob = adapter.scorer(pinned((5, 0)))(x.detach()).item()
    assert 0 <= prob <= 1


def test_an_unknown_score_is_refused(tiny: YOLOAdapter) -> None:
    with pytest.raises(ConfigError, match="'probability' is not one of prob, logit"):
        tiny.scorer(pinned((0, 0)), "probability")


def test_folding_happens_once_and_changes_no_score(tmp_path: Path) -> None:
    network = tiny_network(tmp_path).eval()
    x = torch.rand(2, 3, 32, 48)
    with torch.no_grad():
        expected = network(x)
        adapter = YOLOAdapter(network, ["a", "b", "c"], size=(32, 48))
        assert torch.allclose(adapter.module(x), expected, rtol=1e-4, atol=1e-5)


# --- reading ------------------------------------------------------------------------------------------

SIZES = [(30, 45), (60, 20), (33, 47), (100, 100), (200, 31)]


@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize("size", [(32, 48), (96, 32), (64, 64)])
@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_geometry_there_and_back(tmp_path: Path, source: tuple[int, int], size: tuple[int, int], fit: str) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path), ["a", "b", "c"], size=size, fit=fit)
    image = adapter.read(noise(*source))
    assert image.pixels.shape == (3, *size) and image.geometry.source == source
    height, width = source
    boxes = torch.tensor([[0, 0, width, height], [3, 5, 17, 19.5], [width - 1, height - 2, width, height]])
    there = image.geometry.to_network(boxes)
    assert torch.allclose(image.geometry.to_source(there), boxes, rtol=0, atol=1e-3)
    x0, y0, x1, y1 = there[0].tolist()
    assert min(x0, y0) >= 0 and x1 <= size[1] + 1e-3 and y1 <= size[0] + 1e-3
    if fit == "stretch":
        assert (x0, y0, x1, y1) == pytest.approx((0, 0, size[1], size[0]), abs=1e-3)
    else:
        scale = min(size[0] / height, size[1] / width)
        assert (y1 - y0, x1 - x0) == pytest.approx((height * scale, width * scale), abs=0.501)
        assert abs(y0 + y1 - size[0]) <= 1.001 and abs(x0 + x1 - size[1]) <= 1.001  # in the middle


@pytest.mark.parametrize("source", SIZES)
@pytest.mark.parametrize("size", [(32, 48), (96, 32)])
def test_the_letterbox_holds_the_picture_where_the_geometry_says(
    tmp_path: Path, source: tuple[int, int], size: tuple[int, int]
) -> None:
    adapter = YOLOAdapter(tiny_network(tmp_path), ["a", "b", "c"], size=size, fit="letterbox")
    height, width = source
    image = adapter.read(np.broadcast_to(np.array([255, 0, 51], dtype=np.uint8), (height, width, 3)))
    x0, y0, x1, y1 = image.geometry.to_network(torch.tensor([0.0, 0, width, height])).round().int().tolist()
    inside = torch.zeros(size, dtype=torch.bool)
    inside[y0:y1, x0:x1] = True
    red = torch.tensor([1, 0, 0.2])[:, None]
    assert torch.allclose(image.pixels[:, inside], red.expand(-1, int(inside.sum())), atol=1e-6)
    assert torch.allclose(image.pixels[:, ~inside], torch.tensor(114 / 255), atol=1e-6)


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_an_edge_lands_where_the_geometry_says(tmp_path: Path, fit: str, size: tuple[int, int]) -> None:
    """A white quarter on black: the middle of the two edges, to a twentieth of a network pixel."""
    adapter = YOLOAdapter(tiny_network(tmp_path), ["a", "b", "c"], size=size, fit=fit)
    picture = np.zeros((120, 160, 3), dtype=np.uint8)
    picture[80:, 40:] = 255
    image = adapter.read(picture)
    x0, y0, x1, y1 = image.geometry.to_network(torch.tensor([40.0, 80, 160, 120])).tolist()
    light = image.pixels[0].numpy()
    row, column = light[round(y1) - 2], light[:, round(x1) - 2]
    left, top = (round(v) for v in image.geometry.offset[::-1])
    assert round(x1) - row[left : round(x1)].sum() == pytest.approx(x0, abs=0.05)
    assert round(y1) - column[top : round(y1)].sum() == pytest.approx(y0, abs=0.05)


def test_stretching_to_the_own_size_changes_nothing(tiny: YOLOAdapter) -> None:
    image = tiny.read(noise(32, 48))
    np.testing.assert_array_equal(image.pixels.permute(1, 2, 0).numpy(), noise(32, 48) / np.float32(255))
    np.testing.assert_array_equal(image.source, noise(32, 48))
    assert image.pixels.dtype == torch.float32 and image.pixels.is_contiguous() and image.path is None


# --- loading ------------------------------------------------------------------------------------------


@pytest.fixture
def pair(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """A tiny .cfg and .weights on disk, as arguments of load_yolo; `change` edits the cfg's text."""

    def make(*change: tuple[str, str], suffix: str = ".weights") -> dict[str, Any]:
        text = TINY
        for old, new in change:
            assert old in text
            text = text.replace(old, new)
        network = tiny_network(tmp_path, text)
        weights = tmp_path / f"tiny{suffix}"
        if suffix == ".weights":
            floats = torch.cat([slot.detach().flatten() for slot in network._slots()]).numpy()
            weights.write_bytes(np.array([0, 2, 5, 0, 0], dtype=np.int32).tobytes() + floats.tobytes())
        else:
            torch.save(network.state_dict(), weights)
        return {"weights": weights, "cfg": tmp_path / "tiny.cfg"}

    return make


def test_a_pair_on_disk_is_the_network_in_memory(pair: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    adapter = load_yolo("darknet", **pair())
    assert (adapter.name, adapter.size, adapter.fit) == ("darknet", (32, 48), "stretch")
    assert adapter.labels == ["class 0", "class 1", "class 2"]
    x = torch.rand(1, 3, 32, 48)
    expected = tiny_network(tmp_path).eval()
    with torch.no_grad():
        assert torch.allclose(adapter.module(x), expected(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("suffix", "eps"), [(".weights", BATCH_NORM_EPS), (".pt", ULTRALYTICS_EPS)])
def test_the_norm_is_that_of_who_trained(
    pair: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch, suffix: str, eps: float
) -> None:
    seen: list[float] = []
    fold = Darknet.fold

    def watched(network: Darknet) -> Darknet:
        seen.append(network._blocks()[0].BatchNorm2d.eps)
        return fold(network)

    monkeypatch.setattr(Darknet, "fold", watched)
    load_yolo("darknet", **pair(suffix=suffix))
    assert seen == [eps] and eps in (1e-5, 1e-4)


@pytest.mark.parametrize(
    ("model", "net", "fit", "expected"),
    [
        ("darknet", "", None, "stretch"),
        ("darknet", "letter_box=0\n", None, "stretch"),
        ("darknet", "letter_box=1\n", None, "letterbox"),
        ("darknet", "letter_box=1\n", "stretch", "stretch"),
        ("darknet", "", "letterbox", "letterbox"),
        ("yolov3spp", "", None, "letterbox"),
        ("yolov3spp", "", "stretch", "stretch"),
    ],
)
def test_fit(pair: Callable[..., dict[str, Any]], model: str, net: str, fit: str | None, expected: str) -> None:
    adapter = load_yolo(model, **pair(("[net]\n", "[net]\n" + net)), fit=fit)
    offset = adapter.read(noise(40, 40)).geometry.offset
    assert adapter.fit == expected and offset == ((0, 8) if expected == "letterbox" else (0, 0))


def test_yolov3spp_brings_its_own_cfg(
    pair: Callable[..., dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (resources.folder("configs") / "yolov3-spp.cfg").is_file()
    options = pair()
    options.pop("cfg").rename(tmp_path / "yolov3-spp.cfg")
    monkeypatch.setattr(resources, "folder", lambda name: {"configs": tmp_path}[name])
    adapter = load_yolo("yolov3spp", **options)
    assert (adapter.name, adapter.fit, adapter.size) == ("yolov3spp", "letterbox", (32, 48))


def test_labels(pair: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    (tmp_path / "a.names").write_text("cat\ndog\nhen\n")
    options = pair()
    assert load_yolo("darknet", **options, names=tmp_path / "a.names").labels == ["cat", "dog", "hen"]
    with pytest.raises(ConfigError, match="coco: 80 class names.*3 classes"):
        load_yolo("darknet", **options, dataset="coco")
    with pytest.raises(ConfigError, match="'cocoa' is not one of .*coco"):
        load_yolo("darknet", **options, dataset="cocoa")
    (tmp_path / "a.names").write_text("cat\ndog\n")
    with pytest.raises(ConfigError, match=r"a\.names: 2 class names.*3 classes"):
        load_yolo("darknet", **options, names=tmp_path / "a.names")


@pytest.mark.parametrize("side", [0, -32, 12, 33, 44])
def test_an_input_size_off_the_stride_is_refused(pair: Callable[..., dict[str, Any]], side: int) -> None:
    with pytest.raises(ConfigError, match=f"--input_size {side} x {side}: a multiple of 8 is needed"):
        load_yolo("darknet", **pair(), input_size=side)


@pytest.mark.parametrize("change", [("width=48", "width=50"), ("height=32", "height=0"), ("width=48", "width=wide")])
def test_a_cfg_with_sides_off_the_stride_is_refused(
    pair: Callable[..., dict[str, Any]], change: tuple[str, str]
) -> None:
    with pytest.raises(ConfigError, match=r"--cfg .*tiny\.cfg.*a multiple of 8"):
        load_yolo("darknet", **pair(change))
    assert load_yolo("darknet", **pair(change), input_size=64).size == (64, 64)


def test_what_lacks_or_does_not_exist_is_refused(pair: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    options = pair()
    with pytest.raises(ConfigError, match="--cfg"):
        load_yolo("darknet", options["weights"])
    with pytest.raises(WeightsError, match="--model_file"):
        load_yolo("darknet", cfg=options["cfg"])
    with pytest.raises(WeightsError, match="--model_file"):
        load_yolo("yolov3spp")
    for missing in (tmp_path / "none.weights", tmp_path):
        with pytest.raises(WeightsError, match="no such file"):
            load_yolo("darknet", missing, cfg=options["cfg"])
    with pytest.raises(ConfigError, match=r"none\.cfg"):
        load_yolo("darknet", options["weights"], cfg=tmp_path / "none.cfg")
    with pytest.raises(ConfigError, match="'crop' is not one of stretch, letterbox"):
        load_yolo("darknet", **options, fit="crop")
