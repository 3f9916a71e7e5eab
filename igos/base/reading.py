"""Files that anyone may have made, read within bounds: no device or pipe, which would never end, and no more bytes than
a memory holds.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from igos.base.addresses import fetched, is_address
from igos.base.plain_files import plain_file

MOST_FILE = 2**31  # bytes of a picture or a file of annotations
MOST_TEXT = 2**24  # bytes of a file of settings or names, and of one line of rows


def opened(path: str | Path, most: int = MOST_FILE) -> BinaryIO:
    """A file to read, also one at an address (igos/base/addresses.py). Raises OSError, also for what is no plain file
    (a pipe would never end) or has more bytes.
    """
    if is_address(path):
        return io.BytesIO(fetched(str(path), min(most, MOST_FILE)))
    return plain_file(path, most)


def read_bytes(path: str | Path, most: int = MOST_FILE) -> bytes:
    """All of a file. Raises OSError as `opened`."""
    made = bytearray()
    with opened(path, most) as file:
        while part := file.read(1 << 20):  # a file of the system states no size, and room is taken for what is asked
            made += part
            if len(made) > most:
                raise OSError(errno.EFBIG, f"more than {most} bytes", str(path))
    return bytes(made)


def read_text(path: str | Path, most: int = MOST_TEXT, encoding: str = "utf-8") -> str:
    """All of a text, its lines ended by "\\n". Raises OSError as `opened`, and UnicodeDecodeError."""
    return io.TextIOWrapper(io.BytesIO(read_bytes(path, most)), encoding=encoding).read()


def each_line(path: str | Path, most: int = MOST_TEXT) -> Iterator[bytes]:
    """The lines of a file without their ends. Raises OSError as `opened`, ValueError for a line of more bytes."""
    with opened(path, 2**62) as file:
        while line := file.readline(most + 1):
            if len(line) > most:
                raise ValueError(f"a line of more than {most} bytes")
            yield line


def is_file_name(text: str) -> bool:
    """Whether a system takes the text for the name of a file: it can be encoded and holds no NUL."""
    try:
        return b"\0" not in os.fsencode(text)
    except UnicodeEncodeError:
        return False
