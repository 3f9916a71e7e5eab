"""One picture's way through the network: read, targets found, explained in groups, drawn. What a Worker is asked is an
Item, what it answers are events; it writes nothing, so that it can run in this process, in another or far away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from igos.base import hashing
from igos.base.files import npz_bytes
from igos.data.annotations import known
from igos.data.pictures import find_pictures
from igos.data.truth import match
from igos.drawing.files import FIGURES, mask_files, starts_png
from igos.metrics import diversity
from igos.results import manifest, rows
from igos.results.manifest import Item
from igos.run.explain import Job, explain_group, grouped, look, places, starts_of
from igos.run.judge import views
from igos.run.plan import Plan
from igos.run.problem import extras_of
from igos.run.workers.events import Began, Done, Event, Failed, Found
from igos.run.workers.prefetch import Reader
from igos.types import Adapter, ConfigError, Explanation, IgosError, ImageError, NetworkError


class Worker:
    """One network that answers Items with Events. weights: what tells the model from others, for the identity of a
    result. Pictures are drawn, and maps at the photo's size kept, where every explanation has its own folder.

    Whatever goes wrong with a picture or an explanation becomes an event.
    """

    def __init__(
        self,
        plan: Plan,
        adapter: Adapter,
        judge: Adapter | None = None,
        weights: str = "",
    ) -> None:
        self.plan, self.adapter, self.judge = plan, adapter, judge
        self.pictures = plan.run.layout == "folders"
        self.reader = Reader(adapter, plan.run.readers or 0)
        (self.needed,) = extras_of(plan.run, [plan.method], adapter)
        self.decides = hashing.identity(weights, decisive(plan))

    def work(self, items: Sequence[Item], ahead: Sequence[str] = (), single: bool = False) -> Iterator[Event]:
        """What comes of these pictures, which share their batches where they are several. ahead: the paths of the
        pictures that will be asked for next; single: every explanation in a batch of its own.
        """
        jobs: list[Job] = []
        held = frozenset[str]().union(*(item.held for item in items))
        for n, item in enumerate(items):
            self.reader.ahead([*(i.path for i in items[n:]), *ahead])
            try:
                found, own = self._picture(item)
            except Exception as error:
                yield self._failed(item.path, item.name, error)
                continue
            yield found
            if not own:
                yield self._nothing(item, found.line)
            jobs += own
        for group in self._groups(jobs, single):
            yield from self._explained(group, held)

    def _picture(self, item: Item) -> tuple[Found, list[Job]]:
        """What was found, now or as the manifest says, and the explanations to make."""
        begin = time.perf_counter()
        image, sha256, blurred = self.reader.take(item.path)
        waited, seconds, plan, line = time.perf_counter() - begin, 0.0, self.plan, item.found
        if line is not None and sha256 != line["sha256"]:
            raise ImageError(f"{item.path}: has changed since its targets were found; explain it in a new folder")
        truths = plan.selector.concerned(known(item.path, plan.run.annotations, image.geometry.source))
        if line is None:
            targets, seen, seconds = look(plan, self.adapter, image, truths)
            told = [manifest.told(t, place) for t, place in zip(targets, places(item.name, targets), strict=True)]
            line = {"sha256": sha256, "targets": told, **({} if targets else {"seen": seen})}
        else:
            targets = [manifest.target_of(t, self.adapter.device) for t in line["targets"]]
        seen_too = views(self.judge, image, targets, plan.run.batch) if self.judge else [None] * len(targets)
        jobs = []
        for target, view, told_ in zip(targets, seen_too, line["targets"], strict=True):
            starts: Sequence[int | None] = starts_of(plan.run) or [None]
            for start in starts:
                folder = told_["folder"] if start is None else f"{told_['folder']}/start-{start}"
                key = hashing.identity(sha256, manifest.decides(told_), start, self.decides)
                jobs.append(Job(target, start, folder, image, truths, view, blurred, key))
        return Found(item.name, None if item.found else line, seconds, waited), jobs

    def _groups(self, jobs: Sequence[Job], single: bool) -> list[list[Job]]:
        """What goes through the network together: objects on pictures of one size, or all starts of one object."""
        if self.plan.run.diverse_k is not None:
            return _alike(jobs, lambda job: job.folder.rpartition("/")[0])
        if single:
            return [[job] for job in jobs]
        by_picture = self.needed.references is not None  # which are other pictures than this one
        alike = _alike(jobs, lambda job: (job.image.geometry.network, by_picture and job.image.path))
        return [group for some in alike for group in grouped(some)]

    def _explained(self, jobs: Sequence[Job], held: frozenset[str]) -> Iterator[Event]:
        """Events of one batch; where it fails and holds several objects, each of them is tried by itself.

        All starts of an object are explained again where one of them is missing: they are compared.
        """
        new = [j for j in jobs if j.folder not in held]
        if not new:
            return
        asked = jobs if jobs[0].start is not None else new
        yield Began({j.folder: j.key for j in new})
        try:
            explanations, seconds = explain_group(self.plan, self.adapter, asked, self.needed)
        except Exception as error:
            alone = len(new) == 1 or new[0].start is not None or isinstance(error, ConfigError)
            for job in new:
                if alone:
                    yield self._failed(str(job.image.path), job.folder, error, job)
                else:
                    yield from self._explained([job], held)
            return
        made = [(j, e) for j, e in zip(asked, explanations, strict=True) if j.folder not in held]
        drawn = self._drawn(made, explanations) if self.pictures else [{} for _ in made]
        for (job, e), files in zip(made, drawn, strict=True):
            row = {**rows.row(e, job.folder), "id": job.key}
            yield Done(row, npz_bytes(e.as_arrays(self.pictures)), files, seconds / len(made))

    def _drawn(
        self, explained: Sequence[tuple[Job, Explanation]], explanations: Sequence[Explanation]
    ) -> list[dict[str, bytes]]:
        """The pictures of each explanation, drawn on all cores at once, by their path in the run's folder."""
        with ThreadPoolExecutor() as pool:
            waiting = [{name: pool.submit(draw, e) for name, draw in FIGURES.items()} for _, e in explained]
            drawn = [{name: each.result() for name, each in figures.items()} for figures in waiting]
        files = [
            {f"{job.folder}/{name}": data for name, data in figures.items() if data is not None}
            | mask_files(e, job.folder)
            for (job, e), figures in zip(explained, drawn, strict=True)
        ]
        job = explained[-1][0]
        if job.start is not None:
            above = job.folder.rpartition("/")[0]
            facts = diversity.diversity(explanations, match(job.target, job.image, job.truths))
            files[-1][f"{above}/starts.png"] = starts_png(explanations)
            files[-1][f"{above}/diversity.json"] = (json.dumps(facts, indent=1) + "\n").encode()
        return files

    def _nothing(self, item: Item, line: Mapping[str, Any] | None) -> Failed:
        why = f"{item.path}: nothing to explain among {(line or item.found or {}).get('seen', 'what was seen')}"
        row = {"image": item.path, "status": "skipped", "error": why, "item": item.name}
        asks = self.plan.selector.asks
        return Failed(row, ConfigError(f"--target {self.plan.run.target}: {why}") if asks else None)

    def _failed(self, path: str, item: str, error: Exception, job: Job | None = None) -> Failed:
        status = "unreadable" if isinstance(error, ImageError) else "error"
        told = error if isinstance(error, IgosError) else NetworkError(f"{path}: {type(error).__name__}: {error}")
        if told is not error:
            told.__cause__ = error
        row: dict[str, Any] = {"image": path, "status": status, "error": " ".join(str(told).split()), "item": item}
        if job is not None:
            t = job.target
            row |= {"label": t.name, "name": t.name, "label_index": t.label, "part": t.part, "score": t.score}
            row |= {"start": job.start, "id": job.key}
        return Failed(row, told, refused=job is not None and isinstance(error, ConfigError))


DECISIVE = (
    "model", "input_size", "fit", "dataset", "score", "manual_seed", "precision", "diverse_k", "init_val", "metrics",
    "set", "judge",
)  # fmt: skip
FILES = ("references", "patterns", "stats")


def decisive(plan: Plan) -> dict[str, Any]:
    """Of the settings those that decide a result, and not where and in which batches it is made; of files the bytes."""
    run = {k: getattr(plan.run, k) for k in DECISIVE}
    files = {k: _content(getattr(plan.run, k)) for k in FILES}
    return {**run, **files, "method": plan.method.name, "settings": asdict(plan.method), "explained": plan.score}


def _content(place: str | None) -> list[str]:
    """The hashes of a file, or of the pictures in a folder."""
    if place is None or Path(place).is_file():
        return [] if place is None else [hashing.digest(place)]
    return [hashing.digest(path) for path, _ in find_pictures([place])]


def _alike(jobs: Sequence[Job], key: Callable[[Job], Any]) -> list[list[Job]]:
    made: dict[Any, list[Job]] = {}
    for job in jobs:
        made.setdefault(key(job), []).append(job)
    return list(made.values())
