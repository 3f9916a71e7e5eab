"""torchvision's Faster R-CNN and Mask R-CNN from their files, and what of one's own is one of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision.models import detection, get_model, get_model_weights, list_models
from torchvision.ops import FrozenBatchNorm2d

from detectors import labels as names_of
from detectors.checkpoint import Undrawn, download, load_into, load_state_dict
from detectors.rcnn import RCNNAdapter
from igos.types import ConfigError, WeightsError

ALIASES = {"m-rcnn": "maskrcnn_resnet50_fpn", "f-rcnn": "fasterrcnn_resnet50_fpn"}
HEAD = "roi_heads.box_predictor.cls_score.weight"  # (classes with background, features)
MIN_SIDE = 32  # px, the coarsest stride


def load_rcnn(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    pretrained: bool = False,
) -> RCNNAdapter:
    """m-rcnn, f-rcnn, or any fasterrcnn_* / maskrcnn_* of torchvision.

    weights: a state dict's file; pretrained: torchvision's COCO_V1. input_size (px) is the short side; the
    limit of the long side keeps its proportion. names or dataset name the classes without background.
    Raises ConfigError and WeightsError.
    """
    full = ALIASES.get(name, name)
    known = list_models(module=detection, include=["fasterrcnn_*", "maskrcnn_*"])
    if full not in known:
        raise ConfigError(f"--model {name!r} is not one of {', '.join([*ALIASES, *known])}")
    if weights is not None and pretrained:
        raise ConfigError("--model_file and --pretrained: give one of the two")
    if weights is None and not pretrained:
        raise WeightsError(f"--model {name} needs --model_file PATH or --pretrained; random weights explain nothing")
    if input_size is not None and input_size < MIN_SIDE:
        raise ConfigError(f"--input_size {input_size}: the short side of the picture, at least {MIN_SIDE} px")
    asked = names_of.choose(names, dataset)
    enum: Any = get_model_weights(full).DEFAULT  # type: ignore[attr-defined]
    state = download(enum, name) if weights is None else load_state_dict(weights)
    trained: list[str] = enum.meta["categories"]
    count = len(state[HEAD]) if HEAD in state and state[HEAD].ndim else len(trained)
    with Undrawn():
        module = build(full, count)
    load_into(module, state, weights or enum.url)
    if input_size is not None:
        transform = module.transform
        transform.max_size = round(input_size * transform.max_size / transform.min_size[-1])
        transform.min_size = (input_size,)
    if names is None and dataset in (None, "coco") and count == len(trained):
        labels = trained  # COCO's own numbering, which has gaps
    else:
        labels = with_background(asked, count, str(names or dataset or name))
    return RCNNAdapter(module, labels, name=name, device=device)


def build(name: str, classes: int) -> Any:
    """The network as torchvision builds it around trained weights, but with random ones and no download.

    With weights torchvision freezes the batch norms of the first versions (not _v2) and sets the eps of those
    of ResNet-50 to 0; without, it does neither. classes counts the background.
    """
    module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    if name.endswith("_v2"):
        return module
    for place, layer in list(module.backbone.named_modules()):
        if isinstance(layer, nn.BatchNorm2d):
            eps = 0.0 if "resnet50" in name else layer.eps
            parent, _, leaf = place.rpartition(".")
            setattr(module.backbone.get_submodule(parent), leaf, FrozenBatchNorm2d(layer.num_features, eps))
    return module


def with_background(asked: list[str] | None, count: int, what: str) -> list[str]:
    """Names for `count` classes, the background first; a list that begins with it is taken as it is."""
    return names_of.of_columns(asked, count, 0, what)
