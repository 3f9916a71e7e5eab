"""`python -m igos [flags]`: load the model once, explain every picture, print a table and the folder."""

from __future__ import annotations

import argparse
import platform
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import torch

import igos
from igos import resources
from igos.commands.listing import listing
from igos.commands.parts import MODEL_OPTIONS, Parser, adapters, pick_device
from igos.config import Plan, resolve
from igos.data import find_pictures
from igos.methods import needs_references
from igos.presets import RUN_TYPES, Run, lookup, read_preset
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
    for f in fields(Run):
        names = [f"--{f.name}", *f.metadata.get("aliases", ())]
        text = f.metadata["help"].replace("%", "%%")
        choices = f.metadata.get("choices")
        text += f" {{{', '.join(choices)}}}" if choices else ""
        kinds = get_args(RUN_TYPES[f.name]) or (RUN_TYPES[f.name],)
        if RUN_TYPES[f.name] is bool:
            parser.add_argument(*names, dest=f.name, action="store_true", default=argparse.SUPPRESS, help=text)
        elif RUN_TYPES[f.name] == list[str] or list[str] in kinds:
            more: dict[str, Any] = {"nargs": "+", "action": "extend", "metavar": f.name.upper()}
            parser.add_argument(*names, dest=f.name, default=argparse.SUPPRESS, help=text, **more)
        else:
            parser.add_argument(*names, dest=f.name, default=argparse.SUPPRESS, help=text, metavar="X")
    parser.add_argument("--gpu-id", metavar="N", help="as --device cuda:N")
    parser.add_argument("--pbar", action="store_true", help="show progress also where no terminal looks on")
    parser.add_argument("--list", action="store_true", help="list models, methods, metrics and presets")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    parser.add_argument("--version", action="version", version=f"igos {igos.__version__}")
    return parser


def explain(words: Sequence[str]) -> int:
    """`python -m igos [flags]`: load the model once, explain every picture, print a table and the folder."""
    flags = vars(_parser().parse_args(words))
    if flags.pop("list"):
        print(listing())
        return 0
    flags.pop("debug")
    gpu, progress = flags.pop("gpu_id"), True if flags.pop("pbar") else None
    if gpu is not None:
        flags.setdefault("device", f"cuda:{gpu}")
    found = adapters()
    model = flags.get("model") or _preset_value(flags, "model")
    if model is None and any(k in flags for k in MODEL_OPTIONS + ("model_file",)):
        raise ConfigError("no model: these flags belong to one; give --model NAME (see --list)")
    name = lookup(str(model or found.DEFAULT), found.ADAPTERS, "model")
    family = found.ADAPTERS[name]
    if family.samples and "data" not in flags and not _preset_value(flags, "data"):
        flags["data"] = [str(resources.folder("samples") / family.samples)]
    plan = resolve({**flags, "model": name}, family.preset)
    config = plan.run
    if not config.data:
        raise ConfigError("no pictures: give --data FILE, FOLDER or PATTERN")
    find_pictures(config.data, subset=config.subset_file)
    for warning in plan.method.warnings():
        print(f"igos: warning: {warning}", file=sys.stderr)
    if config.threads:
        torch.set_num_threads(config.threads)
    device = pick_device(config.device)
    folder = RunFolder(config.output or _output_name(plan))
    try:
        options = {k: getattr(config, k) for k in MODEL_OPTIONS if getattr(config, k) not in (None, False)}
        adapter = found.load(name, config.model_file, device, **options)
        folder.write_run({**plan.as_preset(), "record": _record(adapter, plan, words)})
        begin = time.perf_counter()
        share = run(plan, adapter, folder, progress)
    except KeyboardInterrupt:
        if not folder.rows:
            folder.discard()
            raise
        folder.finish()
        print(f"igos: interrupted; {len(folder.rows)} finished rows in {folder.path}", file=sys.stderr)
        return 130
    except BaseException:
        if any(r["folder"] for r in folder.rows):
            folder.finish()
        else:
            folder.discard()
        raise
    folder.finish()
    for row in [r for r in folder.rows if r["error"]][:5]:
        print(f"igos: {row['status']}: {row['error']}", file=sys.stderr)
    for warning in list(dict.fromkeys(r["warning"] for r in folder.rows if r["warning"]))[:5]:
        print(f"igos: warning: {warning}", file=sys.stderr)
    print(table(folder.rows))
    print(f"{time.perf_counter() - begin:.1f} s, {share:.0%} of it inside the network")
    print(folder.path)
    return 0


def _preset_value(flags: Mapping[str, Any], key: str) -> Any:
    """What the preset that the flags name says of key, or None."""
    return read_preset(flags["config"]).get(key) if flags.get("config") else None


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The closing table: a line per explanation (at most 40), and the means."""
    columns = ["score", "deletion", "insertion"]
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


def _record(adapter: Adapter, plan: Plan, words: Sequence[str]) -> dict[str, Any]:
    """What run.yaml notes beside the settings; not read back."""
    effective = getattr(plan.method, "effective", dict)
    compared = {}
    if needs_references(plan.method):
        compared = {"references": source(adapter, plan.run.references, plan.run.data)[1]}
    return {
        "command": "igos " + shlex.join(words),
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "versions": {
            "igos": igos.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
        "device": str(adapter.device),
        "threads": torch.get_num_threads(),
        "score": plan.score,
        **compared,
        **effective(),
    }
