"""`python -m igos split`: pictures in folders by class -> an estimation set and an attribution set."""

from __future__ import annotations

import argparse
import random
import shutil
from collections.abc import Sequence
from pathlib import Path

from igos.base.errors import ConfigError
from igos.base.files import whole
from igos.base.settings import coerce
from igos.base.terminal import say
from igos.cli.flags import Parser
from igos.data.pictures import SUFFIXES

DESCRIPTION = """Copy per_class pictures of each class into OUT/images/estimation/<class> and as many others into
OUT/images/attribution/<class>; annotations of the latter into OUT/annotations/attribution/<class>."""
SETS = ("estimation", "attribution")


def run(flags: argparse.Namespace, words: Sequence[str]) -> int:
    """Copy the pictures; print how many and where."""
    source, out, count = Path(flags.data), Path(flags.out), flags.per_class
    if count < 1:
        raise ConfigError(f"--per_class must be at least 1, got {count}")
    if not source.is_dir():
        raise ConfigError(f"--data {source}: no such folder")
    if (out / "images").exists():
        raise ConfigError(f"--out {out}: holds images already; choose a new folder")
    classes = {
        folder.name: sorted(p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES)
        for folder in sorted(source.iterdir())
        if folder.is_dir()
    }
    if not any(classes.values()):
        raise ConfigError(f"--data {source}: expected a folder of pictures per class below it")
    short = [name for name, pictures in classes.items() if len(pictures) < 2 * count]
    if short:
        raise ConfigError(
            f"--per_class {count}: class {short[0]} has {len(classes[short[0]])} pictures, both sets need {2 * count}"
            + (f" (and {len(short) - 1} more classes)" if len(short) > 1 else "")
        )
    for name, pictures in classes.items():
        drawn = random.Random(f"{flags.manual_seed}|{name}").sample(pictures, 2 * count)
        for part, chosen in zip(SETS, (drawn[:count], drawn[count:]), strict=True):
            for picture in chosen:
                _copy(picture, out / "images" / part / name / picture.name)
        for picture in drawn[count:] if flags.annotations else ():
            for place in (Path(flags.annotations) / name, Path(flags.annotations)):
                if (xml := place / f"{picture.stem}.xml").is_file():
                    _copy(xml, out / "annotations" / "attribution" / name / xml.name)
                    break
    say(f"{len(classes)} classes, {count} pictures of each in either set")
    say(out)
    return 0


def _copy(source: Path, target: Path) -> None:
    with whole(target) as path:
        shutil.copyfile(source, path)


def parser() -> argparse.ArgumentParser:
    parser = Parser("igos split", DESCRIPTION)
    parser.add_argument("--data", required=True, metavar="DIR", help="a folder with a folder of pictures per class")
    parser.add_argument("--out", required=True, metavar="DIR", help="where the two sets are made")
    parser.add_argument(
        "--per_class",
        type=lambda text: coerce("--per_class", text, int),
        default=10,
        metavar="N",
        help="pictures of each class in either set (default: 10)",
    )
    parser.add_argument("--annotations", metavar="DIR", help="XML files of Pascal VOC's form, by class or flat")
    parser.add_argument(
        "--manual_seed",
        type=lambda text: coerce("--manual_seed", text, int),
        default=0,
        metavar="N",
        help="seed of the draw (default: 0)",
    )
    return parser
