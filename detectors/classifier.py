"""torchvision's classifiers behind the Adapter interface, built and fed exactly as torchvision does it.

The score of a picture's class is its probability or its logit; igos/types/head.py says how they are read.
"""

from __future__ import annotations

import copy
import logging
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
from detectors.checkpoint import Undrawn, download, load_into, load_state_dict
from detectors.fold import fold
from detectors.pictures import read_rgb, to_device
from detectors.shortcuts import channels_last, frozen, probe, sharing
from detectors.targets import check, like, rivals
from igos.base.geometry import Geometry
from igos.base.names import CLASS_THRESHOLD
from igos.types import MARGIN, Candidates, ConfigError, Image, Scorer, Target, WeightsError, locked, summary
from igos.types.head import recognise

log = logging.getLogger("igos")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAKEN = {
    "softmax": ("logits", "softmax"),
    "sigmoid": ("a logit of the second class", "sigmoid"),
    "none": ("probabilities", "none"),
}
AUXILIARY = ("aux1.", "aux2.", "AuxLogits.")  # heads of GoogLeNet and Inception v3 that only training uses
OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|relu|conv))\.([12]\.)")  # names from before dots were banned


def read_crop(source: Any, resize: int, crop: int, interpolation: InterpolationMode, antialias: bool | None) -> Image:
    """The centre crop x crop px of a picture whose short side is resized to `resize` px. Raises ImageError."""
    rgb, path = read_rgb(source)
    picture = TF.resize(PIL.Image.fromarray(rgb), [resize], interpolation=interpolation, antialias=antialias)
    (h0, w0), (w, h) = rgb.shape[:2], picture.size
    top, left = round((h - crop) / 2), round((w - crop) / 2)
    pixels = TF.pil_to_tensor(TF.crop(picture, top, left, crop, crop)).float() / 255
    return Image(pixels, Geometry((h0, w0), (crop, crop), (h / h0, w / w0), (float(-top), float(-left))), rgb, path)


