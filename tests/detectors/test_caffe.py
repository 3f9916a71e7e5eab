"""VGG16 as Caffe had it: arrays and pictures against a forward pass by hand, published patterns, refusals."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import numpy as np
import PIL.Image
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.vgg import make_layers

import igos
from detectors import caffe
from detectors.caffe import CaffeAdapter, load_caffe
from igos import cli
from igos.methods.backward import pattern_files
from igos.methods.backward.substitute import substitutable
from igos.types import ConfigError, WeightsError
from tests.conftest import toy_image

WIDTHS = (4, 4, "M", 6, 6, "M", 6, 6, 6, "M", 8, 8, 8, "M", 8, 8, 8, "M")
POOLED = (1, 3, 6, 9, 12)  # the convolutions that a pooling follows
MEAN = np.array([103.939, 116.779, 123.68])
Layer = Callable[[Tensor, int], Tensor]


class Slim(nn.Module):
    """VGG16's layers, and torchvision's names for them, at a hundredth of the width."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.features = make_layers([*WIDTHS])
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        hidden = [nn.Linear(8 * 49, 12), nn.ReLU(), nn.Dropout(), nn.Linear(12, 12), nn.ReLU(), nn.Dropout()]
        self.classifier = nn.Sequential(*hidden, nn.Linear(12, classes))

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


@pytest.fixture(autouse=True)
def slim() -> Iterator[None]:
    with mock.patch.object(caffe, "network", Slim):
        yield


def arrays(classes: int = 5) -> list[np.ndarray]:
    """The published layout: weight and bias of 13 convolutions and 3 dense layers, the latter (inputs, outputs)."""
    rng, made, before = np.random.default_rng(0), [], 3
    for width in (w for w in WIDTHS if w != "M"):
        w = rng.normal(0, (2 / (9 * before)) ** 0.5, (int(width), before, 3, 3))
        made += [w, rng.normal(0, 0.1, int(width))]
        before = int(width)
    for a, b in ((before * 49, 12), (12, 12), (12, classes)):
        made += [rng.normal(0, (2 / a) ** 0.5, (a, b)), rng.normal(0, 0.1, b)]
    made[-2] *= 0.1  # logits of some units: no class takes all
    return [a.astype(np.float32) for a in made]


def write(path: Path, given: list[np.ndarray]) -> Path:
    np.savez(path, *given)
    return path


def photo(height: int = 180, width: int = 260) -> np.ndarray:
    small = np.random.default_rng(1).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.array(PIL.Image.fromarray(small).resize((width, height)))


def bgr(rgb: np.ndarray) -> Tensor:
    """(1,3,225,225), by hand."""
    squeezed = np.array(PIL.Image.fromarray(rgb).resize((225, 225), PIL.Image.Resampling.BILINEAR))
    blue_first = squeezed[:, :, [2, 1, 0]].astype(np.float64) - MEAN
    return torch.from_numpy(blue_first.transpose(2, 0, 1).copy())[None].float()


def forward(given: list[np.ndarray], x: Tensor, layer: Layer) -> Tensor:
    """Logits, layer after layer; layer(x, i) is the i-th of the 16."""
    for i in range(13):
        x = layer(x, i).clamp(min=0)
        x = F.max_pool2d(x, 2) if i in POOLED else x
    x = x.flatten(1)  # (1, C * 7 * 7), channels outermost
    for i in (13, 14):
        x = layer(x, i).clamp(min=0)
    return layer(x, 15)


def plain(given: list[np.ndarray], of: list[np.ndarray] | None = None) -> Layer:
    """The layers; with `of`, gradients flow back through these arrays in the place of the weights."""
    tensors = [torch.from_numpy(a) for a in given]

    def apply(x: Tensor, w: Tensor) -> Tensor:
        return F.conv2d(x, w, padding=1) if w.ndim == 4 else x @ w

    def layer(x: Tensor, i: int) -> Tensor:
        w, b = tensors[2 * i], tensors[2 * i + 1]
        y = apply(x, w)
        if of is not None:
            through = apply(x, torch.from_numpy(of[i]))
            y = through + (y - through).detach()
        return y + (b[:, None, None] if w.ndim == 4 else b)

    return layer


def patterns(given: list[np.ndarray]) -> list[np.ndarray]:
    """Random ones in the published layout with w . a = 1 for every unit."""
    rng, made = np.random.default_rng(2), []
    for w in given[::2]:
        axes = (1, 2, 3) if w.ndim == 4 else (0,)
        a = w * rng.uniform(0.5, 1.5, w.shape)
        made.append((a / (w * a).sum(axes, keepdims=True)).astype(np.float32))
    return made


@pytest.fixture
def adapter(tmp_path: Path) -> CaffeAdapter:
    return load_caffe("vgg16-caffe", write(tmp_path / "vgg16.npz", arrays()))


def test_the_logits_are_those_of_a_pass_by_hand(adapter: CaffeAdapter) -> None:
    rgb, given = photo(), arrays()
    expected = forward(given, bgr(rgb), plain(given))[0]
    image = adapter.read(rgb)
    targets = sorted(adapter.detect(image, 0.0), key=lambda t: t.label)
    logits = adapter.scorer(targets, "logit")(image.pixels.expand(5, 1, -1, -1, -1))[:, 0]
    assert float(expected.std()) > 0.1
    assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
    assert torch.allclose(torch.tensor([t.score for t in targets]), expected.softmax(0), atol=1e-4)
    turned = forward(given, bgr(rgb).flip(1), plain(given))[0]
    assert not torch.allclose(logits, turned, rtol=0.05), "the order of the channels matters here"


