"""Classifiers: fed and built exactly as torchvision does it, pinned scores, and real pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock
from urllib.error import URLError

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from detectors.classifier import ClassifierAdapter, load_classifier
from detectors.labels import imagenet
from igos.types import Adapter, ConfigError, Image, Target, WeightsError, passing
from tests.conftest import shared_data
from tests.detectors.test_levers import unfolded

State = dict[str, Tensor]


@contextmanager
def published(name: str, state: State) -> Iterator[Any]:
    """As if `state` were what torchvision's server holds for this network; gives the member of the enum."""
    enum: Any = get_model_weights(name)
    with mock.patch.object(enum, "get_state_dict", lambda self, *a, **k: dict(state)):
        yield enum.DEFAULT if "IMAGENET1K_V1" not in enum.__members__ else enum.IMAGENET1K_V1


def empty_state(name: str) -> State:
    """Zeros of all the right shapes that take no memory: enough to load, useless to classify."""
    with torch.device("meta"):
        shapes = get_model(name, weights=None).state_dict()
    return {k: torch.zeros((), dtype=v.dtype).expand(v.shape) for k, v in shapes.items()}


def random_state(name: str, classes: int = 1000, **options: Any) -> State:
    torch.manual_seed(0)
    return get_model(name, weights=None, num_classes=classes, **options).state_dict()


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def normalised(adapter: ClassifierAdapter, image: Image, enum: Any) -> Tensor:
    preset = enum.transforms()
    return TF.normalize(image.pixels, preset.mean, preset.std)


class Mean(nn.Module):
    """Logits that are linear in each channel's mean, and a record of what came in."""

    def __init__(self, classes: int = 5) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.head = nn.Linear(3, classes)
        self.drop = nn.Dropout(0.5)
        self.inputs: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        self.inputs.append(x)
        return 4 * self.head(self.drop(x.mean(dim=(2, 3))))


def small(classes: int = 5, **options: Any) -> ClassifierAdapter:
    return ClassifierAdapter(Mean(classes), [f"c{i}" for i in range(classes)], crop=20, resize=24, **options)


# --- reading ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(300, 401), (401, 300), (256, 256), (100, 77), (255, 640)])
@pytest.mark.parametrize("name", ["resnet18", "vgg11", "efficientnet_b0", "efficientnet_b2", "convnext_tiny"])
def test_reading_is_the_weights_own_transform(name: str, size: tuple[int, int]) -> None:
    enum: Any = get_model_weights(name)
    preset = enum.IMAGENET1K_V1.transforms()
    adapter = ClassifierAdapter(
        nn.Identity(),
        [],
        crop=preset.crop_size[0],
        resize=preset.resize_size[0],
        interpolation=preset.interpolation,
        antialias=preset.antialias,
    )
    rgb = picture(*size)
    image = adapter.read(rgb)
    assert torch.equal(normalised(adapter, image, enum.IMAGENET1K_V1), preset(PIL.Image.fromarray(rgb)))
    assert image.geometry.source == size and image.pixels.dtype == torch.float32


@pytest.mark.parametrize("name", ["squeezenet1_0", "efficientnet_b0"])
def test_loading_takes_the_weights_own_transform(name: str) -> None:
    with published(name, empty_state(name)) as enum, mock.patch("detectors.classifier.fold", unfolded):
        adapter = load_classifier(name, pretrained=True)
    rgb = picture(281, 333)
    expected = enum.transforms()(PIL.Image.fromarray(rgb))
    assert torch.equal(normalised(adapter, adapter.read(rgb), enum), expected)
    pixels = adapter.read(rgb).pixels[None]
    assert torch.equal(((pixels - adapter._mean) / adapter._std)[0], expected)
    assert adapter.name == name and list(adapter.labels) == imagenet()


