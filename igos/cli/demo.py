"""`python -m igos demo`: what the bundled detector sees in its samples, explained."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from igos.base import resources
from igos.cli import explain
from igos.cli.flags import OUTPUT, Parser, add_progress

SAMPLES = ("scene-04.png", "scene-07.png", "scene-38.png")  # with two objects of a class, and one that needs more


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos demo",
        "Explain what the bundled detector sees in three sample pictures, and write a page of it. The pictures are "
        "drawn: the emblem on an object decides its class, so that a right map is one that lies on the emblem.",
        examples=[("igos demo", "explains eight objects"), ("igos demo --output OUT", "into the folder OUT")],
    )
    text = "folder of the results (default: Output/<time>-demo)"
    parser.group(OUTPUT).add_argument("--output", "--out", metavar="DIR", help=text)
    add_progress(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Explain the samples as `igos --data ...` does."""
    folder = resources.folder("samples")
    asked = ["--data", *(str(folder / name) for name in SAMPLES), "--config", "quick"]
    asked += ["--output", given.output or explain.output_name("demo")] + ["--pbar"] * given.pbar
    return explain.run(explain.parser().parse_args(asked), asked)
