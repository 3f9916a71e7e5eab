"""`python -m igos export DIR --format F --out PATH`: the maps of a run for other tools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from igos.base.settings import lookup
from igos.cli.flags import Parser
from igos.results.exports import EXPORTS
from igos.types import ConfigError


def export(words: Sequence[str]) -> int:
    """Write the maps of a run in the form asked for; print how many and where."""
    parser = Parser(
        prog="igos export",
        description="Write the maps of a run for other tools: coco, one JSON with the top area of each map as RLE; "
        "png, a grey picture of each map; fiftyone, these and samples.json.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run")
    parser.add_argument("--format", metavar="X", required=True, help=f"{{{', '.join(EXPORTS)}}}")
    parser.add_argument("--out", metavar="PATH", required=True, help="a new .json file (coco) or folder (the others)")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    given = parser.parse_args(words)
    form, out = lookup(given.format, EXPORTS, "format"), Path(given.out)
    if form == "coco" and out.suffix != ".json":
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .json")
    if out.exists():
        raise ConfigError(f"--out {out}: is there already; choose a new name")
    print(f"{EXPORTS[form](Path(given.folder), out)} maps in {out}")
    return 0
