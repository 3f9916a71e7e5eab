"""Engines: who does the work of a run. Each is given batches of Items and yields the Events that come of them."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from igos.results.manifest import Item
from igos.run.workers.events import Began, Done, Event, Failed, Late, Seen, Told
from igos.run.workers.worker import Worker
from igos.types import NetworkError

MOST_STARTS = 3  # of a worker that dies before its model is loaded


class Engine(Protocol):
    """work(batches) yields every event of every batch; the events of one batch come in order."""

    @property
    def workers(self) -> int: ...

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]: ...


class Local:
    """One worker, in this process. What it has explained is drawn while its network goes on."""

    workers = 1

    def __init__(self, worker: Worker) -> None:
        self.worker = worker

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        try:
            with ThreadPoolExecutor(1) as self.worker.apart:
                yield from in_time(self._events(batches))
        finally:
            self.worker.apart = None
            self.worker.reader.close()

    def _events(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        for n, batch in enumerate(batches):
            following = [item.path for b in batches[n + 1 : n + 1 + self.worker.reader.room] for item in b]
            yield from self.worker.work(batch, following)


def in_time(events: Iterator[Event]) -> Iterator[Event]:
    """The events, and in place of what is Late the explanations, as soon as they are drawn: before the next that are
    late, before a failure, and before an error or an interrupt goes on. So a run that is stopped keeps them.
    """
    late: Late | None = None
    try:
        for event in events:
            if late is not None and (isinstance(event, (Late, Failed)) or late.ready()):
                made, late = late.made(), None
                yield from made
            if isinstance(event, Late):
                late = event
            else:
                yield event
    except GeneratorExit:
        raise
    except BaseException:
        if late is not None:
            yield from late.made()
        raise
    if late is not None:
        yield from late.made()


@dataclass(eq=False)
class Task:
    """A batch on its way: what is settled of it, and what the network is at."""

    items: list[Item]
    single: bool = False
    deaths: int = 0
    settled: set[str] = field(default_factory=set)
    begun: Mapping[str, str] = field(default_factory=dict)

    def see(self, event: Event) -> Event:
        """The event as it goes on, remembered."""
        if isinstance(event, Seen):
            self.items = [replace(i, line=event.line) if i.name == event.name and event.line else i for i in self.items]
        elif isinstance(event, Began):
            self.begun = event.keys
        elif isinstance(event, Done):
            self.settled.add(event.row["folder"])
        elif isinstance(event, Failed):
            self.settled.add(event.item)
        elif isinstance(event, Told):
            self.settled.add(event.row["item"])
        return event

    def left(self) -> Task:
        """What is not settled of it, to be tried again."""
        items = [replace(i, held=i.held | self.settled) for i in self.items if i.name not in self.settled]
        return Task(items, self.single, self.deaths)

    def lost(self, why: str, died: bool) -> tuple[list[Event], list[Task]]:
        """After its worker was lost: rows for what cannot be explained, and what is to be tried again.

        What was begun alone is given up, if a worker dies only the second time; of several, each is tried alone.
        """
        pending = [f for f in self.begun if f not in self.settled]
        starts = bool(pending) and "/start-" in pending[0]
        items = self.left().items
        if not items:
            return [], []
        if (not pending and len(items) > 1) or (len(pending) > 1 and not starts):
            return [], [Task([i], single=bool(pending)) for i in items]
        if died and not self.deaths:
            return [], [Task(items, self.single, deaths=1)]
        given_up: list[Event] = []
        for folder in pending or [items[0].name]:
            item = next(i for i in items if folder == i.name or folder.startswith(f"{i.name}/"))
            reason = f"{item.path}: {why}"
            given_up.append(Failed(folder, item.path, reason, error=NetworkError(reason), key=self.begun.get(folder)))
        left = [replace(i, held=i.held | set(pending)) for i in items] if pending else items[1:]
        return given_up, [Task(left, self.single)] if left else []


class Member(Protocol):
    """A worker as its engine sees it. task: what it is at; following: its next task, whose pictures it reads ahead."""

    task: Task | None
    following: Task | None
    ready: bool
    died: bool
    starts: int
    heard: float

    def ask(self, task: Task, ahead: list[str]) -> None: ...

    def hear(self) -> tuple[list[Event], str | None]:
        """What it says: events, or why it was lost, "" where that is not the fault of its task. Raises what it raised
        while it loaded the model.
        """

    def end(self) -> None: ...


class Pool(ABC):
    """Workers that are not in this process; one that is lost, or gives no answer for `timeout` seconds, is replaced."""

    def __init__(self, workers: int, timeout: float | None) -> None:
        self.workers, self.timeout = workers, timeout

    @abstractmethod
    def _start(self, number: int, starts: int = 1) -> Member: ...

    @abstractmethod
    def _speaking(self, members: Sequence[Any], seconds: float | None) -> Collection[Member]:
        """Those that have something to say, after at most so many seconds."""

    def work(self, batches: Sequence[Sequence[Item]]) -> Iterator[Event]:
        waiting = deque(Task(list(batch)) for batch in batches)
        members: list[Member] = []
        try:
            members += [self._start(n) for n in range(min(self.workers, len(waiting)))]
            while waiting or any(m.task or m.following for m in members):
                _share(waiting, members)
                speaking = self._speaking(members, self._patience(members))
                for n, member in enumerate(members):
                    events, again = list[Event](), list[Task]()
                    lost = None if member in speaking else self._overdue(member)
                    if member in speaking or (lost and member in self._speaking([member], 0)):  # we may have been slow
                        events, lost = member.hear()
                    if lost is not None:
                        more, again = _after(member, lost)
                        members[n] = self._again(n, member)
                        events = [*events, *more]
                    waiting.extendleft(reversed(again))
                    yield from events
        finally:
            for member in members:
                member.end()

    def _again(self, number: int, member: Member) -> Member:
        member.end()
        if not member.ready and member.starts == MOST_STARTS:
            raise NetworkError(f"a worker died {MOST_STARTS} times while it loaded the model; is there memory for it?")
        return self._start(number, 1 if member.ready else member.starts + 1)

    def _overdue(self, member: Member) -> str | None:
        if self.timeout is None or not member.ready or member.task is None:
            return None
        late = time.monotonic() - member.heard > self.timeout
        return f"no answer from the network within {self.timeout:g} s" if late else None

    def _patience(self, members: Sequence[Member]) -> float | None:
        heard = [m.heard for m in members if m.ready and m.task]
        if self.timeout is None or not heard:
            return None
        return max(min(heard) + self.timeout - time.monotonic(), 0.05)


def _after(member: Member, lost: str) -> tuple[list[Event], list[Task]]:
    """Events of what a lost worker was at, and what it leaves to be tried."""
    events, again = list[Event](), list[Task]()
    if member.task:
        events, again = member.task.lost(lost, member.died) if lost else ([], [member.task.left()])
    return events, [*again, member.following] if member.following else again


def _share(waiting: deque[Task], members: Sequence[Member]) -> None:
    """Give what waits to those that are free; while enough waits for all, each knows its next task too."""
    if not waiting:
        for member in members:
            if member.following:
                waiting.append(member.following)
                member.following = None
    for member in members:
        if member.ready and member.task is None and (member.following or waiting):
            member.task, member.following = member.following or waiting.popleft(), None
            if len(waiting) >= len(members):
                member.following = waiting.popleft()
            member.heard = time.monotonic()
            member.ask(member.task, [i.path for i in member.following.items] if member.following else [])
