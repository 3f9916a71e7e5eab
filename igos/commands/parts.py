"""What the commands share: flags that refuse in one line, the detectors package, models, the device, the record."""

from __future__ import annotations

import argparse
import difflib
import platform
import re
import shlex
import signal
import sys
import threading
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields, replace
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, NoReturn, get_args

import torch
import torchvision

import igos
from igos import resources
from igos.config import Plan
from igos.data import Images, part_of
from igos.engines import Engine, Processes
from igos.manifest import digest, identity
from igos.presets import RUN_TYPES, Run, coerce, lookup, read_preset
from igos.results import RunFolder
from igos.types import Adapter, ConfigError
from igos.work import Worker

MODEL_OPTIONS = ("cfg", "names", "dataset", "input_size", "fit", "pretrained")  # flags that belong to a model


def adapters() -> ModuleType:
    """The project's own `detectors` package. Raises ConfigError if another one is in its place."""
    import detectors

    if not hasattr(detectors, "ADAPTERS"):
        place = getattr(detectors, "__file__", None) or list(detectors.__path__)
        raise ConfigError(f"a package named 'detectors' at {place} hides igos's own; remove it")
    return detectors


class Parser(argparse.ArgumentParser):
    """One line per mistake, and near names for a flag that is not known."""

    def error(self, message: str) -> NoReturn:
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            near = difflib.get_close_matches(unknown[1], self._option_string_actions, n=2)
            message = f"unknown argument {unknown[1]}" + (f"; did you mean {' or '.join(near)}?" if near else "")
        raise ConfigError(f"{message} (see --help)")


def add_flags(parser: argparse.ArgumentParser, leave_out: Collection[str] = (), only: Collection[str] = ()) -> None:
    """A flag for every field of Run (but those left out; or only some), and --debug; what is not given is absent."""
    for f in (f for f in fields(Run) if f.name not in leave_out and (not only or f.name in only)):
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
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")


