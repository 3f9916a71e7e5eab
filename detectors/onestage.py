"""torchvision's one-stage detectors: RetinaNet, FCOS, SSD300 and SSDlite, on torchvision's own modules.

Lin et al., RetinaNet, https://arxiv.org/abs/1708.02002; Tian et al., FCOS, https://arxiv.org/abs/1904.01355;
Liu et al., SSD, https://arxiv.org/abs/1512.02325; Sandler et al., SSDlite, https://arxiv.org/abs/1801.04381.
A row is an anchor; its score is sigmoid(class) of RetinaNet, sqrt(sigmoid(class) * sigmoid(centreness)) of FCOS and
softmax(classes) of SSD, whose column 0 is the background. Detections are the network's own.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.models.detection import FCOS, RetinaNet
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.ssd import SSD
from torchvision.ops import FrozenBatchNorm2d, clip_boxes_to_image

from detectors import labels as names_of
from detectors.checkpoint import Undrawn, download, load_into, load_state_dict
from detectors.dense import DenseAdapter
from detectors.rcnn import read_resized
from detectors.rcnn_files import MIN_SIDE, with_background
from igos.types import Candidates, ConfigError, WeightsError

KINDS = (RetinaNet, FCOS, SSD)
NAMES = ("retinanet_*", "fcos_*", "ssd*")
FROZEN = {"retinanet_resnet50_fpn": 0.0, "fcos_resnet50_fpn": 1e-5}  # networks with frozen norms, and their eps
HEADS = (  # a tensor with one row per class and anchor, and how many anchors a place has
    ("head.classification_head.cls_logits.weight", None),
    ("head.classification_head.module_list.0.weight", 4),
    ("head.classification_head.module_list.0.1.weight", 6),
)


def raw(module: nn.Module, pictures: Tensor) -> Candidates:
    """Every anchor of pictures (N,3,H,W) in [0,1]."""
    size = (pictures.shape[-2], pictures.shape[-1])
    features, batch = _features(module, pictures)
    out = module.head(features)  # type: ignore[operator]
    return _candidates(module, out, _anchors(module, batch[:1], features, size), size)


def own(module: nn.Module, picture: Tensor) -> tuple[Candidates, Tensor, Tensor, Tensor]:
    """The whole network on picture (1,3,H,W), its own post-processing included, beside all of its anchors."""
    size, made = (picture.shape[-2], picture.shape[-1]), list[Any]()
    parts: Any = (module.anchor_generator, module.head)
    handles = [part.register_forward_hook(lambda _, __, out: made.append(out)) for part in parts]
    try:
        (found,) = module([picture[0]])
    finally:
        for handle in handles:
            handle.remove()
    anchors, out = (made[0], made[1]) if isinstance(made[0], list) else (made[1], made[0])
    return _candidates(module, out, anchors[0], size), found["boxes"], found["scores"], found["labels"]


def one_stage(
    module: Any, labels: Sequence[str], *, name: str = "detector", device: str | torch.device | None = None
) -> DenseAdapter:
    """An adapter of a RetinaNet, FCOS or SSD, which it owns; labels begin with the background."""
    reader = partial(read_resized, transform=copy.deepcopy(module.transform))
    module.transform._skip_resize = True  # the network takes pictures as they are read
    return DenseAdapter(module, raw, labels, reader=reader, own=own, name=name, device=device, batch=4)


def classes_of(module: Any) -> int:
    """How many classes the head has, with column 0. Raises ConfigError for a head that is not torchvision's."""
    head = getattr(module.head, "classification_head", None)
    count = getattr(head, "num_classes", getattr(head, "num_columns", None))
    if count is None:
        raise ConfigError(f"{type(module).__name__}: its head has no classification_head of torchvision's")
    return int(count)


