"""timm's classifiers through igos.adapt: ViT, Swin and ConvNeXt; networks of other channels are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import igos
from detectors.classifier import IMAGENET_MEAN, IMAGENET_STD
from igos.types import ConfigError
from tests.conftest import Later, shared_data

timm = Later("timm", "the extra [hf] is not installed")

SIDE = 64
SMALL: dict[str, dict[str, Any]] = {
    "vit_tiny_patch16_224": {"img_size": SIDE, "depth": 2, "embed_dim": 32, "num_heads": 2},
    "swin_tiny_patch4_window7_224": {"img_size": SIDE, "depths": (1, 1, 1, 1), "embed_dim": 24,
                                     "num_heads": (1, 1, 2, 2), "window_size": 2},
    "convnext_atto": {"depths": (1, 1, 1, 1), "dims": (8, 16, 16, 32)},
}  # fmt: skip
LAYERS = {"vit_tiny_patch16_224": "patch_embed.proj", "swin_tiny_patch4_window7_224": "patch_embed.proj",
          "convnext_atto": "norm_pre"}  # fmt: skip


def network(name: str, **more: Any) -> Any:
    torch.manual_seed(0)
    made = timm.create_model(name, pretrained=False, num_classes=5, **SMALL[name], **more).eval()
    made.get_classifier().weight.data.normal_()
    return made


@pytest.mark.parametrize("name", SMALL)
def test_timms_classifiers_answer_as_they_do_themselves(name: str) -> None:
    model = network(name)
    adapter: Any = igos.adapt(model, list("abcde"), crop=SIDE)
    image = adapter.read(shared_data("photos", "rise_catdog.png"))
    mean, std = (torch.tensor(v)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD))
    with torch.no_grad():
        own = model((image.pixels[None] - mean) / std)[0].softmax(0)
    seen = {t.name: t.score for t in adapter.detect(image, 0.0)}
    assert [seen[n] for n in "abcde"] == pytest.approx(own.tolist(), abs=1e-5) and adapter.activation == "softmax"
    assert float(own.max() - own.min()) > 0.05
    assert adapter.feature_layer == LAYERS[name]  # of Swin not `norm`, whose channels come last
    for method in ("grad_cam", "vanilla_grad"):
        (e,) = igos.explain(adapter, image, adapter.detect(image)[:1], method, metrics=())
        assert bool(e.saliency.isfinite().all())


@pytest.mark.parametrize(("count", "words"), [(1, "1 channel .grey."), (4, "4 channels")])
def test_networks_of_other_channels_are_refused(count: int, words: str) -> None:
    with pytest.raises(ConfigError, match=f"ConvNeXt takes pictures of {words}; 3 .RGB. are needed") as told:
        igos.adapt(network("convnext_atto", in_chans=count), crop=SIDE)
    assert "\n" not in str(told.value)
