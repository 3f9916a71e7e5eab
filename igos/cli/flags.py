"""Flags: those of Run, and what every command's parser has. Without torch, so that help is quick."""

from __future__ import annotations

import argparse
import re
from collections.abc import Collection
from dataclasses import fields
from typing import Any, NoReturn, get_args

from igos.base.errors import ConfigError
from igos.base.settings import near_names
from igos.run.settings import RUN_TYPES, Run

KINDS = {int: "N", float: "X", str: "NAME"}  # what stands for a value in help, where the flag does not say


class Parser(argparse.ArgumentParser):
    """One line per mistake, and near names for a flag that does not exist; every command has --debug."""

    def __init__(self, prog: str, description: str, **more: Any) -> None:
        super().__init__(prog=prog, description=description, allow_abbrev=False, **more)
        self.add_argument("--debug", action="store_true", help="show the trace of an error")

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            near = near_names(unknown[1], self._option_string_actions, 2)
            message = f"unknown argument {unknown[1]}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise ConfigError(f"{message} (see --help)")


def add_flags(parser: argparse.ArgumentParser, leave_out: Collection[str] = (), only: Collection[str] = ()) -> None:
    """A flag for every field of Run (but those left out; or only some); what is not given is absent."""
    for f in (f for f in fields(Run) if f.name not in leave_out and (not only or f.name in only)):
        names = [f"--{f.name}", *f.metadata.get("aliases", ())]
        text = f.metadata["help"].replace("%", "%%")
        kinds = get_args(RUN_TYPES[f.name]) or (RUN_TYPES[f.name],)
        choices = f.metadata.get("choices")
        shown = f.metadata.get("metavar") or ("{" + ",".join(choices) + "}" if choices else KINDS.get(kinds[0], "NAME"))
        more: dict[str, Any] = {"dest": f.name, "default": argparse.SUPPRESS, "help": text}
        if RUN_TYPES[f.name] is bool:
            parser.add_argument(*names, action="store_true", **more)
        elif RUN_TYPES[f.name] == list[str] or list[str] in kinds:
            parser.add_argument(*names, nargs="+", action="extend", metavar=shown, **more)
        else:
            parser.add_argument(*names, metavar=shown, **more)


def add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pbar", action="store_true", help="show progress also where the output is no terminal")
