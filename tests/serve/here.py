"""A live page without a process of its own: the network answers in this one, on a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from igos.cli.report import read_picture
from igos.data.pictures import find_pictures
from igos.results.folder import RunFolder
from igos.serve.app import app
from igos.serve.guard import Guard
from igos.serve.jobs import Jobs
from igos.serve.network import Cancelled, Network
from igos.serve.process import LAST, Event
from igos.serve.session import Session
from igos.types import IgosError

TOKEN, HOST = "a token", "127.0.0.1:8000"


class Here:
    """What Process is to the server."""

    def __init__(self, network: Network) -> None:
        self.network, self.asked, self.stopped = network, 0, set[int]()

    def listen(self) -> None:
        self.loop = asyncio.get_running_loop()

    def ask(self, message: Mapping[str, Any]) -> tuple[int, asyncio.Queue[Event]]:
        self.asked += 1
        number, queue = self.asked, asyncio.Queue[Event]()

        def say(kind: str, content: Mapping[str, Any]) -> None:
            self.loop.call_soon_threadsafe(queue.put_nowait, (kind, dict(content)))

        def between(idle: bool) -> None:
            if number in self.stopped:
                raise Cancelled

        def work() -> None:
            asked = {k: v for k, v in message.items() if k != "do"}
            try:
                if message["do"] == "explain":
                    say("done", self.network.explain(message, say, between))
                else:
                    say("done", getattr(self.network, message["do"])(**asked))
            except Cancelled:
                say("cancelled", {})
            except IgosError as error:
                say("failed", {"error": str(error)})

        self.loop.run_in_executor(None, work)
        return number, queue

    async def answer(self, message: Mapping[str, Any]) -> dict[str, Any]:
        _, queue = self.ask(message)
        kind, content = await queue.get()
        assert kind in LAST
        if kind != "done":
            raise IgosError(content["error"])
        return content

    def cancel(self, number: int) -> None:
        self.stopped.add(number)


def session(network: Network, folder: Path, data: Sequence[str]) -> Session:
    facts = network.facts()
    values = {"model": facts[0]["flags"]["model"], "metrics": ["deletion"], "record": {"command": "igos serve"}}
    return Session(RunFolder(folder), find_pictures(data), read_picture, facts, values)


def guarded(session: Session, process: Any, host: str = "127.0.0.1", port: int = 8000) -> Guard:
    return Guard(app(session, process, Jobs(session, process)), TOKEN, host, port)


def nothing() -> Any:
    """A process that answers nothing."""
    return SimpleNamespace(listen=lambda: None, cancel=lambda number: None)
