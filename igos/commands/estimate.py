"""`python -m igos estimate`: mean, spread and activity of a layer's features over pictures, into a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

from igos.commands.parts import MODEL_OPTIONS, Parser, adapters, pick_device
from igos.data import find_pictures, part_of
from igos.estimation import estimate as measure
from igos.presets import Run, coerce, lookup
from igos.statistics import PER, write_statistics
from igos.types import ConfigError

LEAST = 100  # pictures below which the user is told that they are few


def estimate(words: Sequence[str]) -> int:
    """`python -m igos estimate`: mean, spread and activity of a layer's features over pictures, into a file."""
    flags = _parser().parse_args(words)
    out = Path(flags.out)
    if out.suffix != ".safetensors":
        raise ConfigError(f"--out {out}: the file's name ends in .safetensors")
    if out.exists() and not flags.force:
        raise ConfigError(f"--out {out}: is there already; --force writes over it")
    found = adapters()
    name = lookup(flags.model or found.DEFAULT, found.ADAPTERS, "model")
    pictures = find_pictures([str(part_of(place, "estimation")) for place in flags.data], True, 0, flags.num_samples)
    options = {k: getattr(flags, k) for k in MODEL_OPTIONS if getattr(flags, k) not in (None, False)}
    adapter = found.load(name, flags.model_file, pick_device(flags.device), **options)
    made = measure(adapter, flags.layer, [path for path, _ in pictures], flags.per, True if flags.pbar else None)
    write_statistics(out, made)
    few = f"; fewer than {LEAST} pictures: expect a rough spread" if made.n < LEAST else ""
    shape = " x ".join(map(str, made.mean.shape))
    active = float(made.active.float().mean())
    print(f"{made.model}, layer {made.layer}: {shape} per {made.per}, {active:.0%} active, {made.n} pictures{few}")
    print(out)
    return 0


def _parser() -> Parser:
    parser = Parser(prog="igos estimate", description=__doc__, allow_abbrev=False)
    known = {f.name: f.metadata["help"].replace("%", "%%") for f in fields(Run)}
    parser.add_argument("--layer", required=True, help="the layer's name, or the end of it")
    parser.add_argument("--data", required=True, nargs="+", help="pictures, or a folder with images/estimation")
    parser.add_argument("--out", required=True, metavar="FILE.safetensors")
    parser.add_argument("--per", choices=PER, help="whose statistics; channel where pictures keep their aspect")
    for key in ("model", "model_file", "device", *MODEL_OPTIONS):
        if key == "pretrained":
            parser.add_argument(f"--{key}", action="store_true", help=known[key])
        else:
            kind = (lambda text: coerce("--input_size", text, int)) if key == "input_size" else str
            parser.add_argument(f"--{key}", type=kind, help=known[key], metavar="X")
    parser.add_argument("--num_samples", type=lambda text: coerce("--num_samples", text, int), default=1000,
                        help="take at most so many pictures, drawn at random; 1000", metavar="X")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.add_argument("--pbar", action="store_true", help="show progress also where no terminal looks on")
    parser.add_argument("--debug", action="store_true", help="show the trace of an error")
    return parser
