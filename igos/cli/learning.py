"""Commands that learn something of a model from pictures and write it to a file."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from igos.base.settings import coerce, lookup
from igos.cli.flags import add_flags, add_progress
from igos.data.images import Images
from igos.data.pictures import part_of
from igos.run.models import MODEL_OPTIONS, adapters, load_models
from igos.run.settings import RUN_TYPES, Run
from igos.types import ConfigError

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
