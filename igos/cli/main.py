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
from igos.base.terminal import say, trace

COMMANDS = {  # the first word -> its module; `explain` where none is named
    "explain": "igos.cli.explain",
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
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; answers the exit code: 0 done, 2 the user's mistake, 130 Ctrl-C, 143 terminated."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if argv is None:
        sys.excepthook = trace
    command = import_module(COMMANDS[words.pop(0) if words and words[0] in COMMANDS else "explain"])
    try:
        flags = command.parser().parse_args(words)
        code = command.run(flags, words)
        sys.stdout.flush()
        return int(code)
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


def _starved(error: BaseException) -> bool:
    """Whether memory was missing, for tensors, threads or libraries; torch itself may not be there."""
    loaders = ("failed to map segment", "Cannot allocate memory", "cannot allocate memory", "can't start new thread")
    if isinstance(error, ImportError) or "torch" not in sys.modules:
        return isinstance(error, MemoryError) or any(text in str(error) for text in loaders)
    from igos.types.scorer import out_of_memory

    return out_of_memory(error) or any(text in str(error) for text in loaders)
