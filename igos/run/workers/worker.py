"""One picture's way through the network: read, targets found, explained in groups, drawn. A Worker is asked Items and
answers events; it writes nothing, so that it can run in this process, in another or far away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from igos.base.files import npz_bytes, unique
from igos.base.names import EDGES
from igos.base.seals import sealed
from igos.base.settings import colormap_of
from igos.data.annotations import known_of
from igos.data.truth import Known, match
from igos.drawing import figures
from igos.drawing.files import FIGURES, mask_files, starts_png
from igos.methods.asked import kind_of, posed
from igos.methods.ingredients import OfImage, by_picture
from igos.methods.mask.starts import start_mask
from igos.metrics import diversity
from igos.results import manifest
from igos.results.kept import maps_bytes
from igos.results.manifest import Item, Way, key_of
from igos.results.rows import Row
from igos.run.cells import Cell
from igos.run.decides import decided
from igos.run.explain import explain_jobs
from igos.run.job import Job
from igos.run.judge import views
from igos.run.plan import Plan
from igos.run.problem import NOTHING, ingredients_for
from igos.run.progress import Tell, Watched
from igos.run.settings import memory_size, parts_of
from igos.run.workers.events import Began, Done, Event, Failed, Late, Seen
from igos.run.workers.prefetch import Reader
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, ImageError, NetworkError, Target

LARGEST_GROUP = 16  # objects in one batch: memory grows with them, the maps do not depend on it


class Worker:
    """One network that answers Items with Events. weights: a hash of the model's bytes, for the identity of a
    result; draw: with pictures of each explanation, where each has a folder of its own. apart: draws while the network
    goes on, and answers Late events; by default each explanation is answered when it is drawn.

    Whatever goes wrong with a picture or an explanation becomes an event.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        adapter: Adapter,
        judge: Adapter | None = None,
        weights: str = "",
        draw: bool = True,
    ) -> None:
        self.cells, self.adapter, self.judge = cells, adapter, judge
        self.plans = list({cell.plan.label: cell.plan for cell in cells}.values())
        self.config, self.selector = self.plans[0].run, self.plans[0].selector  # which they share
        self.keep = self.config.keep or "all"
        self.source = self.config.layout == "folders" and self.keep == "all"
        self.draw = draw and self.source
        self.apart: ThreadPoolExecutor | None = None
        self.tell: Tell | None = None
        self._paced = False
        self.reader = Reader(adapter, self.config.readers or 0)
        self.ingredients = self._ingredients(self.plans)
        figures.use_colours(colormap_of(self.config.set))
        self.decides = decided(self.plans, weights)

    def work(self, items: Sequence[Item], ahead: Sequence[str] = (), single: bool = False) -> Iterator[Event]:
        """What comes of these pictures, which share their batches where they are several. ahead: the paths of the
        pictures that will be asked for next; single: every explanation in a batch of its own.
        """
        jobs: list[tuple[Cell, Job]] = []
        held = frozenset[str]().union(*(item.held for item in items))
        answers: dict[Any, np.ndarray] | None = {} if len(self.plans) > 1 else None
        for n, item in enumerate(items):
            self.reader.ahead([*(i.path for i in items[n:]), *ahead])
            try:
                events, own = self._picture(item)
            except Exception as error:
                yield self._failed(item.path, item.name, error)
                continue
            yield from events
            jobs += own
        for plan in self.plans:
            for group in self._groups(plan, [job for cell, job in jobs if cell.plan.label == plan.label], single):
                yield from self._explained(plan, group, held, answers)

    def _picture(self, item: Item) -> tuple[list[Event], list[tuple[Cell, Job]]]:
        """What was seen, now or as the manifest says, and the explanations to make."""
        image, sha256, blurred, waited = self._read(item)
        line, seconds, each, refused = item.line, 0.0, 0.0, list[str]()
        if line is not None and sha256 != line["sha256"]:
            raise ImageError(f"{item.path}: has changed since its targets were found; explain it in a new folder")
        known = known_of(item.path, self.config.annotations, image.geometry.source)
        truths, warnings = self.selector.concerned(known.objects), tuple(known.warnings)
        if line is None:
            targets, seen, seconds = self._look(image, known)
            targets, refused = self._posed(targets)
            folders = target_folders(item.name, targets)
            records = [manifest.target_record(t, folder) for t, folder in zip(targets, folders, strict=True)]
            line = {"sha256": sha256, "targets": records, **({} if targets else {"seen": seen})}
        else:
            device, size = self.adapter.device, image.geometry.network
            targets = [manifest.target_of(record, device, size) for record in line["targets"]]
        if self.tell is not None and not self._paced and targets:
            each, self._paced = self._pace(image, targets[:LARGEST_GROUP]), True
        seen_too = views(self.judge, image, targets, self.config.batch) if self.judge else [None] * len(targets)
        jobs = []
        for target, view, record in zip(targets, seen_too, line["targets"], strict=True):
            for cell in self.cells:
                key = key_of(sha256, record, Way(cell.start, self.decides[cell.plan.label]))
                mask = None if cell.start is None else _start_mask(cell.plan, target, image, cell.start)
                folder = cell.within(record["folder"])
                own = Job(target, image, cell.start, mask, truths, view, blurred, folder, key, warnings)
                jobs.append((cell, own))
        events: list[Event] = [Seen(item.name, None if item.line else line, seconds, waited, each, self.draw)]
        events += [
            Failed(f"{item.name}/refused-{n}", item.path, f"{item.path}: {why}", "skipped", ConfigError(why))
            for n, why in enumerate(refused)
        ]
        if not targets:
            reason = f"{item.path}: nothing to explain among {line.get('seen', 'what was seen')}"
            mistake = self.selector.asks or (self.selector.kind == "missed" and not known.told)
            asked = ConfigError(f"--target {self.config.target}: {reason}") if mistake else None
            events.append(Failed(item.name, item.path, reason, "skipped", asked, warning="; ".join(warnings) or None))
        return events, jobs

    def _read(self, item: Item) -> tuple[Image, str, Any, float]:
        """The picture, the hash of its file, its blur, and the seconds until it was there."""
        begin = time.perf_counter()
        image, sha256, blurred = self.reader.take(item.path)
        return image, sha256, blurred, time.perf_counter() - begin

    def _look(self, image: Image, known: Known) -> tuple[list[Target], str, float]:
        """The targets in a picture, what was seen in words, and the seconds that took."""
        begin = time.perf_counter()
        targets, seen = self.selector.select(self.adapter, image, self.config.threshold, known)
        made = [replace(t, part=part) for t in targets for part in parts_of(self.config.part)]
        return made, seen, time.perf_counter() - begin

    def _pace(self, image: Image, targets: Sequence[Target]) -> float:
        """Seconds of one score of one target, as maps and figures ask for it: of all at once, and not for the first
        time, which says nothing of how long others take.
        """
        try:
            scorer = self.adapter.scorer(targets, "prob" if self.config.part == "class" else "logit", self.config.batch)
            pixels = image.pixels.to(self.adapter.device)[None, None].expand(len(targets), 1, -1, -1, -1)
            seconds = 0.0
            with torch.no_grad():
                for _ in range(2):
                    begin = time.perf_counter()
                    scorer(pixels).tolist()
                    seconds = time.perf_counter() - begin
            return seconds / len(targets)
        except (IgosError, RuntimeError):  # what is wrong is told when the targets are explained
            return 0.0

    def _posed(self, targets: Sequence[Target]) -> tuple[list[Target], list[str]]:
        """The targets of which the run's question makes sense, and why it makes none of the others."""
        made, refused = list[Target](), list[str]()
        for target in targets:
            try:
                made += posed(self.config.ask, self.adapter, [target])
            except ConfigError as error:
                refused.append(f"--{error}")
        return made, refused

    def _groups(self, plan: Plan, jobs: Sequence[Job], single: bool) -> list[list[Job]]:
        """What goes through the network together: objects on pictures of one size, or all starts of one object."""
        if plan.run.diverse_k is not None:
            return _alike(jobs, lambda job: job.folder.rpartition("/")[0])
        if single:
            return [[job] for job in jobs]
        apart = by_picture(plan.method)  # what it needs is of one picture
        alike = _alike(jobs, lambda job: (job.image.geometry.network, apart and job.image.path))
        return [group[i : i + LARGEST_GROUP] for group in alike for i in range(0, len(group), LARGEST_GROUP)]

    def _explained(
        self, plan: Plan, jobs: Sequence[Job], held: frozenset[str], answers: dict[Any, np.ndarray] | None
    ) -> Iterator[Event]:
        """Events of one batch; where it fails and holds several objects, each of them is tried by itself.

        All starts of an object are explained again where one of them is missing: they are compared.
        """
        new = [j for j in jobs if j.folder not in held]
        if not new:
            return
        asked = jobs if jobs[0].start is not None else new
        yield Began({j.folder: j.key for j in new})
        try:
            explanations, seconds = self._explain(plan, asked, answers)
        except Exception as error:
            alone = len(new) == 1 or new[0].start is not None or isinstance(error, ConfigError)
            for job in new:
                if alone:
                    named = _named(plan, error) if len(self.plans) > 1 else error
                    yield self._failed(str(job.image.path), job.folder, named, job)
                else:
                    yield from self._explained(plan, [job], held, answers)
            return
        fresh = [(j, e) for j, e in zip(asked, explanations, strict=True) if j.folder not in held]
        if self.draw and self.apart is not None:
            late = self.apart.submit(self._done, fresh, explanations, seconds)
            yield Late(late.done, late.result)
        else:
            yield from self._done(fresh, explanations, seconds)

    def _done(
        self, fresh: Sequence[tuple[Job, Explanation]], explanations: Sequence[Explanation], seconds: float
    ) -> list[Done]:
        """The new ones among the explanations of a batch, drawn; seconds: those of the network."""
        drawn = self._drawn(fresh, explanations) if self.draw else [{} for _ in fresh]
        return [
            Done(Row.of(e, job.folder, job.key).as_dict(), self._data(e), files, seconds / len(fresh))
            for (job, e), files in zip(fresh, drawn, strict=True)
        ]

    def _data(self, e: Explanation) -> bytes:
        """What is kept of its arrays; nothing where the rows alone are."""
        if self.keep == "rows":
            return b""
        return maps_bytes(e.as_arrays(False)) if self.keep == "maps" else npz_bytes(e.as_arrays(self.source))

    def _explain(
        self, plan: Plan, jobs: Sequence[Job], answers: dict[Any, np.ndarray] | None, **more: Any
    ) -> tuple[list[Explanation], float]:
        """Explanations and the network's seconds."""
        return explain_jobs(
            self.adapter,
            jobs,
            plan.method if self.tell is None else Watched(plan.method, self.tell),
            plan.metrics,
            score=plan.run.score,
            seed=plan.run.manual_seed,
            batch=plan.run.batch,
            max_memory=memory_size(plan.run.max_memory),
            precision=plan.run.precision,
            ingredients=self.ingredients.get(plan.label, NOTHING),
            answers=answers,
            ask=kind_of(plan.run.ask),
            threshold=plan.run.threshold,
            **more,
        )

    def _ingredients(self, plans: Sequence[Plan]) -> dict[str, Mapping[str, OfImage]]:
        """What the plans' methods need beside the problem, by the plan's label."""
        loaded = ingredients_for(self.config, [plan.method for plan in plans], self.adapter)
        return {plan.label: each for plan, each in zip(plans, loaded, strict=True)}

    def _drawn(
        self, explained: Sequence[tuple[Job, Explanation]], explanations: Sequence[Explanation]
    ) -> list[dict[str, bytes]]:
        return drawn(explained, explanations)

    def _failed(self, path: str, item: str, error: Exception, job: Job | None = None) -> Failed:
        status = "unreadable" if isinstance(error, ImageError) else "error"
        cause = error if isinstance(error, IgosError) else NetworkError(f"{path}: {type(error).__name__}: {error}")
        if cause is not error:
            cause.__cause__ = error
        refused = job is not None and isinstance(error, ConfigError)
        return Failed(item, path, " ".join(str(cause).split()), status, cause, job.key if job else None, refused)


