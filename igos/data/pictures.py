"""Which pictures: a file, a folder (searched through), a glob pattern, or one of the places of anywhere.py."""

from __future__ import annotations

import os
import random
import re
import sys
from collections.abc import Sequence
from pathlib import Path, PurePath

from igos.base.addresses import is_address
from igos.base.errors import ConfigError
from igos.base.files import FOLDER_NAMES, unique
from igos.base.reading import read_text
from igos.data.anywhere import pictures_at
from igos.data.folders import files_below, matching

SUFFIXES = {".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.", re.IGNORECASE)  # ImageNet's validation pictures, from 1
ALL_NUMBERS = range(1, sys.maxsize)


def find_pictures(
    data: Sequence[str],
    shuffle: bool = False,
    seed: int = 0,
    limit: int | None = None,
    flag: str = "--data",
    numbers: range = ALL_NUMBERS,
    subset: str | None = None,
) -> list[tuple[str, str]]:
    """(path, name) of every picture, sorted within each place; name is unique and fit for a folder's name.

    Of a folder that `igos split` made, the attribution set. numbers: which to keep; a picture's number is its place
    in that order, from 1, or the one in its name for ImageNet's validation pictures. subset: a file with the names to
    keep, one per line, with or without suffix. Shuffling and the limit come after. Raises ConfigError for a place
    that does not exist or holds no pictures, and for numbers or names that none has.
    """
    found: dict[str, PurePath] = {}
    for place in data:
        elsewhere = pictures_at(place, SUFFIXES, flag)
        if elsewhere is not None:
            found.update(elsewhere)
            continue
        path = part_of(place, "attribution")
        if path.is_dir():
            inside = files_below(path, SUFFIXES)
            if not inside:
                looked = f"looked for {' '.join(sorted(SUFFIXES))}; hidden files and folders are not searched"
                raise ConfigError(f"{flag} {place}: no pictures in this folder ({looked})")
            found.update((str(p), p.relative_to(path)) for p in inside)
        elif path.is_file():
            found[str(path)] = PurePath(path.name)
        else:
            matches = matching(place)
            if not matches:
                raise ConfigError(f"{flag} {place}: no such file or folder, and no file matches it as a pattern")
            found.update((str(p), PurePath(p.name)) for p in matches)
    found = _once(found)
    pictures = [item for i, item in enumerate(found.items(), 1) if _number(item[1].name, i) in numbers]
    if not pictures:
        high = max(_number(short.name, i) for i, short in enumerate(found.values(), 1))
        end = "" if numbers.stop == ALL_NUMBERS.stop else f" --end {numbers.stop}"
        raise ConfigError(
            f"--start_index {numbers.start} --stride {numbers.step}{end}: no picture has such a number; "
            f"those of {flag} run to {high}"
        )
    if subset is not None:
        kept = _lines(subset)
        pictures = [(p, short) for p, short in pictures if {short.name, short.stem, short.as_posix()} & kept]
        if not pictures:
            raise ConfigError(f"--subset_file {subset}: names none of the pictures")
    if shuffle:
        random.Random(seed).shuffle(pictures)
    names = set(FOLDER_NAMES)
    return [(p, unique("-".join((*short.parent.parts, short.stem)), names)) for p, short in pictures[:limit]]


def _once(found: dict[str, PurePath]) -> dict[str, PurePath]:
    """Without the files that stand there already under another path of their folder."""
    real = {folder: os.path.realpath(folder) for folder in {os.path.dirname(p) for p in found if not is_address(p)}}
    once: dict[tuple[str, str], str] = {}
    for path in found:
        key = ("", path) if is_address(path) else (real[os.path.dirname(path)], os.path.basename(path))
        once.setdefault(key, path)
    return {path: found[path] for path in once.values()}


def part_of(folder: str, part: str) -> Path:
    """images/<part> below a folder that `igos split` made (part: estimation, attribution), else the folder itself."""
    inside = Path(folder) / "images" / part
    return inside if inside.is_dir() else Path(folder)


def _lines(path: str) -> set[str]:
    try:
        return {line.strip() for line in read_text(path).splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--subset_file {path}: cannot be read ({error})") from None


def _number(name: str, place: int) -> int:
    numbered = NUMBERED.match(name)
    return int(numbered[1]) if numbered else place
