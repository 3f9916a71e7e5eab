"""The one process that runs the network: messages in, events out; it is started again when it dies."""

from __future__ import annotations

import asyncio
import multiprocessing
import signal
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any

from igos.run.workers.spawn import alone
from igos.serve.network import Cancelled, Network
from igos.types import IgosError, NetworkError

Event = tuple[str, dict[str, Any]]  # its kind, and what it says
LAST = ("done", "failed", "cancelled")  # kinds after which nothing comes
DIED = "the network's process died ({}); it is started again, and the picture stays"
PATIENCE = 3  # deaths one after the other, before anything is answered, after which it is not started again


class Process:
    """The network's process as the server sees it. ask(message) -> the queue of its events."""

    def __init__(self, flags: Mapping[str, Any], models: Sequence[str | None], threads: int) -> None:
        self._made = flags, models, threads
        self._numbers = 0
        self._waiting: dict[int, asyncio.Queue[Event]] = {}
        self._deaths = 0
        self.deaths = 0  # in all, for the page
        self._ended = False
        self._start()

    def _start(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._connection, theirs = spawn.Pipe()
        self.process = spawn.Process(target=serve, args=(theirs, *self._made), daemon=True)
        self.process.start()
        theirs.close()

    def ready(self) -> list[dict[str, Any]]:
        """What is known of the models, once they are loaded. Raises what loading them raised."""
        try:
            kind, content = self._connection.recv()
        except (EOFError, OSError):
            self.process.join(5)
            raise NetworkError(f"the network's process died as it loaded the model ({self._end()})") from None
        if kind == "raise":
            raise content
        return list(content)

    def listen(self) -> None:
        """From now on events go to the queues of the running loop."""
        self._loop = asyncio.get_running_loop()
        threading.Thread(target=self._hear, daemon=True).start()

    def _hear(self) -> None:
        while not self._ended:
            try:
                number, kind, content = self._connection.recv()
            except (EOFError, OSError):
                if not self._ended:
                    self._again()
                continue
            self._deaths = 0
            self._tell(number, kind, content)

    def _again(self) -> None:
        """After a death: those that wait are told, and another one is started."""
        self.process.join(5)
        reason = DIED.format(self._end())
        self._deaths, self.deaths = self._deaths + 1, self.deaths + 1
        waiting = list(self._waiting)
        if self._deaths >= PATIENCE:
            reason, self._ended = f"the network's process died {PATIENCE} times ({self._end()}); end the server", True
        else:
            self._start()
            with suppress(IgosError, OSError):
                self.ready()
        for number in waiting:
            self._tell(number, "failed", {"error": reason})

    def _end(self) -> str:
        code = self.process.exitcode
        return f"signal {-code}" if code is not None and code < 0 else f"exit {code}"

    def _tell(self, number: int, kind: str, content: dict[str, Any]) -> None:
        queue = self._waiting.pop(number, None) if kind in LAST else self._waiting.get(number)
        if queue is not None:
            with suppress(RuntimeError):  # the loop has ended
                self._loop.call_soon_threadsafe(queue.put_nowait, (kind, content))

    def ask(self, message: Mapping[str, Any]) -> tuple[int, asyncio.Queue[Event]]:
        """The message's number, for `cancel`, and its events, one of LAST at the end."""
        self._numbers += 1
        number, queue = self._numbers, asyncio.Queue[Event]()
        self._waiting[number] = queue
        if self._ended:
            self._tell(number, "failed", {"error": "the network's process has ended"})
        with suppress(OSError):  # it has died: `_hear` finds out
            self._connection.send((number, dict(message)))
        return number, queue

    async def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a message that has no steps. Raises NetworkError for one that failed."""
        _, queue = self.ask(message)
        kind, content = await queue.get()
        if kind != "done":
            raise NetworkError(str(content.get("error", "cancelled")))
        return content

    def cancel(self, number: int) -> None:
        with suppress(OSError):
            self._connection.send((number, None))

    def end(self) -> None:
        self._ended = True
        self.process.kill()
        self.process.join(1)


def serve(connection: Connection, flags: Mapping[str, Any], models: Sequence[str | None], threads: int) -> None:
    """The process: until the server is gone."""
    alone(threads)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the server ends this process
    try:
        network = Network(flags, models)
    except IgosError as error:
        connection.send(("raise", type(error)(str(error))))
        return
    connection.send(("ready", network.facts()))
    with suppress(EOFError, OSError):
        Desk(connection, network).work()


class Desk:
    """Messages that wait, in their order. While a mask is learnt, between two steps, short ones are answered."""

    def __init__(self, connection: Connection, network: Network) -> None:
        self.connection, self.network = connection, network
        self.waiting: deque[tuple[int, dict[str, Any]]] = deque()
        self.running: int | None = None

    def work(self) -> None:
        while True:
            if not self.waiting:
                self._take()
            while self.connection.poll():
                self._take()
            if self.waiting:
                self._do(*self.waiting.popleft())

    def _take(self) -> None:
        """One message. Raises Cancelled where it ends what runs."""
        number, message = self.connection.recv()
        if message is not None:
            self.waiting.append((number, message))
        elif number == self.running:
            raise Cancelled
        elif any(n == number for n, _ in self.waiting):
            self.waiting = deque((n, m) for n, m in self.waiting if n != number)
            self.connection.send((number, "cancelled", {}))

    def _between(self, idle: bool) -> None:
        """While something runs: hear what came, and answer what is short."""
        while self.connection.poll():
            self._take()
        if idle:
            short = [each for each in self.waiting if each[1]["do"] != "explain"]
            self.waiting = deque(each for each in self.waiting if each[1]["do"] == "explain")
            for number, message in short:
                self._answer(number, message)

    def _do(self, number: int, message: dict[str, Any]) -> None:
        if message["do"] != "explain":
            self._answer(number, message)
            return
        self.running = number

        def say(kind: str, content: Mapping[str, Any]) -> None:
            self.connection.send((number, kind, dict(content)))

        try:
            self._finish(number, lambda: self.network.explain(message, say, self._between))
        except Cancelled:
            say("cancelled", {})
        finally:
            self.running = None

    def _answer(self, number: int, message: dict[str, Any]) -> None:
        asked = {k: v for k, v in message.items() if k != "do"}
        work: Callable[..., dict[str, Any]] = getattr(self.network, "look" if message["do"] == "look" else "score")
        self._finish(number, lambda: work(**asked))

    def _finish(self, number: int, work: Callable[[], dict[str, Any]]) -> None:
        try:
            kind, content = "done", work()
        except IgosError as error:
            kind, content = "failed", {"error": str(error)}
        except Exception as error:
            kind, content = "failed", {"error": f"{type(error).__name__}: {error}"}
        self.connection.send((number, kind, content))
