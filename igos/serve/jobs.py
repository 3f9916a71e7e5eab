"""Questions in their order: one is answered at a time, and each has its own stream of events."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from igos.serve.process import LAST, Process
from igos.serve.session import Session
from igos.types import IgosError


@dataclass(eq=False)
class Job:
    """A question; events: (kind, content) for the page, `done`, `failed` or `cancelled` the last."""

    number: int
    picture: int
    message: Mapping[str, Any]
    events: asyncio.Queue[tuple[str, dict[str, Any]]] = field(default_factory=asyncio.Queue)
    asked: int | None = None  # its number at the network's process, once it was asked
    cancelled: bool = False
    told: bool = False  # the last event is in the queue

    @property
    def ended(self) -> bool:
        """Whether all its events were taken."""
        return self.told and self.events.empty()

    def tell(self, kind: str, content: dict[str, Any]) -> None:
        self.told = self.told or kind in LAST
        self.events.put_nowait((kind, content))


class Jobs:
    """The questions of all tabs."""

    def __init__(self, session: Session, process: Process) -> None:
        self.session, self.process = session, process
        self._waiting: list[Job] = []
        self._running: Job | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._count, self._closed = 0, False

    def add(self, picture: int, message: Mapping[str, Any]) -> Job:
        self._count += 1
        job = Job(self._count, picture, message)
        self._waiting.append(job)
        self._next()
        return job

    def before(self, job: Job) -> int:
        """How many questions are answered before it."""
        return self._waiting.index(job) + 1 if job in self._waiting else 0

    def cancel(self, number: int) -> None:
        """End a question, if it is not answered yet."""
        for job in [j for j in self._waiting if j.number == number]:
            self._waiting.remove(job)
            job.tell("cancelled", {})
            self._move()
        running = self._running
        if running is not None and running.number == number and not running.cancelled:
            running.cancelled = True
            if running.asked is not None:
                self.process.cancel(running.asked)

    def close(self) -> None:
        """The server ends: nobody waits for an answer any more."""
        self._closed = True
        for job in [*self._waiting, *([self._running] if self._running else [])]:
            job.tell("failed", {"error": "the server has ended"})
        self._waiting.clear()

    def _next(self) -> None:
        if self._running is None and self._waiting and not self._closed:
            self._running = self._waiting.pop(0)
            task = asyncio.get_running_loop().create_task(self._run(self._running))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            self._move()

    def _move(self) -> None:
        for n, job in enumerate(self._waiting, 1):
            job.tell("waiting", {"before": n})

    async def _run(self, job: Job) -> None:
        try:
            if job.cancelled:
                job.tell("cancelled", {})
                return
            job.asked, queue = self.process.ask(job.message)
            kind = ""
            while kind not in LAST:
                kind, content = await queue.get()
                if kind == "done":
                    content = await asyncio.to_thread(self.session.keep, job.picture, job.message, content)
                elif "heat" in content:
                    content["heat"] = base64.b64encode(content["heat"]).decode()
                job.tell(kind, content)
        except IgosError as error:
            job.tell("failed", {"error": str(error)})
        except Exception as error:
            job.tell("failed", {"error": f"{type(error).__name__}: {error}"})
        finally:
            self._running = None
            self._next()
