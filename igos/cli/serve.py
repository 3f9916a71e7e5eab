"""`python -m igos serve`: a page on this machine, where one picks a picture, clicks a box and watches the mask form."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from igos.base.errors import ConfigError
from igos.base.settings import coerce
from igos.cli.flags import MODEL, Parser, add_flags
from igos.run.settings import MODEL_OPTIONS, RUN_TYPES

ASKED = (
    "model_file", *MODEL_OPTIONS, "data", "annotations", "threshold", "part", "score", "method", "opt", "form", "size",
    "iterations", "ig_iter", "alpha", "L1", "L2", "layer", "stats", "references", "patterns", "metrics", "manual_seed",
    "output", "device", "threads", "batch", "max_memory", "precision", "set", "config",
)  # fmt: skip
FILES = ("model_file", "cfg", "names")  # of one model
AT_ONCE = True  # when it ends, the process does: to take torch apart takes longer than one waits after Ctrl-C


def parser() -> argparse.ArgumentParser:
    parser = Parser(
        "igos serve",
        "Serve a page on this machine: pick or drop a picture, click what the network sees, watch the mask form. It "
        "prints the page's address and serves until Ctrl-C; what was explained is then a run's folder.",
        (
            ("igos serve", "the bundled model on its samples"),
            ("igos serve --model my.yaml --data photos --open", "your model on your photos, in the browser at once"),
            ("igos serve --model a.yaml --model b.yaml --data photos", "two models side by side"),
        ),
        "The page needs the extra `serve`: pip install 'igos[serve]'.",
    )
    model, page = parser.group(MODEL), parser.group("page")
    model.add_argument(
        "--model", "--model_name", "-mn", action="append", metavar="NAME",
        help="what to explain, as for explain; several times to compare models (default: emblem-m-rcnn)",
    )  # fmt: skip
    add_flags(parser, only=ASKED)
    page.add_argument(
        "--host", default="127.0.0.1", metavar="ADDRESS", help="where to serve (default: 127.0.0.1, this machine alone)"
    )
    page.add_argument("--port", default="0", metavar="N", help="port (default: a free one)")
    page.add_argument("--token", metavar="TEXT", help="what the address must hold (default: a random one)")
    page.add_argument("--open", action="store_true", help="open the page in the browser")
    return parser


def run(given: argparse.Namespace, words: Sequence[str]) -> int:
    """Check the flags, load the models, serve."""
    port = coerce("--port", given.port, int)
    if not 0 <= port < 65536:
        raise ConfigError(f"--port {port}: a number from 0 to 65535 is needed")
    if given.token is not None and not (given.token.strip() and given.token.isprintable()):
        raise ConfigError("--token: a text is needed")
    flags: dict[str, Any] = {
        k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in vars(given).items() if k in ASKED and v is not None
    }
    models: list[str | None] = list(given.model or [None])
    owned = [k for k in FILES if flags.get(k)]
    if len(models) > 1 and owned:
        raise ConfigError(f"--{owned[0]} belongs to one model; of several, give model files (.yaml, see `igos model`)")
    try:
        from igos.serve.server import Place, serve
    except ImportError as error:
        if error.name not in ("starlette", "uvicorn", "multipart", "python_multipart"):
            raise
        raise ConfigError(f"{error.name} is not installed: pip install 'igos[serve]'") from None
    from igos.cli.report import read_picture
    from igos.cli.session import record

    data = flags.pop("data", None)
    place = Place(given.host, port, given.token, given.open)

    def note(device: str) -> dict[str, Any]:
        return record(SimpleNamespace(device=device), ["serve", *words], flags.get("annotations"))  # type: ignore[arg-type]

    return serve(flags, models, data, place, read_picture, note)
