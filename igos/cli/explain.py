"""`python -m igos [flags]`: load the model once, explain every picture, print a table and the folder."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import igos
from igos.base.errors import ConfigError
from igos.base.names import RETRIED
from igos.base.terminal import note, say, status
from igos.cli.flags import OUTPUT, Parser, add_flags, add_progress, progress_of

OF_PARSER = ("debug", "quiet", "verbose", "pbar", "list")  # what is no setting of the run

if TYPE_CHECKING:
    from igos.run.plan import Plan
    from igos.types import Adapter


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos explain",
        "Explain the detections of a detector, or the prediction of a classifier: a map of what each rests on, its "
        "figures, and a page that shows them.",
        epilog="A flag that is left out is decided by the preset: the one named by --config, else the model's own.",
        examples=[
            ("igos --model m-rcnn --pretrained --data photos/ --target class:dog", "every dog in a folder of photos"),
            ("igos --model my.onnx --data dog.jpg --config thorough", "with more time for each map"),
            ("igos --method integrated_gradients --set n_steps=100 --data dog.jpg --model resnet50 --pretrained",
             "a classifier, by another method"),
            ("igos --resume OUT", "go on with a run that was stopped"),
        ],
    )  # fmt: skip
    add_flags(parser)
    output = parser.group(OUTPUT)
    output.add_argument("--resume", metavar="DIR", help="go on with the run in this folder, whose settings hold")
    output.add_argument("--retry", choices=tuple(RETRIED), help="explain again what ended in an error or was not read")
    more = parser.group("more")
    more.add_argument("--list", action="store_true", help="list models, methods, metrics and presets")
    more.add_argument(
        "--version", action="version", version=f"igos {igos.__version__}", help="show the version and end"
    )
    add_progress(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Explain what is due; print the table and the folder."""
    flags = {k: v for k, v in vars(given).items() if k not in OF_PARSER}
    if given.list:
        from igos.cli.listing import listing

        say(listing())
        return 0
    status(f"loading {flags.get('model') or 'the model'}")
    from igos.cli.report import write_page
    from igos.cli.session import Stopped, end, look_first, nothing_due, work_in
    from igos.cli.tables import show
    from igos.results.folder import RunFolder
    from igos.results.manifest import FILE as MANIFEST
    from igos.results.tables import answers, closing
    from igos.run.cells import cells_of
    from igos.run.decides import ways_of
    from igos.run.keeping import with_keep
    from igos.run.models import pick_device, pick_model, weights_of
    from igos.run.plan import resolve
    from igos.run.settings import WHERE

    retry = RETRIED.get(flags.pop("retry"), ())
    if nothing_due(flags.get("resume") or flags.get("output"), retry, "explanations"):
        return 0
    flags, preset = pick_model(_resumed(flags))
    plan = resolve(flags, preset)
    if not plan.run.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    pictures = cache(plan.run.pictures)
    plan, told = with_keep(plan, pictures)
    config = plan.run
    if not config.output or not (Path(config.output) / MANIFEST).is_file():
        look_first(plan, [path for path, _ in pictures()])
    for warning in plan.method.warnings():
        say(f"igos: warning: {warning}", error=True)
    if told:
        note(told)
    pick_device(config.device)
    values = {k: v for k, v in plan.as_preset().items() if k not in WHERE} | {"weights": weights_of(config)}
    cells = cells_of(plan)
    named = config.output or output_name(getattr(plan.method, "opt", None), plan.method.name)
    ways = ways_of(cells, values["weights"])
    folder = RunFolder(named, values, config.layout, retry, ways=ways, new=not config.output)
    kept = folder.tally.explanations
    try:
        shares = work_in(
            folder,
            cells,
            values,
            words,
            progress_of(given),
            again=f"--resume {folder.path} goes on",
            notes=lambda adapter: _effective(adapter, plan),
        )
    except Stopped as stop:
        return stop.code
    if kept:
        note(f"{kept} explanations were finished before")
    show(closing(folder))
    for line in answers(folder):
        note(line)
    note(shares)
    end(folder.path, write_page(folder.path, fetch=True) if folder.shards is None else None)
    return 0


def output_name(*what: Any) -> str:
    """The folder of a run that is given none: the time, and what it is of."""
    return "Output/" + "-".join(str(p) for p in (time.strftime("%Y-%m-%d_%H-%M-%S"), *what) if p)


def _effective(adapter: Adapter, plan: Plan) -> dict[str, Any]:
    """What the settings come to on this model."""
    from igos.data.references import source
    from igos.methods.ingredients import ingredients_of

    effective = getattr(plan.method, "effective", dict)
    compared: dict[str, Any] = {}
    if "references" in ingredients_of(plan.method):
        compared = {"references": source(adapter, plan.run.references, plan.run.data)[1]}
    return {"score": plan.score, **compared, **effective()}


def _resumed(flags: dict[str, Any]) -> dict[str, Any]:
    """The flags with those of the run that --resume names. Raises ConfigError where there is none."""
    from igos.results.read import read_run

    folder = flags.pop("resume")
    if folder is None:
        return flags
    if "output" in flags or "config" in flags:
        raise ConfigError("--resume DIR goes on with the settings and in the folder of that run; leave the others out")
    read_run(folder, [])  # what is damaged is told when the folder is opened
    return {**flags, "config": str(Path(folder) / "run.yaml"), "output": folder}
