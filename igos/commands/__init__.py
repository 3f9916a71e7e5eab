"""COMMANDS: the first word of the command line -> what it runs; one file per command, `explain` where none is named."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from igos.commands.estimate import estimate
from igos.commands.evaluate import evaluate
from igos.commands.explain import explain
from igos.commands.export import export
from igos.commands.fit_patterns import fit_patterns
from igos.commands.merge import merge
from igos.commands.report import compare, report
from igos.commands.split import split
from igos.commands.text import text

COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "explain": explain,
    "evaluate": evaluate,
    "fit-patterns": fit_patterns,
    "report": report,
    "compare": compare,
    "export": export,
    "merge": merge,
    "estimate": estimate,
    "split": split,
    "text": text,
}
