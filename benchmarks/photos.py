"""SqueezeNet and the real photos, where ../shared/data is beside the checkout."""

from __future__ import annotations

from pathlib import Path

import igos
from igos.methods.backward import pattern_files
from igos.methods.backward.pattern_fit import fit
from igos.types import Adapter

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def photos() -> list[Path]:
    return sorted((DATA / "photos").iterdir())


def squeezenet(place: Path | None = None) -> Adapter:
    """ImageNet's SqueezeNet 1.0; its patterns, fitted on the photos in coco/, which are others, go into place."""
    weights, words = (DATA / "squeezenet" / f for f in ("squeezenet1_0_imagenet_fp16.pth", "synset_words.txt"))
    adapter = igos.load("squeezenet1_0", weights, names=words)
    if place is not None:
        pictures = sorted((DATA / "coco" / "images").iterdir())
        adapter.patterns = str(place / "squeezenet.patterns.safetensors")
        pattern_files.write(adapter.patterns, adapter, fit(adapter, map(adapter.read, pictures)), len(pictures), False)
    return adapter
