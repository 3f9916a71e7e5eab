"""Fuzz targets for the folders of runs: made by strangers, with flipped bits, with hostile names, used by many threads.

Beside each folder lies a guarded one: whatever is done, not a byte in it may change. tests/fuzzing.py has the table.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image

from igos.base.files import safe_name
from igos.base.terminal import printable
from igos.cli import main
from igos.cli.damage import rows_of
from igos.results.manifest import Manifest
from igos.results.read import each_row, read_arrays, read_run
from igos.results.tables import table
from igos.types import ConfigError
from tests import damage
from tests.faults import Faulty, local, pictures
from tests.pages import toy_run
from tests.strangers import HOSTILE, contents, edited, guarded

READERS = ("report", "coco", "png", "fiftyone", "compare", "merge", "resume")


@lru_cache
def made_once(layout: str = "folders", whole: bool = False) -> Path:
    """The place of a run of two pictures and its data; one target is due, if it is not whole."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-run-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    with undrawn():
        local(pictures(place / "data", 2), place / "run", layout=layout)
    if not whole:
        lines = (place / "run" / "results.jsonl").read_bytes().splitlines(keepends=True)
        (place / "run" / "results.jsonl").write_bytes(b"".join(lines[:-1]))
        shutil.rmtree(place / "run" / "p001" / "1-right")
    return place


