"""Detectors and classifiers of transformers: boxes and scores equal their own post-processing; queries are pinned.

The networks are tiny and random, with class heads that spread the scores.
"""

from __future__ import annotations

import copy
import json
import pickle
import sys
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import Tensor

import igos
from detectors import preset_of
from detectors.classifier import ClassifierAdapter
from detectors.dense import DenseAdapter
from detectors.pins import choosing, noting
from detectors.processor import Processor
from igos.run.models import weights_of
from igos.run.settings import Run
from igos.types import Adapter, ConfigError, Image, Target, WeightsError
from tests.conftest import Later, shared_data
from tests.detectors.test_yolov3 import noise

transformers = Later("transformers", "the extra [hf] is not installed")

SOFT, PINNED = ("detr", "yolos"), ("rt_detr", "rt_detr_v2", "d_fine", "deformable_detr")
NAMES = ("detr", "conditional_detr", "deformable_detr", "rt_detr", "rt_detr_v2", "d_fine", "yolos")
PHOTOS = ("darknet_dog.jpg", "rise_catdog.png")
LABELS = {0: "cat", 1: "dog", 2: "car"}
SIDE = 128  # px, of the processors below


@pytest.fixture(scope="module", autouse=True)
def quiet() -> None:
    transformers.utils.logging.set_verbosity_error()


def resnet() -> Any:
    return transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip


def config_of(name: str) -> Any:
    labels: dict[str, Any] = {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}}
    small = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 2, "encoder_attention_heads": 2,
             "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "num_queries": 12}  # fmt: skip
    if name in ("detr", "conditional_detr", "deformable_detr"):
        deformable = name == "deformable_detr"
        small |= {"with_box_refine": True, "two_stage": True, "two_stage_num_proposals": 12} if deformable else {}
        kind = {"detr": "Detr", "conditional_detr": "ConditionalDetr", "deformable_detr": "DeformableDetr"}[name]
        return getattr(transformers, f"{kind}Config")(backbone_config=resnet(), use_timm_backbone=False, backbone=None,
                                                      use_pretrained_backbone=False, **small, **labels)  # fmt: skip
    if name == "yolos":
        return transformers.YolosConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=[SIDE, SIDE],
            num_detection_tokens=12, use_mid_position_embeddings=False, **labels,
        )  # fmt: skip
    kind = {"rt_detr": "RTDetr", "rt_detr_v2": "RTDetrV2", "d_fine": "DFine"}[name]
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16, 16, 16], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    more = {"decoder_in_channels": [32, 32, 32], "encoder_in_channels": [16, 16, 16]}
    return getattr(transformers, f"{kind}Config")(
        backbone_config=backbone, encoder_hidden_dim=32, **small, **more, **labels
    )


def processor_of(name: str) -> Any:
    size = {"height": SIDE, "width": SIDE}
    if name in ("rt_detr", "rt_detr_v2", "d_fine"):
        return transformers.RTDetrImageProcessor(size=size)
    kind = {"detr": "Detr", "conditional_detr": "ConditionalDetr", "deformable_detr": "DeformableDetr"}
    made = getattr(transformers, f"{kind.get(name, 'Yolos')}ImageProcessor")
    return made(size={"shortest_edge": SIDE, "longest_edge": 2 * SIDE} if name != "yolos" else size)


@cache
def network(name: str) -> Any:
    """With scores that are spread, and boxes and queries that differ."""
    torch.manual_seed(0)
    kind = type(config_of(name))
    auto = transformers.AutoModelForObjectDetection
    made = auto.from_config(config_of(name)).eval()
    assert isinstance(made.config, kind)
    for key, p in made.named_parameters():
        if p.ndim >= 2:
            size = 1.0 if "embed" in key and "bbox" not in key and "class" not in key else p[0].numel() ** -0.5
            p.data = torch.randn_like(p) * size * (2 if "class" in key or "score" in key else 1)
        elif "norm" not in key and "sampling" not in key:
            p.data = torch.randn_like(p) * 0.3
    return made


def theirs(name: str, model: Any, processor: Any, photo: Path) -> dict[str, Tensor]:
    """What the family's own pipeline sees, clipped to the picture as detections are."""
    with PIL.Image.open(photo) as opened:
        picture = opened.convert("RGB")
    with torch.no_grad():
        out = model(**processor(images=picture, return_tensors="pt"))
    made = processor.post_process_object_detection(out, 0.0, target_sizes=[picture.size[::-1]])[0]
    w, h = picture.size
    made["boxes"] = torch.minimum(made["boxes"].clamp(min=0), torch.tensor([w, h, w, h]))
    keep = (made["boxes"][:, 2:] > made["boxes"][:, :2] + 1e-3).all(1)
    return {k: v[keep] for k, v in made.items()}


