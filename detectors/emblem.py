"""The bundled networks that see igos.data.emblems: a slim Mask / Faster R-CNN, YOLOv3-SPP, ResNet and VGG; and one
YOLOv3-SPP with the planted flaws of igos.data.flawed.

Made of torchvision's and the project's own building blocks, small enough to ship; weights/train.py trains them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.resnet import BasicBlock, conv1x1
from torchvision.models.vgg import make_layers
from torchvision.ops import MultiScaleRoIAlign

from detectors import labels as names_of
from detectors.checkpoint import Undrawn, load_into, load_state_dict
from detectors.classifier import ClassifierAdapter
from detectors.darknet import Darknet, parse_cfg
from detectors.rcnn import RCNNAdapter
from detectors.yolov3 import ULTRALYTICS_EPS, YOLOAdapter
from igos.base import resources
from igos.data.emblems import CLASSES, NONE
from igos.types import ConfigError

SCENE, SINGLE = 160, 96  # px, the side of a detector's and of a classifier's picture
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)
WIDTHS, PYRAMID, HIDDEN = (48, 96, 160), 64, 192
FILES = {"emblem-m-rcnn": "emblem-rcnn", "emblem-f-rcnn": "emblem-rcnn"}  # one training for both
CFG = "emblem-yolov3spp.cfg"
YOLOS = ("emblem-yolov3spp", "emblem-flawed")  # one architecture for both
PATTERNS = ".patterns.safetensors"
MASK_HEAD = ("roi_heads.mask_head.", "roi_heads.mask_predictor.")


class SlimResNet(nn.Module):
    """(N,3,H,W) normalised -> (N,classes) logits; three stages of two basic blocks, stride 16."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 24, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(24)
        self.relu = nn.ReLU(inplace=True)
        before = (24, *WIDTHS)
        self.layer1, self.layer2, self.layer3 = (_stage(a, b) for a, b in zip(before, WIDTHS, strict=False))
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(WIDTHS[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.avgpool(x).flatten(1))


class SlimVGG(nn.Module):
    """(N,3,H,W) normalised -> (N,classes) logits; VGG's layers, with batch norm only while it is trained."""

    def __init__(self, classes: int, batch_norm: bool = False) -> None:
        super().__init__()
        plan: list[str | int] = [24, "M", 48, "M", 96, 96, "M", 128, 128, "M", 160, 160, "M"]
        self.features = make_layers(plan, batch_norm=batch_norm)
        self.avgpool = nn.AdaptiveAvgPool2d(3)
        self.classifier = nn.Sequential(
            nn.Linear(160 * 9, 256), nn.ReLU(inplace=True), nn.Dropout(0.2), nn.Linear(256, classes)
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.classifier(self.avgpool(self.features(x)).flatten(1))


def build_rcnn(classes: int, masks: bool) -> FasterRCNN:
    """A Mask R-CNN, or the same network without its mask head; classes counts the background."""
    levels = {f"layer{i}": str(i - 1) for i in (1, 2, 3)}
    backbone = BackboneWithFPN(SlimResNet(1), levels, list(WIDTHS), PYRAMID)
    side = 7
    settings: dict[str, Any] = {
        "min_size": SCENE,
        "max_size": 2 * SCENE,
        "image_mean": list(MEAN),
        "image_std": list(STD),
        "rpn_anchor_generator": AnchorGenerator(((40,), (56,), (76,), (100,)), ((0.75, 1.0, 1.33),) * 4),
        "rpn_pre_nms_top_n_train": 300,
        "rpn_pre_nms_top_n_test": 200,
        "rpn_post_nms_top_n_train": 150,
        "rpn_post_nms_top_n_test": 60,
        "rpn_batch_size_per_image": 64,
        "box_roi_pool": MultiScaleRoIAlign(["0", "1", "2"], side, 2),
        "box_head": TwoMLPHead(PYRAMID * side**2, HIDDEN),
        "box_predictor": FastRCNNPredictor(HIDDEN, classes),
        "box_batch_size_per_image": 48,
        "box_detections_per_img": 20,
    }
    if not masks:
        return FasterRCNN(backbone, **settings)
    return MaskRCNN(
        backbone,
        **settings,
        mask_roi_pool=MultiScaleRoIAlign(["0", "1", "2"], 14, 2),
        mask_head=MaskRCNNHeads(PYRAMID, (PYRAMID, PYRAMID), 1),
        mask_predictor=MaskRCNNPredictor(PYRAMID, PYRAMID, classes),
    )


def _stage(a: int, b: int) -> nn.Sequential:
    shortcut = nn.Sequential(conv1x1(a, b, 2), nn.BatchNorm2d(b))
    return nn.Sequential(BasicBlock(a, b, 2, shortcut), BasicBlock(b, b))


def files_of(name: str) -> list[Path]:
    """The files that a bundled network is made of."""
    cfg = [resources.folder("configs") / CFG] if name in YOLOS else []
    return [_stem(name).with_suffix(".safetensors"), *cfg]


def _stem(name: str) -> Path:
    return resources.folder("weights") / FILES.get(name, name)


def load_emblem(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    dataset: str | None = None,
) -> RCNNAdapter | YOLOAdapter | ClassifierAdapter:
    """A bundled network by its name; weights: another file of the same network, of one's own training.

    Raises WeightsError for a file that does not fit, ConfigError for the classes of another dataset.
    """
    if dataset not in (None, "emblems"):
        raise ConfigError(f"--dataset {dataset}: {name} knows the classes of emblems only")
    path, patterns = weights or files_of(name)[0], f"{_stem(name)}{PATTERNS}"
    adapter = _build(name, load_state_dict(path), path, device)
    if weights is None and Path(patterns).is_file():
        adapter.patterns = patterns
    return adapter


def _build(
    name: str, state: dict[str, Tensor], path: str | Path, device: str | torch.device | None
) -> RCNNAdapter | YOLOAdapter | ClassifierAdapter:
    if name in YOLOS:
        cfg = resources.folder("configs") / CFG
        with Undrawn():
            yolo = Darknet(parse_cfg(cfg), cfg, ULTRALYTICS_EPS)
        load_into(yolo, state, path)
        size = (SCENE, SCENE)
        return YOLOAdapter(yolo, CLASSES, name=name, size=size, fit="letterbox", device=device, preset="emblem")
    if name in FILES:
        masks = name == "emblem-m-rcnn"
        with Undrawn():
            rcnn = build_rcnn(1 + len(CLASSES), masks)
        load_into(rcnn, {k: v for k, v in state.items() if masks or not k.startswith(MASK_HEAD)}, path)
        return RCNNAdapter(rcnn, [names_of.BACKGROUND, *CLASSES], name=name, device=device, preset="emblem")
    with Undrawn():
        network = (SlimVGG if name == "emblem-vgg" else SlimResNet)(len(CLASSES) + 1)
    load_into(network, state, path)
    return ClassifierAdapter(
        network,
        [*CLASSES, NONE],
        name=name,
        crop=SINGLE,
        resize=SINGLE,
        mean=MEAN,
        std=STD,
        device=device,
        preset="emblem",
    )
