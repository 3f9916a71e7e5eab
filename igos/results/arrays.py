"""An explanation's numbers as one file, explanation.npz, and back.

saliency (h,w), geometry (4,2) (the picture's source, network, scale, offset), and where known detail (H,W) float16 (of
--keep maps uint8 and smaller), attribution (C,H,W), masks (n,h,w), box (4,) xyxy in source pixels, <metric>_curve
(2,n), trace_<name> (T,), further arrays; where asked saliency_source (H0,W0), which follows from the geometry and the
detail, or where there is none the saliency.
"""

from __future__ import annotations

import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch

from igos.base.geometry import Geometry
from igos.base.untrusted import MOST_PIXELS, load_npz
from igos.types import ConfigError

FIXED = {"saliency", "detail", "saliency_source", "geometry", "attribution", "masks", "box"}  # beside <metric>_curve
Wanted = Callable[[str], bool]


def every(name: str) -> bool:
    return True


def kept(name: str) -> bool:
    """All that does not follow from the rest."""
    return name != "saliency_source"


def unpacked(path: Path, wanted: Wanted = every, crc32: int | None = None) -> dict[str, np.ndarray]:
    """The arrays `wanted` by name. crc32: of the file. Raises ConfigError if the file is missing or damaged."""
    try:
        arrays = load_npz(path, lambda name: needed(name, wanted), crc32)
        return with_source(arrays, wanted)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({error})") from None


def size_of(path: Path) -> int:
    """How many bytes the arrays of such a file take in memory, as it states."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def needed(name: str, wanted: Wanted) -> bool:
    """Whether an array is to be read: wanted, or what a wanted saliency_source follows from."""
    return wanted(name) or (name in ("saliency", "detail", "geometry") and wanted("saliency_source"))


def with_source(arrays: dict[str, np.ndarray], wanted: Wanted) -> dict[str, np.ndarray]:
    """The wanted arrays; a saliency_source that was not stored is made. Raises ValueError for what no run writes."""
    check_arrays(arrays)
    if wanted("saliency_source") and "saliency_source" not in arrays and {"saliency", "geometry"} <= arrays.keys():
        heat = in_numbers(arrays["detail"] if "detail" in arrays else arrays["saliency"]).astype(np.float32)
        map_ = geometry_of(arrays["geometry"]).map_to_source(torch.from_numpy(heat))
        arrays["saliency_source"] = map_.numpy()
    return {name: a for name, a in arrays.items() if wanted(name)}


def in_numbers(map_: np.ndarray) -> np.ndarray:
    """A map as it was before it was kept as bytes (igos/results/kept.py), float16."""
    return (map_ / 255.0).astype(np.float16) if map_.dtype == np.uint8 else map_


def geometry_of(array: np.ndarray) -> Geometry:
    """What was stored of a picture's geometry."""
    source, network, scale, offset = array.tolist()
    sizes = (int(source[0]), int(source[1])), (int(network[0]), int(network[1]))
    return Geometry(*sizes, (scale[0], scale[1]), (offset[0], offset[1]))


DIMENSIONS = {
    "saliency": 2, "detail": 2, "saliency_source": 2, "geometry": 2, "box": 1, "masks": 3, "attribution": 3, "curve": 2,
}  # fmt: skip


def check_arrays(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises ValueError for arrays that no run writes."""
    for name, a in arrays.items():
        finite = name in ("geometry", "box")
        if a.dtype.kind not in "fiub" or (finite and not np.isfinite(a).all()):
            raise ValueError(f"{name}: {'not finite' if a.dtype.kind in 'fiub' else a.dtype} in place of numbers")
        dimensions = DIMENSIONS.get("curve" if name.endswith("_curve") else name, a.ndim)
        length = {"geometry": 4, "box": 4}.get(name, 2 if name.endswith("_curve") else None)
        if a.ndim != dimensions or 0 in a.shape or (length and len(a) != length):
            raise ValueError(f"{name}: an array of shape {a.shape}")
    if "geometry" in arrays:
        geometry = arrays["geometry"]
        sizes = geometry if geometry.shape != (4, 2) else np.stack([*geometry[:2], geometry[0] * geometry[2]])
        if geometry.shape != (4, 2) or not (geometry[:3] > 0).all() or sizes.prod(1).max() > MOST_PIXELS:
            raise ValueError(f"geometry: {geometry.tolist()}")
