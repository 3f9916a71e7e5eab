"""Workers in processes of their own."""

from __future__ import annotations

import multiprocessing
import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from multiprocessing.connection import Connection, wait

import torch

from igos.run.workers.engines import Pool, Task
from igos.run.workers.events import Event, portable
from igos.run.workers.spawn import alone
from igos.run.workers.worker import Worker
from igos.types import IgosError


class Processes(Pool):
    """Workers in processes of their own, each with its network. make(number) -> Worker runs in them; threads: those of
    torch in each.
    """

    def __init__(
        self, make: Callable[[int], Worker], workers: int = 1, timeout: float | None = None, threads: int | None = None
    ) -> None:
        super().__init__(workers, timeout)
        self._make, self._threads = make, threads or max(torch.get_num_threads() // workers, 1)

    def _start(self, number: int, starts: int = 1) -> Child:
        return Child(partial(self._make, number), self._threads, starts)

    def _speaking(self, members: Sequence[Child], seconds: float | None) -> list[Child]:
        ready = wait([c.connection for c in members], seconds)
        return [c for c in members if c.connection in ready]


class Child:
    """A worker's process as its parent sees it."""

    def __init__(self, make: Callable[[], Worker], threads: int, starts: int) -> None:
        spawn = multiprocessing.get_context("spawn")
        self.connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=_serve, args=(theirs, make, threads))
        self.process.start()
        theirs.close()
        self.task: Task | None = None
        self.following: Task | None = None
        self.ready, self.died, self.starts, self.heard = False, False, starts, time.monotonic()

    def ask(self, task: Task, ahead: list[str]) -> None:
        with suppress(OSError):  # it has died: `hear` finds out
            self.connection.send((task.items, ahead, task.single))

    def hear(self) -> tuple[list[Event], str | None]:
        try:
            kind, content = self.connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            self.died, code = True, self.process.exitcode
            end = f"signal {-code}" if code is not None and code < 0 else f"exit {code}"
            return [], f"the process of the network died ({end})"
        self.heard = time.monotonic()
        if kind == "raise":
            raise content
        if kind == "ready":
            self.ready = True
        elif kind == "end":
            self.task = None
        elif self.task is not None:
            return [self.task.see(content)], None
        return [], None

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.join()


def _serve(connection: Connection, make: Callable[[], Worker], threads: int) -> None:
    """A worker's process: batches in, events out, until the parent is gone."""
    alone(threads)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # a scheduler sends it to all processes: the parent ends this one
    try:
        worker = make()
    except IgosError as error:
        connection.send(("raise", type(error)(str(error))))
        return
    try:
        connection.send(("ready", None))
        while True:
            for event in worker.work(*connection.recv()):
                connection.send(("event", portable(event)))
            connection.send(("end", None))
    except IgosError as error:
        connection.send(("raise", type(error)(str(error))))
    except (EOFError, OSError):
        pass
    finally:
        worker.reader.close()
