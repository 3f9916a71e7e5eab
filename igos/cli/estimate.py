"""`python -m igos estimate`: mean, spread and activity of a layer's features over pictures, into a file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from igos.base.errors import ConfigError
from igos.base.names import PER
from igos.base.terminal import say
from igos.cli.flags import Parser
from igos.cli.learning import add_learning_flags, pictures_to_learn, warn_unreadable

LEAST = 100  # pictures below which the command says that they are few


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos estimate",
        "Mean, spread and activity of a layer's features over pictures, into a file.",
        examples=[
            ("igos estimate --model vgg16 --pretrained --layer features.17 --data photos/ --out stats.safetensors",
             "for igos --method iba --stats stats.safetensors"),
        ],
    )  # fmt: skip
    parser.add_argument(
        "--layer", metavar="NAME", help="the layer's name, or the end of it (default: that of the statistics that ship)"
    )
    parser.add_argument(
        "--per", choices=PER, help="whose statistics (default: channel where pictures keep their aspect, else neuron)"
    )
    parser.add_argument("--force", action="store_true", help="write over a file that exists")
    add_learning_flags(parser)
    parser.set_defaults(shuffle=True, num_samples=1000)
    for action in parser._actions:
        if action.dest in ("shuffle", "num_samples"):
            action.help = f"{action.help} (default: {str(parser.get_default(action.dest)).lower()})"
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Read the pictures, write the statistics, print what they are."""
    images, out = pictures_to_learn(given, "estimate")
    if out.exists() and not given.force:
        raise ConfigError(f"--out {out}: exists; --force writes over it")
    from igos.methods.bottleneck.estimation import estimate, shipped_layer
    from igos.methods.bottleneck.statistics import write_statistics

    layer = given.layer or shipped_layer(images.adapter.name)
    if layer is None:
        raise ConfigError(f"estimate needs --layer NAME: no statistics ship with {images.adapter.name}")
    made = estimate(images.adapter, layer, images, given.per)
    warn_unreadable(images)
    write_statistics(out, made)
    few = f"; fewer than {LEAST} pictures: expect a rough spread" if made.n < LEAST else ""
    shape = " x ".join(map(str, made.mean.shape))
    active = float(made.active.float().mean())
    say(f"{made.model}, layer {made.layer}: {shape} per {made.per}, {active:.0%} active, {made.n} pictures{few}")
    say(out)
    return 0