def load_one_stage(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    pretrained: bool = False,
) -> DenseAdapter:
    """retinanet_*, fcos_*, ssd300_* or ssdlite320_* of torchvision.

    weights: a state dict's file; pretrained: torchvision's COCO_V1. input_size (px): the short side of RetinaNet and
    FCOS. names or dataset name the classes without background. Raises ConfigError and WeightsError.
    """
    if weights is not None and pretrained:
        raise ConfigError("--model_file and --pretrained: give one of the two")
    if weights is None and not pretrained:
        raise WeightsError(f"--model {name} needs --model_file PATH or --pretrained; random weights explain nothing")
    if input_size is not None and (name.startswith("ssd") or input_size < MIN_SIDE):
        least = "its pictures have one size" if name.startswith("ssd") else f"the short side, at least {MIN_SIDE} px"
        raise ConfigError(f"--input_size {input_size}: {name}: {least}")
    asked = names_of.choose(names, dataset)
    enum: Any = get_model_weights(name).DEFAULT  # type: ignore[attr-defined]
    state = download(enum, name) if weights is None else load_state_dict(weights)
    trained: list[str] = enum.meta["categories"]
    with Undrawn():
        module = build(name, _count(name, state, len(trained)))
    load_into(module, state, weights or enum.url)
    if input_size is not None:
        module.transform.max_size = round(input_size * module.transform.max_size / module.transform.min_size[-1])
        module.transform.min_size = (input_size,)
    count = classes_of(module)
    if names is None and dataset in (None, "coco") and count == len(trained):
        labels = trained  # COCO's own numbering, which has gaps
    else:
        labels = with_background(asked, count, str(names or dataset or name))
    return one_stage(module, labels, name=name, device=device)


def build(name: str, classes: int) -> Any:
    """The network as torchvision builds it around trained weights, but with random ones and no download."""
    module = get_model(name, weights=None, weights_backbone=None, num_classes=classes)
    for place, layer in list(module.backbone.named_modules()):
        if isinstance(layer, nn.BatchNorm2d) and name in FROZEN:
            parent, _, leaf = place.rpartition(".")
            frozen = FrozenBatchNorm2d(layer.num_features, FROZEN[name])
            setattr(module.backbone.get_submodule(parent), leaf, frozen)
    return module


def _count(name: str, state: dict[str, Tensor], usual: int) -> int:
    """Classes of the head in the state; where it has none load_into says what is missing."""
    for key, anchors in HEADS:
        if key in state and state[key].ndim:
            each = anchors or (1 if name.startswith("fcos") else 9)
            return max(len(state[key]) // each, 1)
    return usual


def _features(module: Any, pictures: Tensor) -> tuple[list[Tensor], Tensor]:
    """The levels of features of pictures, normalised and padded to the stride; and those pictures."""
    transform = module.transform
    right, below = (-side % transform.size_divisible for side in (pictures.shape[-1], pictures.shape[-2]))
    batch = F.pad(transform.normalize(pictures), (0, right, 0, below))
    features = module.backbone(batch)
    return [features] if isinstance(features, Tensor) else list(features.values()), batch


def _anchors(module: Any, batch: Tensor, features: list[Tensor], size: tuple[int, int]) -> Tensor:
    """Anchors (A,4), the same for each picture of this size."""
    return module.anchor_generator(ImageList(batch, [size]), features)[0]


def _candidates(module: Any, out: dict[str, Tensor], anchors: Tensor, size: tuple[int, int]) -> Candidates:
    logits, deltas = out["cls_logits"], out["bbox_regression"]
    n = len(logits)
    if isinstance(module, FCOS):
        boxes = module.box_coder.decode(deltas, anchors.expand(n, -1, -1))
    else:
        flat = module.box_coder.decode_single(deltas.flatten(0, 1), anchors.repeat(n, 1))
        boxes = flat.view(n, -1, 4)
    boxes = clip_boxes_to_image(boxes, size)
    if isinstance(module, FCOS):
        return Candidates(boxes, logits, out["bbox_ctrness"][..., 0], powers=(0.5, 0.5))
    if isinstance(module, SSD):
        return Candidates(boxes, logits, activation="softmax", none=0)
    return Candidates(boxes, logits)
