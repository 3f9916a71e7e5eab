"""Files that are no files of this machine, by their address: with fsspec in a store, in a tar archive, in a table.

    s3://bucket/a.jpg    shard-0001.tar!/a.jpg    table.parquet!/17    s3://bucket/shard-0001.tar!/a.jpg

Of an archive and of a table only what is asked for is read. What a server holds is tried TRIES times. Whoever reads
pays by `most` bytes; chains of fsspec (zip://...::https://...) and other schemes than SCHEMES are no addresses.
"""

from __future__ import annotations

import errno
import os
import re
import tarfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any, BinaryIO

from igos.base.errors import ConfigError
from igos.base.plain_files import plain_file

SCHEMES = ("s3", "gs", "gcs", "az", "abfs", "hf", "http", "https", "memory")
REMOTE = re.compile(rf"(?:{'|'.join(SCHEMES)})://(?!.*::)", re.IGNORECASE)
INNER = re.compile(r"(.+\.(?:tar|parquet))!/(.+)", re.IGNORECASE | re.DOTALL)
TRIES, PAUSE = 4, 0.2  # seconds before the second try, then twice as many
MEMBERS = 10**7  # of an archive, or rows of a table
BLOCK = 2**16  # bytes that a store is asked for at once, where an archive's headers are read
_held, _reading = threading.local(), threading.Lock()


def is_remote(path: object) -> bool:
    """Whether that is an address of a store."""
    return isinstance(path, str) and REMOTE.match(path) is not None


def is_address(path: object) -> bool:
    """Whether that is an address, and no path of this machine."""
    return is_remote(path) or (isinstance(path, str) and INNER.fullmatch(path) is not None)


def fetched(path: str, most: int) -> bytes:
    """All bytes at an address. Raises OSError, also for more than `most` bytes; ConfigError without what reads it."""
    if getattr(_held, "path", None) == path:
        held: bytes = _held.data
        return held
    inner = INNER.fullmatch(path)
    return tried(path, lambda: _member(inner[1], inner[2], most) if inner else _whole(path, most))


@contextmanager
def once(path: str, most: int) -> Iterator[bytes]:
    """The bytes at an address, fetched once for all who ask for them in this thread while the block lasts."""
    _held.path, _held.data = path, fetched(path, most)
    try:
        yield _held.data
    finally:
        _held.path = _held.data = None


def tried(path: str, work: Any) -> Any:
    """What work() answers, at the latest in the last of TRIES. Raises OSError; at once for what is not there."""
    for n in range(TRIES):
        try:
            return work()
        except (FileNotFoundError, PermissionError, ConfigError, TooLarge):
            raise
        except Exception as error:  # every store has errors of its own
            if isinstance(error, OSError) and not is_remote(path):
                raise
            if n + 1 == TRIES or not is_remote(path):
                told = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
                raise OSError(errno.EIO, f"cannot be fetched ({told})", path) from None
            time.sleep(PAUSE * 2**n)
    raise AssertionError


class TooLarge(OSError):
    """More bytes than are read."""


