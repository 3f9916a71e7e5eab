"""Flags: those of Run in groups, and what every command's parser has. Without torch, so that help is quick."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import textwrap
from collections.abc import Collection, Sequence
from dataclasses import fields
from typing import Any, NoReturn, get_args

from igos.base import terminal
from igos.base.errors import ConfigError
from igos.base.settings import near_names, normalise
from igos.run.settings import RUN_TYPES, Run

KINDS = {int: "N", float: "X", str: "NAME"}  # what stands for a value in help, where the flag does not say
WHAT, MODEL, METHOD, OUTPUT, SPEED = "what is explained", "model", "method", "output", "speed"
GROUPS = (WHAT, MODEL, METHOD, OUTPUT, SPEED)
FIRST = {  # a field of Run -> the group of its flag and of those after it
    "model": MODEL,
    "data": WHAT,
    "method": METHOD,
    "metrics": OUTPUT,
    "device": SPEED,
    "layout": OUTPUT,
    "keep": OUTPUT,
    "shard": WHAT,
    "engine": SPEED,
    "set": METHOD,
}
WIDTH = 100  # of help, at most
ELSEWHERE = {  # what other tools call a flag, normalised -> igos' own
    "source": "--data", "images": "--data", "input": "--data", "dataset_path": "--data",
    "weights": "--model_file", "checkpoint": "--model_file", "ckpt": "--model_file",
    "conf": "--threshold", "conf_thres": "--threshold", "score_thr": "--threshold", "imgsz": "--input_size",
    "img_size": "--input_size", "limit": "--num_samples", "max_images": "--num_samples",
    "num_images": "--num_samples", "seed": "--manual_seed", "steps": "--iterations", "classes": "--target",
    "labels": "--names", "save_dir": "--output", "project": "--output", "gpu": "--device",
    "layers": "--layer", "target_layer": "--layer",
}  # fmt: skip


class Help(argparse.RawDescriptionHelpFormatter):
    """One spelling of each flag: the first, and those of one letter."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=27, width=min(WIDTH, shutil.get_terminal_size().columns))

    def _format_action_invocation(self, action: argparse.Action) -> str:
        if not action.option_strings:
            return self._format_args(action, str(action.metavar or action.dest))
        shown = [s for s in action.option_strings if len(s) == 2] + [s for s in action.option_strings if len(s) > 2][:1]
        usual = "{" + ",".join(map(str, action.choices)) + "}" if action.choices else action.dest.upper()
        value = "" if action.nargs == 0 else " " + self._format_args(action, str(action.metavar or usual))
        return ", ".join(shown) + value

    def _format_args(self, action: argparse.Action, default_metavar: str) -> str:
        name = str(action.metavar or default_metavar)
        return {"+": f"{name} ...", "*": f"{name} ...", "?": f"[{name}]"}.get(str(action.nargs), name)


