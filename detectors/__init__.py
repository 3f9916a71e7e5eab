"""ADAPTERS: every model by name. One family per file; each entry says how to load it and which preset suits it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from torchvision.models import list_models

from detectors.adapt import adapt as adapt
from detectors.caffe import load_caffe
from detectors.classifier import load_classifier
from detectors.emblem import files_of, load_emblem
from detectors.rcnn_files import load_rcnn
from detectors.yolov3 import load_yolo
from igos.types import Adapter, ConfigError


class Family(NamedTuple):
    """load(name, weights, device, **options) -> Adapter; preset is a name in configs/.

    Of a bundled model: samples, the pictures in samples/ that it is shown when the user names none, as a pattern;
    files(name), what it is made of.
    """

    load: Callable[..., Adapter]
    preset: str
    samples: str | None = None
    files: Callable[[str], list[Path]] = lambda name: []


_RCNN, _YOLO = Family(load_rcnn, "detect-rcnn"), Family(load_yolo, "detect-yolo")
_CLASSIFIER = Family(load_classifier, "classify")
_EMBLEM = Family(load_emblem, "emblem", "scene-*.png", files_of)
_EMBLEM_CLASSIFIER = Family(load_emblem, "emblem", "singles/*.png", files_of)

DEFAULT = "emblem-m-rcnn"

ADAPTERS: dict[str, Family] = {
    "emblem-m-rcnn": _EMBLEM,
    "emblem-f-rcnn": _EMBLEM,
    "emblem-yolov3spp": _EMBLEM,
    "emblem-vgg": _EMBLEM_CLASSIFIER,
    "emblem-resnet": _EMBLEM_CLASSIFIER,
    "m-rcnn": _RCNN,
    "f-rcnn": _RCNN,
    "yolov3spp": _YOLO,
    "darknet": _YOLO,
    "vgg16-caffe": Family(load_caffe, "classify"),
    **{n: _RCNN for n in list_models(module=torchvision.models.detection) if n.startswith(("faster", "mask"))},
    **{n: _CLASSIFIER for n in list_models(module=torchvision.models)},
}


def load(
    name: str, weights: str | Path | None = None, device: str | torch.device | None = None, **options: Any
) -> Adapter:
    """ADAPTERS[name] with its weights on a device; options are those of the family. Raises ConfigError."""
    family = ADAPTERS[name]
    known = [p.name for p in inspect.signature(family.load).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key in options:
        if key not in known:
            raise ConfigError(f"--{key} does not belong to the model {name}, which takes: {', '.join(known)}")
    return family.load(name, weights, device, **options)
