"""Folders as people have them: links are entered, what systems and tools leave behind is not."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Collection, Sequence
from pathlib import Path

LEFT_BEHIND = {"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN"}  # by network drives and archives: previews, rubbish


def visible(name: str) -> bool:
    """Whether a file or folder of that name is a user's own: neither hidden (.git, .ipynb_checkpoints, ._photo.jpg)
    nor left behind by a tool.
    """
    return not name.startswith(".") and name not in LEFT_BEHIND


def files_below(folder: Path, endings: Collection[str] | None = None) -> list[Path]:
    """The visible files below the folder with one of the endings (lower case, with the dot; None: any), sorted.

    Links to folders are entered. Every folder is entered once, by its own path where it has one below this folder; a
    link to a folder that holds this one is a loop and is left out.
    """
    found: list[Path] = []
    entered = {str(p) for p in folder.resolve().parents}
    places = [folder]
    while places:
        links: list[Path] = []
        for place in places:
            for root, folders, files in os.walk(place):
                real = os.path.realpath(root)
                if real in entered:
                    folders.clear()
                    continue
                entered.add(real)
                seen = [Path(root, name) for name in folders if visible(name)]
                links += [p for p in seen if p.is_symlink()]
                folders[:] = [p.name for p in seen if not p.is_symlink()]
                named = (Path(root, f) for f in files if visible(f))
                found += [p for p in named if (endings is None or p.suffix.lower() in endings) and p.is_file()]
        places = sorted(links)
    return sorted(found)


def matching(pattern: str) -> list[Path]:
    """The files that a glob pattern matches, sorted; hidden and left behind are those alone that it names. `**`, any
    folders, enters links as files_below does.
    """
    parts = Path(pattern).parts
    if "**" not in parts:
        unnamed = LEFT_BEHIND.difference(parts)
        return sorted(p for p in map(Path, glob.glob(pattern)) if p.is_file() and unnamed.isdisjoint(p.parts))
    fixed = next(n for n, part in enumerate(parts) if glob.has_magic(part))
    root = Path(*parts[:fixed])
    return [p for p in files_below(root) if _fits(p.relative_to(root).parts, parts[fixed:])]


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _fits(path, pattern[1:]) or (bool(path) and _fits(path[1:], pattern))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])
