"""What commands that work in a run's folder share: the work itself, warnings, the record, SIGTERM, the end."""

from __future__ import annotations

import platform
import shlex
import signal
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NoReturn

import torch

import igos
from igos.base.seals import is_sealed
from igos.base.terminal import detail, note, quiet, say
from igos.cli.damage import tell
from igos.data.annotations import category_ids, warnings_of
from igos.results.expected import told, unchecked
from igos.results.folder import RunFolder
from igos.results.manifest import Item
from igos.run.cells import Cell
from igos.run.drive import Shares, check, drive
from igos.run.engine import apart, engine_of
from igos.run.models import load_models
from igos.run.pace import Shown
from igos.run.plan import Plan
from igos.run.redraw import redraw
from igos.run.resume import finished_by_another
from igos.run.workers.engines import Local
from igos.run.workers.worker import Worker
from igos.types import Adapter, ConfigError


def look_first(plan: Plan, pictures: Sequence[str]) -> None:
    """Say what is wrong with --annotations before any of these pictures is read. Raises ConfigError where they cannot
    be read, and where they know none of the pictures and only annotated objects are asked for.
    """
    if plan.run.annotations is None:
        return
    warnings, known = warnings_of(plan.run.annotations, pictures)
    if pictures and not known and plan.selector.kind in ("gt", "ann"):
        raise ConfigError(warnings.pop())
    for warning in warnings:
        say(f"igos: warning: {warning}", error=True)


class Stopped(Exception):
    """The command was interrupted and has left its folder in order; code: what it exits with."""

    def __init__(self, code: int) -> None:
        self.code = code


def work_in(
    folder: RunFolder,
    cells: Sequence[Cell],
    values: Mapping[str, Any],
    words: Sequence[str],
    progress: bool | Shown | None,
    *,
    again: str,
    make: Callable[..., Worker] = Worker,
    options: Mapping[str, Any] | None = None,
    items: Sequence[Item] | None = None,
    notes: Callable[[Adapter], dict[str, Any]] = lambda adapter: {},
    finish: Callable[[], Any] = lambda: None,
) -> Shares:
    """Explain what is due in the folder by make(cells, adapter, judge, weights, **options), here or in processes.

    values: for run.yaml, with the record of words and notes; again: how the user goes on after an interrupt; finish:
    what is written after one beside the rows. Raises Stopped after Ctrl-C and SIGTERM.
    """
    config = cells[0].plan.run
    if config.threads:
        torch.set_num_threads(config.threads)
    warn_opened(folder)
    more = {"weights": values.get("weights", ""), **(options or {})}
    with terminable():
        try:
            begin = time.perf_counter()
            adapter, judge = load_models(config)
            detail(f"loaded {adapter!r} in {time.perf_counter() - begin:.1f} s; results go to {folder.path}")
            folder.write_run({**values, "record": {**record(adapter, words, config.annotations), **notes(adapter)}})
            check(cells[0].plan, adapter)
            if folder.undrawn:
                tell(redraw(folder, cells[0].plan, adapter))
            if apart(config):
                del adapter, judge  # the workers have their own
                engine: Any = engine_of(cells, make, **more)
            else:
                engine = Local(make(cells, adapter, judge, **more))
            shares = drive(cells, engine, folder, progress, items)
        except KeyboardInterrupt as stop:
            message = str(stop) or "interrupted"
            if folder.begun:
                if folder.shards is None:  # a big run's table takes longer than a scheduler waits
                    folder.recall()
                    folder.finish()
                    finish()
                message += f"; {folder.tally.rows} finished rows in {folder.path}; {again}"
            else:
                folder.discard()
            say(f"igos: {message}", error=True)
            raise Stopped(143 if isinstance(stop, Terminated) else 130) from None
        except BaseException:
            close(folder)
            raise
    folder.finish()
    warn(folder)
    return shares


def end(folder: Path, page: Path | None) -> None:
    """The last line: how to see the result; with -q where it is."""
    say(folder if quiet() else f"open {page}" if page else f"results in {folder}")


def warn(folder: RunFolder) -> None:
    """What did not go well, at most five lines of each kind, and of warnings how many more there are."""
    for row in [r for r in folder.rows if r["error"]][:5]:
        say(f"igos: {row['status']}: {row['error']}", error=True)
    warnings = list(folder.tally.warnings)
    for warning in warnings[:5]:
        say(f"igos: warning: {warning}", error=True)
    if len(warnings) > 5:
        more = f"{len(warnings) - 5} more, in the column `warning` of the results"
        say(f"igos: warning: {more}", error=True)


def warn_opened(folder: RunFolder) -> None:
    """What a person should know of a folder before the work begins."""
    if not folder.alone:
        text = f"no locks are known where {folder.path} lies; let no other run work in it"
        say(f"igos: warning: {text}", error=True)
    notes = list(folder.notes)
    if folder.foreign:
        of = "what other settings or another object made is made again"
        notes.append(f"{folder.path}: {of}: {told(folder.foreign, 'explanation')}")
    if folder.undrawn:
        which = told([row["folder"] for row in folder.undrawn], "explanation")
        notes.append(f"missing or damaged, and drawn again: pictures of {which}")
    tell(notes)
    if folder.damaged:
        first = ", ".join(folder.damaged[:3]) + ", ..." * (len(folder.damaged) > 3)
        shards = sum("/" not in name for name in folder.damaged)
        counts = {"explanation": len(folder.damaged) - shards, "shard": shards}
        few = " and ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counts.items() if n)
        say(f"igos: warning: damaged, and made again: {few} ({first})", error=True)


def nothing_due(folder: str | None, retry: Collection[str], what: str) -> bool:
    """Whether another version of igos has finished the run in a folder; says so. Raises ConfigError if it has not."""
    finished = finished_by_another(folder, retry)
    if folder is None or finished is None:
        return False
    tell([unchecked(Path(folder))] if not is_sealed(Path(folder)) else [])
    note(f"{finished} {what} were finished before, by another version of igos; nothing is due")
    page = Path(folder) / "report.html"
    end(Path(folder), page if page.is_file() else None)
    return True


def close(folder: RunFolder) -> None:
    """After an error: the rows so far, or nothing at all of a new run that has come to nothing."""
    if folder.begun:
        with suppress(OSError, ConfigError):  # the disk may be full
            folder.finish()
    else:
        folder.discard()


def record(adapter: Adapter, words: Sequence[str], annotations: str | None) -> dict[str, Any]:
    """What run.yaml notes beside the settings; of it the version and the categories, ids by name, are read back."""
    categories = category_ids(annotations)
    return {
        **({"categories": categories} if categories else {}),
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
