"""How far a run is, by explanation, and how long the rest will take: said before the start, and honest after it."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from igos.base import terminal

BACK = 2.1  # what a picture forward and backward takes, in pictures forward: 2.0 to 2.2 with three bundled networks
DRAWN = 0.3  # seconds that the pictures and files of an explanation take a core
SURE = 0.02  # the share of the work from which its own pace says more than the forecast
EVERY = 5.0  # seconds between two lines, where no terminal looks on


@dataclass
class Pace:
    """What is due and done, in explanations. pictures: how many are due; methods: explanations of each object.

    seen: pictures whose objects are known, objects: theirs that are due; part: maps of the batch at work, waiting: maps
    of earlier batches whose figures are not there yet; forecast: seconds of one explanation, before any is made;
    share: of its time that the map takes.
    """

    pictures: int
    workers: int = 1
    seen: int = 0
    objects: int = 0
    done: int = 0
    part: float = 0.0
    waiting: float = 0.0
    forecast: float | None = None
    share: float = 0.5
    began: float | None = None
    first: str = ""

    @property
    def total(self) -> float:
        """Explanations in all; the pictures not seen yet are taken to hold as many as the others."""
        per = self.objects / self.seen if self.seen else 1.0
        return max(self.objects + max(self.pictures - self.seen, 0) * per, self.done)

    @property
    def made(self) -> float:
        """Explanations that the work so far comes to."""
        return min(self.done + self.share * (self.waiting + self.part), self.total)

    def begin(self) -> None:
        """A batch begins; the maps of the one before it may still wait for their figures."""
        self.waiting, self.part = self.waiting + self.part, 0.0

    def finish(self) -> None:
        """An explanation is done; batches are done in the order in which they began."""
        self.done += 1
        old = min(self.waiting, 1.0)
        self.waiting, self.part = self.waiting - old, max(self.part - (1.0 - old), 0.0)

    def left(self, now: float) -> float | None:
        """Seconds that the rest will take, None where nobody can know."""
        made, total = self.made, self.total
        if self.began is not None and made > SURE * total and made > 0 and (self.done or made > 0.1):
            return (now - self.began) / made * (total - made)
        return None if self.forecast is None else self.forecast * max(total - made, 0) / self.workers

    def before(self) -> str:
        """What is said before the start: how much there is to do, and about how long it will take."""
        what = many(self.objects, "map") if self.pictures == 1 else many(self.pictures, "picture")
        where = f" of {self.first}" if self.pictures == 1 and self.first else ""
        more = f", {many(self.objects, 'map')} of the first" if self.pictures > 1 and self.seen == 1 else ""
        seconds = self.left(time.monotonic())
        return f"{what}{where}{more}" + ("" if seconds is None else f", {about(seconds)}")


def many(count: int, word: str) -> str:
    return f"{count} {word}{'' if count == 1 else 's'}"


def about(seconds: float) -> str:
    """A length of time as one says it."""
    if seconds < 10:
        return f"about {max(math.ceil(seconds), 1)} s"
    if seconds < 90:
        return f"about {5 * math.ceil(seconds / 5)} s"
    if seconds < 90 * 60:
        return f"about {math.ceil(seconds / 60)} min"
    return f"about {seconds / 3600:.1f} h"


def images(cost: str) -> int | None:
    """The pictures that a `cost` of a method or metric comes to: "60 + 2 forward" -> 62; None: it does not say. What
    it may also come to, behind a comma or a semicolon, does not count, but for an early end, which most maps find.
    """
    if early := re.search(r"= \d+ (\+ \d+ that ask whether it is sure), (\d+) where it is sure then", cost):
        cost = f"{early[2]} {early[1]}"
    stated = re.split("[;,]", cost)[0].split("=")[-1]
    if re.search(r"[^\d\s+*]", re.sub(r"\b(forward|that ask whether it is sure|of the other network)\b", "", stated)):
        return None
    return sum(math.prod(int(n) for n in term.split("*")) for term in re.sub(r"[a-z ]", "", stated).split("+") if term)


def forecast(method: Any, metrics: Sequence[Any], each: float, drawn: bool = True) -> tuple[float, float] | None:
    """(seconds of an explanation, the map's share of them), where a picture forward takes `each`; drawn: it gets
    pictures.
    """
    cost = images(method.cost)
    figures = [images(metric.cost) or 0 for metric in metrics]
    if cost is None:
        return None
    of_map = cost * (1 if "forward" in method.cost and method.needs == "black box" else BACK) * each
    of_figures = sum(figures) * each
    whole = of_map + of_figures + DRAWN * drawn
    return whole, of_map / max(whole, 1e-9)


class Shown(Protocol):
    """What shows a pace: told after every change, with a line where there is something to say."""

    def __call__(self, pace: Pace, line: str = "") -> None: ...


@contextmanager
def shown(progress: bool | Shown | None) -> Iterator[Shown]:
    """Nothing, a bar on a terminal, or lines; progress None: where somebody looks on."""
    if callable(progress):
        yield progress
    elif progress is None and not (terminal.watched() or terminal.verbose()) or progress is False:
        yield silent
    elif terminal.watched():
        with _bar() as show:
            yield show
    else:
        yield _Lines()


def silent(pace: Pace, line: str = "") -> None:
    """Shows nothing."""


class _Lines:
    def __init__(self) -> None:
        self._told = -math.inf

    def __call__(self, pace: Pace, line: str = "") -> None:
        now = time.monotonic()
        if not line and (now - self._told < EVERY or not pace.done):
            return
        self._told = now
        seconds = pace.left(now)
        left = "" if seconds is None else f", {about(seconds)} left"
        terminal.say(f"igos: {line or f'{pace.done} of {round(pace.total)} maps{left}'}", error=True)


@contextmanager
def _bar() -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, ProgressColumn, TextColumn
    from rich.text import Text

    class Left(ProgressColumn):
        def render(self, task: Any) -> Text:
            ends = task.fields.get("ends")
            rest = None if ends is None else ends - time.monotonic()
            return Text("" if rest is None else f"{about(rest)} left" if rest > 1 else "a moment left")

    columns = (TextColumn("{task.fields[made]}"), BarColumn(), Left())
    console = Console(stderr=True, highlight=False)
    with Progress(*columns, console=console, transient=True, refresh_per_second=4) as progress:
        task = progress.add_task("", total=None, made="looking for objects", ends=None)

        def show(pace: Pace, line: str = "") -> None:
            if line:
                console.print(Text(terminal.printable(f"igos: {line}")))
            now = time.monotonic()
            left = pace.left(now)
            progress.update(
                task,
                total=pace.total or None,
                completed=pace.made,
                made=f"{pace.done} of {round(pace.total)} maps",
                ends=None if left is None else now + left,
            )

        yield show
