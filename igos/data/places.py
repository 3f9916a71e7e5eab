"""Which entry of an annotation set is a picture's: the one whose path agrees with the picture's furthest from the end.

Annotations name pictures by paths of the machine that they were made on: images/a.jpg, ./a.jpg, train\\a.jpg,
C:\\data\\a.jpg, or they lie in files of their own, labels/train/a.txt beside images/train/a.jpg.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Generic, TypeVar

T = TypeVar("T")
ROLES = {"images", "jpegimages", "labels", "annotations"}  # folders that part pictures from what is known of them
Home = Callable[[str, Path], Iterable[Path]]


class Places(Generic[T]):
    """Values by the paths that name them; several may have one path. ending: whether the files' endings count.

    home(name, picture): where the picture that an entry names may lie, to tell it from another of the same name.
    """

    def __init__(self, entries: Iterable[tuple[str, T]], ending: bool, home: Home) -> None:
        self._ending, self._home = ending, home
        self._values: dict[tuple[str, ...], list[T]] = {}
        self._names: dict[tuple[str, ...], str] = {}
        for name, value in entries:
            parts = _parts(name, ending)
            if parts:
                self._values.setdefault(parts, []).append(value)
                self._names.setdefault(parts, name)
        self._by_name: dict[str, list[tuple[str, ...]]] = {}
        for parts in self._values:
            self._by_name.setdefault(parts[-1], []).append(parts)
        folders = {parts[:-1] for parts in self._values}
        self._folders = {folder[i:] for folder in folders for i in range(len(folder))}

    @property
    def example(self) -> str:
        """The first name, or that there is none."""
        return next(iter(self._names.values()), "no picture")

    def find(self, picture: str | Path) -> list[T]:
        """The values of a picture; [] where no entry has its name, or where those that have it belong to others.

        Raises ValueError where several agree with its path equally far.
        """
        given = os.path.abspath(picture)
        return self._of(given) or (self._of(real) if (real := os.path.realpath(given)) != given else [])

    def _of(self, picture: str) -> list[T]:
        own = _parts(picture, self._ending)
        near = {entry: _agree(own, entry) for entry in self._by_name.get(own[-1] if own else "", ())}
        furthest = max(near.values(), default=0)
        best = [entry for entry, n in near.items() if n == furthest]
        if own not in best:
            best = [e for e in best if len(e) == furthest] or [e for e in best if self._may_be(e, own, Path(picture))]
        if len(best) > 1 and own not in best:
            few = " or ".join(repr(self._names[entry]) for entry in best[:3])
            raise ValueError(f"{picture} may be {few}, so nothing is taken as known of it")
        return self._values[own if own in best else best[0]] if best else []

    def _may_be(self, entry: tuple[str, ...], own: tuple[str, ...], picture: Path) -> bool:
        """Whether an entry from another folder can be this picture: not if the entries know the picture's own folder,
        or if a file of other length lies where the entry says.
        """
        n = _agree(own, entry)
        if own[-n - 1 : -1] in self._folders:
            return False
        others = [p for p in self._home(self._names[entry], picture) if os.path.isfile(p)]
        return not others or any(_alike(p, picture) for p in others)


def _agree(a: tuple[str, ...], b: tuple[str, ...]) -> int:
    """How many parts are the same, from the end."""
    pairs = zip(reversed(a), reversed(b), strict=False)
    return next((n for n, (x, y) in enumerate(pairs) if x != y), min(len(a), len(b)))


def _parts(path: str, ending: bool) -> tuple[str, ...]:
    """The parts of a path of any system; without drive, dots, and folders that only say what they hold."""
    *folders, name = unicodedata.normalize("NFC", path).replace("\\", "/").split("/")
    kept = [f for f in folders if f not in ("", ".", "..") and not f.endswith(":") and f.lower() not in ROLES]
    name = name if ending else os.path.splitext(name)[0]
    return (*kept, name) if name else ()


def _alike(a: Path, b: Path) -> bool:
    """Whether the files may be copies of each other: equally long."""
    return os.path.isfile(b) and a.stat().st_size == b.stat().st_size


def beside(name: str, picture: Path, role: str = "images") -> list[Path]:
    """Where by custom the picture of a file of annotations lies: the last of ROLES in its path made `role`."""
    file = Path(name)
    at = [i for i, part in enumerate(file.parts) if part.lower() in ROLES]
    if not at:
        return []
    place = Path(*file.parts[: at[-1]], role, *file.parts[at[-1] + 1 :])
    return [place.with_suffix(picture.suffix)]
