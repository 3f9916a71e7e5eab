"""Which pictures: a file, a folder (searched through) or a glob pattern."""

from __future__ import annotations

import glob
import random
from collections.abc import Sequence
from pathlib import Path

from igos.types import ConfigError

SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}


def find_pictures(
    data: Sequence[str],
    shuffle: bool = False,
    seed: int = 0,
    limit: int | None = None,
    flag: str = "--data",
    subset: str | None = None,
) -> list[tuple[str, str]]:
    """(path, name) of every picture, sorted within each place; name is unique and fit for a folder's name.

    Of a folder that `igos split` made, the attribution set. subset: a file with the names to keep, one per line,
    with or without suffix. Raises ConfigError for a place that does not exist or holds no pictures.
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
    pictures = list(found.items())
    if subset is not None:
        kept = _lines(subset)
        pictures = [(p, short) for p, short in pictures if {p.name, p.stem, short.as_posix()} & kept]
        if not pictures:
            raise ConfigError(f"--subset_file {subset}: names none of the pictures")
    if shuffle:
        random.Random(seed).shuffle(pictures)
    names = {"run.yaml", "results.jsonl", "results.csv"}  # the run's own
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


def unique(name: str, taken: set[str]) -> str:
    """The name made safe for a file system, and numbered where it is taken; remembered in `taken`."""
    base = safe_name(name)
    made, n = base, 2
    while made.lower() in taken:
        made, n = f"{base}-{n}", n + 1
    taken.add(made.lower())
    return made


def safe_name(name: str, longest: int = 60) -> str:
    """Letters, digits, - _ + and inner dots only: never a path, never hidden, never empty."""
    kept = "".join(c if c.isalnum() or c in "-_+." else "_" for c in name).strip("._")
    return kept[:longest] or "unnamed"
