"""What commands that work in a folder share: warnings, the record, SIGTERM, the end."""

from __future__ import annotations

import platform
import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

import torch

import igos
from igos.results.folder import RunFolder
from igos.types import Adapter, ConfigError


def warn(rows: Sequence[Mapping[str, Any]]) -> None:
    """What did not go well, at most five lines of each kind."""
    for row in [r for r in rows if r["error"]][:5]:
        print(f"igos: {row['status']}: {row['error']}", file=sys.stderr)
    for warning in list(dict.fromkeys(r["warning"] for r in rows if r["warning"]))[:5]:
        print(f"igos: warning: {warning}", file=sys.stderr)


def tell_opened(folder: RunFolder) -> None:
    """What a person should know of a folder before the work begins."""
    if not folder.alone:
        told = f"no locks are known where {folder.path} lies; let no other run work in it"
        print(f"igos: warning: {told}", file=sys.stderr)
    if folder.damaged:
        first = ", ".join(folder.damaged[:3]) + ", ..." * (len(folder.damaged) > 3)
        shards = sum("/" not in name for name in folder.damaged)
        counts = {"explanation": len(folder.damaged) - shards, "shard": shards}
        few = " and ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counts.items() if n)
        print(f"igos: warning: damaged, and made again: {few} ({first})", file=sys.stderr)


def close(folder: RunFolder) -> None:
    """After an error: the rows so far, or nothing at all of a new run that has come to nothing."""
    if folder.begun:
        with suppress(OSError, ConfigError):  # the disk may be full
            folder.finish()
    else:
        folder.discard()


def record(adapter: Adapter, words: Sequence[str]) -> dict[str, Any]:
    """What run.yaml notes beside the settings; not read back."""
    return {
        "command": "igos " + shlex.join(words),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            "igos": igos.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "device": str(adapter.device),
        "threads": torch.get_num_threads(),
    }


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is what a scheduler sends."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt."""

    def stop(*_: Any) -> NoReturn:
        raise Terminated("terminated")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