def agree(own: dict[str, Tensor], image: Image, seen: list[Target]) -> None:
    """Each is one of the others: 0.5 px, the same class, 1e-4 of score."""
    boxes = image.geometry.to_source(torch.stack([t.box for t in seen if t.box is not None]))
    scores, labels = torch.tensor([t.score for t in seen]), torch.tensor([t.label for t in seen])
    assert len(seen) == len(own["scores"]) > 3 and float(scores.max() - scores.min()) > 0.01
    far = torch.cdist(boxes, own["boxes"], p=torch.inf) + 100 * (labels[:, None] != own["labels"])
    far = far + 5e3 * (scores[:, None] - own["scores"]).abs()
    assert float(far.amin(0).max()) < 0.5 and float(far.amin(1).max()) < 0.5


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_sees_what_its_own_pipeline_sees(name: str, tmp_path: Path) -> None:
    network(name).save_pretrained(tmp_path / "net")
    processor_of(name).save_pretrained(tmp_path / "net")
    adapter = igos.load("hf", tmp_path / "net")
    assert isinstance(adapter, DenseAdapter) and isinstance(adapter, Adapter)
    none = ["__background__"] if name in SOFT else []
    assert list(adapter.labels) == ["cat", "dog", "car", *none]
    for photo in PHOTOS:
        path = shared_data("photos", photo)
        image = adapter.read(path)
        seen = adapter.detect(image, 0.0)
        agree(theirs(name, network(name), processor_of(name), path), image, seen)
    assert {len(t.pins) for t in seen} == {1 if name in PINNED else 0}
    some = seen[:3]
    scores = adapter.scorer(some)(image.pixels.expand(len(some), 1, -1, -1, -1))[:, 0]
    assert torch.allclose(scores, torch.tensor([t.score for t in some]), atol=1e-5)
    x = image.pixels[None].clone().requires_grad_(True)
    (g,) = torch.autograd.grad(adapter.scorer(some[:1], "logit").forward(x, torch.tensor([0])).sum(), x)
    assert bool(g.isfinite().all()) and float(g.abs().max()) > 0


@pytest.mark.parametrize("name", PINNED)
def test_with_a_corner_hidden_the_query_keeps_its_place(name: str) -> None:
    """The encoder's place of each query, which is where its box begins, is that of the untouched picture."""
    model = copy.deepcopy(network(name))
    first = model.model.decoder.bbox_embed[-1] if name == "deformable_detr" else model.model.enc_bbox_head
    for p in first.layers[-1].parameters():
        p.data.zero_()  # then a box begins as its place alone says
    adapter: Any = igos.adapt(model, processor=processor_of(name))
    image = adapter.read(shared_data("photos", PHOTOS[0]))
    target = adapter.detect(image, 0.0)[0]
    hidden = image.pixels.clone()
    hidden[:, 64:, 64:] = 0.5

    def begins(pictures: Tensor, mode: Any) -> Tensor:
        with torch.no_grad(), mode:
            out = adapter.module(pixel_values=adapter.raw.numbers.of(pictures[None]))
        assert out.init_reference_points is not None
        return out.init_reference_points[0]

    here, free = begins(image.pixels, noting()), begins(hidden, noting())
    pinned = begins(hidden, choosing([target.pins]))
    assert torch.equal(pinned, here) and not torch.equal(free, here)
    scorer = adapter.scorer([target])
    before, after = (float(scorer(p[None, None])) for p in (image.pixels, hidden))
    assert before == pytest.approx(target.score, abs=1e-5) and after != before


@pytest.mark.parametrize("name", ["rt_detr", "detr"])
def test_adapt_takes_the_familys_own_preprocessing(name: str) -> None:
    adapter: Any = igos.adapt(network(name), ["a", "b", "c"])
    image = adapter.read(noise(60, 90))
    rt = name == "rt_detr"
    assert image.geometry.network == ((640, 640) if rt else (800, 1200))
    black = adapter.raw.numbers.of(torch.zeros(1, 3, 2, 2))[0, :, 0, 0]
    assert torch.allclose(
        black, torch.zeros(3) if rt else torch.tensor([-0.485 / 0.229, -0.456 / 0.224, -0.406 / 0.225])
    )
    assert "the default of its kind" in " ".join(adapter.notes)
    assert list(adapter.labels) == ["a", "b", "c"] + ([] if rt else ["__background__"])
    four = igos.adapt(network("detr"), ["a", "b", "c", "none"], processor=processor_of("detr"))
    assert list(four.labels) == ["a", "b", "c", "none"]
    with pytest.raises(ConfigError, match="labels: 2 class names, but the network has 3 classes"):
        igos.adapt(network(name), ["a", "b"])
    again = pickle.loads(pickle.dumps(adapter.reader))  # another process may read
    assert torch.equal(again(noise(60, 90)).pixels, image.pixels)


