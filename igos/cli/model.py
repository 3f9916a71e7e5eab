"""`python -m igos model MODEL`: what a model is, how it reads a picture and what it sees there; a first model file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from igos.base.errors import ConfigError
from igos.base.settings import coerce
from igos.base.terminal import say
from igos.cli.flags import Parser, add_flags
from igos.run.settings import MODEL_OPTIONS, RUN_TYPES, Run

if TYPE_CHECKING:
    from igos.types import Adapter, Image, Target

ASKED = ("model_file", *MODEL_OPTIONS, "data", "threshold", "device")
MOST_ROWS = 20  # of the table


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos model",
        "What a model is, how it reads a picture, what it sees there, and how that compares with its own pipeline. "
        "--out writes a first model file for an ONNX file.",
        examples=[
            ("igos model yolov8n.onnx --data dog.jpg", "how the file is read, and what the network sees in a picture"),
            ("igos model my.onnx --out my.yaml", "a first model file, to be completed by hand"),
        ],
    )
    parser.add_argument("name", metavar="MODEL", help="a name of --list, a model file (.yaml) or an ONNX file")
    add_flags(parser, only=ASKED)
    parser.add_argument("--out", metavar="PATH", help="the model file to write, a .yaml")
    parser.add_argument(
        "--drawn", metavar="DIR", default="Output", help="where the pictures with their boxes go (default: Output)"
    )
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Print what is known of the model; draw what it sees in each picture of --data."""
    from igos.run.models import adapters, load_models

    found = adapters()
    flags = {k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in vars(given).items() if k in RUN_TYPES and v is not None}
    name = str(given.name)
    weights = flags.get("model_file", name)
    out = None if given.out is None else Path(given.out)
    if out is not None and (out.suffix not in (".yaml", ".yml") or out.exists()):
        raise ConfigError(
            f"--out {out}: " + ("exists already" if out.exists() else "a name that ends in .yaml is needed")
        )
    kind, _ = found.find(name)
    config = Run(**{"data": [], **flags, "model": name})
    try:
        adapter, _ = load_models(config)
    except ConfigError as error:
        text = None if out is None else found.unfinished(error, weights, out)
        if text is None or out is None:
            raise
        _write(out, text)
        raise ConfigError(f"{error}; {out} is begun: fill in what is marked `# needed`") from None
    say("\n".join(facts(adapter, kind, adapter.preset)))
    for path, stem in config.pictures() if config.data else []:
        image = adapter.read(path)
        seen = adapter.detect(image, adapter.threshold if config.threshold is None else config.threshold)
        say("\n".join(["", path, *views(adapter, image, seen, found.parity(adapter, image, seen))]))
        say(f"  drawn: {_draw(image, seen, Path(given.drawn), stem)}")
    if out is not None:
        text = found.draft(adapter, weights, out)
        _write(out, text)
        say(out)
        if "# guessed" in text:
            say(f"igos: {out}: look at what is marked `# guessed`", error=True)
    return 0


def _write(path: Path, text: str) -> None:
    from igos.base.files import write_bytes

    write_bytes(path, text.encode())


def facts(adapter: Adapter, kind: str, preset: str) -> list[str]:
    """What the model is, line by line."""
    from igos.types import classes_of

    labels = classes_of(adapter)
    shown = ", ".join(labels[:6]) + (", ..." if len(labels) > 6 else "")
    return [
        f"{adapter.name}: {kind}, preset {preset}, parts {', '.join(adapter.parts)}",
        f"  {len(labels)} class{'es' * (len(labels) != 1)}: {shown}",
        *(f"  {note}" for note in adapter.notes),
    ]


def views(adapter: Adapter, image: Image, seen: Sequence[Target], parity: Sequence[str]) -> list[str]:
    """How the picture was read, what is seen in it, which layer suits the first detection, how far others differ."""
    g = image.geometry
    (h0, w0), (h, w) = g.source, g.network
    y, x = g.offset
    lines = [f"  read: {w0} x {h0} px -> {w} x {h} px, scale {g.scale[1]:.3f} x {g.scale[0]:.3f}, offset {x:g}, {y:g}"]
    for t in seen[:MOST_ROWS]:
        place = "" if t.box is None else "  " + " ".join(f"{v:7.1f}" for v in g.to_source(t.box.float().cpu()).tolist())
        lines.append(f"  {t.name:20} {t.score:.3f}{place}")
    lines += [f"  and {len(seen) - MOST_ROWS} more"] if len(seen) > MOST_ROWS else []
    lines += [] if seen else ["  nothing with this threshold"]
    if seen:
        lines.append(f"  layer of {seen[0].name}: {_layer(adapter, image, seen[0])}")
    return [*lines, *(f"  {line}" for line in parity)]


def _layer(adapter: Adapter, image: Image, target: Target) -> str:
    try:
        return adapter.scorer([target]).feature_layers(image.pixels[None])[0]
    except ConfigError as error:
        return f"none ({error})"


def _draw(image: Image, found: Sequence[Target], folder: Path, stem: str) -> Path:
    """The picture with its boxes and names, as a PNG in the folder; its path."""
    from igos.base.files import write_bytes
    from igos.drawing.seen import seen

    boxed = [t for t in found if t.box is not None]
    boxes = [image.geometry.to_source(t.box.float().cpu()).tolist() for t in boxed if t.box is not None]
    path = folder / f"{stem}-seen.png"
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(path, seen(image.source, boxes, [f"{t.name} {t.score:.2f}" for t in boxed]))
    return path
