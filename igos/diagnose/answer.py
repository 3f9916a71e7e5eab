"""The chosen errors explained, each by its question, on the engine of every run; and on whose objects the heat lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from igos.data.annotations import known_of
from igos.data.matching import one_class
from igos.data.nulls import Null
from igos.data.truth import Truth, filled, source_box
from igos.diagnose.choose import Chosen
from igos.diagnose.look import known_to
from igos.results.manifest import Item, Way, key_of, target_of
from igos.run.cells import Cell
from igos.run.job import Job
from igos.run.plan import Plan
from igos.run.workers.events import Event, Seen
from igos.run.workers.worker import Worker
from igos.types import Adapter, Explanation, Image, ImageError, Score, Target


class Answerer(Worker):
    """Explains the targets that its items' lines hold; each names in `ask` the cell that it is for, and in `object`
    which of the picture's objects it is. nulls: candidates that should not rise.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        adapter: Adapter,
        judge: Adapter | None = None,
        weights: str = "",
        *,
        nulls: Sequence[Null] | None = None,
        draw: bool = True,
    ) -> None:
        super().__init__(cells, adapter, judge, weights, draw)
        self.nulls = nulls
        self._own: dict[str, int | None] = {}

    def _picture(self, item: Item) -> tuple[list[Event], list[tuple[Cell, Job]]]:
        image, sha256, blurred, waited = self._read(item)
        line = item.line or {"sha256": sha256, "targets": []}
        if sha256 != line["sha256"]:
            raise ImageError(f"{item.path}: has changed since it was looked at; diagnose it in a new folder")
        known = known_of(item.path, self.config.annotations, image.geometry.source)
        objects = known_to(self.adapter, known.objects)
        jobs = []
        for record in line["targets"]:
            target = target_of(record, self.adapter.device, image.geometry.network)
            for cell in self.cells:
                if cell.folder == record["ask"]:
                    key = key_of(sha256, record, Way(None, self.decides[cell.plan.label]))
                    folder = cell.within(record["folder"])
                    self._own[folder] = record["object"]
                    job = Job(target, image, None, None, objects, None, blurred, folder, key, tuple(known.warnings))
                    jobs.append((cell, job))
        return [Seen(item.name, None, waited=waited)], jobs

    def _explain(
        self, plan: Plan, jobs: Sequence[Job], answers: dict[Any, np.ndarray] | None, **more: Any
    ) -> tuple[list[Explanation], float]:
        made, seconds = super()._explain(plan, jobs, answers, nulls=self.nulls)
        return [_with_heat(e, j, self._own.get(j.folder)) for e, j in zip(made, jobs, strict=True)], seconds


def items_of(chosen: Sequence[Chosen], held: frozenset[str]) -> list[Item]:
    """A scheduled picture for each that something is still to be explained in."""
    by_picture: dict[str, list[Chosen]] = {}
    for c in chosen:
        by_picture.setdefault(c.key.picture, []).append(c)
    made = []
    for name, own in by_picture.items():
        if not held.issuperset(f"{c.folder}/{c.ask}" for c in own):
            targets = [{**c.record["target"], "folder": c.folder, "ask": c.ask, "object": c.own} for c in own]
            made.append(Item(own[0].path, name, {"sha256": own[0].sha256, "targets": targets}, held))
    return made


def _with_heat(e: Explanation, job: Job, own: int | None) -> Explanation:
    return replace(e, scores=(*e.scores, heat(e, job.target, job.image, job.truths, own)))


def heat(e: Explanation, target: Target, image: Image, objects: Sequence[Truth], own: int | None) -> Score:
    """Where the map's heat lies: the share on its own object, on each other one (what is on several counts for the
    first), and elsewhere. own: which of the objects it is; None: none of them, the target's box is its own then.
    """
    value = e.on_source().clip(min=0).astype(np.float64)
    whole = float(value.sum())
    of_box = own is None
    mine = filled(source_box(target, image), image.geometry.source) if of_box else objects[own or 0].mask
    taken, on = mine.copy(), list[list[Any]]()
    share = float(value[mine].sum()) / whole if whole > 0 else float("nan")
    for j, t in enumerate(objects):
        if j == own or not whole > 0:
            continue
        part = t.mask & ~taken
        taken |= t.mask
        on.append([t.name, round(float(value[part].sum()) / whole, 4)])
    rest = 1 - share - sum(s for _, s in on)
    same = sum(s for name, s in on if one_class(name, target.name))
    return Score("heat_own", share, "higher", detail={"heat_on": on, "heat_elsewhere": rest, "heat_leak": same})


def heat_of(row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a row says of its heat; None where it has none."""
    if row.get("heat_own") is None:
        return None
    return {
        "own": row["heat_own"],
        "on": row.get("heat_on") or [],
        "elsewhere": row.get("heat_elsewhere") or 0.0,
        "leak": row.get("heat_leak") or 0.0,
    }
