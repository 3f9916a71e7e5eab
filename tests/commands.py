"""Processes that need not import torch again: forked from a server that has, each with signals, streams, a folder and
an exit code of its own. What starts an interpreter, or must be seen in a fresh one, uses subprocess instead.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Mapping
from multiprocessing import forkserver, spawn
from multiprocessing.context import ForkServerContext
from pathlib import Path

import pytest

from tests.forks import PRELOADED, ROOT, python, run_main


def server() -> ForkServerContext:
    """The context whose processes are forks of the server, which is a fork itself."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    with pytest.MonkeyPatch.context() as patch:  # it finds tests/ wherever it is started
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))))
        before = spawn.get_executable()
        spawn.set_executable(python())
        try:
            forkserver.ensure_running()
        finally:
            spawn.set_executable(before)
    return context


class Command:
    """`python words...` in a fork of the server. session: it leads a session, and so a group of processes; env: what
    its environment has beside the server's.
    """

    def __init__(self, *words: str, cwd: Path, session: bool = False, env: Mapping[str, str] | None = None) -> None:
        self._files = [tempfile.NamedTemporaryFile() for _ in range(2)]  # noqa: SIM115 (closed by `end`)
        told = [file.name for file in self._files]
        self.process = server().Process(target=_command, args=(words, str(cwd), told, session, env or {}))
        self.process.start()
        assert self.process.pid is not None
        self.pid = self.process.pid

    def alive(self) -> bool:
        return self.process.is_alive()

    def end(self, seconds: float = 120) -> tuple[int | None, str, str]:
        """Its exit code (a signal's is below 0), output and errors, once it has ended."""
        self.process.join(seconds)
        ended, code = not self.process.is_alive(), self.process.exitcode
        self.process.kill()
        self.process.join()
        out, err = (file.read().decode() for file in self._files)
        for file in self._files:
            file.close()
        assert ended, f"{seconds:g} s were not enough: {out}{err}"
        return code, out, err


def _command(words: tuple[str, ...], cwd: str, told: list[str], session: bool, env: Mapping[str, str]) -> None:
    os.environ.update(env)
    if session:
        os.setsid()
    for stream, name in enumerate(told, 1):
        os.dup2(os.open(name, os.O_WRONLY | os.O_APPEND), stream)
    os.chdir(cwd)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    run_main(words)
