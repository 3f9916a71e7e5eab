"""The one way to the terminal. Names of files and classes come from anyone, and a terminal obeys what they hold."""

from __future__ import annotations

import logging
import os
import sys
import traceback
import unicodedata
import warnings
from types import TracebackType

QUIET, USUAL, VERBOSE = -1, 0, 1
_level = USUAL
ESCAPED = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, format (which turn text round or hide it), halves, ends of lines
JOINERS = "\u200c\u200d"  # of letters and emoji


def printable(text: object, kept: str = "") -> str:
    """The text with what a terminal would obey, or would not show, as escapes: \\x1b, \\u202e. kept: characters that
    stay as they are.
    """
    return "".join(c if c in kept or not _obeyed(c) else _escape(c) for c in str(text))


def plain(text: str) -> str:
    """The text with control characters as escapes, but for those that a table's cell may hold between quotes."""
    return "".join(_escape(c) if unicodedata.category(c) == "Cc" and c not in "\t\n\r" else c for c in text)


def say(text: object, error: bool = False) -> None:
    """Print lines of text, each printable; error: one line, to the stream of errors."""
    print(printable(text, "" if error else "\n"), file=sys.stderr if error else sys.stdout)


def warn(text: object, depth: int = 2) -> None:
    """A warning of Python, where the command has no say; depth: of whose call it tells, 2 = the caller's."""
    warnings.warn(printable(text), stacklevel=depth + 1)


def talk(level: int) -> None:
    """How much the command tells from now on: QUIET, USUAL or VERBOSE."""
    global _level
    _level = level


def quiet() -> bool:
    return _level == QUIET


def verbose() -> bool:
    return _level == VERBOSE


def note(text: object) -> None:
    """What a person reads beside the result; not with -q."""
    if not quiet():
        say(text)


def status(text: object) -> None:
    """What is being done, to the stream of errors: where a person looks on, or asked for it by -v."""
    if verbose() or (watched() and not quiet()):
        say(f"igos: {text}", error=True)


def detail(text: object) -> None:
    """What only -v tells, to the stream of errors."""
    if verbose():
        say(f"igos: {text}", error=True)


def watched(error: bool = True) -> bool:
    """Whether the stream of errors (or the output) is a terminal that shows colours and moves its cursor."""
    stream = sys.stderr if error else sys.stdout
    return bool(getattr(stream, "isatty", bool)()) and os.environ.get("TERM") != "dumb"


def signs(text: str, instead: str) -> str:
    """The text where the output can show it, else what stands for it in ASCII."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return instead
    return text


def trace(kind: type[BaseException], error: BaseException, where: TracebackType | None) -> None:
    """sys.excepthook: an error's trace, its words printable."""
    for line in "".join(traceback.format_exception(kind, error, where)).splitlines():
        say(line, error=True)


def logged(record: logging.LogRecord) -> bool:
    """A filter of the logger "igos": its words printable."""
    record.msg, record.args = printable(record.getMessage()), ()
    return True


logging.getLogger("igos").addFilter(logged)


def _obeyed(c: str) -> bool:
    return not c.isascii() and unicodedata.category(c) in ESCAPED and c not in JOINERS or c < " " or c == "\x7f"


def _escape(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
