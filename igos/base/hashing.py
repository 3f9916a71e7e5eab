"""Hashes: of files, of the settings that decide a result, and of the text that seeds a generator."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any


def digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def identity(*decides: Any) -> str:
    """A short hash of plain data that decides a result."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def seed_of(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
