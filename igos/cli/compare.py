"""`python -m igos compare DIR1 DIR2 ...`: the page of several runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from igos.base.errors import ConfigError
from igos.base.terminal import say
from igos.cli.damage import add_strict
from igos.cli.flags import Parser


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos compare",
        "Write one page of several runs: for each object their maps side by side, with their figures. Objects are the "
        "same where picture, class and part are, and the boxes overlap by 0.9 or more. Of two diagnoses: "
        "which errors went, and which came.",
        examples=[("igos compare RUN1 RUN2 --out both.html", "two runs on one page, with statistics of pairs")],
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="folders of runs")
    parser.add_argument("--out", metavar="FILE.html", required=True, help="the page to write")
    add_strict(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Write the page; print its path."""
    out, folders = Path(given.out), [Path(f) for f in given.folders]
    if len({f.resolve() for f in folders}) < max(len(folders), 2):
        raise ConfigError(f"compare {' '.join(given.folders)}: two or more different folders are needed")
    if out.suffix != ".html" or out.is_dir():
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .html")
    from igos.diagnose.compare import compare, is_diagnosis

    if any(map(is_diagnosis, folders)):
        if len(folders) != 2:
            raise ConfigError(f"compare {' '.join(given.folders)}: of diagnoses two are compared")
        say(compare(folders[0], folders[1], out))
        say(out)
        return 0
    from igos.cli.report import album
    from igos.results import page_content

    made = album(folders, given.strict)
    page_content.write(out, made, f"Compared: {', '.join(f.resolve().name for f in folders)}")
    say(out)
    return 0
