"""Several methods on the same targets: each picture is read and its targets are found once; finished cells are kept.

A cell is one target under one method: its maps in <picture>/<n>-<name>/<method>/, its row in results.jsonl.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.boxes import iou
from igos.base.files import npz_bytes, safe_name
from igos.data.annotations import known
from igos.data.truth import source_box
from igos.methods.ingredients import NOTHING, Extras
from igos.metrics import METRICS
from igos.results import read, rows
from igos.results.folder import RunFolder
from igos.results.read import read_arrays
from igos.results.rows import restored
from igos.results.tables import label
from igos.run.drive import bar, check, given_up
from igos.run.explain import Job, Picture, explain_group, grouped, look, places
from igos.run.judge import views
from igos.run.plan import Plan
from igos.run.problem import extras_of
from igos.run.settings import WHERE
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, ImageError, Target

SAME_BOX = 0.9  # the IoU above which a detection is the one that a row tells of


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
    found: Sequence[tuple[str, str]] | None = None,
) -> None:
    """Explain and judge every target by every plan, which differ in their method alone; cells that the folder holds
    are left as they are. found: pictures (path, name), by default those of the plans.

    Raises what a method or metric raises, with the method's name; ImageError or ConfigError when there is nothing to
    explain in any picture.
    """
    found = plans[0].run.pictures() if found is None else found
    done, told = _held(folder)
    needed = _extras(plans, adapter)
    with bar(progress) as shown:
        for picture in pictures(plans[0], adapter, folder, [f for f in found if f[0] not in told], judge):
            cells = [(p, [replace(j, folder=f"{j.folder}/{_place(p)}") for j in picture.jobs]) for p in plans]
            waiting = [(p, g) for p, jobs in cells for g in grouped([j for j in jobs if j.folder not in done])]
            shown.total = (shown.total or 0) + sum(len(group) for _, group in waiting)
            for plan, group in waiting:
                shown.set_postfix_str(plan.method.name)
                with _named(plan):
                    explanations, _ = explain_group(plan, adapter, group, needed[plan.label], answers=picture.answers)
                _keep(folder, group, explanations)
                shown.update(len(group))


def pictures(
    plan: Plan,
    adapter: Adapter,
    folder: RunFolder,
    found: Sequence[tuple[str, str]],
    judge: Adapter | None = None,
) -> Iterator[Picture]:
    """The pictures (path, name) in which there is something to explain; of the others each becomes a row.

    Raises, at the end, ImageError or ConfigError when none could be read or held the target asked for.
    """
    config, selector = plan.run, plan.selector
    check(plan, adapter)
    failures: list[IgosError] = []
    for path, name in found:
        try:
            image = adapter.read(path)
        except ImageError as error:
            failures.append(error)
            folder.add({"image": path, "status": "unreadable", "error": str(error)})
            continue
        truths = selector.concerned(known(path, config.annotations, image.geometry.source))
        targets, seen, _ = look(plan, adapter, image, truths)
        if not targets:
            why = f"{path}: nothing to explain among {seen}"
            if selector.asks:
                failures.append(ConfigError(f"--target {config.target}: {why}"))
            folder.add({"image": path, "status": "skipped", "error": why})
            continue
        seen_too = views(judge, image, targets, config.batch) if judge else [None] * len(targets)
        each = zip(targets, places(name, targets), seen_too, strict=True)
        yield Picture(image, [Job(t, None, place, image, truths, view) for t, place, view in each])
    if found and len(failures) == len(found):
        raise given_up(folder, failures)


def reuse(
    plans: Mapping[str, Plan],
    saved: str | Path,
    adapter: Adapter,
    folder: RunFolder,
    judge: Adapter | None = None,
    progress: bool | None = None,
) -> None:
    """Judge the maps that a run's folder holds by the metrics of the plans, one for each `label` of its rows.

    A picture or detection that is not found again becomes a row; if that is so of all, ConfigError or ImageError.
    """
    done, _ = _held(folder)
    by_picture: dict[str, list[Mapping[str, Any]]] = {}
    for row in read.read_rows(saved):
        if row["folder"]:
            by_picture.setdefault(row["image"], []).append(row)
    missing: list[IgosError] = []
    again = [p for p in plans.values() if any("explain" in m.needs for m in p.metrics)]
    needed = dict.fromkeys(plans, NOTHING) | _extras(again, adapter)
    with bar(progress) as shown:
        shown.total = sum(map(len, by_picture.values()))
        for path, rows in by_picture.items():
            try:
                image = adapter.read(path)
            except ImageError as error:
                missing += [error] * len(rows)
                _note(folder, path, "unreadable", error)
                continue
            found = _again(rows, adapter, image)
            for lost in (m for m in found if isinstance(m, ConfigError)):
                missing.append(lost)
                _note(folder, path, "skipped", lost)
            pairs = [(r, t) for r, t in zip(rows, found, strict=True) if isinstance(t, Target)]
            for plan, picture, maps in _saved(plans, image, pairs, judge):
                waiting = [j for j in picture.jobs if j.folder not in done]
                for group in grouped(waiting):
                    kept = [_restored(saved, maps[j.folder], j.target, image) for j in group]
                    with _named(plan):
                        explanations, _ = explain_group(plan, adapter, group, needed[plan.label], kept, picture.answers)
                    _keep(folder, group, explanations)
                shown.update(len(picture.jobs))
    if missing and len(missing) == sum(map(len, by_picture.values())):
        raise given_up(folder, missing[:1])


def _saved(
    plans: Mapping[str, Plan], image: Image, pairs: Sequence[tuple[Mapping[str, Any], Target]], judge: Adapter | None
) -> Iterator[tuple[Plan, Picture, dict[str, Mapping[str, Any]]]]:
    """For each plan the picture with the jobs that its rows tell of, and these rows by their folder."""
    run = next(iter(plans.values())).run
    targets = list({id(t): t for _, t in pairs}.values())
    seen = views(judge, image, targets, run.batch) if judge else [None] * len(targets)
    view = {id(t): v for t, v in zip(targets, seen, strict=True)}
    truths = known(image.path, run.annotations, image.geometry.source) if image.path else []
    answers: dict[Any, np.ndarray] = {}
    for name, plan in plans.items():
        own = [(r, t) for r, t in pairs if label(r) == name]
        jobs = [Job(t, r["start"], r["folder"], image, truths, view[id(t)]) for r, t in own]
        yield plan, Picture(image, jobs, answers), {r["folder"]: r for r, _ in own}


def _extras(plans: Sequence[Plan], adapter: Adapter) -> dict[str, Extras]:
    """What each plan's method needs beside the problem, by the plan's label; the plans differ in their method alone."""
    made = extras_of(plans[0].run, [p.method for p in plans], adapter) if plans else []
    return {p.label: e for p, e in zip(plans, made, strict=True)}


def _held(folder: RunFolder) -> tuple[set[str], set[str]]:
    """What a folder that is gone on with holds: the cells, and the pictures in which there was nothing to explain."""
    return {r["folder"] for r in folder.rows if r["folder"]}, {r["image"] for r in folder.rows if not r["folder"]}


def _note(folder: RunFolder, path: str, status: str, error: IgosError) -> None:
    """A row for what could not be judged, once."""
    if not any(r["image"] == path and r["error"] == str(error) for r in folder.rows):
        folder.add({"image": path, "status": status, "error": str(error)})


def _place(plan: Plan) -> str:
    return safe_name(plan.label.replace(" ", "-"))


def _keep(folder: RunFolder, jobs: Iterable[Job], explanations: Iterable[Explanation]) -> None:
    for job, e in zip(jobs, explanations, strict=True):
        folder.keep(rows.row(e, job.folder), npz_bytes(e.as_arrays()))


def _again(rows: Sequence[Mapping[str, Any]], adapter: Adapter, image: Image) -> list[Target | ConfigError]:
    """The detection or class that each row tells of, as the model sees it now, or why there is none."""
    least = max(min(r["score"] for r in rows) - 1e-3, 0.0)
    seen = adapter.detect(image, least)
    made: dict[tuple[int, str], Target] = {}
    found: list[Target | ConfigError] = []
    for row in rows:
        n = _same(row, seen, image)
        if n is None:
            found.append(
                ConfigError(f"{image.path}: {adapter.name} sees no {row['name']} where the saved map was made")
            )
        else:
            found.append(made.setdefault((n, row["part"]), replace(seen[n], part=row["part"])))
    return found


def _same(row: Mapping[str, Any], seen: Sequence[Target], image: Image) -> int | None:
    alike = [n for n, t in enumerate(seen) if t.label == row["label_index"] and (t.box is None) == (row["box"] is None)]
    if row["box"] is None or not alike:
        return alike[0] if alike else None
    overlap = {n: iou(source_box(seen[n], image), np.asarray(row["box"], float)) for n in alike}
    best = max(alike, key=overlap.__getitem__)
    return best if overlap[best] >= SAME_BOX else None


def _restored(saved: str | Path, row: Mapping[str, Any], target: Target, image: Image) -> Explanation:
    """The saved explanation with the method's own figures; those of metrics are found anew."""
    e = restored(row, read_arrays(saved, row, needed=["saliency"]), target, image)
    return replace(e, scores=tuple(s for s in e.scores if s.name not in METRICS))


@contextmanager
def _named(plan: Plan) -> Iterator[None]:
    """A refusal says which method it is about."""
    try:
        yield
    except IgosError as error:
        raise type(error)(f"{plan.method.name}: {error}") from error