class Parser(argparse.ArgumentParser):
    """One line per mistake, near names for a flag that does not exist, and groups in help. A flag may be written with -
    or with _ between its words. Every command has -q, -v and --debug. examples: (command, what it does).
    """

    def __init__(
        self, prog: str, description: str, examples: Sequence[tuple[str, str]] = (), epilog: str = "", **more: Any
    ) -> None:
        shown = [f"  {command}\n      {text}" for command, text in examples]
        end = [textwrap.fill(epilog, WIDTH - 4)] * bool(epilog) + ["\n".join(["examples:", *shown])] * bool(shown)
        super().__init__(
            prog=prog,
            description=textwrap.fill(" ".join(description.split()), WIDTH - 4),
            allow_abbrev=False,
            formatter_class=Help,
            epilog="\n\n".join(end) or None,
            add_help=False,
            **more,
        )
        self._groups: dict[str, argparse._ArgumentGroup] = {}
        everywhere = self.group("more")
        everywhere.add_argument("-h", "--help", action="help", help="show this and end")
        loud = everywhere.add_mutually_exclusive_group()
        loud.add_argument("-q", "--quiet", action="store_true", help="print the place of the result and errors alone")
        loud.add_argument("-v", "--verbose", action="store_true", help="say what is being done")
        everywhere.add_argument("--debug", action="store_true", help="show the trace of an error")

    def group(self, title: str) -> argparse._ArgumentGroup:
        """The group of flags of that title, in help in the order of GROUPS."""
        if title not in self._groups:
            self._groups[title] = self.add_argument_group(title)
        return self._groups[title]

    def format_help(self) -> str:
        if self.usage is None:
            places = [str(a.metavar) + " ..." * (a.nargs in ("+", "*")) for a in self._positionals._group_actions]
            self.usage = " ".join([self.prog, *places, "[flags]"]).replace("%", "%%")
        own = [g for g in self._action_groups if g.title not in self._groups]
        known = [self._groups[t] for t in (*GROUPS, *self._groups) if t in self._groups and t != "more"]
        self._action_groups[:] = [*own, *dict.fromkeys(known), self._groups["more"]]
        self._optionals.title, self._positionals.title = "flags", "arguments"
        return super().format_help()

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        return super().parse_known_args(None if args is None else [self._spelled(w) for w in args], namespace)

    def takes_value(self, word: str) -> bool | None:
        """Whether a value follows this flag; None for a word that is no flag of the command."""
        action = self._option_string_actions.get(self._spelled(word))
        return None if action is None else action.nargs != 0

    def takes_many(self, word: str) -> bool:
        action = self._option_string_actions.get(self._spelled(word))
        return action is not None and action.nargs == "+"

    def _spelled(self, word: str) -> str:
        """A flag as the parser knows it: --model-file is --model_file, --work_dir is --work-dir."""
        flag, equals, value = word.partition("=")
        if not flag.startswith("--") or flag in self._option_string_actions:
            return word
        alike = {s.replace("-", "_"): s for s in self._option_string_actions if s.startswith("--")}
        return alike.get(flag.replace("-", "_"), flag) + equals + value

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            message = self._unknown(unknown[1])
        raise ConfigError(f"{message} (see {self.prog} --help)")

    def _unknown(self, word: str) -> str:
        from igos.cli.main import COMMANDS

        if word.startswith("-"):
            meant = ELSEWHERE.get(normalise(word.partition("=")[0].lstrip("-")), "")
            near = [meant] if self.takes_value(meant) else near_names(word, self._option_string_actions, 2)
            return f"unknown argument {word}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        if self.takes_value("--data") and os.path.exists(word):
            return f"unknown argument {word}; did you mean --data {word}?"
        near = near_names(word, COMMANDS, 2)
        return f"unknown argument {word}" + (f"; did you mean igos {' or igos '.join(near)}?" if near else "")


def add_flags(parser: argparse.ArgumentParser, leave_out: Collection[str] = (), only: Collection[str] = ()) -> None:
    """A flag for every field of Run (but those left out; or only some), in its group; what is not given is absent."""
    title = MODEL
    for f in fields(Run):
        title = FIRST.get(f.name, title)
        if f.name in leave_out or (only and f.name not in only):
            continue
        place = parser.group(title) if isinstance(parser, Parser) else parser
        names = [f"--{f.name}", *f.metadata.get("aliases", ())]
        text = f.metadata["help"].replace("%", "%%")
        kinds = get_args(RUN_TYPES[f.name]) or (RUN_TYPES[f.name],)
        choices = f.metadata.get("choices")
        shown = f.metadata.get("metavar") or ("{" + ",".join(choices) + "}" if choices else KINDS.get(kinds[0], "NAME"))
        more: dict[str, Any] = {"dest": f.name, "default": argparse.SUPPRESS, "help": text}
        if RUN_TYPES[f.name] is bool:
            place.add_argument(*names, action="store_true", **more)
        elif RUN_TYPES[f.name] == list[str] or list[str] in kinds:
            place.add_argument(*names, nargs="+", action="extend", metavar=shown, **more)
        else:
            place.add_argument(*names, metavar=shown, **more)


def add_progress(parser: argparse.ArgumentParser) -> None:
    place = parser.group("more") if isinstance(parser, Parser) else parser
    place.add_argument("--pbar", action="store_true", help="show progress also where no terminal looks on")


def progress_of(given: argparse.Namespace) -> bool | None:
    """Whether progress is shown; None: on a terminal only."""
    return False if terminal.quiet() else given.pbar or None
