"""Whether a path is inside a run's folder: the one function that is asked before anything of the folder is read,
written or removed. The folder may come from anyone.

A name is inside where it is relative, has no "..", and no part of its way is a symbolic link, a device, a pipe or a
socket. The folder itself may be reached through a link: the user named it. Nothing is promised of a folder into which
others write at the same time.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePath, PureWindowsPath

from igos.base.errors import ConfigError
from igos.base.files import FOLDER_NAMES
from igos.base.reading import is_file_name


class Outside(ConfigError):
    """A name that leads out of the folder of a run, or to what is no plain file or folder."""


def inside(folder: str | Path, name: str | PurePath) -> Path:
    """The place of that name in the folder; it need not exist. Raises Outside."""
    root, text = Path(folder), str(name)
    parts = _parts(text)
    if parts is None:
        raise Outside(f"{root}: {_short(text)} lies outside the run's folder")
    place = root
    for n, part in enumerate(parts):
        place = place / part
        try:
            mode = os.lstat(place).st_mode
        except OSError:  # nothing is there, or whoever uses it finds out what is wrong
            break
        last = n == len(parts) - 1
        if stat.S_ISLNK(mode):
            raise Outside(f"{place}: a symbolic link, which may lead outside the run's folder; none is followed there")
        if not stat.S_ISDIR(mode) and not (last and stat.S_ISREG(mode)):
            raise Outside(f"{place}: {_kind(mode)}; a run's folder holds files and folders only")
    return root.joinpath(*parts)


def explanation(folder: str | Path, name: str) -> Path:
    """The folder of a picture or of an explanation: inside, and none that the run keeps for itself. Raises Outside."""
    check_name(name, folder)
    return inside(folder, name)


def check_name(name: str, folder: str | Path = "a run's folder") -> None:
    """explanation's check of the name alone. Raises Outside."""
    parts = _parts(name)
    if parts is None:
        raise Outside(f"{folder}: {_short(name)} lies outside the run's folder")
    if parts[0].lower() in FOLDER_NAMES or any(part.startswith(".") for part in parts):
        raise Outside(f"{folder}: {_short(name)} is no folder of a picture; the run keeps such names for itself")


def files(folder: str | Path, name: str = "", pattern: str = "*") -> list[Path]:
    """What a folder of the run (or the run's own, with name "") holds of that pattern, sorted. Raises Outside."""
    place = inside(folder, name) if name else Path(folder)
    return [inside(folder, p.relative_to(folder)) for p in sorted(place.glob(pattern))]


def tree(folder: str | Path, name: str) -> Iterator[Path]:
    """All files below a folder of the run, sorted. Raises Outside, also for what no row names."""
    for place in files(folder, name):
        if place.is_dir():
            yield from tree(folder, str(place.relative_to(folder)))
        else:
            yield place


def _parts(text: str) -> tuple[str, ...] | None:
    """The parts of a name below a folder, None where it leads elsewhere on any system."""
    other = PureWindowsPath(text)
    parts = PurePath(text).parts
    if not parts or PurePath(text).is_absolute() or other.drive or other.root or not is_file_name(text):
        return None
    return None if ".." in (*parts, *other.parts) else parts


def _kind(mode: int) -> str:
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device" if stat.S_ISCHR(mode) or stat.S_ISBLK(mode) else "a file in the place of a folder"


def _short(text: str) -> str:
    return repr(text) if len(text) <= 80 else repr(text[:80]) + "..."
