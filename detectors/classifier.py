"""torchvision's classifiers behind the Adapter interface, built and fed exactly as torchvision does it.

The score of a picture's class is its softmax probability or its logit.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
import torchvision
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights, list_models
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as TF

from detectors import labels as names_of
from detectors.checkpoint import download, load_into, load_state_dict
from detectors.fold import fold
from detectors.pictures import read_rgb, to_device
from detectors.targets import check
from igos.base.geometry import Geometry
from igos.base.names import CLASS_THRESHOLD
from igos.types import Candidates, ConfigError, Image, Scorer, Target, WeightsError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception v3 that only training uses
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # names from before dots were banned


def read_crop(source: Any, resize: int, crop: int, interpolation: InterpolationMode, antialias: bool | None) -> Image:
    """The centre crop x crop px of a picture whose short side is resized to `resize` px. Raises ImageError."""
    rgb, path = read_rgb(source)
    picture = TF.resize(PIL.Image.fromarray(rgb), [resize], interpolation=interpolation, antialias=antialias)
    (h0, w0), (w, h) = rgb.shape[:2], picture.size
    top, left = round((h - crop) / 2), round((w - crop) / 2)
    pixels = TF.to_tensor(TF.crop(picture, top, left, crop, crop))
    return Image(pixels, Geometry((h0, w0), (crop, crop), (h / h0, w / w0), (float(-top), float(-left))), rgb, path)


class ClassifierAdapter:
    """A network (N,3,H,W) normalised -> (N,classes) logits in eval mode, owned by the adapter.

    A picture's short side is resized to `resize` px and the centre crop x crop px taken; mean and std are per
    channel, in [0,1].
    """

    default_target = "top1"
    threshold = CLASS_THRESHOLD
    notes: Sequence[str] = ()
    patterns: str | None = None  # a file of them, where one ships
    parts = ("class",)
    detections = None

    def __init__(
        self,
        module: nn.Module,
        labels: Sequence[str],
        *,
        name: str = "classifier",
        crop: int = 224,
        resize: int = 256,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        interpolation: InterpolationMode = InterpolationMode.BILINEAR,
        antialias: bool | None = True,
        device: str | torch.device | None = None,
        preset: str = "classify",
    ) -> None:
        if resize < crop:
            raise ConfigError(f"the short side is resized to {resize} px, less than the crop of {crop} px")
        self.preset = preset
        self.name, self.labels, self.crop, self.resize = name, list(labels), crop, resize
        self.interpolation, self.antialias = interpolation, antialias
        self.device = torch.device(device or "cpu")
        module = module.eval().requires_grad_(False).to(self.device)
        probe = torch.randn(1, 3, crop, crop, generator=torch.Generator().manual_seed(0))
        probe = probe.to(self.device, memory_format=torch.channels_last)
        fold(module, lambda: module(probe))
        self.module = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self._mean = torch.tensor(mean, device=self.device)[:, None, None]
        self._std = torch.tensor(std, device=self.device)[:, None, None]

    @property
    def reader(self) -> Callable[[Any], Image]:
        """What reads a picture without the network, so that another process can."""
        size = {"resize": self.resize, "crop": self.crop}
        return partial(read_crop, **size, interpolation=self.interpolation, antialias=self.antialias)

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """Short side resized, centre cropped, as the weights' own transforms do it. Raises ImageError."""
        return to_device(self.reader(source), self.device)

    @torch.no_grad()
    def detect(self, image: Image, threshold: float = CLASS_THRESHOLD) -> list[Target]:
        """Every class with softmax probability >= threshold, best first; a class has no box."""
        scores = self._logits(image.pixels[None])[0].softmax(0)
        order = scores.argsort(descending=True, stable=True)
        best = order[scores[order] >= threshold].tolist()
        return [Target(label=i, name=self.labels[i], score=float(scores[i])) for i in best]

    @torch.no_grad()
    def candidates(self, image: Image) -> Candidates:
        """The logits of all classes, as one row without a box."""
        return Candidates(None, self._logits(image.pixels[None])[:, None], activation="softmax")

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob: softmax probability of each target's class; logit: its logit."""
        check(self.name, self.parts, len(self.labels), targets, score)
        label = torch.tensor([t.label for t in targets], device=self.device)

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            logits = self._logits(pictures)
            out = logits.softmax(1) if score == "prob" else logits
            return out.gather(1, label[rows, None])[:, 0]

        def names(_: Tensor) -> list[str]:
            return [self.feature_layer] * len(targets)

        return Scorer(forward, len(targets), batch or 8, module=self.module, layers=names)

    @cached_property
    def feature_layer(self) -> str:
        """The last layer with a map of features, no longer one of classes, that cuts the network."""
        scorer = self.scorer([Target(0, self.labels[0], 0.0)])
        picture = torch.full((1, 3, self.crop, self.crop), 0.5, device=self.device)
        every = scorer.layers(picture, torch.zeros(1, dtype=torch.long, device=self.device))
        found = [x.name for x in every if x.cuts and min(x.shape[2:]) > 1 and x.shape[1] != len(self.labels)]
        if not found:
            raise ConfigError(f"{self.name} has no layer with a map of features; give one with --set layer=NAME")
        return found[-1]

    def _logits(self, pictures: Tensor) -> Tensor:
        x = (pictures - self._mean) / self._std
        return self.module(x.contiguous(memory_format=torch.channels_last))