def store(path: str) -> tuple[Any, str]:
    """fsspec's file system of an address, and its name there. Raises ConfigError without what it needs."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError(f'{path}: such an address needs fsspec: pip install "igos[remote]"') from None
    try:
        made: tuple[Any, str] = fsspec.core.url_to_fs(path)
    except ImportError as error:
        raise ConfigError(f'{path}: {error}: pip install "igos[remote]"') from None
    return made


def container(path: str, block: int = BLOCK) -> BinaryIO:
    """An archive or a table, here or in a store, to be read in parts. Raises OSError."""
    if is_remote(path):
        fs, name = store(path)
        file: BinaryIO = fs.open(name, "rb", block_size=block)
        return file
    return plain_file(path, 2**62)


def members(path: str) -> dict[str, tuple[int, int]]:
    """Of a tar archive the plain files by name: where the bytes begin, and how many there are. Raises OSError."""
    return _members(path, _changed(path))


def rows(path: str) -> list[str | None]:
    """Of a Parquet file with a column of pictures what each row calls its picture, if anything. Raises OSError."""
    file, column = _table(path, _changed(path))
    leaf = f"{column}.path"
    if leaf not in [file.schema.column(i).path for i in range(len(file.schema.names))]:
        return [None] * file.metadata.num_rows
    return [value.get("path") for value in file.read(columns=[leaf]).column(column).to_pylist()]


def _whole(path: str, most: int) -> bytes:
    fs, name = store(path)
    with fs.open(name, "rb") as file:
        return _bounded(file, most, path)


def _bounded(file: BinaryIO, most: int, path: str) -> bytes:
    made = bytearray()
    while part := file.read(min(2**20, most + 1 - len(made))):
        made += part
        if len(made) > most:
            raise TooLarge(errno.EFBIG, f"more than {most} bytes", path)
    return bytes(made)


def _member(path: str, name: str, most: int) -> bytes:
    if path.lower().endswith(".parquet"):
        return _cell(path, name, most)
    begin, size = members(path).get(name, (0, -1))
    if size < 0:
        raise FileNotFoundError(errno.ENOENT, f"no such file in {path}", name)
    if size > most:
        raise TooLarge(errno.EFBIG, f"{size} bytes; {most} are the most that is read", name)
    with container(path) as file:
        file.seek(begin)
        data = file.read(size)
    if len(data) != size:
        raise OSError(errno.EIO, "the archive is cut off", path)
    return data


def _changed(path: str) -> int:
    return 0 if is_remote(path) else os.stat(path).st_mtime_ns


@lru_cache(maxsize=16)
def _members(path: str, changed: int) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        with container(path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
            while (m := archive.next()) is not None:
                if m.isreg() and not m.issparse():
                    found[m.name] = (m.offset_data, m.size)
                archive.members = []  # type: ignore[attr-defined]  # it would keep them all
                if len(found) > MEMBERS:
                    raise TooLarge(errno.EFBIG, f"more than {MEMBERS} files", path)
    except (tarfile.TarError, ValueError, OverflowError) as error:
        raise OSError(errno.EINVAL, f"no tar archive that is read, packed ones are not ({error})", path) from None
    return found


@lru_cache(maxsize=4)
def _table(path: str, changed: int) -> tuple[Any, str]:
    """An open Parquet file, and the name of its column of pictures."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        raise ConfigError(f'{path}: a table needs pyarrow: pip install "igos[shards]"') from None
    try:
        file = pq.ParquetFile(container(path, 2**20))
    except pa.ArrowException as error:
        raise OSError(errno.EINVAL, f"no Parquet file ({str(error).splitlines()[0]})", path) from None
    fitting = [f.name for f in file.schema_arrow if _pictures(pa, f.type)]
    named = [name for name in fitting if name == "image"] or fitting
    if len(named) != 1:
        told = f"has {len(named)} columns of bytes, or of bytes and path, and none is called image"
        raise OSError(errno.EINVAL, told, path)
    if file.metadata.num_rows > MEMBERS:
        raise TooLarge(errno.EFBIG, f"more than {MEMBERS} rows", path)
    return file, named[0]


def _pictures(pa: Any, kind: Any) -> bool:
    if pa.types.is_struct(kind):
        return any(f.name == "bytes" and _pictures(pa, f.type) for f in kind)
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


@lru_cache(maxsize=2)
def _group(path: str, changed: int, number: int) -> Any:
    file, column = _table(path, changed)
    return file.read_row_group(number, columns=[column]).column(column)


def _cell(path: str, name: str, most: int) -> bytes:
    changed = _changed(path)
    file, _ = _table(path, changed)
    row = int(name) if name.isascii() and name.isdecimal() and len(name) < 12 else -1
    for number in range(file.metadata.num_row_groups):
        group = file.metadata.row_group(number)
        if 0 <= row < group.num_rows:
            if group.total_byte_size > most:
                raise TooLarge(errno.EFBIG, f"a group of rows of more than {most} bytes", path)
            with _reading:  # the open table is one for all threads
                value = _group(path, changed, number)[row].as_py()
            data = value.get("bytes") if isinstance(value, dict) else value
            if not isinstance(data, bytes):
                raise FileNotFoundError(errno.ENOENT, "the row holds no bytes", name)
            return data
        row -= group.num_rows
    raise FileNotFoundError(errno.ENOENT, f"no such row in {path}", name)
