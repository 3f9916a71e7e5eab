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
from igos.commands.listing import listing
from igos.commands.parts import (
    Parser,
    add_flags,
    add_progress,
    close,
    load_models,
    pick_device,
    pick_model,
    record,
    warn,
)
from igos.commands.report import write_page
from igos.config import Plan, resolve
from igos.methods import needs_references
from igos.metrics import METRICS
from igos.references import source
from igos.results import RunFolder
from igos.run import run
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
    flags, preset = pick_model(flags)
    plan = resolve(flags, preset)
    config = plan.run
    if not config.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    config.pictures()
    for warning in plan.method.warnings():
        print(f"igos: warning: {warning}", file=sys.stderr)
    if config.threads:
        torch.set_num_threads(config.threads)
    pick_device(config.device)
    folder = RunFolder(config.output or _output_name(plan))
    try:
        adapter, judge = load_models(config)
        folder.write_run({**plan.as_preset(), "record": {**record(adapter, words), **_effective(adapter, plan)}})
        begin = time.perf_counter()
        share = run(plan, adapter, folder, progress, judge)
    except KeyboardInterrupt:
        if not folder.rows:
            folder.discard()
            raise
        folder.finish()
        print(f"igos: interrupted; {len(folder.rows)} finished rows in {folder.path}", file=sys.stderr)
        return 130
    except BaseException:
        close(folder)
        raise
    folder.finish()
    warn(folder.rows)
    print(table(folder.rows))
    print(f"{time.perf_counter() - begin:.1f} s, {share:.0%} of it inside the network")
    write_page(folder.path)
    print(folder.path)
    return 0


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The closing table: a line per explanation (at most 40), and the means."""
    curves = [m for m in METRICS if m.startswith(("deletion", "insertion")) and any(r.get(m) is not None for r in rows)]
    columns = ["score", *(curves or ["deletion", "insertion"])]
    columns += [key for key in ("evidence_share",) if any(r.get(key) is not None for r in rows)]
    widths = {key: max(len(key), 5) for key in columns}
    lines = [f"{'image':28} {'what':20} {' '.join(columns)} {'images':>6} {'s':>6}  status"]
    for r in rows[:40]:
        image = Path(r["image"]).name
        start = "" if r["start"] is None else f" #{r['start']}"
        numbers = [_figure(r[key], width) for key, width in widths.items()]
        pushed, seconds = _figure(r["network_images"], 6, 0), _figure(r["seconds"], 6, 1)
        what = f"{(r['name'] or '-')[: 20 - len(start)]}{start}"
        shown = image if len(image) <= 28 else f"...{image[-25:]}"
        lines.append(f"{shown:28} {what:20} {' '.join(numbers)} {pushed} {seconds}  {r['status']}")
    if len(rows) > 40:
        lines.append(f"... and {len(rows) - 40} more in results.csv")
    done = [r for r in rows if r["folder"]]
    means = [_figure(_mean([r[key] for r in done]), width) for key, width in widths.items()]
    return "\n".join([*lines, f"{'mean of ' + str(len(done)):49} {' '.join(means)}"])


def _mean(values: Sequence[float | None]) -> float | None:
    known = [v for v in values if v is not None]
    return sum(known) / len(known) if known else None


def _figure(value: float | None, width: int, digits: int = 3) -> str:
    if value is None:
        return "-".rjust(width)
    return f"{value:{width}.{2 if digits == 3 and width == 5 else digits}f}"


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
