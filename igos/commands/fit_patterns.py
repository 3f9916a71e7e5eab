"""`python -m igos fit-patterns`: the patterns of a model from pictures, for the methods that go back through them."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from igos import pattern_files
from igos.commands.parts import MODEL_OPTIONS, Parser, adapters, add_flags, pick_device
from igos.data import find_pictures
from igos.patterns import Pattern, fit
from igos.presets import RUN_TYPES, coerce, lookup
from igos.types import Adapter, ConfigError, Image, ImageError

FLAGS = ("model", "model_file", *MODEL_OPTIONS, "data", "shuffle", "num_samples", "manual_seed", "device", "threads")


def _parser() -> argparse.ArgumentParser:
    parser = Parser(
        prog="igos fit-patterns",
        description="Fit the patterns of a model's layers on pictures, in one pass, for the pattern_* methods.",
        allow_abbrev=False,
    )
    add_flags(parser, only=FLAGS)
    parser.add_argument("--out", default=argparse.SUPPRESS, metavar="X", help="the file to write, a .safetensors")
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    return parser


def fit_patterns(words: Sequence[str]) -> int:
    """Reads every picture of --data once, writes --out, and tells how many units are dead and why."""
    given = vars(_parser().parse_args(words))
    flags = {k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in given.items() if k in RUN_TYPES}
    for key in ("model", "data", "out"):
        if not given.get(key):
            raise ConfigError(f"fit-patterns needs --{key} (see fit-patterns --help)")
    out = Path(given["out"])
    if out.suffix != ".safetensors" or out.is_dir():
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .safetensors")
    found = adapters()
    name = lookup(flags["model"], found.ADAPTERS, "model")
    pictures = find_pictures(
        flags["data"], flags.get("shuffle", False), flags.get("manual_seed", 0), flags.get("num_samples")
    )
    if flags.get("threads"):
        torch.set_num_threads(flags["threads"])
    options = {k: flags[k] for k in MODEL_OPTIONS if flags.get(k) not in (None, False)}
    adapter = found.load(name, flags.get("model_file"), pick_device(flags.get("device")), **options)
    images = _Images(adapter, [path for path, _ in pictures])
    patterns = fit(adapter, tqdm(images, unit="picture", total=len(pictures), disable=None, leave=False))
    pattern_files.write(out, adapter, patterns, images.read, given["half"])
    print(table(patterns))
    print(f"{out} ({out.stat().st_size / 1e6:.1f} MB, {images.read} pictures)")
    return 0


class _Images:
    """The pictures one after the other; one that cannot be read is told of and passed over, the last such raises."""

    def __init__(self, adapter: Adapter, paths: Sequence[str]) -> None:
        self.adapter, self.paths, self.read = adapter, paths, 0

    def __iter__(self) -> Iterator[Image]:
        for i, path in enumerate(self.paths):
            try:
                image = self.adapter.read(path)
            except ImageError as error:
                if not self.read and i == len(self.paths) - 1:
                    raise
                print(f"igos: unreadable: {error}", file=sys.stderr)
                continue
            self.read += 1
            yield image


def table(patterns: dict[str, Pattern]) -> str:
    """A line per layer: its estimator, samples, units and how many of them are dead, by sign; and the sum."""
    line = "{:44} {:9} {:>12} {:>6} {:>7} {:>5} {:>9}"
    lines = [line.format("layer", "estimator", "samples", "units", "unused", "flat", "negative")]
    for name, p in patterns.items():
        facts = (p.estimator, p.samples, len(p.values), p.unused, p.flat, p.negative)
        lines.append(line.format(name if len(name) <= 44 else f"...{name[-41:]}", *facts))
    units = sum(len(p.values) for p in patterns.values())
    dead = [sum(getattr(p, key) for p in patterns.values()) for key in ("unused", "flat", "negative")]
    return "\n".join([*lines, line.format("all", "", "", units, *dead)])
