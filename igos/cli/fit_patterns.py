"""`python -m igos fit-patterns`: the patterns of a model from pictures, for the methods that go back through them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING

from igos.base.terminal import say
from igos.cli.flags import Parser
from igos.cli.learning import add_learning_flags, pictures_to_learn, warn_unreadable

if TYPE_CHECKING:
    from igos.methods.backward.pattern_fit import Pattern


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos fit-patterns",
        "Fit the patterns of a model's layers on pictures, in one pass, for the pattern_* methods.",
        examples=[
            ("igos fit-patterns --model vgg16 --pretrained --data photos/ --out patterns.safetensors",
             "for igos --method pattern_net --patterns patterns.safetensors"),
        ],
    )  # fmt: skip
    parser.add_argument(
        "--negative", choices=("zero", "keep"), default="zero",
        help="units whose output falls as their signal rises: without a pattern, or with the one of the authors' code "
        "(default: zero)",
    )  # fmt: skip
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    add_learning_flags(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Read every picture of --data once, write --out, and tell how many units are dead and why."""
    images, out = pictures_to_learn(given, "fit-patterns")
    from igos.methods.backward import pattern_files
    from igos.methods.backward.pattern_fit import fit

    patterns = fit(images.adapter, images, given.negative)
    warn_unreadable(images)
    pattern_files.write(out, images.adapter, patterns, images.read, given.half)
    say(table(patterns))
    say(f"{out} ({out.stat().st_size / 1e6:.1f} MB, {images.read} pictures)")
    return 0


def table(patterns: dict[str, Pattern]) -> str:
    """A line per layer: its estimator, samples, units and how many have no pattern or a negative sign; and the sum."""
    line = "{:44} {:9} {:>12} {:>6} {:>7} {:>5} {:>9}"
    lines = [line.format("layer", "estimator", "samples", "units", "unused", "flat", "negative")]
    for name, p in patterns.items():
        facts = (p.estimator, p.samples, len(p.values), p.unused, p.flat, p.negative)
        lines.append(line.format(name if len(name) <= 44 else f"...{name[-41:]}", *facts))
    units = sum(len(p.values) for p in patterns.values())
    dead = [sum(getattr(p, key) for p in patterns.values()) for key in ("unused", "flat", "negative")]
    return "\n".join([*lines, line.format("all", "", "", units, *dead)])
