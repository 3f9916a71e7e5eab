"""What commands that read a run's folder say of damage in it, and --strict."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from igos.base.errors import ConfigError
from igos.base.terminal import say
from igos.cli.flags import Parser

if TYPE_CHECKING:
    from igos.results.manifest import Way

MOST = 5  # sentences that are shown


def add_strict(parser: argparse.ArgumentParser) -> None:
    text = "refuse a folder in which anything is damaged, missing or without a checksum"
    place = parser.group("more") if isinstance(parser, Parser) else parser
    place.add_argument("--strict", action="store_true", help=text)


def tell(damage: Sequence[str], strict: bool = False) -> None:
    """Print what is damaged, at most MOST lines; strict: raise ConfigError, if anything is."""
    told = list(dict.fromkeys(damage))
    for text in told[:MOST]:
        say(f"igos: warning: {' '.join(text.split())}", error=True)
    if len(told) > MOST:
        say(f"igos: warning: ... and {len(told) - MOST} more of the kind", error=True)
    if strict and told:
        raise ConfigError(f"--strict: {len(told)} {'faults' if len(told) > 1 else 'fault'}, named above")


def ways(folder: Path, damage: list[str]) -> dict[str, Way] | None:
    """How the run in a folder explains, by its run.yaml; None where that cannot be known."""
    from igos.results.manifest import FILE
    from igos.results.read import read_run
    from igos.run.decides import ways_of_run

    if not (folder / FILE).is_file():
        return None
    return ways_of_run(folder, read_run(folder, []), damage)


def rows_of(folder: Path, damage: list[str], whole: bool = False) -> list[dict[str, Any]]:
    """The rows of a run, compared with its settings and its manifest. whole: their files too, here and now."""
    from igos.results.expected import compared, hurt
    from igos.results.read import read_run

    rows = list(compared(folder, damage, ways(folder, damage)))
    read_run(folder, damage)
    if whole:
        damage += hurt(folder, rows)
    return rows
