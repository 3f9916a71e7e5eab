"""Which pictures: a file, a folder (searched through) or a glob pattern."""

from __future__ import annotations

import glob
import random
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from igos.files import OWN_NAMES
from igos.types import Adapter, ConfigError, Image, ImageError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
NUMBERED = re.compile(r"ILSVRC2012_val_(\d{8})\.", re.IGNORECASE)  # ImageNet's validation pictures, from 1
EVERY = range(1, sys.maxsize)
DEVICE = re.compile("con|prn|aux|nul|(com|lpt)[0-9]", re.IGNORECASE)  # names that Windows keeps for itself


def find_pictures(
    data: Sequence[str],
    shuffle: bool = False,
    seed: int = 0,
    limit: int | None = None,
    flag: str = "--data",
    numbers: range = EVERY,
    subset: str | None = None,
) -> list[tuple[str, str]]:
    """(path, name) of every picture, sorted within each place; name is unique and fit for a folder's name.

    Of a folder that `igos split` made, the attribution set. numbers: which to keep; a picture's number is its place
    in that order, from 1, or the one in its name for ImageNet's validation pictures. subset: a file with the names to
    keep, one per line, with or without suffix. Shuffling and the limit come after. Raises ConfigError for a place
    that does not exist or holds no pictures, and for numbers or names that none has.
    """
    found: dict[Path, Path] = {}
    for place in data:
        path = part_of(place, "attribution")
        if path.is_dir():
            inside = sorted(p for p in path.rglob("*") if p.suffix.lower() in SUFFIXES and p.is_file())
            if not inside:
                raise ConfigError(
                    f"{flag} {place}: no pictures in this folder (looked for {' '.join(sorted(SUFFIXES))})"
                )
            found.update((p, p.relative_to(path)) for p in inside)
        elif path.is_file():
            found[path] = Path(path.name)
        else:
            matches = sorted(Path(m) for m in glob.glob(place, recursive=True) if Path(m).is_file())
            if not matches:
                raise ConfigError(f"{flag} {place}: no such file or folder, and no file matches it as a pattern")
            found.update((p, Path(p.name)) for p in matches)
    pictures = [item for i, item in enumerate(found.items(), 1) if _number(item[0].name, i) in numbers]
    if not pictures:
        high = max(_number(path.name, i) for i, path in enumerate(found, 1))
        end = "" if numbers.stop == EVERY.stop else f" --end {numbers.stop}"
        raise ConfigError(
            f"--start_index {numbers.start} --stride {numbers.step}{end}: no picture has such a number; "
            f"those of {flag} run to {high}"
        )
    if subset is not None:
        kept = _lines(subset)
        pictures = [(p, short) for p, short in pictures if {p.name, p.stem, short.as_posix()} & kept]
        if not pictures:
            raise ConfigError(f"--subset_file {subset}: names none of the pictures")
    if shuffle:
        random.Random(seed).shuffle(pictures)
    names = set(OWN_NAMES)
    return [(str(p), unique("-".join(short.with_suffix("").parts), names)) for p, short in pictures[:limit]]


def part_of(place: str, part: str) -> Path:
    """images/<part> below a folder that `igos split` made (part: estimation, attribution), else the place itself."""
    inside = Path(place) / "images" / part
    return inside if inside.is_dir() else Path(place)


def _lines(path: str) -> set[str]:
    try:
        return {line.strip() for line in Path(path).read_text(encoding="utf-8").splitlines() if line.strip()}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--subset_file {path}: cannot be read ({error})") from None


def _number(name: str, place: int) -> int:
    numbered = NUMBERED.match(name)
    return int(numbered[1]) if numbered else place


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


class Images:
    """Pictures (paths, or whatever the adapter reads) one after the other; those that cannot be read are left out.

    progress: a bar, None on a terminal only. read counts them, unreadable holds why the others were left out. Raises
    the last reason where none can be read.
    """

    def __init__(self, adapter: Adapter, pictures: Sequence[Any], progress: bool | None = None) -> None:
        self.adapter, self.pictures, self.progress = adapter, pictures, progress
        self.read, self.unreadable = 0, list[ImageError]()

    def __iter__(self) -> Iterator[Image]:
        hidden = None if self.progress is None else not self.progress
        for picture in tqdm(self.pictures, unit="picture", disable=hidden, leave=False):
            try:
                image = self.adapter.read(picture)
            except ImageError as error:
                self.unreadable.append(error)
                continue
            self.read += 1
            yield image
        if self.unreadable and not self.read:
            raise self.unreadable[-1]
