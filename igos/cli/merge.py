"""`python -m igos merge DIR... --out DIR`: the shards of a run as one run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from igos.base.terminal import say
from igos.cli.damage import add_strict, tell
from igos.cli.flags import Parser


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos merge",
        "Join the folders of a run that was made in parts (--shard i/n), after a check that no part, picture or "
        "explanation is missing or doubled. Files are hard links where that is possible.",
        examples=[("igos merge PART1 PART2 --out OUT", "after runs with --shard 1/2 and --shard 2/2")],
    )
    parser.add_argument("folders", metavar="DIR", nargs="+", help="folders of all parts")
    parser.add_argument("--out", metavar="DIR", required=True, help="the folder to make")
    add_strict(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Join the shards, if nothing is missing or doubled; print what came of it and the folder."""
    from igos.cli.report import write_page
    from igos.results.read import read_run
    from igos.run.merge import merge

    out, damage = Path(given.out), list[str]()
    try:
        count = merge([Path(f) for f in given.folders], out, damage, strict=given.strict)
    finally:
        tell(damage)
    run = read_run(out)
    if run.get("diagnose"):
        say(f"{len(given.folders)} parts; what they show is explained by igos diagnose with --output {out}")
        say(out)
        return 0
    if run.get("layout") != "shards":
        write_page(out)
    say(f"{count} explanations of {len(given.folders)} parts")
    say(out)
    return 0