@lru_cache
def page_once() -> Path:
    """A run whose pictures are there, as a page shows it."""
    place = Path(tempfile.mkdtemp(prefix="fuzz-page-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    return toy_run(place / "run", 2)


def undrawn() -> Any:
    return mock.patch("igos.run.workers.worker.Worker._drawn", lambda self, made, every: [{} for _ in made])


@contextlib.contextmanager
def watched(folder: Path) -> Iterator[None]:
    """A guarded folder beside, of which no byte changes; nothing else comes to lie beside it."""
    guard = guarded(folder / "guard")
    before = contents(guard)
    try:
        yield
    finally:
        assert contents(guard) == before, "what lies outside the run's folder has changed"
        beside = {p.name for p in folder.iterdir()} - {"guard", "run", "other", "out", "out.json", "a.html", "data"}
        assert not beside, f"beside the run's folder: {beside}"


def use(what: str, folder: Path, data: Path) -> None:
    """What a user does with folder/run. Raises ConfigError where it is refused, in one line that a terminal shows."""
    run, out = folder / "run", folder / ("out.json" if what == "coco" else "out")
    if what == "resume":
        with undrawn():
            local(data, run)
        return
    words = {
        "report": ["report", str(run)],
        "compare": ["compare", str(run), str(folder / "other"), "--out", str(folder / "a.html")],
        "merge": ["merge", str(run), "--out", str(out)],
    }.get(what, ["export", str(run), "--format", what, "--out", str(out)])
    if what == "compare":
        shutil.copytree(page_once(), folder / "other")
    command(words)


def command(words: list[str]) -> None:
    out, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(error):
        code = main(words)
    told = error.getvalue()
    assert printable(told, "\n") == told and printable(out.getvalue(), "\n") == out.getvalue(), repr(told)
    last = [line for line in told.splitlines() if "warning" not in line]
    assert code in (0, 2) and len(last) == (code == 2) and all(line.startswith("igos: ") for line in last), told
    if code:
        raise ConfigError(last[0])


# --- made by strangers ---------------------------------------------------------------------------------

PLACES = ("..", "../..", ".", "", "/", "/etc", "p000/..", "p001/../../guard", "p001//../../guard/docs", "./p001/x",
          "../guard", "../guard/docs/0-left", "p001/./../../guard", "..\\guard", "C:\\x", "p001/\x1b[2J", "shards",
          "shards/x", ".lock", "results.jsonl", "run.yaml/x", "p001/" + "y" * 300, "p001/a\nb", "~", "~root",
          "p001/\ud800")  # fmt: skip


def stranger(seed: int, folder: Path) -> None:
    draw = random.Random(seed)
    what, base = draw.choice(READERS), draw.random()
    place = page_once() if base < 0.3 and what != "resume" else made_once() / "run"
    shutil.copytree(place, folder / "run")
    with watched(folder):
        if draw.random() < 0.5:
            with contextlib.suppress(OSError, ValueError):  # a change that the one before leaves no place for
                for how in draw.sample(sorted(HOSTILE), draw.choice((1, 1, 2))):
                    HOSTILE[how](folder / "run", folder / "guard")
        else:
            with contextlib.suppress(UnicodeError):
                _renamed(folder / "run", draw)
        before = contents(folder / "run")
        try:
            use(what, folder, place.parent / "data")
        except ConfigError as error:
            if "outside the run's folder" in str(error) or "symbolic link" in str(error):
                assert contents(folder / "run") == before, "changed before it was refused"
            raise


def _renamed(run: Path, draw: random.Random) -> None:
    """Names and paths of a stranger in rows and manifest."""
    name = draw.choice((*PLACES, *damage.TEXTS))
    key = draw.choice(("folder", "item", "image", "name", "method", "status", "error", "warning", "due", "targets"))

    def change(row: dict[str, Any]) -> dict[str, Any]:
        if key == "targets" and row.get("targets"):
            return {**row, "targets": [{**row["targets"][0], draw.choice(("folder", "name", "part")): name}]}
        return {**row, key: name} if key in row and draw.random() < 0.7 else row

    edited(run / draw.choice(("results.jsonl", "manifest.jsonl")), change)


# --- flipped bits -----------------------------------------------------------------------------------------


def flipped(seed: int, folder: Path) -> None:
    """One to three bits: what is read is what was written, or damage is named."""
    draw = random.Random(seed)
    place = made_once(draw.choice(("folders", "folders", "shards")), whole=True)
    shutil.copytree(place / "run", folder / "run")
    with watched(folder):
        files = [p for p in sorted((folder / "run").rglob("*")) if p.is_file() and p.name != ".lock"]
        files = [p for p in files if p.suffix in (".jsonl", ".yaml", ".npz", ".safetensors") and p.stat().st_size]
        path = draw.choice(files)
        data = bytearray(path.read_bytes())
        for _ in range(draw.choice((1, 1, 1, 2, 3))):
            data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        path.write_bytes(data)
        told: list[str] = []
        found = _all(folder / "run", told)
        assert told or found == _true(place / "run"), f"{path.name} passes with other content"
        if told:
            raise ConfigError(told[0])


def _all(run: Path, told: list[str]) -> Any:
    """Everything that a run's folder holds."""
    settings = read_run(run, told)
    rows = rows_of(run, told, whole=True)
    arrays = []
    for row in rows:
        if row["folder"]:
            try:
                arrays.append({n: a.tobytes() for n, a in read_arrays(run, row).items()})
            except ConfigError as error:
                told.append(str(error))
    manifest = Manifest.as_found(run)
    told += [f"line {n}" for n in manifest.damaged]
    return json.dumps([settings, rows, manifest.due, manifest.lines, manifest.of], default=str), arrays


@lru_cache
def _true(run: Path) -> Any:
    told: list[str] = []
    found = _all(run, told)
    assert not told, f"damage where there is none: {told}"
    return found


# --- hostile names ------------------------------------------------------------------------------------------

NAMES = ("\x1b]0;taken\x07", "\x1b[2J", "a\rb", "\x9b31m", "\u202egnp", "=1+1", "../../guard/docs", "\x00", "con",
         "...", "-rf", "\u2028", "\ufeff", "\x7f", "a" * 250, "é" * 120, "\udcff", " ", "<img src=x>", "$(id)",
         "`id`", "%s%n")  # fmt: skip


class Named(Faulty):
    """Two targets of any name."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.labels = names

    def fault(self, image: Any) -> str:
        return ""


def named(seed: int, folder: Path) -> None:
    """A run over a picture and classes of such names: its folders are tame, its table and its report too."""
    draw = random.Random(seed)
    labels = ["".join(draw.choice(NAMES) for _ in range(draw.choice((1, 1, 3)))) for _ in range(2)]
    labels = [n.replace("\0", "?") for n in labels]
    file = "".join(draw.choice(NAMES) for _ in range(2)).replace("\0", "").replace("/", "|").strip(".")[:60] or "a"
    with watched(folder):
        path = folder / "data" / f"{file}.png"
        path.parent.mkdir()
        few = np.random.default_rng(seed % 2**32).integers(0, 256, (4, 4, 3), dtype=np.uint8)
        PIL.Image.fromarray(few).resize((32, 32)).save(path)
        with undrawn():
            made = local(path.parent, folder / "run", adapter=Named(labels))
        for place in (folder / "run").rglob("*"):
            assert place.name == safe_name(place.name) or place.name == ".lock", place
            assert printable(place.name) == place.name
        told = table(made)
        assert printable(told, "\n") == told and told.count("\n") == 3, repr(told)
        text = (folder / "run" / "results.csv").read_bytes()
        assert not set(text) & {*range(9), 11, 12, *range(14, 32), 127}, text
        if draw.random() < 0.2:
            command(["report", str(folder / "run")])


# --- many threads ---------------------------------------------------------------------------------------------


def storm(seed: int, folder: Path) -> None:
    """Some do the same at the same time: one wins, the others are refused or do it too, and what is there is whole."""
    draw = random.Random(seed)
    acts = draw.choice((["png"], ["coco"], ["report"], ["resume"], ["png", "report", "rows"], ["rows", "resume"]))
    place = made_once() / "run"
    shutil.copytree(place, folder / "run")
    ended: list[BaseException | None] = []
    ready = threading.Barrier(draw.choice((2, 3, 4)))

    def act(what: str) -> None:
        try:
            ready.wait(5)
            _act(what, folder, place.parent / "data")
            ended.append(None)
        except BaseException as error:
            ended.append(error)

    with (
        watched(folder),
        undrawn(),
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()),
    ):
        threads = [threading.Thread(target=act, args=(draw.choice(acts),)) for _ in range(ready.parties)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    others = [e for e in ended if e is not None and not isinstance(e, ConfigError)]
    if others:
        raise others[0]
    assert None in ended, f"nobody won: {ended}"
    rows = list(each_row(folder / "run"))
    assert len({r["folder"] for r in rows}) == len(rows) >= 3
    for row in rows:
        read_arrays(folder / "run", row)
    assert not [p for p in folder.rglob("*.tmp") if p.is_file()], "half a file is left"


def _act(what: str, folder: Path, data: Path) -> None:
    from igos.cli.report import write_page
    from igos.results.exports import EXPORTS
    from igos.run.merge import merge

    run: Path = folder / "run"
    acts: dict[str, Callable[[], Any]] = {
        "png": lambda: EXPORTS["png"](run, folder / "out", list(each_row(run)), []),
        "coco": lambda: EXPORTS["coco"](run, folder / "out.json", list(each_row(run)), []),
        "report": lambda: write_page(run),
        "resume": lambda: local(data, run),
        "rows": lambda: list(each_row(run)),
        "merge": lambda: merge([run], folder / "out"),
    }
    acts[what]()
