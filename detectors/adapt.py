"""A user's own model as an adapter, or one line that says why not. The model is copied first and never touched."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.roi_heads import RoIHeads
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign

from detectors import labels as names_of
from detectors.blackbox import BlackBoxAdapter
from detectors.checkpoint import check_finite
from detectors.classifier import IMAGENET_MEAN, IMAGENET_STD, ClassifierAdapter
from detectors.darknet import Darknet
from detectors.hugging_face import hugging_face, is_hugging_face
from detectors.onestage import KINDS as ONE_STAGE
from detectors.onestage import classes_of, one_stage
from detectors.rcnn import RCNNAdapter
from detectors.rcnn_files import with_background
from detectors.shortcuts import frozen, replaced
from detectors.ultralytics import channels, is_ultralytics, network_of, ultralytics
from detectors.yolov3 import FITS, YOLOAdapter, picture_size
from igos.base.errors import one_line
from igos.types import Adapter, ConfigError

TRANSFORM = ("forward", "normalize", "resize", "postprocess")  # the steps of torchvision's that our adapters take
POSTPROCESS = ("postprocess_detections",)
AS_BLACK_BOX = "give it as a black box: igos.adapt(lambda x: model(list(x)), labels), for rise and drise"
KINDS = (
    "a FasterRCNN, MaskRCNN, RetinaNet, FCOS or SSD of torchvision, a detector or classifier of transformers, a YOLO "
    "or RTDETR of Ultralytics, a Darknet, a classifier, or a callable pictures -> detections"
)


def adapt(
    model: Any, labels: names_of.Labels = None, device: str | torch.device | None = None, **options: Any
) -> Adapter:
    """See igos.adapt. Raises ConfigError for a model, labels or options that cannot be used, WeightsError for nan."""
    name = str(options.pop("name", type(model).__name__))
    model = getattr(model, "_orig_mod", model)  # of torch.compile, whose network has no layers to look into
    if isinstance(model, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        raise ConfigError(f"{type(model).__name__} only spreads another network over devices; unwrap it: model.module")
    named, model = names_of.listed(labels), network_of(model)
    if not isinstance(model, nn.Module):
        if not callable(model):
            raise ConfigError(f"{type(model).__name__} is no model: give {KINDS}")
        return _made(_black_box, name, options)(model, named, device, name)
    try:
        own = copy.deepcopy(model)
    except Exception as error:  # whatever the user keeps in the module may refuse to be copied
        raise ConfigError(f"{name} cannot be copied ({one_line(error)}); pass a copy that can be") from None
    check_finite(own, name)
    weights = next((p for p in own.parameters()), torch.zeros(1))
    place = torch.device(device) if device is not None else weights.device
    own = frozen(own.float(), place)
    make = next((made for is_of, made in FAMILIES if is_of(own)), _classifier)
    return _made(make, name, options)(own, named, place, name)


def _made(make: Callable[..., Adapter], name: str, options: dict[str, Any]) -> Callable[..., Adapter]:
    known = [p.name for p in inspect.signature(make).parameters.values() if p.kind is p.KEYWORD_ONLY]
    for key in options:
        if key not in known:
            raise ConfigError(f"option {key} does not belong to {name}, which takes: {', '.join(['name', *known])}")
    return lambda *args: make(*args, **options)


def _rcnn(model: FasterRCNN, labels: list[str] | None, device: torch.device, name: str) -> Adapter:
    heads = model.roi_heads
    pools = [heads.box_roi_pool, *([heads.mask_roi_pool] if heads.has_mask() else [])]
    odd = [type(m).__name__ for m in pools if not isinstance(m, MultiScaleRoIAlign)]
    if odd:
        raise ConfigError(f"{name} holds {odd[0]} in place of torchvision's own part, which is not supported")
    _whole(model, name, FasterRCNN, ("forward",), ("its roi_heads", heads, RoIHeads, ("forward", *POSTPROCESS)))
    try:
        count = int(heads.box_predictor.cls_score.out_features)
    except AttributeError:
        raise ConfigError(f"{name}: its box_predictor has no cls_score with the number of classes") from None
    return RCNNAdapter(model, with_background(labels, count, "labels"), name=name, device=device)


def _whole(
    model: Any, name: str, kind: type, names: Sequence[str], *more: tuple[str, Any, type, Sequence[str]]
) -> None:
    """Raises ConfigError where a network of torchvision does more in a step that its adapter takes itself."""
    transform = ("its transform", model.transform, GeneralizedRCNNTransform, TRANSFORM)
    if why := replaced([("the network", model, kind, names), transform, *more]):
        raise ConfigError(f"{name}: {why}, which would be left out; {AS_BLACK_BOX}")


def _one_stage(model: nn.Module, labels: list[str] | None, device: torch.device, name: str) -> Adapter:
    if not isinstance(model.transform, GeneralizedRCNNTransform):
        odd = type(model.transform).__name__
        raise ConfigError(f"{name} holds {odd} in place of torchvision's own part, which is not supported")
    kind = next(kind for kind in ONE_STAGE if isinstance(model, kind))
    _whole(model, name, kind, ("forward", *POSTPROCESS))
    known = with_background(labels, classes_of(model), "labels")
    return one_stage(model, known, name=name, device=device)


def _darknet(
    model: Darknet,
    labels: list[str] | None,
    device: torch.device,
    name: str,
    *,
    input_size: int | None = None,
    fit: str = "stretch",
) -> Adapter:
    if fit not in FITS:
        raise ConfigError(f"fit {fit!r} is not one of {', '.join(FITS)}")
    known = names_of.of_classes(labels, model.classes, "labels")
    return YOLOAdapter(model, known, name=name, size=picture_size(model, input_size), fit=fit, device=device)


def _classifier(
    model: nn.Module,
    labels: list[str] | None,
    device: torch.device,
    name: str,
    *,
    crop: int = 224,
    resize: int | None = None,
    mean: Sequence[float] = IMAGENET_MEAN,
    std: Sequence[float] = IMAGENET_STD,
    activation: str | None = None,
) -> Adapter:
    try:
        with torch.no_grad():
            out = model(torch.zeros(2, 3, crop, crop, dtype=torch.float32, device=device))
    except Exception as error:  # the user's code may raise anything
        first = next((m for m in model.modules() if isinstance(m, nn.Conv2d)), None)
        if first is not None and first.in_channels != 3:
            raise ConfigError(f"{name} takes pictures of {channels(first.in_channels)}; 3 (RGB) are needed") from None
        raise ConfigError(
            f"{name} cannot take pictures (2,3,{crop},{crop}): {one_line(error)}; {_wrapped(model)}"
        ) from None
    fits = isinstance(out, Tensor) and out.ndim in (1, 2) and len(out) == 2 and out.is_floating_point()
    if not fits or not out.numel():
        what = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else f"a {type(out).__name__}"
        raise ConfigError(f"{name} answers {what} for two pictures, not logits (N,classes); {_wrapped(model)}")
    known = names_of.of_classifier(labels, 1 if out.ndim == 1 else out.shape[1], "labels")
    return ClassifierAdapter(
        model,
        known,
        name=name,
        crop=crop,
        resize=resize or round(crop * 256 / 224),
        mean=mean,
        std=std,
        device=device,
        activation=activation,
    )


def _wrapped(model: nn.Module) -> str:
    """A hint where a network holds a detector that could be explained by itself."""
    found = next((f"model.{n}" for n, m in model.named_modules() if n and isinstance(m, (FasterRCNN, Darknet))), None)
    return f"unwrap it: {found}" if found else f"give {KINDS}"


def _black_box(
    model: Callable[[Tensor], Any],
    labels: list[str] | None,
    device: torch.device | None,
    name: str,
    *,
    size: tuple[int, int] | None = None,
) -> Adapter:
    if not labels:
        raise ConfigError(f"{name} is a black box: its labels are needed, one per class")
    return BlackBoxAdapter(model, labels, name=name, size=size, device=device)


def _hugging_face(
    model: nn.Module,
    labels: list[str] | None,
    device: torch.device,
    name: str,
    *,
    processor: Any = None,
    activation: str | None = None,
) -> Adapter:
    return hugging_face(model, labels, device, name, processor=processor, activation=activation)


def _ultralytics(
    model: nn.Module,
    labels: list[str] | None,
    device: torch.device,
    name: str,
    *,
    input_size: int | None = None,
    end2end: bool = False,
) -> Adapter:
    return ultralytics(model, labels, device, name, input_size=input_size, end2end=end2end)


FAMILIES: tuple[tuple[Callable[[nn.Module], bool], Callable[..., Adapter]], ...] = (
    (lambda model: isinstance(model, FasterRCNN), _rcnn),
    (lambda model: isinstance(model, ONE_STAGE), _one_stage),
    (lambda model: isinstance(model, Darknet), _darknet),
    (is_hugging_face, _hugging_face),
    (is_ultralytics, _ultralytics),
)
