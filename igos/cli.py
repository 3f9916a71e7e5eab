"""The command line: one of COMMANDS; every IgosError is one line and exit 2, Ctrl-C is 130."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from igos.commands import COMMANDS
from igos.scorer import out_of_memory
from igos.types import IgosError


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
