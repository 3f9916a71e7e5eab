"""`python -m igos report DIR`: the page of one run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igos.base.inside import inside
from igos.base.terminal import say
from igos.cli.flags import Parser

if TYPE_CHECKING:
    import numpy as np

PAGE, PAGES = "report.html", "report-photos"  # the page, and the folder of a big run's photos


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos report",
        "Write report.html into the folder of a run: one page that needs no network and opens by a double click. "
        "Photos are read where the run found them.",
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run of explain or evaluate")
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Write DIR/report.html from what the run left there; print its path."""
    say(write_page(Path(given.folder)))
    return 0


def write_page(folder: Path) -> Path:
    """report.html of a run's folder."""
    from igos.results import page_content

    inside(folder, PAGES)
    page_content.write(inside(folder, PAGE), [folder], read_picture, folder.resolve().name)
    return folder / PAGE


def read_picture(path: str) -> np.ndarray:
    """(H,W,3) uint8 RGB, as the models read it. Raises ImageError."""
    from igos.run.models import adapters

    adapters()
    from detectors.pictures import read_rgb

    return read_rgb(path)[0]
