"""Statistics of a model's layer: estimated on pictures, found again for a run, and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from igos.base import resources
from igos.data.images import Images
from igos.methods.bottleneck.statistics import Running, fingerprint, read_statistics, same_weights
from igos.types import Adapter, ConfigError, Image, Split, Statistics, find, passing

TRIED = 20  # pictures in which a target is looked for, to see whether the layer cuts the network


def estimate(
    adapter: Adapter,
    layer: str,
    pictures: Sequence[Any] | Images,
    per: str | None = None,
) -> Statistics:
    """Statistics of the layer's features over pictures (paths or whatever the adapter reads).

    Every pass stops at the layer, but for two of the first picture in which something is found: a layer that the score
    goes round is refused. per {neuron, channel}: by default channel for a model whose pictures keep their
    aspect. Pictures that cannot be read are left out. Raises ConfigError for an unknown layer, one without a map or
    that does not cut the network, and for features whose size changes where every neuron is to have its own statistics.

    >>> model = igos.load("emblem-vgg")
    >>> statistics = igos.estimate(model, model.feature_layer, ["samples/scene-04.png", "samples/scene-07.png"])
    >>> statistics.n
    2
    """
    images = pictures if isinstance(pictures, Images) else Images(adapter, pictures)
    per = per or ("channel" if _keeps_aspect(adapter) else "neuron")
    features, pixels = Running(per), Running("channel")
    name, shape, seen = layer, torch.Size(), False
    for n, image in enumerate(images):
        seen = seen or (n < TRIED and _cuts(adapter, layer, image))
        name, found = _features(adapter, layer, image)
        shape = shape or found.shape[1:]
        if per == "neuron" and found.shape[1:] != shape:
            raise ConfigError(
                f"layer {name}: {image.path} gives features of {_size(found.shape[1:])}, others of {_size(shape)}; "
                "pictures of several sizes need --per channel"
            )
        features.add(found)
        pixels.add(image.pixels[None])
    if images.read < 2:
        raise ConfigError(
            f"statistics need at least 2 pictures that can be read, got {images.read} of {len(images.pictures)}"
        )
    return Statistics(
        model=adapter.name,
        layer=name,
        per=per,
        n=images.read,
        mean=features.mean,
        std=features.std,
        active=features.active,
        pixel_mean=pixels.mean,
        pixel_std=pixels.std,
        weights=fingerprint(adapter.module),
    )


def _shipped(model: str) -> Path:
    return resources.folder("weights") / "statistics" / f"{model}.safetensors"


def shipped_layer(model: str) -> str | None:
    """The layer of the statistics that ship with a model, or None without any."""
    file = _shipped(model)
    return read_statistics(file).layer if file.is_file() else None


def statistics_for(adapter: Adapter, file: str | Path | None = None, layer: str | None = None) -> Statistics:
    """Those of the file, else those that ship with the model. Raises ConfigError where they do not fit it."""
    if file is None:
        shipped = _shipped(adapter.name)
        if not shipped.is_file():
            raise ConfigError(_missing(adapter, layer))
        made = read_statistics(shipped)
        if layer is not None and find(adapter.module, layer) != made.layer:
            raise ConfigError(_missing(adapter, layer))
        if not same_weights(fingerprint(adapter.module), made.weights):
            raise ConfigError(f"{_missing(adapter, layer)} (those that ship are of other weights)")
        return made
    made, where = read_statistics(file), f"--stats {file}"
    if made.layer not in dict(adapter.module.named_modules()):
        raise ConfigError(f"{where}: of layer {made.layer} of {made.model}; {adapter.name} has no such layer")
    if not same_weights(fingerprint(adapter.module), made.weights):
        raise ConfigError(f"{where}: of {made.model} with other weights than those of {adapter.name} here")
    if layer is not None and find(adapter.module, layer) != made.layer:
        raise ConfigError(f"{where}: of layer {made.layer}, not of --layer {layer}; leave --layer out or estimate anew")
    return made


def _missing(adapter: Adapter, layer: str | None) -> str:
    name = layer or "LAYER"
    return (
        f"no statistics of {f'layer {layer}' if layer else 'a layer'} of {adapter.name} are at hand; make them with "
        f"`python -m igos estimate --model {adapter.name} --layer {name} --data DIR --out FILE.safetensors` and give "
        "--stats FILE.safetensors"
    )


def _cuts(adapter: Adapter, layer: str, image: Image) -> bool:
    """Whether the picture has a target. Raises ConfigError where its score goes round the layer."""
    targets = adapter.detect(image)[:1]
    if targets:
        adapter.scorer(targets).cuts(layer, image.pixels[None], torch.zeros(1, dtype=torch.long))
    return bool(targets)


@torch.no_grad()
def _features(adapter: Adapter, layer: str, image: Image) -> tuple[str, Tensor]:
    """The layer's full name and its features (1,c,h,w) of one picture; the pass ends there."""
    whole = passing(adapter)
    split = Split(lambda *_: whole.detect(image), adapter.module, layer)  # type: ignore[arg-type, return-value]
    return split.name, split.lower(image.pixels[None], torch.zeros(1, dtype=torch.long))


def _keeps_aspect(adapter: Adapter) -> bool:
    """Whether a wide and a high picture come to the network in different sizes."""
    wide, high = (adapter.read(np.zeros(shape, np.uint8)) for shape in ((64, 96, 3), (96, 64, 3)))
    return wide.geometry.network != high.geometry.network


def _size(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
