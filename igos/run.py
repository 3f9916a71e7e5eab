"""The whole tool in one line:

file -> read -> Image -> detect -> [Target] -> select -> Problem -> method -> [Explanation] -> metrics -> results

`explain` is that line for one image; `run` is it for many: the manifest says what is due, an engine has one or several
igos.work.Worker do it, and what they answer is written here, and only here.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor
from tqdm import tqdm

from igos.annotations import known
from igos.config import Plan, build_method, build_metrics
from igos.context import Context
from igos.engines import Engine, Local
from igos.extras import extras
from igos.jobs import LARGEST_GROUP, starts_of
from igos.manifest import Item, Manifest
from igos.methods import default_score
from igos.metrics import DEFAULT_METRICS
from igos.presets import Run, pick_preset
from igos.problem import completed, explain_problem, judge_of, make_problem, views
from igos.results import RunFolder
from igos.statistics import Statistics
from igos.truth import match
from igos.types import Adapter, ConfigError, Explanation, IgosError, Image, Target
from igos.work import Done, Failed, Found, Worker


def explain(
    adapter: Adapter,
    image: Image,
    targets: Sequence[Target],
    method: Any = "iGOS++",
    opt: str | None = None,
    *,
    metrics: Sequence[Any] = DEFAULT_METRICS,
    score: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | None = None,
    precision: str = "float32",
    config: str | None = None,
    context: Context | None = None,
    references: Tensor | None = None,
    judge: Adapter | None = None,
    patterns: Mapping[str, Tensor] | str | Path | None = None,
    stats: Statistics | str | Path | None = None,
    **settings: Any,
) -> list[Explanation]:
    """Explain targets of one image, all in one batch; settings are the method's own (igos.METHODS).

    method is a name of METHODS or a callable Problem -> [Explanation], metrics names of METRICS or callables;
    config names a preset, by default the model's, for the method's settings; context holds what is known of the
    targets, one Truth each, by default from instances.json beside the picture; judge is another network, for the
    metric transfer. score {prob, logit} is by default the method's own; batch, max_memory (bytes) and precision
    {float32, bfloat16} say how the network is run (make_problem). What methods need beside (igos/extras.py):
    references (R,3,H,W) in [0,1], pictures to compare with, by default generated ones; patterns, by layer or a file of
    fit-patterns, and stats, of igos.estimate or its file, by default those that ship with the model. Raises
    ConfigError for what the method does not know.
    """
    if not targets:
        return []
    if isinstance(method, str):
        given = {k: v for k, v in {"opt": opt, **settings}.items() if v is not None}
        call = build_method(method, given, pick_preset(config, adapter.preset, given))
    elif opt is not None or config is not None or settings:
        raise ConfigError("a method that is an object has its settings already; give opt and the like to it")
    else:
        call = method
    made = [m for name in metrics for m in ([name] if callable(name) else build_metrics([name])[0])]
    asked = score or default_score(call, [t.part for t in targets])
    problem = make_problem(
        adapter,
        image,
        targets,
        score=asked,
        seed=seed,
        batch=batch,
        max_memory=max_memory,
        precision=precision,
        extras=extras([call], adapter, references=references, patterns=patterns, stats=stats)[0],
    )
    if context is None:
        truths = known(image.path, size=image.geometry.source) if image.path else []
        context = Context([match(t, image, truths) for t in targets])
    if judge is not None:
        context = replace(context, other=views(judge, image, targets, batch))
    context = completed(context, made, adapter, problem, asked)
    return explain_problem(problem, call, made, context, judge_of(adapter, problem, score, call))


LEAST_TRIED = 10  # failures one after the other, before anything is explained, and the run gives up


def run(
    plan: Plan,
    adapter: Adapter,
    folder: RunFolder,
    progress: bool | None = None,
    judge: Adapter | None = None,
    weights: str = "",
) -> Shares:
    """Explain every picture of the plan into the folder, in this process; answers where the time went. weights: what
    tells the model from others.

    Raises ImageError, ConfigError or NetworkError when nothing could be explained, with the reason.
    """
    worker = Worker(plan, adapter, judge, weights=weights)
    check(plan, adapter)
    return drive(plan, Local(worker), folder, progress)


def check(plan: Plan, adapter: Adapter) -> None:
    """Refuse what can be of use in no picture. Raises ConfigError."""
    plan.selector.check(adapter)
    part = plan.run.part
    if part not in adapter.parts:
        raise ConfigError(f"--part {part}: {adapter.name} has no such part; it has {', '.join(adapter.parts)}")


def drive(plan: Plan, engine: Engine, folder: RunFolder, progress: bool | None = None) -> Shares:
    """Have an engine do what the folder's manifest says is due and not done, and write what it answers.

    A picture that cannot be read or explained, or in which the target is not seen, becomes a row, and the run goes on.
    Raises ImageError, ConfigError or NetworkError when that is so of every picture; or when LEAST_TRIED objects or
    pictures fail one after the other before any is explained.
    """
    manifest = Manifest(folder.path, plan.run.pictures, plan.run.shard)
    settled = folder.held | {r["item"] for r in folder.rows if not r["folder"] and r["item"]}
    items = list(manifest.items(settled, starts_of(plan.run)))
    shares, failures, begin = Shares(engine.workers), dict[str, IgosError](), time.perf_counter()
    in_a_row, seen = 0, set[str]()
    with bar(progress, len(items), "picture") as shown:
        for event in engine.work(batches(items, plan.run)):
            if isinstance(event, Found):
                shares.network += event.seconds
                shares.waited += event.waited
                seen.add(event.name)
                if event.line is not None:
                    manifest.add(event.name, event.line)
                    folder.begun = True
            elif isinstance(event, Done):
                shares.network += event.seconds
                folder.keep(event.row, event.data, event.files)
            elif isinstance(event, Failed):
                name = event.row["item"].partition("/")[0]
                seen.add(name)
                if event.error is not None:
                    failures.setdefault(name, event.error)
                in_a_row = 0 if event.row["status"] == "skipped" else in_a_row + 1
                gives_up = event.refused or in_a_row == LEAST_TRIED < len(items)
                if gives_up and not folder.tally.explanations:
                    raise given_up(folder, list(failures.values()), " tried")
                folder.add({"method": plan.method.name, "opt": getattr(plan.method, "opt", None), **event.row})
            shown.update(len(seen) - shown.n)
            shown.set_postfix_str(_averages(folder))
    unasked = 0 if plan.selector.asks else folder.tally.statuses["skipped"]
    if failures and not folder.tally.explanations and not unasked:
        raise given_up(folder, list(failures.values()))
    shares.seconds = time.perf_counter() - begin
    return shares


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


def bar(progress: bool | None, total: int = 0, unit: str = "object") -> tqdm:
    """A bar; None: on a terminal only."""
    return tqdm(total=total, unit=unit, disable=None if progress is None else not progress, leave=False)


def _averages(folder: RunFolder) -> str:
    means = [(key, folder.tally.mean(key)) for key in ("deletion", "insertion")]
    return ", ".join(f"{key} {value:.3f}" for key, value in means if value is not None)
