"""igos: why a detector saw what it saw, by mask optimisation.

import igos
adapter = igos.load("emblem-m-rcnn")
image = adapter.read("photo.jpg")
for n, e in enumerate(igos.explain(adapter, image, adapter.detect(image))):
    e.save(f"out/{n}-{e.target.name}")
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from igos.baselines import BASELINES
from igos.estimation import estimate
from igos.methods import METHODS
from igos.metrics import METRICS
from igos.optim import OPTIMIZERS
from igos.run import explain
from igos.types import (
    Adapter,
    ConfigError,
    Explanation,
    Geometry,
    IgosError,
    Image,
    ImageError,
    NetworkError,
    NumericsError,
    Problem,
    Score,
    Scorer,
    Target,
    WeightsError,
)

__version__ = "0.1.0"
__all__ = [
    "BASELINES", "METHODS", "METRICS", "OPTIMIZERS", "Adapter", "ConfigError", "Explanation", "Geometry",
    "IgosError", "Image", "ImageError", "NetworkError", "NumericsError", "Problem", "Score", "Scorer", "Target",
    "WeightsError", "adapt", "estimate", "explain", "load",
]  # fmt: skip


def load(name: str, weights: str | Path | None = None, device: Any = None, **options: Any) -> Adapter:
    """A model by its name in detectors.ADAPTERS. device: as torch takes it, default cpu.

    options: cfg, names, dataset, input_size, fit, pretrained, as the family takes them. Raises ConfigError,
    WeightsError.
    """
    from igos.commands.parts import adapters
    from igos.presets import lookup

    found = adapters()
    return found.load(lookup(name, found.ADAPTERS, "model"), weights, device, **options)


def adapt(model: Any, labels: Sequence[str] | None = None, device: Any = None, **options: Any) -> Adapter:
    """A model of your own as an adapter: torchvision's FasterRCNN or MaskRCNN, a classifier, a Darknet network, or a
    black box pictures (N,3,H,W) in [0,1] -> one dict of boxes, scores and labels per picture.

    The model itself is copied and stays as it is. labels: class names; device: by default the model's own; options:
    those of the adapter (name; crop, resize, mean, std; input_size, fit). Raises ConfigError and WeightsError.
    """
    from igos.commands.parts import adapters

    return adapters().adapt(model, labels, device, **options)
