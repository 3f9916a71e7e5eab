"""The command line: one of COMMANDS; every IgosError is one line and exit 2, Ctrl-C is 130."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence

from igos.cli.estimate import estimate
from igos.cli.evaluate import evaluate
from igos.cli.explain import explain
from igos.cli.export import export
from igos.cli.fit_patterns import fit_patterns
from igos.cli.merge import merge
from igos.cli.report import compare, report
from igos.cli.split import split
from igos.cli.text import text
from igos.types import IgosError, out_of_memory


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; answers the exit code: 0 done, 2 the user's mistake, 130 Ctrl-C."""
    words = list(sys.argv[1:] if argv is None else argv)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    command = words.pop(0) if words and words[0] in COMMANDS else "explain"
    try:
        code = COMMANDS[command](words)
        sys.stdout.flush()
        return code
    except IgosError as error:
        if "--debug" in words:
            raise
        print(f"igos: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output has gone, as with `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (MemoryError, RuntimeError) as error:
        if "--debug" in words or not out_of_memory(error):
            raise
        print("igos: out of memory; take smaller pictures, --input_size or --batch", file=sys.stderr)
        return 2
    except OSError as error:
        if "--debug" in words:
            raise
        print(f"igos: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("igos: interrupted", file=sys.stderr)
        return 130


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
