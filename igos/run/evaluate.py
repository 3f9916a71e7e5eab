"""Several methods on the same targets, or the maps of an earlier run, judged: on the engine of every run (drive.py).

A cell is one target under one method: its maps in <picture>/<n>-<name>/<method>/, its row in results.jsonl. Each
picture is read and its targets are found once; finished cells are kept.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.addresses import is_remote
from igos.base.boxes import best_match
from igos.data.annotations import known_of
from igos.data.truth import source_box
from igos.methods.ingredients import OfImage
from igos.metrics import METRICS
from igos.results.folder import RunFolder
from igos.results.manifest import Item, Manifest, Way, key_of, target_record
from igos.results.read import read_arrays
from igos.results.rows import KEEP, NO_MAPS, restored
from igos.results.tables import label
from igos.run.cells import Cell, cells_by_method
from igos.run.drive import Shares, check, drive, settled
from igos.run.job import Job
from igos.run.judge import views
from igos.run.plan import Plan
from igos.run.settings import WHERE
from igos.run.workers.engines import Local
from igos.run.workers.events import Event, Failed, Seen
from igos.run.workers.worker import Worker
from igos.types import Adapter, ConfigError, Explanation, Image, ImageError, Target

SAME_BOX = 0.9  # the IoU above which a detection is the one of a row


def settings(plans: Sequence[Plan], saved: str | None = None) -> dict[str, Any]:
    """What must be the same where a folder is gone on with; as a preset it names each method's settings."""
    values = plans[0].as_preset()
    for key in ("method", "methods", *WHERE):
        values.pop(key, None)
    methods: dict[str, dict[str, Any]] = {}
    for plan in plans:
        own, opt = asdict(plan.method), getattr(plan.method, "opt", None)
        methods.setdefault(plan.method.name, {}).update({str(opt): own} if opt else own)
    return {**values, "methods": methods, **({"results": saved} if saved else {})}


def evaluate(
    plans: Sequence[Plan],
    adapter: Adapter,
    folder: RunFolder,
    judge: Adapter | None = None,
    progress: bool | None = None,
    pictures: Sequence[tuple[str, str]] | None = None,
) -> Shares:
    """Explain and judge every target by every plan, in this process; the plans differ in their method alone, and cells
    that the folder holds are left as they are. pictures: (path, name), by default those of the plans.

    Raises what drive raises, with the method's name.
    """
    check(plans[0], adapter)
    cells = cells_by_method(plans)
    items = None
    if pictures is not None:
        done = settled(folder)
        items = [Item(path, name, held=frozenset(done)) for path, name in pictures if name not in done]
    return drive(cells, Local(Worker(cells, adapter, judge, draw=False)), folder, progress, items)


