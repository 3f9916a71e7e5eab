"""A python that need not import anything again: it runs its words in a fork of a process that has imported what tests
need. For what takes the name of an interpreter and starts it often: pytest-xdist, multiprocessing's server, Ray.

`python` is a file that hands its words, environment, folder and open files to that process, and ends when the fork has
ended. The fork has them all, and runs the words as an interpreter would; but its id is another.
"""

from __future__ import annotations

import atexit
import fcntl
import gc
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import NoReturn

ROOT = Path(__file__).resolve().parents[1]
TOLD: list[int] = []  # in a fork: where it says how it ends
NAMED = "IGOS_TESTS_PYTHON"  # the variable that tells the processes of the tests where it is
PRELOADED = ["tests.warm", "igos.cli.session", "igos.drawing.figures", "igos.results.tables", "detectors"]
MOST = 250  # files that a socket hands over
START = """#!/bin/sh
exec "{python}" -SE "{asks}" "$@"
"""
ASKS = "ask.py"  # the file in its folder that asks, for who starts an interpreter with a file
ASK = """import json, os, signal, socket, sys
there = [n for n in map(int, os.listdir("/dev/fd")) if os.path.exists("/dev/fd/%d" % n)]
files = [n for n in there if os.get_inheritable(n)]
asked = json.dumps([sys.argv[1:], dict(os.environ), os.getcwd(), files]).encode()
with socket.socket(socket.AF_UNIX) as to:
    to.connect({door!r})
    socket.send_fds(to, [len(asked).to_bytes(4, "big")], files)
    to.sendall(asked)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    code = to.recv(1)
os._exit(code[0] if code else 1)
"""


class Forks:
    """The process that forks, which ends with this one. modules: what it imports."""

    def __init__(self, modules: Sequence[str]) -> None:
        self._folder = tempfile.TemporaryDirectory()  # its name is short, as a socket's has to be
        place = Path(self._folder.name)
        until, self._alive = os.pipe()
        with socket.socket(socket.AF_UNIX) as door:
            door.bind(str(place / "door"))
            door.listen(32)
            kept = door.fileno(), until
            words = [sys.executable, "-m", "tests.forks", *map(str, kept), *modules]
            self._process = subprocess.Popen(words, stdin=subprocess.DEVNULL, cwd=ROOT, pass_fds=kept)
        os.close(until)
        (place / ASKS).write_text(ASK.format(door=str(place / "door")))
        self.python = place / "python"
        self.python.write_text(START.format(python=sys.executable, asks=place / ASKS))
        self.python.chmod(0o700)

    def end(self) -> None:
        os.close(self._alive)
        self._process.wait()
        self._folder.cleanup()


@lru_cache(maxsize=1)
def python() -> str:
    """The one of the tests; where this process is the first to ask, it is made."""
    if NAMED not in os.environ:
        made = Forks(PRELOADED)
        atexit.register(made.end)
        os.environ[NAMED] = str(made.python)
    return os.environ[NAMED]


def serve(door: socket.socket, until: int) -> socket.socket:
    """Who asked, in a fork for each; this process stays here until nobody holds the other end of `until`."""
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        ready, _, _ = select.select([door, until], [], [])
        if until in ready:
            os._exit(0)
        asked, _ = door.accept()
        if not os.fork():
            door.close()
            os.close(until)
            return asked
        asked.close()


def be(asked: socket.socket) -> list[str]:
    """Take what was asked for as this process' own; the words."""
    size, got, *_ = socket.recv_fds(asked, 4, MOST)
    with asked.makefile("rb") as content:
        words, environment, folder, files = json.loads(content.read(int.from_bytes(size, "big")))
    high = max(files) + 1
    told, *moved = (fcntl.fcntl(n, fcntl.F_DUPFD_CLOEXEC, high) for n in (asked.fileno(), *got))
    for n in (asked.detach(), *got):
        os.close(n)
    for n, file in zip(files, moved, strict=True):
        os.dup2(file, n)
        os.close(file)
    TOLD.append(told)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    gc.enable()
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 (it stays open)
    return list(words)


def end(code: int) -> NoReturn:
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with suppress(OSError, ValueError):  # nobody listens any more
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(TOLD[0], bytes([code & 255]))
    os._exit(code & 255)


def forget() -> None:
    """In a process that a fork forks: how it ends is not what was asked."""
    while TOLD:
        os.close(TOLD.pop())


def run_main(words: Sequence[str]) -> None:
    """`python words...` of a module, "-m NAME ...", or a file, in this process."""
    if words[0] == "-m":
        sys.argv[:] = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv[:] = words
        runpy.run_path(words[0], run_name="__main__")


def run(words: list[str]) -> int:
    """What an interpreter does with its words; its exit code."""
    while words[0][0] == "-" and words[0] not in ("-c", "-m"):
        del words[: 2 if words[0] in ("-X", "-W") else 1]
    first = {"-c": "", "-m": os.getcwd()}.get(words[0], os.path.dirname(os.path.abspath(words[0])))
    sys.path[:1] = [first, *filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))]
    try:
        if words[0] == "-c":
            sys.argv[:] = ["-c", *words[2:]]
            sys.modules["__main__"] = ModuleType("__main__")
            exec(words[1], vars(sys.modules["__main__"]))
        else:
            run_main(words)
    except SystemExit as end:
        if isinstance(end.code, int | None):
            return end.code or 0
        print(end.code, file=sys.stderr)
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())  # type: ignore[arg-type]
        return 1
    return 0


def main(door: str, until: str, *modules: str) -> None:
    gc.disable()
    for module in modules:
        import_module(module)
    os.register_at_fork(after_in_child=forget)
    end(run(be(serve(socket.socket(fileno=int(door)), int(until)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
