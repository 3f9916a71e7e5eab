"""Hashes: of files, of the settings that decide a result, and of the text that seeds a generator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.reading import opened


def digest(path: str | Path, most: int = 2**62) -> str:
    """The SHA-256 of a file's bytes. Raises OSError, also for a device, a pipe or more than `most` bytes."""
    made = hashlib.sha256()
    with opened(path, most) as file:
        while part := file.read(2**20):
            made.update(part)
    return made.hexdigest()


def sha256_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def digest_of(array: np.ndarray) -> str:
    """The SHA-256 of an array's dtype, shape and bytes."""
    made = hashlib.sha256(f"{array.dtype.str}{array.shape}".encode())
    made.update(np.ascontiguousarray(array).tobytes())
    return made.hexdigest()


def identity(*decides: Any) -> str:
    """A short hash of plain data that decides a result."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def number_of(text: str) -> int:
    """A number in [0, 2^64) that follows from the text, the same on every machine."""
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def seed_of(text: str) -> int:
    """The seed of a generator, in [0, 2^63)."""
    return number_of(text) >> 1
