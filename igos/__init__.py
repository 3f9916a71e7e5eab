"""igos: why a detector saw what it saw, by mask optimisation.

import igos
adapter = igos.load("emblem-m-rcnn")
image = adapter.read("photo.jpg")
for n, e in enumerate(igos.explain(adapter, image, adapter.detect(image))):
    e.save(f"out/{n}-{e.target.name}")
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igos.baselines import BASELINES
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
    "IgosError", "Image", "ImageError", "NumericsError", "Problem", "Score", "Scorer", "Target", "WeightsError",
    "explain", "load",
]  # fmt: skip


def load(name: str, weights: str | Path | None = None, device: Any = None, **options: Any) -> Adapter:
    """A model by its name in detectors.ADAPTERS. device: as torch takes it, default cpu.

    options: cfg, names, dataset, input_size, fit, pretrained, as the family takes them. Raises ConfigError,
    WeightsError.
    """
    from igos.cli import adapters
    from igos.config import lookup

    found = adapters()
    return found.load(lookup(name, found.ADAPTERS, "model"), weights, device, **options)
