"""What --keep leaves of an explanation: all; maps, its arrays in at most 40 kB; or rows, its figures alone."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch

from igos.base.files import npz_bytes
from igos.base.ops import to_grid

MOST = 40_000  # bytes of a file of maps
LONGEST = 160  # px: the longest side of its detail
SMALLER = 0.75  # of its side, each time a map has too many bytes


def maps_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of at most MOST bytes with saliency (float32), geometry, box, curves (float32), masks (float16) and
    detail (uint8, 0 to 255 for 0 to 1). A detail, and a saliency of pixels, are made coarser, by means, until they fit;
    masks that do not fit are left out.
    """
    made = {n: a for n, a in arrays.items() if n in ("geometry", "box")}
    made |= {n: a.astype(np.float32) for n, a in arrays.items() if n == "saliency" or n.endswith("_curve")}
    if "detail" in arrays:
        made["detail"] = _bytes(_coarser(arrays["detail"], min(1.0, LONGEST / max(arrays["detail"].shape))))
    if "masks" in arrays:
        made["masks"] = arrays["masks"].astype(np.float16)
    while len(data := npz_bytes(made)) > MOST:
        sides = {n: max(made[n].shape) for n in ("detail", "saliency") if n in made}
        finest = max(sides, key=lambda n: sides[n])
        if "masks" in made:
            del made["masks"]
        elif sides[finest] > 2:
            coarse = _coarser(arrays[finest], SMALLER * sides[finest] / max(arrays[finest].shape))
            made[finest] = _bytes(coarse) if finest == "detail" else coarse
        else:
            break  # what is left is curves, which a metric asked for
    return data


def _coarser(map_: np.ndarray, share: float) -> np.ndarray:
    """A map (H,W) of that share of its sides, float32."""
    made = torch.from_numpy(map_.astype(np.float32))
    if share < 1:
        made = to_grid(made, (max(int(made.shape[0] * share), 1), max(int(made.shape[1] * share), 1)))
    return made.numpy()


def _bytes(map_: np.ndarray) -> np.ndarray:
    return (np.nan_to_num(map_).clip(0, 1) * 255).round().astype(np.uint8)
