"""`python -m igos report DIR` and `python -m igos compare DIR1 DIR2 ...`: the page of one run, and of several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from igos.cli.flags import Parser
from igos.results import page_content
from igos.run.models import adapters
from igos.types import ConfigError

PAGE = "report.html"


def report(words: Sequence[str]) -> int:
    """Write DIR/report.html from what the run left there; print its path."""
    parser = Parser(
        prog="igos report",
        description="Write report.html into the folder of a run: one page that needs no network and opens by a double "
        "click. Photos are read where the run found them.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run of explain or evaluate")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    print(write_page(Path(parser.parse_args(words).folder)))
    return 0


def compare(words: Sequence[str]) -> int:
    """Write one page of several runs, their maps of the same objects side by side; print its path."""
    parser = Parser(
        prog="igos compare",
        description="Write one page of several runs: for each object their maps side by side, with their figures. "
        "Objects are the same where picture, class and part are, and the boxes overlap by 0.9 or more.",
        allow_abbrev=False,
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="folders of runs")
    parser.add_argument("--out", metavar="FILE.html", required=True, help="the page to write")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    given = parser.parse_args(words)
    out, folders = Path(given.out), [Path(f) for f in given.folders]
    if len({f.resolve() for f in folders}) < max(len(folders), 2):
        raise ConfigError(f"compare {' '.join(given.folders)}: two or more different folders are needed")
    if out.suffix != ".html" or out.is_dir():
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .html")
    page_content.write(out, folders, read_picture, f"Compared: {', '.join(f.resolve().name for f in folders)}")
    print(out)
    return 0


def read_picture(path: str) -> np.ndarray:
    """(H,W,3) uint8 RGB, as the models read it. Raises ImageError."""
    adapters()
    from detectors.pictures import read_rgb

    return read_rgb(path)[0]


def write_page(folder: Path) -> Path:
    """report.html of a run's folder."""
    page_content.write(folder / PAGE, [folder], read_picture, folder.resolve().name)
    return folder / PAGE