def test_a_detr_is_explained() -> None:
    adapter = igos.adapt(network("rt_detr"), processor=processor_of("rt_detr"))
    image = adapter.read(shared_data("photos", PHOTOS[0]))
    targets = adapter.detect(image, 0.0)[:1]
    for method in ("grad_cam", "iGOS+"):
        more: dict[str, Any] = {"size": 8, "iterations": 2} if method == "iGOS+" else {}
        (e,) = igos.explain(adapter, image, targets, method, metrics=(), **more)
        assert bool(e.saliency.isfinite().all())


# --- classifiers ----------------------------------------------------------------------------------------


def classifier(kind: str, **more: Any) -> Any:
    torch.manual_seed(0)
    labels = {"id2label": LABELS, "label2id": {v: k for k, v in LABELS.items()}, **more}
    if kind == "vit":
        made = transformers.ViTForImageClassification(transformers.ViTConfig(
            hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=64,
            patch_size=16, **labels))  # fmt: skip
    else:
        made = transformers.ConvNextForImageClassification(transformers.ConvNextConfig(
            hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], **labels))  # fmt: skip
    for p in made.classifier.parameters():
        p.data.normal_()
    return made.eval()


PROCESSORS: dict[str, Any] = {
    "vit": lambda: transformers.ViTImageProcessor(size={"height": 64, "width": 64}),
    "convnext": lambda: transformers.ConvNextImageProcessor(size={"shortest_edge": 96}),  # it resizes to 109 and crops
}


@pytest.mark.parametrize("kind", ["vit", "convnext"])
def test_a_classifier_answers_as_its_own_pipeline(kind: str, tmp_path: Path) -> None:
    model = classifier(kind)
    model.save_pretrained(tmp_path / "net")
    PROCESSORS[kind]().save_pretrained(tmp_path / "net")
    adapter = igos.load("hf", tmp_path / "net")
    assert isinstance(adapter, ClassifierAdapter) and adapter.preset == preset_of("hf", tmp_path / "net") == "classify"
    for photo in PHOTOS:
        path = shared_data("photos", photo)
        with PIL.Image.open(path) as opened, torch.no_grad():
            own = model(**PROCESSORS[kind]()(images=opened.convert("RGB"), return_tensors="pt")).logits[0].softmax(0)
        image = adapter.read(path)
        seen = {t.name: t.score for t in adapter.detect(image, 0.0)}
        assert [seen[n] for n in LABELS.values()] == pytest.approx(own.tolist(), abs=1e-4)
        assert max(seen.values()) - min(seen.values()) > 0.05
    target = adapter.detect(image)[0]
    for method in ("grad_cam", "iGOS+"):
        more: dict[str, Any] = {"size": 8, "iterations": 2} if method == "iGOS+" else {}
        (e,) = igos.explain(adapter, image, [target], method, metrics=(), **more)
        assert bool(e.saliency.isfinite().all())
    with pytest.raises(ConfigError, match="processor=AutoImageProcessor.from_pretrained"):
        igos.adapt(model)


def test_a_classifier_of_several_labels_has_a_sigmoid() -> None:
    model = classifier("vit", problem_type="multi_label_classification")
    adapter = igos.adapt(model, processor=PROCESSORS["vit"]())
    image = adapter.read(noise(64, 64))
    with torch.no_grad():
        own = model(**PROCESSORS["vit"]()(images=PIL.Image.fromarray(noise(64, 64)), return_tensors="pt")).logits[0]
    seen = {t.name: t.score for t in adapter.detect(image, 0.0)}
    assert [seen[n] for n in LABELS.values()] == pytest.approx(own.sigmoid().tolist(), abs=1e-4)


# --- what a processor does is seen ----------------------------------------------------------------------


def test_size_and_place_are_those_of_the_processor() -> None:
    """Against a picture of which one pixel is white: it lies where the geometry says."""
    for processor, network_size in (
        (PROCESSORS["convnext"](), (96, 96)),
        (transformers.ViTImageProcessorPil(size={"height": 64, "width": 96}), (64, 96)),
        (transformers.BitImageProcessor(size={"shortest_edge": 80}, crop_size={"height": 64, "width": 64}), (64, 64)),
        (processor_of("detr"), (128, 160)),
    ):
        reader = Processor(processor)
        rgb = np.zeros((320, 400, 3), np.uint8)
        rgb[150:160, 250:260] = 255
        image = reader(rgb)
        assert image.geometry.network == network_size == tuple(image.pixels.shape[1:])
        weight = image.pixels.mean(0)
        y = float((weight.sum(1) * torch.arange(len(weight))).sum() / weight.sum()) + 0.5
        x = float((weight.sum(0) * torch.arange(weight.shape[1])).sum() / weight.sum()) + 0.5
        box = image.geometry.to_network(torch.tensor([250.0, 150, 260, 160]))
        assert (x, y) == pytest.approx((float(box[[0, 2]].mean()), float(box[[1, 3]].mean())), abs=0.15)


