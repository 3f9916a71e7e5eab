"""`python -m igos report DIR`: the page of one run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igos.base.inside import inside
from igos.base.terminal import say
from igos.cli.damage import add_strict, tell, ways
from igos.cli.flags import Parser

if TYPE_CHECKING:
    import numpy as np

    from igos.results.page_content import Album

PAGE, PAGES = "report.html", "report-photos"  # the page, and the folder of a big run's photos


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos report",
        "Write report.html into the folder of a run: one page that needs no network and opens by a double click. "
        "Photos are read where the run found them.",
        examples=[("igos report OUT", "writes OUT/report.html")],
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run of explain or evaluate")
    add_strict(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Write DIR/report.html from what the run left there; print its path."""
    say(write_page(Path(given.folder), given.strict))
    return 0


def write_page(folder: Path, strict: bool = False, fetch: bool = False) -> Path:
    """report.html of a run's folder; what is damaged in it is told, or, strict, refused."""
    from igos.results import page_content

    made = album([folder], strict, fetch)
    inside(folder, PAGES)
    page_content.write(inside(folder, PAGE), made, folder.resolve().name, within=folder)
    return folder / PAGE


def album(folders: Sequence[Path], strict: bool, fetch: bool = False) -> Album:
    """What a page of these runs shows; what is damaged in them is told, or, strict, refused."""
    from igos.results import page_content

    doubts: list[str] = []
    made = page_content.album(folders, read_picture, [ways(folder, doubts) for folder in folders], fetch)
    tell([*made.damage, *doubts], strict)
    return made


def read_picture(path: str) -> np.ndarray:
    """(H,W,3) uint8 RGB, as the models read it. Raises ImageError."""
    from igos.run.models import adapters

    adapters()
    from detectors.pictures import read_rgb

    return read_rgb(path)[0]
