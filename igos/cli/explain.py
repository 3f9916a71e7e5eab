"""`python -m igos [flags]`: load the model once, explain every picture, print a table and the folder."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

import igos
from igos.cli.flags import Parser, add_flags, add_progress
from igos.cli.listing import listing
from igos.cli.report import write_page
from igos.cli.session import Terminated, close, record, tell_opened, terminable, warn
from igos.data.references import source
from igos.methods.ingredients import needs_references
from igos.results.folder import RunFolder
from igos.results.manifest import FILE as MANIFEST
from igos.results.read import read_run
from igos.results.tables import table
from igos.run.drive import check, drive, run
from igos.run.models import apart, engine_of, load_models, pick_device, pick_model, weights_of
from igos.run.plan import Plan, resolve
from igos.run.settings import WHERE
from igos.types import Adapter, ConfigError


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="igos",
        description="Explain the detections of a detector, or the prediction of a classifier, by mask optimisation.",
        epilog="A flag that is left out is decided by the preset: the one named by --config, else the model's own.",
        allow_abbrev=False,
    )
    add_flags(parser)
    add_progress(parser)
    parser.add_argument("--resume", metavar="DIR", help="go on with the run in this folder, whose settings hold")
    parser.add_argument("--retry", choices=("errors",), help="explain again what ended in an error or was not readable")
    parser.add_argument("--list", action="store_true", help="list models, methods, metrics and presets")
    parser.add_argument("--version", action="version", version=f"igos {igos.__version__}")
    return parser


def explain(words: Sequence[str]) -> int:
    """`python -m igos [flags]`: load the model once, explain every picture, print a table and the folder."""
    flags = vars(_parser().parse_args(words))
    if flags.pop("list"):
        print(listing())
        return 0
    flags.pop("debug")
    progress = flags.pop("pbar") or None
    flags, preset = pick_model(_resumed(flags))
    retry = ("error", "unreadable") if flags.pop("retry") else ()
    plan = resolve(flags, preset)
    config = plan.run
    if not config.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    if not config.output or not (Path(config.output) / MANIFEST).is_file():
        config.pictures()
    for warning in plan.method.warnings():
        print(f"igos: warning: {warning}", file=sys.stderr)
    if config.threads:
        torch.set_num_threads(config.threads)
    pick_device(config.device)
    values = {k: v for k, v in plan.as_preset().items() if k not in WHERE} | {"weights": weights_of(config)}
    folder = RunFolder(config.output or _output_name(plan), values, config.layout, retry)
    kept = folder.tally.explanations
    tell_opened(folder)
    with terminable():
        try:
            adapter, judge = load_models(config)
            folder.write_run({**values, "record": {**record(adapter, words), **_effective(adapter, plan)}})
            if apart(config):
                check(plan, adapter)
                del adapter, judge  # the workers have their own
                shares = drive(plan, engine_of(plan, values["weights"]), folder, progress)
            else:
                shares = run(plan, adapter, folder, progress, judge, weights=values["weights"])
        except KeyboardInterrupt as stop:
            told = str(stop) or "interrupted"
            if folder.begun:
                if folder.shards is None:  # a big run's table takes longer than a scheduler waits
                    folder.finish()
                told += f"; {folder.tally.rows} finished rows in {folder.path}; --resume {folder.path} goes on"
            else:
                folder.discard()
            print(f"igos: {told}", file=sys.stderr)
            return 143 if isinstance(stop, Terminated) else 130
        except BaseException:
            close(folder)
            raise
    folder.finish()
    warn(folder.rows)
    if kept:
        print(f"{kept} explanations were there already")
    print(table(folder))
    print(shares)
    if folder.shards is None:
        write_page(folder.path)
    print(folder.path)
    return 0


def _output_name(plan: Plan) -> str:
    parts = [time.strftime("%Y-%m-%d_%H-%M-%S"), getattr(plan.method, "opt", None), plan.method.name]
    return "Output/" + "-".join(str(p) for p in parts if p)


def _effective(adapter: Adapter, plan: Plan) -> dict[str, Any]:
    """What the settings come to on this model."""
    effective = getattr(plan.method, "effective", dict)
    compared: dict[str, Any] = {}
    if needs_references(plan.method):
        compared = {"references": source(adapter, plan.run.references, plan.run.data)[1]}
    return {"score": plan.score, **compared, **effective()}


def _resumed(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags with those of the run that --resume names. Raises ConfigError where there is none."""
    place = flags.pop("resume")
    if place is None:
        return flags
    if "output" in flags or "config" in flags:
        raise ConfigError("--resume DIR goes on with the settings and in the folder of that run; leave the others out")
    read_run(place)
    return {**flags, "config": str(Path(place) / "run.yaml"), "output": place}
