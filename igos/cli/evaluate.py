"""`python -m igos evaluate`: several methods, or the maps of an earlier run, judged on the same targets."""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from igos.base.errors import ConfigError
from igos.base.names import RETRIED
from igos.base.terminal import note, say, status
from igos.cli.damage import add_strict, rows_of, tell
from igos.cli.flags import METHOD, OUTPUT, WHAT, Parser, add_flags, add_progress, progress_of

if TYPE_CHECKING:
    from igos.run.evaluate import Saved
    from igos.run.plan import Plan

NOT_HERE = ("method", "diverse_k", "init_posi", "init_val", "mix_images", "layout", "keep")
OF_SAVED = (
    "metrics", "annotations", "judge", "judge_file", "judge_cfg", "output", "device", "threads", "batch", "max_memory",
    "set", "engine", "workers", "timeout", "readers", "num_cpus", "num_gpus",
)  # fmt: skip
PATCHES = (
    "tiles that degradation_pgig, PGIG's experiment, replaces: that metric is judged, beside those of --metrics; "
    "degradation, which is IBA's, takes as many steps"
)


class NoKey(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        raise ConfigError(
            "--imagenet_download_key: igos downloads no ImageNet; fetch the validation pictures at image-net.org and "
            "give their folder by --data"
        )


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos evaluate",
        "Judge several methods on the same targets, or the saved maps of an earlier run: metrics.csv and "
        "metrics.json with 95 % intervals. The same command with the same --output goes on where it stopped.",
        examples=[
            ("igos evaluate --methods iGOS++,IG,rise --data photos/ --model m-rcnn --pretrained --output OUT",
             "three methods on the same objects"),
            ("igos evaluate --results OUT --metrics energy_pointing", "the maps of a run, by another metric"),
        ],
    )  # fmt: skip
    method = parser.group(METHOD)
    method.add_argument(
        "--methods", nargs="+", action="extend", metavar="NAME", help="NAME or NAME/OPT, as in iGOS++/LS (see --list)"
    )
    what = parser.group(WHAT)
    what.add_argument("--results", metavar="DIR", help="judge the maps that a run left in this folder")
    what.add_argument("--fetch", action="store_true", help="with --results: read pictures from the addresses it names")
    method.add_argument("--n_patches", metavar="N", help=PATCHES)
    parser.add_argument(
        "--imagenet_download_key", nargs="?", action=NoKey, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    add_flags(parser, NOT_HERE)
    add_progress(parser)
    add_strict(parser)
    output = parser.group(OUTPUT)
    output.add_argument("--resume", metavar="DIR", help="go on with the evaluation in this folder")
    output.add_argument("--retry", choices=tuple(RETRIED), help="judge again what ended in an error or was not read")
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Explain and judge, or judge saved maps; print methods x metrics and the folder."""
    flags = {k: v for k, v in vars(given).items() if k not in ("debug", "quiet", "verbose", "pbar", "strict", "fetch")}
    methods, saved, patches, resumed = (flags.pop(key) for key in ("methods", "results", "n_patches", "resume"))
    retry = RETRIED.get(flags.pop("retry"), ())

    status("loading the model")
    from igos.cli.session import Stopped, end, nothing_due, work_in
    from igos.cli.tables import show

    if nothing_due(resumed or flags.get("output"), retry, "rows"):
        return 0
    if resumed is not None:
        if methods or saved or "output" in flags or "config" in flags:
            raise ConfigError("--resume DIR goes on with the settings of that evaluation; leave the others out")
        methods, saved, flags = _resumed(resumed, flags)
    if bool(methods) == bool(saved):
        raise ConfigError("give --methods A,B,C to explain and judge, or --results DIR to judge the maps of a run")
    if patches is not None:
        flags |= _patches(flags, patches)
    from igos.cli.report import write_page
    from igos.results import tables
    from igos.results.folder import RunFolder
    from igos.run.cells import Cell, cells_by_method
    from igos.run.decides import ways_of
    from igos.run.evaluate import Saved, SavedWorker, saved_items, settings
    from igos.run.models import pick_device, weights_of
    from igos.run.workers.worker import Worker

    judged = None
    if saved:
        for key in (key for key in flags if key not in OF_SAVED):
            allowed = ", ".join(f"--{k}" for k in OF_SAVED)
            raise ConfigError(f"--{key}: --results has the run's own; with it go {allowed}")
        damage: list[str] = []
        rows = rows_of(Path(saved), damage, whole=given.strict)
        tell(damage, given.strict)
        judged = Saved.of(saved, rows, given.fetch)
    elif given.strict or given.fetch:
        which = "--strict" if given.strict else "--fetch"
        raise ConfigError(f"{which} goes with --results DIR, the folder that is read")
    plans = _of_saved(judged, flags) if judged else _of_methods(methods, flags)
    plans = [replace(plan, run=replace(plan.run, keep=None)) for plan in plans]  # --config of a run may name it
    config, metrics = plans[0].run, plans[0].metrics
    pick_device(config.device)
    values = {**settings(plans, saved), "weights": weights_of(config)}
    cells = [Cell(plan) for plan in plans] if judged else cells_by_method(plans)
    named = config.output or f"Output/{time.strftime('%Y-%m-%d_%H-%M-%S')}-evaluate"
    ways = None if judged else ways_of(cells, values["weights"])
    folder = RunFolder(named, values, retry=retry, ways=ways, new=not config.output)
    kept = len(folder.rows)
    make, options = (SavedWorker, {"saved": judged}) if judged else (Worker, {"draw": False})

    def summary() -> list[Any]:
        return tables.write(folder, metrics, config.manual_seed)

    try:
        work_in(
            folder,
            cells,
            values,
            ["evaluate", *words],
            progress_of(given),
            again="the same command goes on",
            items=saved_items(judged, folder) if judged else None,
            finish=summary,
            make=make,
            options=options,
        )
    except Stopped as stop:
        return stop.code
    if kept:
        note(f"{kept} rows were finished before")
    for block in tables.blocks(summary(), metrics):
        show(block)
    note(tables.legend(folder.rows))
    end(folder.path, write_page(folder.path, fetch=not saved))
    return 0


def _patches(flags: Mapping[str, Any], count: str) -> dict[str, Any]:
    """The flags that --n_patches changes: its metrics' steps, and PGIG's metric, which is the one that has patches;
    that alone where no metrics are named.
    """
    from igos.base.settings import settings_of
    from igos.metrics import METRICS
    from igos.metrics.degradation import DegradationPGIG

    pgig = DegradationPGIG.name
    from igos.run.models import preset_value

    named = flags.get("metrics") or [*(preset_value(flags, "metrics") or ()), pgig]
    asked = [m for text in named for m in text.replace(",", " ").split()]
    metrics = [m for m in asked if m in METRICS and "tile" in settings_of(METRICS[m])]
    if not metrics:
        raise ConfigError(f"--n_patches {count}: no metric removes patches; add --metrics {pgig}")
    asked, metrics = ([*names, *([] if pgig in names else [pgig])] for names in (asked, metrics))
    return {"metrics": asked, "set": [*flags.get("set", []), *(f"{m}.steps={count}" for m in metrics)]}


def _of_methods(methods: Sequence[str], flags: Mapping[str, Any]) -> list[Plan]:
    from igos.cli.session import look_first
    from igos.results.manifest import FILE as MANIFEST
    from igos.run.models import pick_model
    from igos.run.plan import resolve_each

    flags, preset = pick_model(flags)
    plans = resolve_each([m for text in methods for m in text.replace(",", " ").split()], flags, preset)
    config = plans[0].run
    if not config.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    if not config.output or not (Path(config.output) / MANIFEST).is_file():
        look_first(plans[0], [path for path, _ in config.pictures()])
    for plan in plans:
        for warning in plan.method.warnings():
            say(f"igos: warning: {warning}", error=True)
    return plans


def _of_saved(saved: Saved, flags: Mapping[str, Any]) -> list[Plan]:
    """A Plan for each method of the rows, with the settings in run.yaml."""
    from igos.cli.session import look_first
    from igos.run.models import pick_model
    from igos.run.plan import resolve

    plans = []
    for method, opt in saved.methods:
        given = {**flags, "config": str(Path(saved.folder) / "run.yaml"), "method": method}
        given, preset = pick_model(given if opt is None else {**given, "opt": opt})
        given.pop("data", None)
        plans.append(resolve(given, preset))
    look_first(plans[0], list(saved.pictures))
    return plans


def _resumed(folder: str, flags: dict[str, Any]) -> tuple[list[str], str | None, dict[str, Any]]:
    """The methods, or the run whose maps are judged, and the flags of the evaluation in a folder."""
    from igos.results.read import read_run
    from igos.run.cells import labels_of_run

    values = read_run(folder, [])  # what is damaged is told when the folder is opened
    if not labels_of_run(values):
        raise ConfigError(f"--resume {folder}: not the folder of `igos evaluate`")
    saved = values.get("results")
    if saved is not None:
        kept = {k: values[k] for k in OF_SAVED if k in values}
        return [], str(saved), {**kept, **flags, "output": folder}
    methods = [label.replace(" ", "/") for label in labels_of_run(values)]
    return methods, None, {**flags, "config": str(Path(folder) / "run.yaml"), "output": folder}
