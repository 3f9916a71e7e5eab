"""`python -m igos evaluate`: several methods, or the maps of an earlier run, judged on the same targets."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import torch

from igos.cli.flags import Parser, add_flags, add_progress
from igos.cli.report import write_page
from igos.cli.session import close, record, warn
from igos.results import tables
from igos.results.folder import RunFolder
from igos.results.read import read_rows
from igos.run.evaluate import evaluate as evaluate_methods
from igos.run.evaluate import reuse, settings
from igos.run.models import load_models, pick_model
from igos.run.plan import Plan, resolve, resolve_each
from igos.types import ConfigError

NOT_HERE = (
    "method", "diverse_k", "init_posi", "init_val", "mix_images", "layout", "shard", "engine", "workers", "timeout",
    "readers", "num_cpus", "num_gpus",
)  # fmt: skip
OF_SAVED = (
    "metrics",
    "annotations",
    "judge",
    "judge_file",
    "judge_cfg",
    "output",
    "device",
    "threads",
    "batch",
    "max_memory",
    "set",
)
PATCHES = (
    "tiles that degradation_pgig, PGIG's experiment, replaces; with --metrics degradation, which is IBA's and takes as "
    "many steps, it is judged too"
)


class NoKey(argparse.Action):
    def __call__(self, *_: Any) -> NoReturn:
        raise ConfigError(
            "--imagenet_download_key: igos downloads no ImageNet; fetch the validation pictures at image-net.org and "
            "give their folder by --data"
        )


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="igos evaluate",
        description="Judge several methods on the same targets, or the saved maps of an earlier run: metrics.csv and "
        "metrics.json with 95 % intervals. The same command with the same --output goes on where it stopped.",
        allow_abbrev=False,
    )
    parser.add_argument("--methods", nargs="+", action="extend", help="NAME or NAME/OPT, as in iGOS++/LS (see --list)")
    parser.add_argument("--results", metavar="DIR", help="judge the maps that a run left in this folder")
    parser.add_argument("--n_patches", metavar="N", help=PATCHES)
    parser.add_argument(
        "--imagenet_download_key", nargs="?", action=NoKey, default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
    add_flags(parser, NOT_HERE)
    add_progress(parser)
    return parser


def evaluate(words: Sequence[str]) -> int:
    """`python -m igos evaluate`: explain and judge, or judge saved maps; print methods x metrics and the folder."""
    flags = vars(_parser().parse_args(words))
    flags.pop("debug")
    progress = flags.pop("pbar") or None
    methods, saved, patches = (flags.pop(key) for key in ("methods", "results", "n_patches"))
    if bool(methods) == bool(saved):
        raise ConfigError("give --methods A,B,C to explain and judge, or --results DIR to judge the maps of a run")
    if patches is not None:
        flags |= _patches(flags, patches)
    plans = _of_saved(saved, flags) if saved else _of_methods(methods, flags)
    config, metrics = plans[0].run, plans[0].metrics
    if config.threads:
        torch.set_num_threads(config.threads)
    values = settings(plans, saved)
    folder = RunFolder(config.output or f"Output/{time.strftime('%Y-%m-%d_%H-%M-%S')}-evaluate", resume=values)
    kept = len(folder.rows)
    try:
        adapter, judge = load_models(config)
        folder.write_run({**values, "record": record(adapter, ["evaluate", *words])})
        if saved:
            reuse({p.label: p for p in plans}, saved, adapter, folder, judge, progress)
        else:
            evaluate_methods(plans, adapter, folder, judge, progress)
    except KeyboardInterrupt:
        close(folder)
        if not any(r["folder"] for r in folder.rows):
            raise
        tables.write(folder, metrics, config.manual_seed)
        told = f"interrupted; {len(folder.rows)} finished rows in {folder.path}; the same command goes on"
        print(f"igos: {told}", file=sys.stderr)
        return 130
    except BaseException:
        close(folder)
        raise
    folder.finish()
    warn(folder.rows)
    if kept:
        print(f"{kept} rows were there already")
    print(tables.text(tables.write(folder, metrics, config.manual_seed), metrics))
    write_page(folder.path)
    print(folder.path)
    return 0


def _patches(flags: Mapping[str, Any], count: str) -> dict[str, Any]:
    """The flags that --n_patches changes: its metrics' steps, and PGIG's metric, which is the one that has patches."""
    asked = [m for text in flags.get("metrics", []) for m in text.replace(",", " ").split()]
    metrics = [m for m in asked if m in tables.CURVES]
    if not metrics:
        raise ConfigError(f"--n_patches {count}: no metric removes patches; add --metrics {tables.CURVES[1]}")
    pgig = tables.CURVES[1]
    asked, metrics = ([*names, *([] if pgig in names else [pgig])] for names in (asked, metrics))
    return {"metrics": asked, "set": [*flags.get("set", []), *(f"{m}.steps={count}" for m in metrics)]}


def _of_methods(methods: Sequence[str], flags: Mapping[str, Any]) -> list[Plan]:
    flags, preset = pick_model(flags)
    plans = resolve_each([m for text in methods for m in text.replace(",", " ").split()], flags, preset)
    if not plans[0].run.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    plans[0].run.pictures()
    for plan in plans:
        for warning in plan.method.warnings():
            print(f"igos: warning: {warning}", file=sys.stderr)
    return plans


def _of_saved(saved: str, flags: Mapping[str, Any]) -> list[Plan]:
    """A Plan for each method of the rows, with the settings that run.yaml tells."""
    for key in flags:
        if key not in OF_SAVED:
            raise ConfigError(
                f"--{key}: --results has the run's own; with it go {', '.join(f'--{k}' for k in OF_SAVED)}"
            )
    rows = [r for r in read_rows(saved) if r["folder"]]
    if not rows:
        raise ConfigError(f"--results {saved}: holds no explanation")
    made = []
    for method, opt in dict.fromkeys((r["method"], r["opt"]) for r in rows):
        given = {**flags, "config": str(Path(saved) / "run.yaml"), "method": method}
        given, preset = pick_model(given if opt is None else {**given, "opt": opt})
        given.pop("data", None)
        made.append(resolve(given, preset))
    return made