@pytest.mark.parametrize("size", [(90, 140), (140, 90), (64, 64)])
def test_geometry_finds_a_spot_again(size: tuple[int, int]) -> None:
    adapter = ClassifierAdapter(nn.Identity(), [], crop=56, resize=64)
    rgb = np.zeros((*size, 3), dtype=np.uint8)
    y, x = size[0] // 2 - 8, size[1] // 2 + 5
    rgb[y : y + 6, x : x + 4] = 255
    image = adapter.read(rgb)
    light = image.pixels[0] / image.pixels[0].sum()
    grid = torch.arange(56) + 0.5
    centre = torch.stack([(light.sum(0) * grid).sum(), (light.sum(1) * grid).sum()])
    box = image.geometry.to_network(torch.tensor([x, y, x + 4.0, y + 6.0]))
    assert torch.allclose(centre, (box[:2] + box[2:]) / 2, atol=0.05)
    assert torch.allclose(image.geometry.to_source(box), torch.tensor([x, y, x + 4.0, y + 6.0]), atol=1e-4)
    assert max(image.geometry.offset) <= 0
    saliency = image.geometry.map_to_source(image.pixels[0])
    assert saliency[y + 3, x + 2] > 0.9 and saliency.sum() < 2 * 24


def test_input_size_keeps_the_proportion_of_the_crop() -> None:
    with published("resnet18", empty_state("resnet18")):
        adapter = load_classifier("resnet18", pretrained=True, input_size=112)
    assert (adapter.crop, adapter.resize) == (112, 128)
    image = adapter.read(picture(256, 512))
    assert image.geometry.network == (112, 112) and image.geometry.scale == (0.5, 0.5)
    assert image.geometry.offset == (-8.0, -72.0)


# --- building -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("googlenet", {"aux_logits": True, "init_weights": False}),
        ("squeezenet1_1", {}),
        ("mobilenet_v3_small", {}),
    ],
)
def test_a_network_is_built_as_torchvision_builds_it(name: str, options: dict[str, Any]) -> None:
    state = random_state(name, **options)
    rgb = picture(230, 260)
    with published(name, state) as enum:
        theirs = get_model(name, weights=enum).eval()
        folded = load_classifier(name, pretrained=True)
        with mock.patch("detectors.classifier.fold", unfolded):
            ours = load_classifier(name, pretrained=True)
    x = enum.transforms()(PIL.Image.fromarray(rgb))[None].contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = theirs.to(memory_format=torch.channels_last)(x)  # type: ignore[call-overload]
        assert torch.equal(ours.module(x), expected)
        assert torch.allclose(folded.module(x), expected, rtol=1e-3, atol=1e-4 * float(expected.abs().max()))
    targets = ours.detect(ours.read(rgb), 0.0)
    assert len(targets) == 1000
    assert targets[0].score == pytest.approx(float(expected.softmax(1).max()), abs=1e-6)
    score = ours.scorer(targets[:1], "logit")(ours.read(rgb).pixels[None, None])
    assert float(score) == pytest.approx(float(expected[0, targets[0].label]), abs=1e-5)


@pytest.mark.parametrize("aux", [True, False])
def test_googlenet_takes_files_with_and_without_auxiliary_heads(tmp_path: Path, aux: bool) -> None:
    torch.save(random_state("googlenet", aux_logits=aux, init_weights=False), tmp_path / "g.pth")
    with mock.patch("detectors.classifier.fold", unfolded):
        module: Any = load_classifier("googlenet", tmp_path / "g.pth").module
    assert module.transform_input and module.aux1 is None and module.aux2 is None and not module.aux_logits


def test_densenet_takes_the_names_that_torchvision_still_publishes(tmp_path: Path) -> None:
    state = {k: v for k, v in random_state("densenet121").items() if not k.endswith("num_batches_tracked")}
    old = {re.sub(r"(denselayer\d+\.(?:norm|relu|conv))([12])\.", r"\1.\2.", k): v for k, v in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "d.pth")
    with mock.patch("detectors.classifier.fold", unfolded):
        found = load_classifier("densenet121", tmp_path / "d.pth").module.state_dict()
    assert all(torch.equal(v, found[k]) for k, v in state.items())


@pytest.mark.parametrize("name", ["squeezenet1_1", "mobilenet_v3_small"])
def test_the_number_of_classes_comes_from_the_file(tmp_path: Path, name: str) -> None:
    torch.save(random_state(name, 3), tmp_path / "a.pth")
    (tmp_path / "names.txt").write_text("cat\ndog\nfox\n")
    adapter = load_classifier(name, tmp_path / "a.pth")
    assert list(adapter.labels) == ["class 0", "class 1", "class 2"]
    assert len(adapter.detect(adapter.read(picture(64, 64)), 0.0)) == 3
    named = load_classifier(name, tmp_path / "a.pth", names=tmp_path / "names.txt")
    assert list(named.labels) == ["cat", "dog", "fox"]
    with pytest.raises(ConfigError, match="voc: 20 class names, but the network has 3 classes"):
        load_classifier(name, tmp_path / "a.pth", dataset="voc")


