"""What is explained is drawn while the network goes on, and nothing of it is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from igos.run.workers.engines import in_time
from igos.run.workers.events import Began, Done, Event, Failed, Late


def done(name: str) -> Done:
    return Done({"folder": name}, b"", {})


def late(name: str, ready: bool = False) -> Late:
    return Late(lambda: ready, lambda: [done(name)])


def told(events: Iterator[Event]) -> list[str]:
    return [e.row["folder"] if isinstance(e, Done) else type(e).__name__ for e in events]


def test_explanations_come_before_later_ones_and_before_a_failure() -> None:
    def events() -> Iterator[Event]:
        yield Began({"a": "1"})
        yield late("a")
        yield Began({"b": "2"})  # the network goes on while a is drawn
        yield late("b", ready=True)
        yield Began({"c": "3"})
        yield late("c")
        yield Failed("d", "d.png", "why")

    assert told(in_time(events())) == ["Began", "Began", "a", "b", "Began", "c", "Failed"]


def test_the_last_ones_come_at_the_end() -> None:
    assert told(in_time(iter([done("a"), late("b")]))) == ["a", "b"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError])
def test_an_interrupt_or_error_comes_after_what_is_drawn(error: type[BaseException]) -> None:
    def events() -> Iterator[Event]:
        yield late("a")
        raise error

    seen: list[str] = []
    with pytest.raises(error):
        for e in in_time(events()):
            seen += told(iter([e]))
    assert seen == ["a"]


def test_the_network_does_not_wait_for_the_drawing() -> None:
    on, order = threading.Event(), list[str]()

    def draw() -> list[Done]:
        assert on.wait(20), "the network waited"
        order.append("drawn")
        return [done("a")]

    def events(pool: ThreadPoolExecutor) -> Iterator[Event]:
        drawing = pool.submit(draw)
        yield Late(drawing.done, drawing.result)
        order.append("explained")
        on.set()
        yield Began({"b": "2"})

    with ThreadPoolExecutor(1) as pool:
        assert sorted(told(in_time(events(pool)))) == ["Began", "a"]
    assert order == ["explained", "drawn"]
