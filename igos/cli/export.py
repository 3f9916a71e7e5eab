"""`python -m igos export DIR --format F --out PATH`: the maps of a run for other tools."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from igos.base.errors import ConfigError
from igos.base.files import refuse_taken
from igos.base.names import EXPORT_FORMATS
from igos.base.settings import lookup
from igos.base.terminal import say
from igos.cli.damage import add_strict, rows_of, tell
from igos.cli.flags import Parser


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos export",
        "Write the maps of a run for other tools: coco, one JSON with the top area of each map as RLE; png, a grey "
        "picture of each map; fiftyone, these and samples.json.",
        examples=[("igos export OUT --format coco --out maps.json", "the top area of each map as RLE")],
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run")
    parser.add_argument("--format", metavar="{" + ",".join(EXPORT_FORMATS) + "}", required=True, help="what to write")
    parser.add_argument("--out", metavar="PATH", required=True, help="a new .json file (coco) or folder (the others)")
    add_strict(parser)
    parser.add_argument(
        "--annotations",
        metavar="PATH",
        help="COCO's JSON whose category ids coco takes (default: the run's)",
    )
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Write the maps of a run in the form asked for; print how many and where."""
    form, out = lookup(given.format, EXPORT_FORMATS, "format"), Path(given.out)
    if form == "coco" and out.suffix != ".json":
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .json")
    refuse_taken(out)
    if form != "coco" and given.annotations:
        raise ConfigError(f"--annotations goes with --format coco, not with {form}")
    from igos.results.exports import EXPORTS

    folder, damage, lost = Path(given.folder), list[str](), list[str]()
    rows = rows_of(folder, damage, whole=given.strict)
    tell(damage, given.strict)
    more = {"annotations": given.annotations} if given.annotations else {}
    try:
        count, note = EXPORTS[form](folder, out, rows, lost, **more)
    finally:
        tell(lost)
    say(f"{count} maps in {out}{note and f' ({note})'}")
    return 0
