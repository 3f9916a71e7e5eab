"""`python -m igos figure DIR ROW...`: pictures for slides of some rows of a run."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from igos.base.errors import ConfigError
from igos.base.terminal import say
from igos.cli.damage import add_strict, rows_of, tell
from igos.cli.flags import Parser


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos figure",
        "Draw an explanation for a slide: the picture, its map, only what the map marks, and the rest without it, each "
        "with its score. Nothing is explained anew, and the model is not needed.",
        examples=[
            ("igos figure OUT 1 3", "the first and the third row of OUT/results.csv"),
            ("igos figure OUT --out slides/", "every row"),
        ],
    )
    parser.add_argument("folder", metavar="DIR", help="the folder of a run that measured deletion and insertion")
    parser.add_argument("rows", metavar="ROW", nargs="*", help="numbers of rows, from 1 (default: all)")
    parser.add_argument("--out", metavar="DIR", default="figures", help="where they are drawn (default: figures)")
    add_strict(parser)
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Draw the rows; print a path for each."""
    folder, out, damage = Path(given.folder), Path(given.out), list[str]()
    wrong = next((text for text in given.rows if not text.isdecimal() or int(text) < 1), None)
    if wrong is not None:
        raise ConfigError(f"ROW {wrong}: the number of a row is needed, from 1")
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out}: is not a folder")
    rows = rows_of(folder, damage)
    tell(damage, given.strict)
    numbers = [int(text) for text in given.rows] or [n for n, row in enumerate(rows, 1) if row["folder"]]
    for n in numbers:
        if n > len(rows):
            raise ConfigError(f"ROW {n}: {folder} has {len(rows)} rows")
        if not rows[n - 1]["folder"]:
            raise ConfigError(f"ROW {n}: {rows[n - 1]['status']}, there is no map ({rows[n - 1]['error'] or '-'})")
    from igos.base.files import safe_name, write_bytes
    from igos.base.settings import colormap_of
    from igos.cli.report import read_picture
    from igos.drawing import figures, files
    from igos.metrics import build_metrics
    from igos.results.again import again
    from igos.results.page_content import checked_picture, pictures_of
    from igos.results.read import read_run

    values = read_run(folder, [])
    metrics, _ = build_metrics([m for m in values.get("metrics") or () if m != "none"], values.get("set") or ())
    figures.use_colours(colormap_of(values.get("set") or ()))
    hashes = {path: {sha256} for path, sha256 in pictures_of(folder, values).items()}
    for n in numbers:
        row = rows[n - 1]
        checked_picture(row["image"], hashes)
        data = files.figure(again(folder, row, read_picture(row["image"]), metrics))
        if data is None:
            raise ConfigError(f"ROW {n}: deletion and insertion were not measured; add them to --metrics")
        path = out / f"{n:03}-{safe_name(Path(row['image']).stem)}-{safe_name(row['name'])}.png"
        out.mkdir(parents=True, exist_ok=True)
        write_bytes(path, data)
        say(path)
    return 0
