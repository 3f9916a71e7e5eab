"""Plain files of this machine, opened: no device and no pipe, which would never end."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


def plain_file(path: str | Path, most: int) -> BinaryIO:
    """A file to read. Raises OSError, also for what is no plain file or has more bytes."""
    number = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
    facts = os.fstat(number)
    if stat.S_ISREG(facts.st_mode) and facts.st_size <= most:
        return os.fdopen(number, "rb")
    os.close(number)
    if stat.S_ISDIR(facts.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    plain = stat.S_ISREG(facts.st_mode)
    why = f"{facts.st_size} bytes; {most} are the most that is read" if plain else "a device or a pipe, not a file"
    raise OSError(errno.EFBIG if plain else errno.EINVAL, why, str(path))
