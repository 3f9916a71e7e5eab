"""An explanation of a run's folder as it was, without its model: for pictures of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from igos.base.geometry import Geometry
from igos.results.arrays import geometry_of
from igos.results.read import read_arrays
from igos.results.rows import restored
from igos.types import Explanation, Image, ImageError, Target

GREY = 0.5  # what lies beside a letterboxed picture


def again(folder: Path, row: Mapping[str, Any], source: np.ndarray, metrics: Sequence[Any]) -> Explanation:
    """The explanation of a row on its picture (H0,W0,3) uint8. metrics: those of the run.

    Raises ConfigError for damaged arrays and ImageError for a picture of another size.
    """
    arrays = read_arrays(folder, row, needed=["saliency", "geometry"])
    geometry = geometry_of(arrays["geometry"])
    if source.shape[:2] != geometry.source:
        raise ImageError(f"{row['image']}: has changed since the run")
    box = None if row.get("box") is None else geometry.to_network(torch.tensor(row["box"], dtype=torch.float32))
    target = Target(int(row["label_index"]), str(row["name"]), float(row["score"]), box)
    image = Image(as_seen(source, geometry), geometry, source, row["image"])
    rest = {k: a for k, a in arrays.items() if k != "geometry"}
    return restored(row, rest, target, image, metrics)


def as_seen(source: np.ndarray, geometry: Geometry) -> torch.Tensor:
    """The picture (H0,W0,3) uint8 as the network sees it, (3,H,W) in [0,1]; beside it is grey."""
    size = [max(round(n * s), 1) for n, s in zip(source.shape[:2], geometry.scale, strict=True)]
    x = torch.from_numpy(source).permute(2, 0, 1)[None].float() / 255
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)[0]
    made = torch.full((3, *geometry.network), GREY)
    height, width = geometry.network
    y, left = (round(v) for v in geometry.offset)
    top, low = max(y, 0), max(left, 0)
    part = small[:, top - y : top - y + height - top, low - left : low - left + width - low]
    made[:, top : top + part.shape[1], low : low + part.shape[2]] = part
    return made
