"""Files that ship with the project: presets, samples, weights; in a wheel inside the package, else beside it."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def folder(name: str) -> Path:
    """configs, samples or weights. Raises FileNotFoundError when the installation lost it."""
    for place in (PACKAGE / name, PACKAGE.parent / name):
        if place.is_dir():
            return place
    raise FileNotFoundError(f"the folder {name!r} of the installation is missing; install igos again")