def test_colours_are_those_of_the_processor() -> None:
    rgb = noise(64, 64)
    for processor in (
        transformers.MobileViTImageProcessor(size={"shortest_edge": 64}, crop_size={"height": 64, "width": 64}),  # BGR
        transformers.EfficientNetImageProcessor(size={"height": 64, "width": 64}),
        transformers.ViTImageProcessor(size={"height": 64, "width": 64}, do_rescale=False, do_normalize=False),
    ):
        reader = Processor(processor)
        values = processor(images=PIL.Image.fromarray(rgb), return_tensors="pt")["pixel_values"]
        made = reader.numbers.of(reader(rgb).pixels[None])
        assert torch.allclose(made, values.float(), atol=1e-4 * float(values.abs().max()))
        assert float(reader(rgb).pixels.min()) >= 0 and float(reader(rgb).pixels.max()) <= 1


def test_a_processor_whose_work_cannot_be_undone_is_refused() -> None:
    padded = transformers.DetrImageProcessor(size={"height": 64, "width": 64}, pad_size={"height": 96, "width": 96})
    with pytest.raises(ConfigError, match="pads pictures under a mask"):
        Processor(padded)(noise(64, 64))

    def grey(images: Any, return_tensors: str) -> Any:
        return {"pixel_values": torch.full((1, 3, 8, 8), float(np.asarray(images).mean()))}

    with pytest.raises(ConfigError, match="cannot be had back"):
        Processor(grey)
    with pytest.raises(ConfigError, match="int: cannot read a picture"):
        Processor(3)


# --- bad input --------------------------------------------------------------------------------------------


def test_folders_that_are_none(tmp_path: Path) -> None:
    net = tmp_path / "net"
    network("detr").save_pretrained(net)
    config = json.loads((net / "config.json").read_text())

    def refused(words: str, kind: type[Exception] = WeightsError, path: Path = net) -> None:
        with pytest.raises(kind, match=words) as told:
            igos.load("hf", path)
        assert "\n" not in str(told.value)

    refused("no such folder; a hub's name needs pretrained=True", path=tmp_path / "facebook" / "detr")
    refused("a file; give its folder", path=net / "config.json")
    (tmp_path / "empty").mkdir()
    refused("holds no config.json", path=tmp_path / "empty")
    with pytest.raises(ConfigError, match="needs weights="):
        igos.load("hf")
    for change, words, kind in (
        ({"num_queries": 13}, "do not fit its config.json: 1 of another shape", WeightsError),
        ({"decoder_layers": 3}, "do not fit its config.json: .* missing", WeightsError),
        ({"architectures": ["DetrForSegmentation"]}, "holds DetrForSegmentation; ...ForObjectDetection", ConfigError),
        ({"model_type": "nonsense"}, "transformers cannot load it", WeightsError),
        ({"model_type": "mine", "auto_map": {"AutoConfig": "code.Mine"}}, "cannot load it", WeightsError),
    ):
        (net / "config.json").write_text(json.dumps({**config, **change}))
        refused(words, kind)  # type: ignore[arg-type]
    (net / "config.json").write_text("{")
    refused("config.json cannot be read")


def test_kinds_that_are_not_explained() -> None:
    with pytest.raises(ConfigError, match="a ViTModel; ...ForObjectDetection or ...ForImageClassification is needed"):
        igos.adapt(classifier("vit").vit, processor=PROCESSORS["vit"]())
    config = transformers.DabDetrConfig(
        backbone_config=resnet(), use_timm_backbone=False, backbone=None, hidden_size=16, encoder_layers=1,
        decoder_layers=1, encoder_attention_heads=2, decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    with pytest.raises(ConfigError, match="detectors of kind 'dab-detr' are not among detr, "):
        igos.adapt(transformers.DabDetrForObjectDetection(config), processor=processor_of("detr"))


def test_without_the_extra_one_line_names_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ConfigError, match=r"transformers is not installed: pip install 'igos\[hf\]'"):
        igos.load("hf", tmp_path)


def test_a_run_knows_the_files_of_the_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    run = Run(model="hf", model_file=str(tmp_path), data=[])
    before = weights_of(run)
    (tmp_path / "config.json").write_text("{ }")
    assert weights_of(run) != before
