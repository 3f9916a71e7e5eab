"""`python -m igos estimate`: mean, spread and activity of a layer's features over pictures, into a file."""

from __future__ import annotations

from collections.abc import Sequence

from igos.base.names import PER
from igos.cli.flags import Parser
from igos.cli.learning import pictures_to_learn, tell_unreadable
from igos.methods.bottleneck.estimation import estimate as measure
from igos.methods.bottleneck.statistics import write_statistics
from igos.types import ConfigError

LEAST = 100  # pictures below which the user is told that they are few


def estimate(words: Sequence[str]) -> int:
    """`python -m igos estimate`: mean, spread and activity of a layer's features over pictures, into a file."""
    parser = Parser(prog="igos estimate", description=estimate.__doc__, allow_abbrev=False)
    parser.add_argument("--layer", required=True, help="the layer's name, or the end of it")
    parser.add_argument("--per", choices=PER, help="whose statistics; channel where pictures keep their aspect")
    parser.add_argument("--force", action="store_true", help="write over a file that is there")
    parser.set_defaults(shuffle=True, num_samples=1000)
    flags, images = pictures_to_learn(words, parser)
    if flags.out.exists() and not flags.force:
        raise ConfigError(f"--out {flags.out}: is there already; --force writes over it")
    made = measure(images.adapter, flags.layer, images, flags.per)
    tell_unreadable(images)
    write_statistics(flags.out, made)
    few = f"; fewer than {LEAST} pictures: expect a rough spread" if made.n < LEAST else ""
    shape = " x ".join(map(str, made.mean.shape))
    active = float(made.active.float().mean())
    print(f"{made.model}, layer {made.layer}: {shape} per {made.per}, {active:.0%} active, {made.n} pictures{few}")
    print(flags.out)
    return 0