def test_pictures_are_squeezed_and_boxes_found_again(adapter: CaffeAdapter) -> None:
    image = adapter.read(photo(150, 450))
    assert image.pixels.shape == (3, 225, 225) and image.geometry.source == (150, 450)
    corner = torch.tensor([0.0, 0, 450, 150])
    assert torch.allclose(image.geometry.to_network(corner), torch.tensor([0.0, 0, 225, 225]))
    assert image.geometry.map_to_source(torch.ones(28, 28)).shape == (150, 450)


def test_published_patterns_and_weights_are_a_pair(adapter: CaffeAdapter, tmp_path: Path) -> None:
    given, rgb = arrays(), photo()
    made = patterns(given)
    np.savez(tmp_path / "patterns.npz", **{f"A_{i}": a for i, a in enumerate(made)})
    read = pattern_files.load(adapter, tmp_path / "patterns.npz")
    for name, a in read.items():
        w = substitutable(adapter.module)[name].weight
        assert torch.allclose((w * a).flatten(1).sum(1), torch.ones(len(w)), atol=1e-5)
    image = adapter.read(rgb)
    target = adapter.detect(image, 0.0)[:1]
    for method, of in (
        ("pattern_net", made),
        ("pattern_vanilla_grad", [a * w for a, w in zip(made, given[::2], strict=True)]),
    ):
        x = bgr(rgb).requires_grad_(True)
        logit = forward(given, x, plain(given, of))[0, target[0].label]
        (g,) = torch.autograd.grad(logit, x)
        settings = {"score": "logit", "backward_seed": "one", "metrics": (), "patterns": tmp_path / "patterns.npz"}
        (e,) = igos.explain(adapter, image, target, method, **settings)
        assert e.attribution is not None
        expected = 255 * g[0].flip(0)  # to red first, and per unit of [0,1]
        assert torch.allclose(e.attribution, expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))


def test_a_state_dict_with_torchvisions_names_is_the_same_network(adapter: CaffeAdapter, tmp_path: Path) -> None:
    torch.save(adapter.module.state_dict(), tmp_path / "vgg16.pth")
    same, image = load_caffe("vgg16-caffe", tmp_path / "vgg16.pth", input_size=64), toy_image(64, 64)
    assert same.read(photo()).pixels.shape == (3, 64, 64)
    assert [t.score for t in same.detect(image, 0.0)] == [t.score for t in adapter.detect(image, 0.0)]


def test_refusals_are_one_line(tmp_path: Path) -> None:
    def told(path: Path | None, **options: object) -> str:
        with pytest.raises((WeightsError, ConfigError)) as caught:
            igos.load("vgg16-caffe", path, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    given = arrays()
    good = write(tmp_path / "good.npz", given)
    assert "needs weights=PATH" in told(None)
    assert "no such file" in told(tmp_path / "none.npz")
    assert "30 arrays (no arr_30) in place of arr_0 .. arr_31" in told(write(tmp_path / "30.npz", given[:30]))
    assert "33 arrays (arr_32) in place of" in told(write(tmp_path / "33.npz", [*given, given[-1]]))
    turned = [a.T if a.ndim == 2 else a for a in given]
    assert "of another shape (classifier.0.weight 392x12 for 12x392" in told(write(tmp_path / "turned.npz", turned))
    assert "not finite" in told(write(tmp_path / "nan.npz", [given[0] * np.nan, *given[1:]]))
    code = write(tmp_path / "code.npz", [np.array([Path()], dtype=object), *given[1:]])
    assert "damaged" in told(code) and "allow_pickle" in told(code)
    for name, data in (("cut", good.read_bytes()[:900]), ("text", b"weights"), ("empty", b"")):
        (tmp_path / f"{name}.npz").write_bytes(data)
        assert f"{name}.npz: damaged or not arrays" in told(tmp_path / f"{name}.npz")
    np.save(tmp_path / "one.npy", given[0])
    (tmp_path / "one.npy").rename(tmp_path / "one.npz")
    assert "one.npz: damaged or not arrays" in told(tmp_path / "one.npz")
    assert "at least 32 px" in told(good, input_size=31)
    assert "pretrained=True does not belong to the model vgg16-caffe" in told(good, pretrained=True)
    assert "voc: 20 class names, but the network has 5 classes" in told(good, dataset="voc")
    with pytest.raises(WeightsError, match="good.npz: arrays without names; vgg16-caffe alone is read from"):
        igos.load("vgg16", good)


def test_the_command_takes_weights_and_patterns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = arrays()
    weights = write(tmp_path / "vgg16.npz", given)
    np.savez(tmp_path / "patterns.npz", **{f"A_{i}": a for i, a in enumerate(patterns(given))})
    PIL.Image.fromarray(photo()).save(tmp_path / "photo.png")
    words = ["evaluate", "--model", "VGG16-Caffe", "--model_file", str(weights), "--data", str(tmp_path / "photo.png")]
    words += ["--methods", "pattern_integrate_grad", "--patterns", str(tmp_path / "patterns.npz"), "--n_patches", "4"]
    words += ["--metrics", "degradation_pgig", "--set", "n_steps=2", "--output", str(tmp_path / "o")]
    assert cli.main(words) == 0, capsys.readouterr().err
    assert (tmp_path / "o" / "metrics.csv").is_file()
