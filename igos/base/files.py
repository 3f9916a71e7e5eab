"""Files that are whole or not there: written under a temporary name beside their place, then renamed."""

from __future__ import annotations

import errno
import io
import itertools
import json
import os
import platform
import re
import shutil
import uuid
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.errors import ConfigError
from igos.base.seals import sealed

RUN_FILES = ("run.yaml", "manifest.jsonl", "results.jsonl", "results.csv", "results.parquet")
FOLDER_NAMES = (  # all that a run's folder may hold beside a folder for each picture
    *RUN_FILES, "shards", "report.html", "metrics.csv", "metrics.json", "degradation.png", "degradation_curves.csv",
    "degradation_pgig.png", "degradation_pgig_curves.csv", "facts.jsonl", "diagnosis.json", "objects.csv",
    "objects.parquet", "nulls.json", "nulls", "explained",
)  # fmt: skip
try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]


@contextmanager
def whole(path: Path, durable: bool = False, within: Path | None = None, new: bool = False) -> Iterator[Path]:
    """A temporary name that takes path's place when the block ends well; path's folder is made. durable: it is on the
    disk then, whatever becomes of the machine. within: a folder that is never made, only those in it are; new: whoever
    comes first has the name. Raises FileNotFoundError and FileExistsError where that is not so.
    """
    _make_folder(path.parent, within)
    temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        if durable:
            _sync(temporary)
        if new:
            _claim(temporary, path)
        else:
            os.replace(temporary, path)
        if durable and os.name != "nt":
            _sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _make_folder(folder: Path, within: Path | None) -> None:
    if within is None:
        folder.mkdir(parents=True, exist_ok=True)
        return
    made = within
    for part in folder.relative_to(within).parts:
        made = made / part
        made.mkdir(exist_ok=True)


def halves(folder: Path) -> list[Path]:
    """The temporary files that a process left in a folder when it was killed."""
    return [p for p in folder.glob(".*.tmp") if re.fullmatch("[.][0-9a-f]{32}[.]tmp", p.name) and p.is_file()]


def _claim(temporary: Path, path: Path) -> None:
    """Give a file its name, if nothing has it. Raises FileExistsError."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links: two at the same moment are not told apart
        if os.path.lexists(path):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path)) from None
        os.replace(temporary, path)


def _sync(path: Path) -> None:
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder under a name of its own, which becomes `out` when the block ends well, and else is gone. Raises
    ConfigError where `out` is there, by then too: of several that make it at once, one wins.
    """
    refuse_taken(out)
    made = out.with_name(f".{out.name}-{uuid.uuid4().hex}.tmp")
    try:
        yield made
        refuse_taken(out)
        try:
            made.rename(out)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                raise taken(out) from None
            raise
    finally:
        shutil.rmtree(made, ignore_errors=True)


def refuse_taken(out: Path) -> None:
    """Raises ConfigError where something has the name."""
    if os.path.lexists(out):
        raise taken(out)


def taken(out: Path) -> ConfigError:
    return ConfigError(f"--out {out}: exists; choose a new name")


def write_bytes(path: Path, data: bytes, durable: bool = False, within: Path | None = None, new: bool = False) -> None:
    """All of the file or nothing of it; the words are those of `whole`."""
    with whole(path, durable, within, new) as temporary:
        temporary.write_bytes(data)


def numbered(path: Path) -> Path:
    """A new folder of that name, or of the name with the first number that is free: also of two at the same time."""
    path.parent.mkdir(parents=True, exist_ok=True)
    for n in itertools.count(1):
        made = path if n == 1 else path.with_name(f"{path.name}-{n}")
        with suppress(FileExistsError):
            made.mkdir()
            return made
    raise AssertionError


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An .npz file of arrays by name."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # 5 x faster than savez's 6
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=False)
    return data.getvalue()


@contextmanager
def writing(folder: Path) -> Iterator[None]:
    """What cannot be written into the run's folder becomes a ConfigError of one line."""
    try:
        yield
    except OSError as error:
        raise ConfigError(f"--output {folder}: this folder cannot be written ({error.strerror or error})") from error


def line_of(row: Mapping[str, Any]) -> bytes:
    """A line of JSON with its seal."""
    return (json.dumps(sealed(row), allow_nan=False) + "\n").encode()


def ended(path: Path) -> None:
    """Let a file of lines end with its last line's end, where a process was killed within it."""
    if path.is_file() and path.stat().st_size:
        with path.open("rb+") as file:
            file.seek(-1, 2)
            if file.read(1) != b"\n":
                file.write(b"\n")


def append(path: Path, row: Mapping[str, Any]) -> None:
    """A line of JSON with its seal, whole or not at all."""
    line = line_of(row)
    with open(path, "ab", buffering=0) as file:
        before = file.tell()
        try:
            written = file.write(line)
            if written != len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            file.truncate(before)
            raise


class Lock:
    """Held by one process at a time, until it ends or lets go. Raises ConfigError where another one holds it.

    works: whether the system and the file system know such locks; where they do not, nothing is held. path: a plain
    file that is nothing else besides, or nothing (igos.base.inside): it is written over.
    """

    def __init__(self, path: Path) -> None:
        self.works = False
        if path.is_file() and path.stat().st_nlink > 1:  # what else it is keeps its content
            path.unlink()
        self._file = open(path, "a+", encoding="utf-8", opener=_unlinked)  # noqa: SIM115
        if fcntl is None:
            return
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            holder = self._file.read().strip()
            self._file.close()
            raise ConfigError(f"--output {path.parent}: another run works in this folder ({holder})") from None
        except OSError:
            return
        self.works = True
        self._file.truncate(0)
        self._file.write(f"process {os.getpid()} on {platform.node()}")
        self._file.flush()

    def release(self) -> None:
        self._file.close()


def _unlinked(path: str, flags: int) -> int:
    """Opens a file, and none that a symbolic link names."""
    return os.open(path, flags | getattr(os, "O_NOFOLLOW", 0), 0o666)


DEVICE = re.compile("con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)  # names that Windows keeps for itself


def unique(name: str, taken: set[str]) -> str:
    """The name made safe for a file system, and numbered where it is taken; remembered in `taken`."""
    base = safe_name(name)
    made, n = base, 2
    while made.lower() in taken:
        made, n = f"{base}-{n}", n + 1
    taken.add(made.lower())
    return made


def safe_name(name: str, longest: int = 60) -> str:
    """Letters, digits, - _ + and inner dots only: never a path, never hidden, never empty, never a device's."""
    kept = "".join(c if c.isalnum() or c in "-_+." else "_" for c in name).strip("._")[:longest].rstrip(".")
    stem, dot, rest = kept.partition(".")
    return f"{stem}_{dot}{rest}" if DEVICE.fullmatch(stem) else kept or "unnamed"
