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
from igos.data.folders import visible
from igos.data.pictures import SUFFIXES

DESCRIPTION = """Copy per_class pictures of each class into OUT/images/estimation/<class> and as many others into
OUT/images/attribution/<class>; annotations of the latter into OUT/annotations/attribution/<class>. Links to folders
and pictures are followed; hidden files and folders are left out."""
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
        folder.name: [p for p in sorted(folder.iterdir()) if visible(p.name) and _is_picture(p)]
        for folder in sorted(source.iterdir())
        if folder.is_dir() and visible(folder.name)
    }
    if not any(classes.values()):
        raise ConfigError(f"--data {source}: expected a folder of pictures per class below it")
    short = [name for name, pictures in classes.items() if len(pictures) < 2 * count]
    if short:
        raise ConfigError(
            f"--per_class {count}: class {short[0]} has {len(classes[short[0]])} pictures, both sets need {2 * count}"
            + (f" (and {len(short) - 1} more classes)" if len(short) > 1 else "")
        )
    drawn = {
        name: random.Random(f"{flags.manual_seed}|{name}").sample(pictures, 2 * count)
        for name, pictures in classes.items()
    }
    known = _annotated(flags.annotations, drawn, count) if flags.annotations else []
    for name, pictures in drawn.items():
        for part, chosen in zip(SETS, (pictures[:count], pictures[count:]), strict=True):
            for picture in chosen:
                _copy(picture, out / "images" / part / name / picture.name)
    for xml, name in known:
        _copy(xml, out / "annotations" / "attribution" / name / xml.name)
    if flags.annotations and len(known) < count * len(classes):
        say(f"igos: warning: {count * len(classes) - len(known)} pictures have no annotations", error=True)
    say(f"{len(classes)} classes, {count} pictures of each in either set")
    say(out)
    return 0


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and path.is_file()


def _annotated(folder: str, drawn: dict[str, list[Path]], count: int) -> list[tuple[Path, str]]:
    """The XML files, with their class, of the pictures behind the first `count` of each class. Raises ConfigError
    where there is none, and for one that could be of several pictures.
    """
    known: dict[Path, str] = {}
    asked = [(p, name) for name, paths in drawn.items() for p in paths[count:]]
    for picture, name in asked:
        for xml in (Path(folder) / name / f"{picture.stem}.xml", Path(folder) / f"{picture.stem}.xml"):
            if xml.is_file():
                if known.setdefault(xml, name) != name:
                    of = f"a picture of {known[xml]} and one of {name} have this name"
                    raise ConfigError(f"--annotations {xml}: {of}; put it into a folder of its class")
                break
    if not known:
        example = f"{asked[0][0].stem}.xml, here or in a folder {asked[0][1]}"
        raise ConfigError(f"--annotations {folder}: no XML file of a picture of --data (looked for {example})")
    return list(known.items())


def _copy(source: Path, target: Path) -> None:
    with whole(target) as path:
        shutil.copyfile(source, path)


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos split",
        DESCRIPTION,
        examples=[("igos split --data imagenet/ --out parts/", "ten pictures of each class in either set")],
    )
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
