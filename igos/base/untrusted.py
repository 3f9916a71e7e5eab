"""Readers of files that anyone may have made: plain data only, and no more of it than a memory holds.

Nothing here runs what a file says; whatever is wrong with one is a ValueError, which the caller puts in its own words.
"""

from __future__ import annotations

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import numpy as np
import yaml

from igos.base.reading import opened

SHARED = 10_000  # values that the aliases of a YAML file may stand for
LONGEST_INT = 300  # characters
MOST_BYTES = 2**30  # of an archive's arrays, unpacked
MOST_HEADER = 10_000  # of an array's header, as numpy bounds it, but only after it has read all of it


def load_yaml(text: str) -> Any:
    """What the YAML text holds. Raises ValueError, for aliases that stand for a huge document too."""
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _expanded(node, {}) > len(text) + SHARED:
            raise ValueError(f"its aliases stand for more than {SHARED} values")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("nested too deeply, or within itself") from None
    except Exception as error:  # PyYAML lets through what int, float or datetime raise
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def _expanded(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values the node stands for."""
    if isinstance(node, yaml.ScalarNode):
        if node.tag == "tag:yaml.org,2002:int" and len(node.value) > LONGEST_INT:
            raise ValueError(f"a number of {len(node.value)} digits")
        return 1
    if id(node) not in known:
        pairs = node.value if isinstance(node, yaml.MappingNode) else [(n,) for n in node.value]
        known[id(node)] = 1 + sum(_expanded(n, known) for pair in pairs for n in pair)
    return known[id(node)]


def load_json(text: str | bytes) -> Any:
    """What the JSON text holds. Raises ValueError, for one that is nested without end too."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def load_npz(
    path: str | Path, wanted: Callable[[str], bool] = lambda name: True, crc32: int | None = None
) -> dict[str, np.ndarray]:
    """The wanted arrays of an .npz file, none of objects. crc32: that of all its bytes, where it is known. Raises
    ValueError, for one that unpacks to more than MOST_BYTES too, and OSError.
    """
    try:
        with opened(path) as file, zipfile.ZipFile(file) as archive:
            if crc32 is not None and crc32_of(file) != crc32:
                raise ValueError("its content does not fit its checksum")
            infos = {i.filename.removesuffix(".npy"): i for i in archive.infolist() if i.filename.endswith(".npy")}
            chosen = {name: info for name, info in infos.items() if wanted(name)}
            size = sum(info.file_size for info in chosen.values())
            if size > MOST_BYTES:
                raise ValueError(f"its arrays take {size} bytes; {MOST_BYTES} are the most that is read")
            return {name: _array(archive, info) for name, info in chosen.items()}
    except OSError:
        raise
    except Exception as error:  # a damaged archive can make its readers raise nearly anything
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from None


def crc32_of(file: IO[bytes]) -> int:
    """The CRC-32 of all bytes of an open file."""
    file.seek(0)
    made = 0
    while chunk := file.read(1 << 20):
        made = zlib.crc32(chunk, made)
    return made


def _array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One member, whose header must tell of as many bytes as follow it: numpy allocates by the header alone. Nothing
    but the header is unpacked before it does.
    """
    with archive.open(info) as file:
        start = file.read(len(np.lib.format.MAGIC_PREFIX) + 2)
        version = np.lib.format.read_magic(io.BytesIO(start))
        known = {
            (1, 0): ("<H", np.lib.format.read_array_header_1_0),
            (2, 0): ("<I", np.lib.format.read_array_header_2_0),
        }
        if version not in known:
            raise ValueError(f"{info.filename}: a header of version {version}")
        form, read = known[version]
        size = file.read(struct.calcsize(form))
        (length,) = struct.unpack(form, size)
        if length > MOST_HEADER:
            raise ValueError(f"{info.filename}: a header of {length} bytes")
        shape, by_column, dtype = read(io.BytesIO(size + file.read(length)))
        if dtype.hasobject:
            raise ValueError(f"{info.filename}: Python objects in place of numbers (allow_pickle is never set)")
        told, follow = math.prod(shape) * dtype.itemsize, info.file_size - len(start) - len(size) - length
        data = file.read(follow + 1) if told == follow else b""
    if told != follow or len(data) != told:
        raise ValueError(f"{info.filename}: {follow} bytes are not {shape} of {dtype}")
    return np.ndarray(shape, dtype, bytearray(data), order="F" if by_column else "C")


MOST_PIXELS = 2**27  # of a picture; larger ones are not read either
