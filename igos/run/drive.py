"""A run: the manifest says what is due, an engine has one or several Workers do it, and what they answer is written
here, and only here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from igos.results.folder import RunFolder
from igos.results.manifest import Item, Manifest
from igos.results.rows import Row, place_of
from igos.results.tables import label
from igos.run.cells import Cell, cells_of
from igos.run.pace import Pace, Shown, forecast, shown, silent
from igos.run.plan import Plan
from igos.run.settings import Run, parts_of
from igos.run.workers.engines import Engine, Local
from igos.run.workers.events import Began, Done, Failed, Seen, Told
from igos.run.workers.worker import LARGEST_GROUP, Worker
from igos.types import Adapter, ConfigError, IgosError

LEAST_TRIED = 10  # failures one after the other, before anything is explained, and the run gives up


def run(
    plan: Plan,
    adapter: Adapter,
    folder: RunFolder,
    progress: bool | None = None,
    judge: Adapter | None = None,
    weights: str = "",
) -> Shares:
    """Explain every picture of the plan into the folder, in this process; answers where the time went. weights: a
    hash of the bytes of the model.

    Raises ImageError, ConfigError or NetworkError when nothing could be explained, with the reason.
    """
    cells = cells_of(plan)
    worker = Worker(cells, adapter, judge, weights)
    check(plan, adapter)
    return drive(cells, Local(worker), folder, progress)


def check(plan: Plan, adapter: Adapter) -> None:
    """Refuse what can be of use in no picture. Raises ConfigError."""
    plan.selector.check(adapter)
    part = plan.run.part
    if not set(parts_of(part)) <= set(adapter.parts):
        raise ConfigError(f"--part {part}: {adapter.name} has no such part; it has {', '.join(adapter.parts)}")


def drive(
    cells: Sequence[Cell],
    engine: Engine,
    folder: RunFolder,
    progress: bool | Shown | None = None,
    items: Sequence[Item] | None = None,
) -> Shares:
    """Have an engine explain each target of the items in the ways of the cells, and write what it answers. items: by
    default what the folder's manifest says is due and not done; what is seen in them goes into the manifest.

    A picture that cannot be read or explained, or in which the target is not seen, becomes a row, and the run goes on.
    progress: whether it is shown how far the run is, None: on a terminal; or what shows it.

    Raises ImageError, ConfigError or NetworkError when that is so of every picture; when LEAST_TRIED objects or
    pictures fail one after the other before any is explained; or when the network refuses a method that has explained
    nothing yet.
    """
    plan = cells[0].plan
    manifest = Manifest(folder.path, plan.run.pictures, plan.run.shard) if items is None else None
    if manifest is not None:
        items = list(manifest.items(settled(folder), [cell.folder for cell in cells]))
    items = items or []
    lines = {item.name: item.line for item in items}
    shares, failures, begin = Shares(engine.workers), dict[str, IgosError](), time.perf_counter()
    unasked = folder.tally.statuses["skipped"]
    in_a_row, seen, serving = 0, set[str](), {label(row) for row in folder.rows if row["folder"]}
    answered = any(row["status"] == "ok" and not row["folder"] for row in folder.rows)
    pace, todo = Pace(len(items), engine.workers), {item.name: item for item in items}
    with shown(progress) as show:

        def step(made: int, total: int, mask: Any = None) -> None:
            pace.part = len(begun) * made / max(total, 1)
            show(pace)

        begun: Mapping[str, str] = {}
        if isinstance(engine, Local) and show is not silent:  # other processes tell of whole explanations alone
            engine.worker.tell = step
        for event in engine.work(batches(items, plan.run)):
            if isinstance(event, Began):
                begun, pace.began = event.keys, pace.began or time.monotonic()
                pace.begin()
            elif isinstance(event, Seen):
                shares.network += event.seconds
                shares.waited += event.waited
                seen.add(event.name)
                if event.line is not None:
                    lines[event.name] = event.line
                    if manifest is not None:
                        manifest.add(event.name, event.line)
                    folder.begun = True
                begun_with = not pace.objects
                pace.first, pace.seen = Path(todo[event.name].path).name, len(seen)
                pace.objects += due(todo[event.name], lines.get(event.name), cells)
                if begun_with and pace.objects:
                    told = forecast(plan.method, plan.metrics, event.each, event.drawn) if event.each else None
                    pace.forecast, pace.share = told or (None, pace.share)
                    show(pace, pace.before())
            elif isinstance(event, Done):
                shares.network += event.seconds
                serving.add(label(event.row))
                folder.keep(event.row, event.data, event.files)
                pace.finish()
                pace.share = folder.tally.share("seconds", "metric_seconds") or pace.share
            elif isinstance(event, Told):
                in_a_row, answered = 0, True
                folder.tell(event.facts)
                folder.add(event.row)
            elif isinstance(event, Failed):
                name = event.item.partition("/")[0]
                seen.add(name)
                if event.error is not None:
                    failures.setdefault(name, event.error)
                unasked += event.status == "skipped" and event.error is None
                in_a_row = 0 if event.status == "skipped" else in_a_row + 1
                row = failure_row(event, lines.get(name), cells).as_dict()
                useless = event.refused and label(row) not in serving
                if useless and serving and event.error is not None:  # other methods' explanations stay
                    raise event.error
                if (useless or in_a_row == LEAST_TRIED < len(items)) and not (folder.tally.explanations or answered):
                    raise given_up(folder, list(failures.values()), " tried")
                folder.add(row)
                pace.seen = len(seen)
                if event.item in begun:
                    pace.finish()
            show(pace)
    unasked = 0 if plan.selector.asks else unasked
    if failures and not (folder.tally.explanations or answered) and not unasked:
        raise given_up(folder, list(failures.values()))
    shares.seconds = time.perf_counter() - begin
    return shares


def settled(folder: RunFolder) -> set[str]:
    """The folders of the explanations, and the names of the pictures, that need no more work."""
    return folder.held | {name for row in folder.rows if (name := place_of(row))}


def failure_row(event: Failed, line: Mapping[str, Any] | None, cells: Sequence[Cell]) -> Row:
    """The row of what there is no explanation of. line: the picture's, of the manifest."""
    row = Row(image=event.path, status=event.status, error=event.reason, item=event.item, id=event.key)
    row = replace(row, warning=event.warning)
    plan = cells[0].plan if len({cell.plan.label for cell in cells}) == 1 else None
    for record in (line or {}).get("targets", ()):
        for cell in cells:
            if cell.within(record["folder"]) == event.item:
                plan, name, part = cell.plan, record["name"], record["part"]
                row = replace(row, label=name, name=name, label_index=record["label"], part=part, start=cell.start)
                row = replace(row, score=record["score"])
    return row if plan is None else replace(row, method=plan.method.name, opt=getattr(plan.method, "opt", None))