def test_refusals_are_one_line(tmp_path: Path) -> None:
    torch.save(random_state("resnet18"), tmp_path / "r.pth")
    path = tmp_path / "r.pth"

    def told(kind: type[Exception], name: str, *args: Any, **options: Any) -> str:
        with pytest.raises(kind) as caught:
            load_classifier(name, *args, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "'resnet19' is not one of torchvision's classifiers: alexnet" in told(ConfigError, "resnet19", path)
    assert "'ResNet18' is not one of" in told(ConfigError, "ResNet18", path)
    assert "needs --model_file PATH or --pretrained" in told(WeightsError, "resnet18")
    assert "give one of the two" in told(ConfigError, "resnet18", path, pretrained=True)
    assert "does not fit SqueezeNet" in told(WeightsError, "squeezenet1_0", path)
    assert "missing (layer1.2.conv1.weight, ...)" in told(WeightsError, "resnet34", path)
    assert "at least 75 px" in told(ConfigError, "inception_v3", path, input_size=50)
    assert "--input_size -3" in told(ConfigError, "vit_b_32", path, input_size=-3)
    assert "--input_size: vit_b_32 cannot be built" in told(ConfigError, "vit_b_32", path, input_size=100)
    with mock.patch.object(get_model_weights("resnet18"), "get_state_dict", side_effect=URLError("offline")):
        assert "pass --model_file PATH" in told(WeightsError, "resnet18", pretrained=True)


# --- detections and scores ----------------------------------------------------------------------------


def test_detections_are_all_classes_above_the_threshold_best_first() -> None:
    adapter = small()
    image = adapter.read(picture(30, 40))
    every = adapter.detect(image, 0.0)
    assert sorted(t.label for t in every) == [0, 1, 2, 3, 4]
    assert sum(t.score for t in every) == pytest.approx(1, abs=1e-5)
    scores = [t.score for t in every]
    assert scores == sorted(scores, reverse=True)
    assert [t.label for t in adapter.detect(image, scores[2])] == [t.label for t in every[:3]]
    assert adapter.detect(image, 1.0) == []
    assert all(t.name == f"c{t.label}" and t.box is None and t.mask is None for t in every)


@pytest.mark.parametrize("score", ["prob", "logit"])
def test_each_row_gets_its_own_class(score: str) -> None:
    adapter = small()
    pictures = torch.rand(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    logits = adapter.module((pictures - adapter._mean) / adapter._std)
    expected = logits.softmax(1) if score == "prob" else logits
    scorer = adapter.scorer([Target(3, "c3", 0.1), Target(0, "c0", 0.1), Target(3, "c3", 0.1)], score, batch=4)
    rows = torch.tensor([2, 1, 0, 0, 1, 2])
    assert torch.allclose(scorer.forward(pictures, rows), expected[range(6), [3, 0, 3, 3, 0, 3]], atol=1e-6)
    assert torch.allclose(
        scorer(pictures.view(3, 2, 3, 20, 20)), expected[range(6), [3, 3, 0, 0, 3, 3]].view(3, 2), atol=1e-6
    )
    assert scorer.batch == 4 and adapter.scorer([Target(0, "c0", 0.1)]).batch == 8


def test_detection_and_scorer_agree() -> None:
    adapter = small()
    image = adapter.read(picture(50, 40))
    targets = adapter.detect(image, 0.0)
    found = adapter.scorer(targets)(image.pixels.expand(len(targets), 1, -1, -1, -1))[:, 0]
    assert torch.allclose(found, torch.tensor([t.score for t in targets]), atol=1e-6)


def test_the_gradient_is_right_and_the_network_stays_as_it_was() -> None:
    adapter = small()
    before = {k: v.clone() for k, v in adapter.module.state_dict().items()}
    scorer = adapter.scorer([Target(1, "c1", 0.1), Target(2, "c2", 0.1)])
    x = torch.rand(2, 3, 20, 20)
    kept = x.clone()
    ((part, scores, g),) = scorer.stream(torch.tensor([0, 1]), lambda s: x[s], gradient=True)
    assert g is not None and part == slice(0, 2)
    step = torch.randn_like(x)
    near = [scorer.forward(x + e * step, torch.tensor([0, 1])) for e in (1e-2, -1e-2)]
    assert torch.allclose((near[0] - near[1]) / 2e-2, (g * step).sum(dim=(1, 2, 3)), rtol=2e-2, atol=1e-4)
    assert torch.equal(x, kept)
    assert all(torch.equal(v, before[k]) for k, v in adapter.module.state_dict().items())
    assert not adapter.module.training and all(p.grad is None for p in adapter.module.parameters())
    assert not any(p.requires_grad for p in adapter.module.parameters())


def test_the_network_sees_channels_last() -> None:
    adapter = small()
    assert isinstance(adapter.module, Mean)
    adapter.module.inputs.clear()
    adapter.scorer([Target(1, "c1", 0.1)])(torch.rand(1, 2, 3, 20, 20))
    passing(adapter).detect(adapter.read(picture(30, 30)), 0.0)
    assert len(adapter.module.inputs) == 2
    assert all(x.is_contiguous(memory_format=torch.channels_last) for x in adapter.module.inputs)


def test_the_adapter_keeps_its_promises() -> None:
    adapter = small(name="toy", interpolation=InterpolationMode.BICUBIC, device="cpu")
    assert isinstance(adapter, Adapter)
    assert (adapter.name, adapter.preset, adapter.default_target) == ("toy", "classify", "top1")
    assert adapter.device == torch.device("cpu")
    with pytest.raises(ConfigError, match="score 'odds' is not one of prob, logit"):
        adapter.scorer([Target(1, "c1", 0.1)], "odds")
    with pytest.raises(ConfigError, match="resized to 200 px, less than the crop of 224 px"):
        ClassifierAdapter(nn.Identity(), [], resize=200)


# --- real pictures ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def squeezenet() -> ClassifierAdapter:
    folder = shared_data("squeezenet")
    return load_classifier(
        "squeezenet1_0", folder / "squeezenet1_0_imagenet_fp16.pth", names=folder / "synset_words.txt"
    )


@pytest.mark.parametrize(
    ("photo", "word", "score"),
    [
        ("captum_zebra.jpg", "zebra", 1.0),
        ("gradcam_puppies.jpg", "Labrador retriever", 0.96),
        ("rise_catdog.png", "bull mastiff", 0.96),
        ("rise_goldfish.jpg", "goldfish, Carassius auratus", 0.54),
        ("captum_elephant.jpg", "African elephant, Loxodonta africana", 0.56),
    ],
)
def test_squeezenet_knows_the_photos(squeezenet: ClassifierAdapter, photo: str, word: str, score: float) -> None:
    """The known scores are those of a crop of 227 px; torchvision's preset crops 224."""
    published_crop = squeezenet.detect(squeezenet.read(shared_data("photos", photo)), 0.05)[0]
    assert published_crop.name == word
    adapter = ClassifierAdapter(squeezenet.module, squeezenet.labels, crop=227, resize=256)
    image = adapter.read(shared_data("photos", photo))
    best = adapter.detect(image, 0.05)[0]
    assert best.name == word
    assert best.score == pytest.approx(score, abs=0.0055)
    again = adapter.scorer([best])(image.pixels[None, None])
    assert float(again) == pytest.approx(best.score, abs=1e-5)


def test_a_photo_goes_the_way_of_torchvision(squeezenet: ClassifierAdapter) -> None:
    path = shared_data("photos", "rise_goldfish.jpg")
    preset = get_model_weights("squeezenet1_0").IMAGENET1K_V1.transforms()  # type: ignore[attr-defined]
    with torch.no_grad():
        scores = squeezenet.module(preset(PIL.Image.open(path).convert("RGB"))[None])[0].softmax(0)
    best = squeezenet.detect(squeezenet.read(path), 0.0)[0]
    assert best.score == pytest.approx(float(scores.max()), abs=1e-5) and best.label == int(scores.argmax())