def add_progress(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pbar", action="store_true", help="show progress also where no terminal looks on")


def pick_model(flags: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The flags with the model's name, and with its samples where no pictures are named; the model's preset."""
    found = adapters()
    model = flags.get("model") or preset_value(flags, "model")
    if model is None and any(k in flags for k in (*MODEL_OPTIONS, "model_file")):
        raise ConfigError("no model: these flags belong to one; give --model NAME (see --list)")
    name = lookup(str(model or found.DEFAULT), found.ADAPTERS, "model")
    family = found.ADAPTERS[name]
    made = {**flags, "model": name}
    if family.samples and "data" not in flags and not preset_value(flags, "data"):
        made["data"] = [str(resources.folder("samples") / family.samples)]
    return made, family.preset


LEARNING = ("model", "model_file", *MODEL_OPTIONS, "data", "shuffle", "num_samples", "manual_seed", "device", "threads")


def pictures_to_learn(words: Sequence[str], parser: argparse.ArgumentParser) -> tuple[argparse.Namespace, Images]:
    """Of a command that learns something of a model from pictures and writes it: its words, and the pictures.

    The parser gets the flags of the model and the pictures, --out FILE and --pbar; of a folder that `igos split` made
    the estimation set is taken.
    """
    add_flags(parser, only=LEARNING)
    add_progress(parser)
    parser.add_argument("--out", metavar="X", help="the file to write, a .safetensors")
    parser.set_defaults(model=None, data=None)
    given = parser.parse_args(words)
    for key in ("model", "data", "out"):
        if not getattr(given, key):
            raise ConfigError(f"{str(parser.prog).removeprefix('igos ')} needs --{key} (see --help)")
    given.out = Path(given.out)
    if given.out.suffix != ".safetensors" or given.out.is_dir():
        raise ConfigError(f"--out {given.out}: the name of a file is needed that ends in .safetensors")
    flags = {k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in vars(given).items() if k in RUN_TYPES}
    found = adapters()
    flags["model"] = lookup(flags["model"], found.ADAPTERS, "model")
    config = Run(**{**flags, "data": [str(part_of(place, "estimation")) for place in flags["data"]]})
    paths = config.pictures()
    if config.threads:
        torch.set_num_threads(config.threads)
    return given, Images(load_models(config)[0], [path for path, _ in paths], given.pbar or None)


def tell_unreadable(images: Images) -> None:
    for error in images.unreadable[:5]:
        print(f"igos: unreadable: {error}", file=sys.stderr)


def preset_value(flags: Mapping[str, Any], key: str) -> Any:
    """What the preset that the flags name says of key, or None."""
    return read_preset(flags["config"]).get(key) if flags.get("config") else None


def load_models(config: Run) -> tuple[Adapter, Adapter | None]:
    """The model that is explained and the judge, if there is one, on the run's device."""
    found, device = adapters(), pick_device(config.device)
    options = {k: getattr(config, k) for k in MODEL_OPTIONS if getattr(config, k) not in (None, False)}
    judge = None
    if config.judge:
        its: dict[str, Any] = {"cfg": config.judge_cfg} if config.judge_cfg else {}
        its.update({"pretrained": True} if config.pretrained and not config.judge_file else {})
        its.update({"names": config.names} if config.judge_cfg and config.names else {})
        name = lookup(config.judge, found.ADAPTERS, "model")
        try:
            judge = found.load(name, config.judge_file, device, **its)
        except ConfigError as error:
            raise ConfigError(f"--judge {config.judge}: {error}") from error
    return found.load(config.model, config.model_file, device, **options), judge


def warn(rows: Sequence[Mapping[str, Any]]) -> None:
    """What did not go well, at most five lines of each kind."""
    for row in [r for r in rows if r["error"]][:5]:
        print(f"igos: {row['status']}: {row['error']}", file=sys.stderr)
    for warning in list(dict.fromkeys(r["warning"] for r in rows if r["warning"]))[:5]:
        print(f"igos: warning: {warning}", file=sys.stderr)


def tell_opened(folder: RunFolder) -> None:
    """What a person should know of a folder before the work begins."""
    if not folder.alone:
        told = f"no locks are known where {folder.path} lies; let no other run work in it"
        print(f"igos: warning: {told}", file=sys.stderr)
    if folder.damaged:
        first = ", ".join(folder.damaged[:3]) + ", ..." * (len(folder.damaged) > 3)
        shards = sum("/" not in name for name in folder.damaged)
        counts = {"explanation": len(folder.damaged) - shards, "shard": shards}
        few = " and ".join(f"{n} {what}{'s' * (n > 1)}" for what, n in counts.items() if n)
        print(f"igos: warning: damaged, and made again: {few} ({first})", file=sys.stderr)


def close(folder: RunFolder) -> None:
    """After an error: the rows so far, or nothing at all of a new run that has come to nothing."""
    if folder.begun:
        with suppress(OSError, ConfigError):  # the disk may be full
            folder.finish()
    else:
        folder.discard()


def record(adapter: Adapter, words: Sequence[str]) -> dict[str, Any]:
    """What run.yaml notes beside the settings; not read back."""
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
    }


def pick_device(name: str | None) -> torch.device:
    """The named device or the GPU of that number, else a GPU if there is one, else the CPU.

    Raises ConfigError if it is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(int(name) if name.isdecimal() else name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each backend refuses in its own way
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"--device {name}: not available here ({reason})") from None
    return device


class Terminated(KeyboardInterrupt):
    """SIGTERM, which is what a scheduler sends."""


@contextmanager
def terminable() -> Iterator[None]:
    """SIGTERM raises Terminated, as Ctrl-C raises KeyboardInterrupt."""

    def stop(*_: Any) -> NoReturn:
        raise Terminated("terminated")

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def weights_of(config: Run) -> str:
    """What tells the run's model, and its judge, from others of the same name: the bytes of their files."""
    model = _digests(config.model, [config.model_file, config.cfg, config.names])
    judge = _digests(config.judge, [config.judge_file, config.judge_cfg]) if config.judge else []
    downloaded = torchvision.__version__ if config.pretrained else None
    return identity(model, judge, downloaded)


def _digests(model: str | None, named: Sequence[str | None]) -> list[str | None]:
    """Of the files named, in their places; without weights among them, those that the model comes with."""
    found = adapters().ADAPTERS
    own = [] if named[0] else found[lookup(str(model), found, "model")].files(str(model))
    return [digest(f) if f and Path(f).is_file() else None for f in (*named, *own)]


def apart(config: Run) -> bool:
    """Whether the run's networks are at work in processes of their own."""
    return config.engine != "local" or config.workers is not None or config.timeout is not None


def engine_of(plan: Plan, weights: str) -> Engine:
    """The engine that the run's flags ask for."""
    config = plan.run
    make = partial(make_worker, plan, weights)
    if config.engine == "ray":
        from igos.ray_engine import Cluster  # an extra

        gpus = 0.0 if config.device == "cpu" and config.num_gpus is None else config.num_gpus
        return Cluster(make, config.workers, config.timeout, config.threads, config.num_cpus, gpus)
    return Processes(make, config.workers or 1, config.timeout, config.threads)


def make_worker(plan: Plan, weights: str, number: int) -> Worker:
    """The worker of that number, with models of its own: on several GPUs, each takes the next one."""
    config = plan.run
    if config.device is None and torch.cuda.device_count() > 1:
        config = replace(config, device=str(number % torch.cuda.device_count()))
    adapter, judge = load_models(config)
    return Worker(replace(plan, run=config), adapter, judge, weights)
