"""Pictures of --data that lie in no folder of this machine: in a store, an archive, a table, or a list of paths."""

from __future__ import annotations

import errno
import re
from collections.abc import Collection
from pathlib import Path, PurePosixPath

from igos.base.addresses import is_address, is_remote, members, rows, store, tried
from igos.base.errors import ConfigError
from igos.base.reading import read_text

RANGE = re.compile(r"\{(\d{1,9})\.\.(\d{1,9})\}")
MOST = 10**6  # places that a range stands for
Found = list[tuple[str, PurePosixPath]]  # the address or path of each picture, and its name, in folders


def pictures_at(place: str, endings: Collection[str], flag: str = "--data") -> Found | None:
    """The pictures of a place that is an address, a .tar or .parquet file, a .txt list of paths or addresses, or a
    range of such (shard-{0000..0099}.tar); None for another. Raises ConfigError.
    """
    if span := RANGE.search(place):
        return _range(place, span, endings, flag)
    inner = PurePosixPath(place).suffix.lower()
    if not is_address(place) and (inner not in (".tar", ".parquet", ".txt") or not Path(place).is_file()):
        return None
    try:
        if inner == ".tar":
            names = tried(place, lambda: members(place))
            kept = [n for n in names if PurePosixPath(n).suffix.lower() in endings]
            found = [(f"{place}!/{n}", PurePosixPath(PurePosixPath(place).stem, *PurePosixPath(n).parts)) for n in kept]
        elif inner == ".parquet":
            called = tried(place, lambda: rows(place))
            stem = PurePosixPath(place).stem
            named = [PurePosixPath(name).name if name else f"{n:07}" for n, name in enumerate(called)]
            found = [(f"{place}!/{n}", PurePosixPath(stem, name)) for n, name in enumerate(named)]
        elif inner == ".txt":
            found = _listed(place)
        else:
            found = (
                _in_store(place, endings) if is_remote(place) else [(place, PurePosixPath(place.rpartition("!/")[2]))]
            )
    except (OSError, ValueError) as error:
        raise ConfigError(f"{flag} {place}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    if not found:
        raise ConfigError(f"{flag} {place}: holds no pictures (looked for {' '.join(sorted(endings))})")
    return found


def _range(place: str, span: re.Match[str], endings: Collection[str], flag: str) -> Found | None:
    low, high = int(span[1]), int(span[2])
    if not 0 <= high - low < MOST:
        raise ConfigError(f"{flag} {place}: {{{span[1]}..{span[2]}}} is no range of at most {MOST} numbers")
    every: Found = []
    for number in range(low, high + 1):
        one = f"{place[: span.start()]}{number:0{len(span[1])}}{place[span.end() :]}"
        found = pictures_at(one, endings, flag)
        if found is None:
            if not Path(one).is_file():
                raise ConfigError(f"{flag} {one}: no such file")
            found = [(one, PurePosixPath(Path(one).name))]
        every += found
    return every


def _listed(place: str) -> Found:
    """The lines of a list, those without an address below its folder; empty ones and # comments are left out."""
    lines = [line.strip() for line in read_text(place).splitlines()]
    home = place.rpartition("/")[0] if is_remote(place) else str(Path(place).parent)
    found: Found = []
    for line in lines:
        if line and not line.startswith("#"):
            whole = line if is_remote(line) or Path(line).is_absolute() else f"{home}/{line}"
            found.append((whole, PurePosixPath(line.rpartition("://")[2].lstrip("/"))))
    return found


def _in_store(place: str, endings: Collection[str]) -> Found:
    """A file of a store, the files of a folder there, or those that match a pattern."""
    fs, name = store(place)
    if "*" in name:
        names = tried(place, lambda: fs.glob(name))
        root = name.partition("*")[0].rpartition("/")[0]
    elif PurePosixPath(name).suffix.lower() in endings or not tried(place, lambda: fs.isdir(name)):
        if PurePosixPath(name).suffix.lower() not in endings and not tried(place, lambda: fs.exists(name)):
            raise FileNotFoundError(errno.ENOENT, "no such file or folder", place)
        return [(place, PurePosixPath(PurePosixPath(name.partition("?")[0]).name))]
    else:
        names, root = tried(place, lambda: fs.find(name)), name
    scheme = place.partition("://")[0]
    kept = sorted(n for n in names if PurePosixPath(n).suffix.lower() in endings)
    base = root.rstrip("/") + "/"
    return [
        (n if "://" in n else f"{scheme}://{n.lstrip('/')}", PurePosixPath(n.removeprefix(base).lstrip("/")))
        for n in kept
    ]
