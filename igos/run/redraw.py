"""Pictures of explanations that were deleted or damaged, drawn again from the arrays and the photo."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from igos.base.hashing import digest
from igos.data.annotations import truths_of
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest, target_of
from igos.results.read import read_arrays
from igos.results.rows import restored
from igos.run.job import Job
from igos.run.plan import Plan
from igos.run.workers.worker import drawn
from igos.types import Adapter, Explanation, IgosError

Row = Mapping[str, Any]


def redraw(folder: RunFolder, plan: Plan, adapter: Adapter) -> list[str]:
    """Draw what is missing of the folder's `undrawn` rows; answers why something cannot be drawn, a sentence each."""
    lost: list[str] = []
    folder.draw(_pictures(folder, plan, adapter, lost))
    return lost


def _pictures(
    folder: RunFolder, plan: Plan, adapter: Adapter, lost: list[str]
) -> Iterator[tuple[str, Mapping[str, bytes]]]:
    lines = Manifest.as_found(folder.path).lines
    for rows in _objects(folder):
        try:
            made = _restored(folder, plan, adapter, rows, lines)
            files = drawn(made, [e for _, e in made])
        except (IgosError, OSError, KeyError, StopIteration) as error:
            lost.append(f"{rows[0]['folder']}: its pictures cannot be drawn again ({error})")
        else:
            yield from zip([row["folder"] for row in rows], files, strict=True)


def _objects(folder: RunFolder) -> list[list[Row]]:
    """The rows to be drawn: each by itself, or all starts of an object, which have pictures together."""
    above = {r["folder"].rpartition("/")[0] for r in folder.undrawn if r["start"] is not None}
    objects: list[list[Row]] = [[r] for r in folder.undrawn if r["start"] is None]
    for a in sorted(above):
        objects.append([r for r in folder.rows if r["folder"] and r["folder"].rpartition("/")[0] == a])
    return objects


def _restored(
    folder: RunFolder, plan: Plan, adapter: Adapter, rows: Sequence[Row], lines: Mapping[str, Any]
) -> list[tuple[Job, Explanation]]:
    path, name = rows[0]["image"], rows[0]["folder"].partition("/")[0]
    line = lines[name]
    if digest(path) != line["sha256"]:
        raise IgosError(f"{path}: has changed since")
    image = adapter.read(path)
    truths = plan.selector.concerned(truths_of(path, plan.run.annotations, image.geometry.source))
    made = []
    for row in rows:
        within = (row["folder"], row["folder"].rpartition("/")[0])
        target = target_of(
            next(t for t in line["targets"] if t["folder"] in within), adapter.device, image.geometry.network
        )
        job = Job(target, image, row["start"], truths=truths, folder=row["folder"])
        made.append(
            (job, restored(row, read_arrays(folder.path, row, needed=["saliency"]), target, image, plan.metrics))
        )
    return made