def load_classifier(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    pretrained: bool = False,
) -> ClassifierAdapter:
    """A torchvision classifier by its exact name.

    weights: a state dict's file; pretrained: torchvision's IMAGENET1K_V1 (DEFAULT where there is none), whose
    preprocessing is used for both. input_size (px) replaces the crop, and the resize before it keeps its
    proportion. Another number of classes than 1000 is read from the file; names or dataset name them.
    Raises ConfigError and WeightsError.
    """
    known = list_models(module=torchvision.models)
    if name not in known:
        raise ConfigError(f"--model {name!r} is not one of torchvision's classifiers: {', '.join(known)}")
    if weights is not None and pretrained:
        raise ConfigError("--model_file and --pretrained: give one of the two")
    if weights is None and not pretrained:
        raise WeightsError(f"--model {name} needs --model_file PATH or --pretrained; random weights explain nothing")
    asked = names_of.choose(names, dataset)
    every = get_model_weights(name)
    enum: Any = every.__members__.get("IMAGENET1K_V1", every.DEFAULT)  # type: ignore[attr-defined]
    state = download(enum, name) if weights is None else load_state_dict(weights)
    module, count = _build(name, _options(name, enum, input_size), state)
    load_into(module, _as_built(state), weights or enum.url)
    labels = asked or (enum.meta["categories"] if count == 1000 else [f"class {i}" for i in range(count)])
    names_of.fit(labels, count, str(names or dataset or name))
    preset = enum.transforms()
    crop, resize = preset.crop_size[0], preset.resize_size[0]
    return ClassifierAdapter(
        module,
        labels,
        name=name,
        crop=input_size or crop,
        resize=resize if input_size is None else round(resize * input_size / crop),
        mean=preset.mean,
        std=preset.std,
        interpolation=preset.interpolation,
        antialias=preset.antialias,
        device=device,
    )


def _options(name: str, enum: Any, input_size: int | None) -> dict[str, Any]:
    """What torchvision's builder passes for trained weights beyond the number of classes."""
    least = max(enum.meta.get("min_size", (1, 1)))
    built_for_one_size = name.startswith(("vit_", "maxvit_"))
    if input_size is not None and input_size < (1 if built_for_one_size else least):
        raise ConfigError(f"--input_size {input_size}: {name} needs pictures of at least {least} px")
    if name.startswith("vit_"):
        return {"image_size": input_size or least}
    if name.startswith("maxvit_"):
        return {"input_size": (input_size or least,) * 2}
    if name in ("googlenet", "inception_v3"):
        return {"transform_input": True, "init_weights": False, "aux_logits": False}
    return {"init_weights": False} if name.startswith("vgg") else {}


def _build(name: str, options: dict[str, Any], state: dict[str, Tensor]) -> tuple[nn.Module, int]:
    """The network with as many classes as the state's head, its last linear or convolution; that number."""
    try:
        module = get_model(name, weights=None, **options)
    except (ValueError, AssertionError) as error:
        raise ConfigError(f"--input_size: {name} cannot be built for it ({error})") from None
    layers = module.named_modules()
    head = [n for n, layer in layers if isinstance(layer, (nn.Linear, nn.Conv2d))][-1] + ".weight"
    count = len(state[head]) if head in state and state[head].ndim else 1000
    return (module if count == 1000 else get_model(name, weights=None, num_classes=count, **options)), count


def _as_built(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The state under today's names and without the heads of training."""
    built = copy.copy(state)  # with the versions that load_into wants
    for old in state:
        value = built.pop(old)
        if not old.startswith(AUXILIARY):
            built[OLD_DENSENET.sub(r"\1\2", old)] = value
    return built