def drawn(explained: Sequence[tuple[Job, Explanation]], explanations: Sequence[Explanation]) -> list[dict[str, bytes]]:
    """The pictures of each explanation, drawn on all cores at once, by their path in the run's folder; with the last
    one those that show all starts, which are the `explanations`.
    """
    with ThreadPoolExecutor() as pool:
        waiting = [{name: pool.submit(draw, e) for name, draw in FIGURES.items()} for _, e in explained]
        made = [{name: each.result() for name, each in figures.items()} for figures in waiting]
    files = [
        {f"{job.folder}/{name}": data for name, data in figures.items() if data is not None} | mask_files(e, job.folder)
        for (job, e), figures in zip(explained, made, strict=True)
    ]
    job = explained[-1][0]
    if job.start is not None:
        above = job.folder.rpartition("/")[0]
        facts = diversity.diversity(explanations, match(job.target, job.image, job.truths))
        files[-1][f"{above}/starts.png"] = starts_png(explanations)
        files[-1][f"{above}/{diversity.FILE}"] = (json.dumps(sealed(facts), indent=1) + "\n").encode()
    return files


def target_folders(name: str, targets: Sequence[Target]) -> list[str]:
    """A folder for each target of the picture of that name."""
    taken: set[str] = set()
    named = [f"{t.name}-{t.part}" if t.part in EDGES else t.name for t in targets]
    return [f"{name}/{unique(f'{i}-{told}', taken)}" for i, told in enumerate(named)]


def _start_mask(plan: Plan, target: Target, image: Image, start: int) -> Any:
    k, value = plan.run.diverse_k, plan.run.init_val or 0
    return start_mask(target, image.geometry.network, plan.method.size, k or 1, start, value)


def _named(plan: Plan, error: Exception) -> Exception:
    """A refusal that says which method it is about."""
    if not isinstance(error, IgosError):
        return error
    named = type(error)(f"{plan.method.name}: {error}")
    named.__cause__ = error
    return named


def _alike(jobs: Sequence[Job], key: Callable[[Job], Any]) -> list[list[Job]]:
    groups: dict[Any, list[Job]] = {}
    for job in jobs:
        groups.setdefault(key(job), []).append(job)
    return list(groups.values())
