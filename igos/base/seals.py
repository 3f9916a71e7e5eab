"""Seals: the CRC-32 of what a line of JSON, a JSON file or a YAML file holds, written into it.

A seal tells of damage: of flipped bits, of lines cut or mixed, of a number edited by hand. It is no signature: whoever
means to deceive makes a new one.
"""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SEAL = "seal"
LONGEST = 64  # bytes of the comment, at most
_COMMENT = re.compile(rb"# seal: ([0-9a-f]{8})\n\Z")


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """Plain data with its seal as the last key."""
    return {**values, SEAL: _seal(json.dumps(values).encode())}


def unsealed(values: Any, needed: bool = True) -> dict[str, Any]:
    """What `sealed` was given. needed: whether there must be a seal; one that is there must fit in any case.

    Raises ValueError for what is no dict, lacks its seal, or holds other content than was sealed.
    """
    if not isinstance(values, dict):
        raise ValueError("not keys and values")
    content = {k: v for k, v in values.items() if k != SEAL}
    if SEAL not in values:
        if needed:
            raise ValueError("its seal is missing")
    elif values[SEAL] != _seal(json.dumps(content).encode()):
        raise ValueError("its content does not fit its seal")
    return content


def sealed_text(text: str) -> bytes:
    """A text of lines, with its seal as a last comment of YAML."""
    data = text.encode()
    return data + f"# seal: {_seal(data)}\n".encode()


def fits(data: bytes) -> bool | None:
    """Whether the bytes of a text fit its seal; None where it has none."""
    found = _COMMENT.search(data)
    return None if found is None else _seal(data[: found.start()]) == found[1].decode()


def _seal(data: bytes) -> str:
    return f"{zlib.crc32(data):08x}"


def is_sealed(folder: Path) -> bool:
    """Whether the files of a run's folder have seals: those of igos 0.1.0 have none. One file alone decides nothing."""
    return any(_has_seal(folder / name) for name in ("run.yaml", "manifest.jsonl", "results.jsonl"))


def _has_seal(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        if path.suffix == ".jsonl":
            return f'"{SEAL}": "'.encode() in file.read(1 << 16)
        file.seek(-min(LONGEST, path.stat().st_size), 2)
        return _COMMENT.search(file.read(LONGEST)) is not None
