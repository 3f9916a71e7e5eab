"""What the commands share: flags that refuse in one line, the detectors package, models, the device, the record."""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any, NoReturn, get_args

from igos.run.settings import RUN_TYPES, Run
from igos.types import ConfigError


class Parser(argparse.ArgumentParser):
    """One line per mistake, and near names for a flag that is not known."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=2)
            message = f"unknown argument {unknown[1]}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise ConfigError(f"{message} (see --help)")


def add_flags(parser: argparse.ArgumentParser, leave_out: Collection[str] = (), only: Collection[str] = ()) -> None:
    """A flag for every field of Run (but those left out; or only some), and --debug; what is not given is absent."""
    for f in (f for f in fields(Run) if f.name not in leave_out and (not only or f.name in only)):
        names = [f"--{f.name}", *f.metadata.get("aliases", ())]
        text = f.metadata["help"].replace("%", "%%")
        choices = f.metadata.get("choices")
        text += f" {{{', '.join(choices)}}}" if choices else ""
        kinds = get_args(RUN_TYPES[f.name]) or (RUN_TYPES[f.name],)
        if RUN_TYPES[f.name] is bool:
            parser.add_argument(*names, dest=f.name, action="store_true", default=argparse.SUPPRESS, help=text)
        elif RUN_TYPES[f.name] == list[str] or list[str] in kinds:
            more: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": f.name.upper()}
            parser.add_argument(*names, dest=f.name, default=argparse.SUPPRESS, help=text, **more)
        else:
            parser.add_argument(*names, dest=f.name, default=argparse.SUPPRESS, help=text, metavar="X")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")


def add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pbar", action="store_true", help="show progress also where no terminal looks on")
