"""The command line: one of COMMANDS; every IgosError is one line and exit 2, Ctrl-C is 130.

A command is a module with `parser()`, its flags, and `run(flags, words)`, what it does; a flag is refused before
anything heavy is imported, so modules here import torch inside `run` only.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from importlib import import_module

from igos.base.errors import IgosError
from igos.base.terminal import QUIET, USUAL, VERBOSE, say, talk, trace

COMMANDS = {  # the first word -> its module; `explain` where none is named
    "explain": "igos.cli.explain",
    "serve": "igos.cli.serve",
    "evaluate": "igos.cli.evaluate",
    "diagnose": "igos.cli.diagnose",
    "fit-patterns": "igos.cli.fit_patterns",
    "report": "igos.cli.report",
    "compare": "igos.cli.compare",
    "export": "igos.cli.export",
    "merge": "igos.cli.merge",
    "estimate": "igos.cli.estimate",
    "split": "igos.cli.split",
    "model": "igos.cli.model",
    "text": "igos.cli.text",
    "demo": "igos.cli.demo",
    "figure": "igos.cli.figure",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; answers the exit code: 0 done, 2 the user's mistake, 130 Ctrl-C, 143 terminated."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if argv is None:
        sys.excepthook = trace
    try:
        code = _done(words, argv is None)
        sys.stdout.flush()
        return code
    except IgosError as error:
        if "--debug" in words:
            raise
        say(f"igos: {' '.join(str(error).split())}", error=True)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError, ImportError) as error:
        if "--debug" in words or not _starved(error):
            raise
        small = "take smaller pictures, --input_size or --batch"
        way = "allow more (ulimit -v), libraries were not loaded" if isinstance(error, ImportError) else small
        say(f"igos: out of memory; {way}", error=True)
        return 2
    except OSError as error:
        if "--debug" in words:
            raise
        say(f"igos: {error.filename or 'a file'}: {error.strerror or error}", error=True)
        return 2
    except KeyboardInterrupt:
        say("igos: interrupted", error=True)
        return 130


def _done(words: list[str], alone: bool) -> int:
    """The command's exit code. alone: the process has nothing else to do."""
    if not words or words[0] in ("-h", "--help", "help"):
        from igos.cli import overview

        say(overview.overview(COMMANDS) if words else overview.greeting())
        return 0
    name, words = command_of(words)
    command = import_module(COMMANDS[name])
    try:
        flags = command.parser().parse_args(words)
    except SystemExit:  # of --help and --version
        sys.stdout.flush()
        raise
    talk(QUIET if flags.quiet else VERBOSE if flags.verbose else USUAL)
    del flags.quiet, flags.verbose
    code = int(command.run(flags, words))
    sys.stdout.flush()
    if alone and getattr(command, "AT_ONCE", False):
        os._exit(code)
    return code


def command_of(words: Sequence[str]) -> tuple[str, list[str]]:
    """The command, wherever it stands among the words, and the others; `explain` where there is none. The value of a
    flag is no command, nor is a file among several values.
    """
    for i, word in enumerate(words):
        if word in COMMANDS and not _is_value(words[:i], word):
            return word, [*words[:i], *words[i + 1 :]]
    return "explain", list(words)


def _is_value(before: Sequence[str], word: str) -> bool:
    at = max((i for i, w in enumerate(before) if w.startswith("-")), default=None)
    if at is None or "=" in before[at]:
        return False
    parsers = [import_module(COMMANDS[name]).parser() for name in dict.fromkeys((word, "explain"))]
    if at == len(before) - 1:
        return next((takes for p in parsers if (takes := p.takes_value(before[at])) is not None), False)
    return any(p.takes_many(before[at]) for p in parsers) and os.path.exists(word)


def _starved(error: BaseException) -> bool:
    """Whether memory was missing, for tensors, threads or libraries; torch itself may not be there."""
    loaders = ("failed to map segment", "Cannot allocate memory", "cannot allocate memory", "can't start new thread")
    if isinstance(error, ImportError) or "torch" not in sys.modules:
        return isinstance(error, MemoryError) or any(text in str(error) for text in loaders)
    from igos.types.scorer import out_of_memory

    return out_of_memory(error) or any(text in str(error) for text in loaders)