class ClassifierAdapter:
    """A network (N,3,H,W) normalised -> (N,classes) in eval mode, owned by the adapter.

    module is the network with shortcuts (folded norms, channels_last); plain the same adapter on the network as it was
    given, which detects; None for that one itself, and where no shortcut was found.
    A picture's short side is resized to `resize` px and the centre crop x crop px taken; mean and std are per
    channel, in [0,1]. activation says what makes probabilities of the network's answers (igos/types/head.py); None:
    what is seen on a probe, which the log tells where it is not softmax. A network of one column has two labels, and
    the column is the second's. Raises ConfigError for an activation that contradicts what is seen.
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
        activation: str | None = None,
    ) -> None:
        if resize < crop:
            raise ConfigError(f"the short side is resized to {resize} px, less than the crop of {crop} px")
        self.preset = preset
        self.name, self.labels, self.crop, self.resize = name, list(labels), crop, resize
        self.interpolation, self.antialias = interpolation, antialias
        self.device = torch.device(device or "cpu")
        self.module = frozen(module, self.device)
        self.plain: ClassifierAdapter | None = None
        self._format = torch.contiguous_format
        self._mean = torch.tensor(mean, dtype=torch.float32, device=self.device)[:, None, None]
        self._std = torch.tensor(std, dtype=torch.float32, device=self.device)[:, None, None]
        noise = torch.Generator().manual_seed(0)
        x = torch.randn(1, 3, crop, crop, generator=noise, dtype=torch.float32).to(self.device)
        self.head = recognise(self.module, torch.cat([x, -2 * x]), activation, name)
        if self.head.why and activation is None:
            taken = TAKEN[self.head.activation]
            log.warning("%s: %s, so its answers are taken as %s (activation %s)", name, self.head.why, *taken)
        self._take_shortcuts()

    @torch.no_grad()
    def _take_shortcuts(self) -> None:
        """Fold the norms and take channels_last memory, each where a random probe shows that it changes nothing: on a
        copy; the network itself becomes that of `plain`.
        """
        quick = sharing(self.module)
        if quick is None:
            return
        x = (probe(self.crop, self.device) - self._mean) / self._std
        folded, out = fold(quick, lambda: quick(x))
        memory = channels_last(quick, lambda memory: quick(x.contiguous(memory_format=memory)), out)
        if folded or memory == torch.channels_last:
            self.plain, self.module, self._format = copy.copy(self), quick, memory

    def __repr__(self) -> str:
        return summary(self, f"{self.crop} x {self.crop} px")

    @property
    def reader(self) -> Callable[[Any], Image]:
        """What reads a picture without the network, so that another process can."""
        size = {"resize": self.resize, "crop": self.crop}
        return partial(read_crop, **size, interpolation=self.interpolation, antialias=self.antialias)

    def read(self, source: str | Path | np.ndarray | Any) -> Image:
        """Short side resized, centre cropped, as the weights' own transforms do it. Raises ImageError."""
        return to_device(self.reader(source), self.device)

    @property
    def activation(self) -> str:
        """What makes probabilities of the network's answers, one of ACTIVATIONS."""
        return self.head.activation

    def detect(self, image: Image, threshold: float = CLASS_THRESHOLD) -> list[Target]:
        """Every class with probability >= threshold, best first; a class has no box."""
        return (self.plain or self)._detect(image, threshold)

    @locked
    @torch.no_grad()
    def _detect(self, image: Image, threshold: float) -> list[Target]:
        x = self._normalised(image.pixels[None])
        out = self.module(x)
        (scores,) = made = self.head(lambda _: out, x, "prob")
        self.head.check(made, self.name)
        (logits,) = self.head(self.module if self.head.inside else lambda _: out, x, "logit")
        order = scores.argsort(descending=True, stable=True)
        best = order[scores[order] >= threshold].tolist()
        (odds,) = self.head.odds(logits[None])
        values = [{"prob": float(scores[i]), "logit": float(logits[i]), "logodds": float(odds[i])} for i in best]
        return [
            Target(label=i, name=self.labels[i], score=own["prob"], own=own)
            for i, own in zip(best, values, strict=True)
        ]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        """The logits of all classes, as one row without a box."""
        return (self.plain or self)._candidates(image)

    @locked
    @torch.no_grad()
    def _candidates(self, image: Image) -> Candidates:
        exclusive = self.head.exclusive and not self.head.single
        logits = self._scores(image.pixels[None], "logit")[:, None]
        return Candidates(None, logits, activation="softmax" if exclusive else "sigmoid")

    def scorer(self, targets: Sequence[Target], score: str = "prob", batch: int | None = None) -> Scorer:
        """prob: probability of each target's class; logit: its logit; logodds: the log-odds of that probability."""
        check(self.name, self.parts, len(self.labels), targets, score)
        label = torch.tensor([t.label for t in targets], device=self.device)
        rival = rivals(targets, self.device).label if score == MARGIN else None

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            made = self._scores(pictures, score)
            own = made.gather(1, label[rows, None])[:, 0]
            return own if rival is None else own - made.gather(1, rival[rows, None])[:, 0]

        def names(_: Tensor) -> list[str]:
            return [self.feature_layer] * len(targets)

        return Scorer(forward, len(targets), batch or 8, module=self.module, layers=names)

    @cached_property
    def feature_layer(self) -> str:
        """The last layer with a map of features, no longer one of classes, that cuts the network."""
        scorer = self.scorer([Target(0, self.labels[0], 0.0)])
        picture = torch.full((1, 3, self.crop, self.crop), 0.5, dtype=torch.float32, device=self.device)
        every = scorer.layers(picture, torch.zeros(1, dtype=torch.long, device=self.device))
        classes = 1 if self.head.single else len(self.labels)
        found = [x.name for x in every if x.cuts and like(x.shape, picture.shape) and x.shape[1] != classes]
        if not found:
            raise ConfigError(f"{self.name} has no layer with a map of features; give one with --set layer=NAME")
        return found[-1]

    def _scores(self, pictures: Tensor, score: str) -> Tensor:
        """Pictures (N,3,H,W) -> (N,classes)."""
        return self.head(self.module, self._normalised(pictures), score)

    def _normalised(self, pictures: Tensor) -> Tensor:
        x = (pictures - self._mean) / self._std
        return x.contiguous(memory_format=self._format)


def load_classifier(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    pretrained: bool = False,
    activation: str | None = None,
) -> ClassifierAdapter:
    """A torchvision classifier by its exact name.

    weights: a state dict's file; pretrained: torchvision's IMAGENET1K_V1 (DEFAULT where there is none), whose
    preprocessing is used for both. input_size (px) replaces the crop, and the resize before it keeps its
    proportion. Another number of classes than 1000 is read from the file; names or dataset name them; one column stands
    for two. activation: as ClassifierAdapter has it.
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
    with Undrawn():
        module, count = _build(name, _options(name, enum, input_size), state)
    load_into(module, _as_built(state), weights or enum.url)
    usual = enum.meta["categories"] if count == 1000 else None
    labels = names_of.of_classifier(asked, count, str(names or dataset or name), usual)
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
        activation=activation,
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
