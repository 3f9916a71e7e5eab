"""Reading pictures with Pillow: upright, RGB, 8 bits, whole; anything else is refused in one line."""

from __future__ import annotations

import io
import os.path
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import PIL.ImageOps
import torch

from igos.base.addresses import is_address
from igos.base.errors import a_kind
from igos.base.reading import read_bytes
from igos.types import Image, ImageError

MIN_SIDE, MAX_ASPECT = 16, 20
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # not EPS: Pillow runs Ghostscript for it


def read_rgb(source: str | Path | np.ndarray | PIL.Image.Image) -> tuple[np.ndarray, str | None]:
    """A path, PIL picture or uint8 array (H,W), (H,W,3) or (H,W,4) -> (H,W,3) uint8 RGB and the path.

    EXIF rotation is applied, transparency laid over white, CMYK and grey turned to RGB, 16 bits scaled by
    1/257. Raises ImageError for a missing, cut, unreadable, tiny (side < 16 px) or very long picture.
    """
    path = str(source) if isinstance(source, (str, Path)) else None
    name = path or "the picture"
    if path is None and not isinstance(source, (np.ndarray, PIL.Image.Image)):
        raise ImageError(f"a picture is a path, an address, a PIL picture, an array or a tensor, got {a_kind(source)}")
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8:
            raise ImageError(f"an array must be uint8 in 0..255, got {source.dtype}; scale and cast it first")
        if source.ndim not in (2, 3) or (source.ndim == 3 and source.shape[2] not in (3, 4)):
            raise ImageError(f"an array must be (H,W), (H,W,3) or (H,W,4), got {source.shape}{_hint(source)}")
    at: str | io.BytesIO | None = path
    if path is not None and is_address(path):
        try:
            at = io.BytesIO(read_bytes(path))
        except OSError as error:
            raise ImageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    elif path is not None and not os.path.isfile(path):
        raise ImageError(f"{path}: {'is a folder, not a file' if os.path.isdir(path) else 'no such file'}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", PIL.Image.DecompressionBombWarning)
            if at is not None:
                with PIL.Image.open(at, formats=FORMATS) as opened:
                    _check_size(name, *opened.size)
                    rgb = _to_rgb(opened)
            else:
                picture: Any = PIL.Image.fromarray(source) if isinstance(source, np.ndarray) else source
                _check_size(name, *picture.size)
                rgb = _to_rgb(picture)
    except ImageError:
        raise
    except PIL.UnidentifiedImageError:
        raise ImageError(f"{name}: not a picture in a format that is read ({', '.join(FORMATS)})") from None
    except (PIL.Image.DecompressionBombWarning, PIL.Image.DecompressionBombError):
        limit = PIL.Image.MAX_IMAGE_PIXELS
        raise ImageError(f"{name}: more than {limit} pixels; make it smaller first") from None
    except Exception as error:  # a decoder may raise anything on a damaged file
        raise ImageError(f"{name}: damaged or cut off ({error})") from None
    return rgb, path


def _hint(pixels: np.ndarray) -> str:
    """What brings an array of another order to (H,W,3)."""
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        return "; [..., 0] takes the only channel"
    if pixels.ndim == 3 and pixels.shape[0] in (3, 4):
        return "; transpose(1, 2, 0) brings the channels to the end"
    return "; one picture at a time, [0] is the first" if pixels.ndim == 4 else ""


def to_device(image: Image, device: torch.device) -> Image:
    """The image with its pixels there."""
    return replace(image, pixels=image.pixels.to(device))


def _check_size(name: str, width: int, height: int) -> None:
    """Before anything is decoded. Raises ImageError for a tiny or very long picture."""
    if min(height, width) < MIN_SIDE:
        raise ImageError(f"{name}: {width} x {height} px; every side must be at least {MIN_SIDE} px")
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise ImageError(f"{name}: {width} x {height} px; a side may be at most {MAX_ASPECT} times the other")


def _to_rgb(picture: PIL.Image.Image) -> np.ndarray:
    picture.load()
    picture = PIL.ImageOps.exif_transpose(picture)
    if picture.mode.startswith("I"):
        grey = np.asarray(picture)
        if picture.mode.startswith("I;16") or grey.max(initial=0) > 255:
            grey = (np.clip(grey, 0, 65535).astype(np.int32) + 128) // 257
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)
    if picture.mode == "F":
        raise ValueError("floating-point pixels have no agreed range")
    if picture.mode in ("LA", "PA", "RGBA", "RGBa", "La") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        white = PIL.Image.new("RGBA", picture.size, (255, 255, 255, 255))
        picture = PIL.Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))
