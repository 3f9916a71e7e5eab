"""`python -m igos fit-patterns`: the patterns of a model from pictures, for the methods that go back through them."""

from __future__ import annotations

from collections.abc import Sequence

from igos.cli.flags import Parser
from igos.cli.learning import pictures_to_learn, tell_unreadable
from igos.methods.backward import pattern_files
from igos.methods.backward.pattern_fit import Pattern, fit


def fit_patterns(words: Sequence[str]) -> int:
    """Reads every picture of --data once, writes --out, and tells how many units are dead and why."""
    parser = Parser(
        prog="igos fit-patterns",
        description="Fit the patterns of a model's layers on pictures, in one pass, for the pattern_* methods.",
        allow_abbrev=False,
    )
    parser.add_argument("--half", action="store_true", help="write float16, half the size")
    flags, images = pictures_to_learn(words, parser)
    patterns = fit(images.adapter, images)
    tell_unreadable(images)
    pattern_files.write(flags.out, images.adapter, patterns, images.read, flags.half)
    print(table(patterns))
    print(f"{flags.out} ({flags.out.stat().st_size / 1e6:.1f} MB, {images.read} pictures)")
    return 0


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
