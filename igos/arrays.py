"""An explanation's numbers as one file, explanation.npz, and back.

saliency (h,w), geometry (4,2) (the picture's source, network, scale, offset), and where known attribution (C,H,W),
masks (n,h,w), box (4,) xyxy in source pixels, <metric>_curve (2,n), trace_<name> (T,), further arrays; where asked
saliency_source (H0,W0), which follows from map and geometry.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from igos.checks import check_arrays
from igos.files import write_bytes
from igos.types import ConfigError, Explanation, Geometry
from igos.untrusted import load_npz

FILE = "explanation.npz"
OWN = {"saliency", "saliency_source", "geometry", "attribution", "masks", "box"}  # beside <metric>_curve
Wanted = Callable[[str], bool]


def every(name: str) -> bool:
    return True


def kept(name: str) -> bool:
    """All that does not follow from the rest."""
    return name != "saliency_source"


def write_arrays(folder: str | Path, e: Explanation) -> None:
    """explanation.npz in folder, all that the head of this file names."""
    write_bytes(Path(folder) / FILE, packed(e))


def packed(e: Explanation, source: bool = True) -> bytes:
    """The file's bytes; source: with saliency_source."""
    arrays: dict[str, np.ndarray] = {
        "saliency": e.saliency.float().cpu().numpy(),
        "geometry": np.array([e.geometry.source, e.geometry.network, e.geometry.scale, e.geometry.offset], np.float64),
        **{name: np.asarray(a) for name, a in e.arrays.items()},
        **{f"trace_{name}": np.asarray(a) for name, a in e.trace.items()},
        **{f"{s.name}_curve": s.curve for s in e.scores if s.curve is not None},
    }
    if source:
        arrays["saliency_source"] = e.on_source().astype(np.float32)
    for name, value in (("attribution", e.attribution), ("masks", e.masks), ("box", e.box_on_source())):
        if value is not None:
            arrays[name] = np.asarray(value, dtype=np.float32)
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # 5 x faster than savez's 6
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return data.getvalue()


def unpacked(path: Path, wanted: Wanted = every) -> dict[str, np.ndarray]:
    """The arrays `wanted` by name. Raises ConfigError if the file is missing or damaged."""
    try:
        arrays = load_npz(path, lambda name: needed(name, wanted))
        return with_source(arrays, wanted)
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: damaged ({error})") from None


def size_of(path: Path) -> int:
    """How many bytes the arrays of such a file take in memory."""
    with zipfile.ZipFile(path) as archive:
        return sum(member.file_size for member in archive.infolist())


def needed(name: str, wanted: Wanted) -> bool:
    """Whether an array is to be read: wanted, or what a wanted saliency_source follows from."""
    return wanted(name) or (name in ("saliency", "geometry") and wanted("saliency_source"))


def with_source(arrays: dict[str, np.ndarray], wanted: Wanted) -> dict[str, np.ndarray]:
    """The wanted arrays; a saliency_source that was not stored is made. Raises ValueError for what no run writes."""
    check_arrays(arrays)
    if wanted("saliency_source") and "saliency_source" not in arrays and {"saliency", "geometry"} <= arrays.keys():
        map_ = geometry_of(arrays["geometry"]).map_to_source(torch.from_numpy(arrays["saliency"]))
        arrays["saliency_source"] = map_.numpy()
    return {name: a for name, a in arrays.items() if wanted(name)}


def geometry_of(array: np.ndarray) -> Geometry:
    """What was stored of a picture's geometry."""
    source, network, scale, offset = array.tolist()
    sizes = (int(source[0]), int(source[1])), (int(network[0]), int(network[1]))
    return Geometry(*sizes, (scale[0], scale[1]), (offset[0], offset[1]))