@dataclass
class Shares:
    """Seconds of a run: in all, within the networks, and waiting for pictures, of so many workers."""

    workers: int = 1
    seconds: float = 0.0
    network: float = 0.0
    waited: float = 0.0

    def __str__(self) -> str:
        whole = max(self.seconds * self.workers, 1e-9)
        waited = f", {self.waited / whole:.0%} waiting for pictures" if self.waited > 0.005 * whole else ""
        return f"{self.seconds:.1f} s, {self.network / whole:.0%} of it inside the network{waited}"


def batches(items: Sequence[Item], config: Run) -> list[list[Item]]:
    """What a worker is given at once: a picture, or as many as go through the network together."""
    size = LARGEST_GROUP if config.mix_images else 1
    return [list(items[i : i + size]) for i in range(0, len(items), size)]


def given_up(folder: RunFolder, failures: Sequence[IgosError], tried: str = "") -> IgosError:
    """The reason of the first picture, and that all have one. In a new folder there is then nothing to go on with."""
    folder.begun = folder.again
    more = f" (and so in all {len(failures)} pictures{tried})" if len(failures) > 1 else ""
    made = type(failures[0])(f"{failures[0]}{more}")
    made.__cause__ = failures[0].__cause__
    return made


def due(item: Item, line: Mapping[str, Any] | None, cells: Sequence[Cell]) -> int:
    """How many explanations of a picture are to be made."""
    folders = [cell.within(record["folder"]) for record in (line or {}).get("targets", ()) for cell in cells]
    return sum(folder not in item.held for folder in folders)
