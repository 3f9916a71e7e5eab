"""Commands that learn something of a model from pictures and write it to a file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from igos.base.errors import ConfigError
from igos.base.settings import coerce
from igos.base.terminal import say, status
from igos.cli.flags import add_flags, add_progress, progress_of
from igos.run.settings import MODEL_OPTIONS, RUN_TYPES, Run

if TYPE_CHECKING:
    from igos.data.images import Images

LEARNING = ("model", "model_file", *MODEL_OPTIONS, "data", "shuffle", "num_samples", "manual_seed", "device", "threads")


def add_learning_flags(parser: argparse.ArgumentParser) -> None:
    """The flags of the model and the pictures, --out FILE and --pbar."""
    add_flags(parser, only=LEARNING)
    add_progress(parser)
    parser.add_argument("--out", metavar="PATH", help="the file to write, a .safetensors")
    parser.set_defaults(model=None, data=None)


def pictures_to_learn(given: argparse.Namespace, command: str) -> tuple[Images, Path]:
    """The pictures, and the file to write; of a folder that `igos split` made the estimation set is taken.

    Raises ConfigError for what is missing or no name of such a file.
    """
    for key in ("model", "data", "out"):
        if not getattr(given, key):
            raise ConfigError(f"{command} needs --{key} (see --help)")
    out = Path(given.out)
    if out.suffix != ".safetensors" or out.is_dir():
        raise ConfigError(f"--out {out}: the name of a file is needed that ends in .safetensors")
    status(f"loading {given.model}")
    import torch

    from igos.data.images import Images
    from igos.data.pictures import part_of
    from igos.run.models import adapters, load_models

    flags = {k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in vars(given).items() if k in RUN_TYPES}
    adapters().find(flags["model"])
    config = Run(**{**flags, "data": [str(part_of(path, "estimation")) for path in flags["data"]]})
    paths = config.pictures()
    if config.threads:
        torch.set_num_threads(config.threads)
    return Images(load_models(config)[0], [path for path, _ in paths], progress_of(given)), out


def warn_unreadable(images: Images) -> None:
    for error in images.unreadable[:5]:
        say(f"igos: unreadable: {error}", error=True)