class SavedWorker(Worker):
    """Judges the maps that a run's folder holds by the metrics of the cells' plans, one for each `label` of its rows.

    A picture that cannot be read, or a detection that is not found again, becomes an event.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        adapter: Adapter,
        judge: Adapter | None = None,
        weights: str = "",
        *,
        saved: Saved,
    ) -> None:
        super().__init__(cells, adapter, judge, weights, draw=False)
        self.saved, self.hashes = saved, Manifest.as_found(Path(saved.folder)).hashes()
        self._arrays: dict[str, Mapping[str, np.ndarray]] = {}  # of the pictures at hand, by folder
        self._row: dict[str, Mapping[str, Any]] = {}

    def work(self, items: Sequence[Item], ahead: Sequence[str] = (), single: bool = False) -> Iterator[Event]:
        self._row, self._arrays = {}, {}
        yield from super().work(items, ahead, single)

    def _picture(self, item: Item) -> tuple[list[Event], list[tuple[Cell, Job]]]:
        image, sha256, blurred, waited = self._read(item)
        if sha256 != self.hashes.get(item.path, sha256):
            raise ImageError(f"{item.path}: has changed since its maps were made")
        rows = self.saved.pictures[item.path]
        targets = _again(rows, self.adapter, image)
        events: list[Event] = [Seen(item.name, None, waited=waited)]
        once = list({id(t): t for t in targets if isinstance(t, Target)}.values())
        seen = views(self.judge, image, once, self.config.batch) if self.judge else [None] * len(once)
        view = {id(t): v for t, v in zip(once, seen, strict=True)}
        known = known_of(item.path, self.config.annotations, image.geometry.source)
        truths, warnings = known.objects, tuple(known.warnings)
        cells, jobs = {cell.plan.label: cell for cell in self.cells}, []
        for row, target in zip(rows, targets, strict=True):
            folder = row["folder"]
            if isinstance(target, ConfigError):
                events.append(Failed(folder, item.path, str(target), "skipped", target))
                continue
            try:
                self._arrays[folder] = read_arrays(self.saved.folder, row, needed=["saliency"])
            except ConfigError as error:
                events.append(Failed(folder, item.path, str(error), error=error))
                continue
            self._row[folder] = row
            cell = cells[label(row)]
            way = Way(row["start"], self.decides[cell.plan.label])
            key = key_of(sha256, target_record(target, folder), way)
            seen_too = view[id(target)]
            job = Job(target, image, row["start"], None, truths, seen_too, blurred, folder, key, warnings)
            jobs.append((cell, job))
        return events, jobs

    def _explain(
        self, plan: Plan, jobs: Sequence[Job], answers: dict[Any, np.ndarray] | None, **more: Any
    ) -> tuple[list[Explanation], float]:
        saved = [_restored(self._row[j.folder], self._arrays[j.folder], j) for j in jobs]
        return super()._explain(plan, jobs, answers, saved=saved)

    def _ingredients(self, plans: Sequence[Plan]) -> dict[str, Mapping[str, OfImage]]:
        return super()._ingredients([p for p in plans if any("explain" in m.needs for m in p.metrics)])


@dataclass(frozen=True)
class Saved:
    """A run whose maps are judged: its folder, and the rows of its explanations by the path of their picture."""

    folder: str
    pictures: Mapping[str, Sequence[Mapping[str, Any]]]

    @classmethod
    def of(cls, folder: str, rows: Sequence[Mapping[str, Any]], fetch: bool = False) -> Saved:
        """Of all the run's rows; fetch: pictures may be read from the addresses that they name, which may be anyone's.
        Raises ConfigError without any explanation, and for addresses without fetch.
        """
        by_picture: dict[str, list[Mapping[str, Any]]] = {}
        for row in (row for row in rows if row["folder"]):
            by_picture.setdefault(row["image"], []).append(row)
        if not by_picture:
            raise ConfigError(f"--results {folder}: holds no explanation")
        far = next((path for path in by_picture if is_remote(path)), None)
        if far is not None and not fetch:
            raise ConfigError(f"--results {folder}: its pictures lie at addresses, as {far}; --fetch reads them there")
        if all(row.get(KEEP) for each in by_picture.values() for row in each):
            raise ConfigError(f"--results {folder}: {NO_MAPS}")
        return cls(folder, by_picture)

    @property
    def methods(self) -> list[tuple[str, str | None]]:
        """The names of the methods, each with its optimiser, in the order of the rows."""
        return list(dict.fromkeys((r["method"], r["opt"]) for rows in self.pictures.values() for r in rows))


def saved_items(saved: Saved, folder: RunFolder) -> list[Item]:
    """The pictures of a run whose maps the folder does not hold judged."""
    done, items = settled(folder), []
    for path, rows in saved.pictures.items():
        name = rows[0]["folder"].partition("/")[0]
        if name not in done and not done.issuperset(r["folder"] for r in rows):
            items.append(Item(path, name, held=frozenset(done)))
    return items


def _again(rows: Sequence[Mapping[str, Any]], adapter: Adapter, image: Image) -> list[Target | ConfigError]:
    """The detection or class of each row, as the model sees it now, or why there is none."""
    least = max(min(r["score"] for r in rows) - 1e-3, 0.0)
    seen = adapter.detect(image, least)
    once: dict[tuple[int, str], Target] = {}
    targets: list[Target | ConfigError] = []
    for row in rows:
        n = _same(row, seen, image)
        if n is None:
            lost = f"{image.path}: {adapter.name} sees no {row['name']} where the saved map was made"
            targets.append(ConfigError(lost))
        else:
            targets.append(once.setdefault((n, row["part"]), replace(seen[n], part=row["part"])))
    return targets


def _same(row: Mapping[str, Any], seen: Sequence[Target], image: Image) -> int | None:
    """Which of the detections is the one of the row."""
    alike = [n for n, t in enumerate(seen) if t.label == row["label_index"] and (t.box is None) == (row["box"] is None)]
    if row["box"] is None or not alike:
        return alike[0] if alike else None
    best = best_match(np.asarray(row["box"], float), [source_box(seen[n], image) for n in alike], SAME_BOX)
    return None if best is None else alike[best]


def _restored(row: Mapping[str, Any], arrays: Mapping[str, np.ndarray], job: Job) -> Explanation:
    """The saved explanation with the method's own figures; those of metrics are found anew."""
    e = restored(row, arrays, job.target, job.image)
    return replace(e, scores=tuple(s for s in e.scores if s.name not in METRICS))
