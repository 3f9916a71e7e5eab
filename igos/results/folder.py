"""The only writer of a run's folder, and with igos.results.read its only reader.

    run.yaml         the run as a preset: --config run.yaml repeats it, --resume FOLDER goes on with it
    manifest.jsonl   the pictures that are due and what was found in them (igos.results.manifest)
    results.jsonl    a row per explanation, written as soon as it is known; results.csv, the same at the end, and
                     results.parquet where pyarrow is there (igos.results.parquet)
    <folder>/        per explanation: explanation.npz (igos.results.arrays) and its pictures (igos.drawing)
    shards/          with layout "shards": finished explanations by the thousand, with their rows (igos.results.shards);
                     results.jsonl holds the other rows; there is no results.csv

`igos evaluate` adds metrics.csv, metrics.json and the mean curves; its folder can be opened again to go on with it.

Files are written under a temporary name and renamed; rows are appended whole, and a torn last line is cut off. Lines
and files have seals (igos.base.seals). A row counts when its line fits its seal, its id is that of the settings and of
the target, and its file is there and has its checksum. One process at a time works in a folder, and in that folder
alone: where it is moved away, nothing more is written.
"""

from __future__ import annotations

import json
import shutil
import zlib
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import accumulate, chain, islice
from pathlib import Path
from typing import Any

import yaml

from igos.base.files import RUN_FILES, Lock, append, ended, halves, line_of, numbered, write_bytes, writing
from igos.base.inside import explanation, inside
from igos.base.names import ARRAYS_FILE, FACTS_FILE
from igos.base.seals import sealed, sealed_text
from igos.base.untrusted import load_yaml
from igos.results import arrays as stored
from igos.results import parquet
from igos.results.expected import Expected
from igos.results.look_over import look_over
from igos.results.manifest import Manifest, Way
from igos.results.read import BEFORE, different, intact, json_rows, read_run, undrawn
from igos.results.rows import COLUMNS, FILES, KEEP, Tally, full_row, place_of
from igos.results.shards import MOST, SIZE, Shards, check_extra
from igos.results.sheet import sheet
from igos.types import ConfigError

EVIDENCE = "evidence_"  # columns of drawn scenes, left out of results.csv where nothing is known of evidence


class RunFolder:
    """One run's folder, open for writing. Raises ConfigError if it cannot be written, holds another run, leads out of
    itself (igos.base.inside), or another process works in it.

    resume: settings as for write_run; a folder that holds a run of just these is gone on with: rows whose files are
    whole are kept, the others are to be made again, and so are those with a status of `retry`. ways: how each folder
    within a target's is explained; a row of the manifest's targets with another id is not kept. layout: folders or
    shards. new: in place of a folder that is there, one with a number behind its name.

    begun: whether there is something to go on with; damaged: explanations and shards that were there and are not whole;
    foreign: explanations that other settings or another object made; notes: what else was damaged, in sentences;
    undrawn: rows whose pictures are not all there.
    """

    def __init__(
        self,
        path: str | Path,
        resume: Mapping[str, Any] | None = None,
        layout: str = "folders",
        retry: Sequence[str] = (),
        *,
        ways: Mapping[str, Way] | None = None,
        new: bool = False,
    ) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        self.tally = Tally()
        self.damaged: list[str] = []
        self.foreign: list[str] = []
        self.notes: list[str] = []
        self.undrawn: list[dict[str, Any]] = []
        self._ways = ways
        self._created: list[Path] = []
        self._loose: dict[str, int] = {}  # explanations that are in no shard yet, and the bytes of their arrays
        self._packing = False
        if layout == "shards":
            check_extra()
        try:
            self._created = [p for p in (self.path, *self.path.parents) if not p.exists()]
            if new:
                self.path = numbered(self.path)
                self._created = list(dict.fromkeys((self.path, *self._created)))
            self.shards = Shards(self.path / "shards") if layout == "shards" else None
            self._refuse_others(resume)
            look_over(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._place = _place(self.path)
            self._lock = Lock(inside(self.path, ".lock"))
            self._refuse_others(resume)
            self.again = self.begun = (self.path / "run.yaml").is_file()
            if self.again:
                self._reopen(resume or {}, retry)
                return
            if resume is not None:
                self.write_run(resume)
            (self.path / "results.jsonl").open("x").close()
        except FileExistsError:
            raise ConfigError(f"--output {self.path}: cannot be written (another run or a file is there)") from None
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"--output {self.path}: this folder cannot be written ({reason})") from None

    def _refuse_others(self, resume: Mapping[str, Any] | None) -> None:
        again = resume is not None and (self.path / "run.yaml").is_file()
        if not again and any((self.path / name).exists() for name in RUN_FILES):
            raise ConfigError(f"--output {self.path}: holds the results of another run; choose a new folder")

    @property
    def alone(self) -> bool:
        """Whether no other process can work in the folder; False where nobody can know."""
        return self._lock.works

    @contextmanager
    def writing(self) -> Iterator[None]:
        """What cannot be written is a ConfigError of one line; so is a folder that is not in its place any more."""
        if _place(self.path) != self._place:
            raise ConfigError(
                f"--output {self.path}: the folder was moved or removed while the run worked; nothing more is written"
            )
        with writing(self.path):
            yield

    def _reopen(self, values: Mapping[str, Any], retry: Sequence[str]) -> None:
        there, now = read_run(self.path, self.notes), load_yaml(_yaml(values))
        there |= {key: BEFORE[key] for key in BEFORE.keys() & now.keys() - there.keys()}
        differences = different({**there, "record": None}, {**now, "record": None}, "there", "now")
        if differences:
            raise ConfigError(
                f"--output {self.path}: holds a run with other settings ({differences}); choose a new folder"
            )
        for name in ("results.csv", "results.parquet"):
            (self.path / name).unlink(missing_ok=True)
        for file in (*halves(self.path), *halves(self.path / "shards")):
            file.unlink(missing_ok=True)
        manifest = Manifest.as_found(self.path)
        self.notes += [f"{manifest.path}, line {n}: damaged" for n in manifest.damaged]
        known = Expected(manifest, self._ways)

        def own(row: Mapping[str, Any]) -> bool:
            misfit = known.misfit(row)
            self.foreign += [str(place_of(row))] if misfit and place_of(row) not in self.foreign else []
            return not misfit

        if self.shards is not None:
            self.damaged += self.shards.mend(own)
            for row in self.shards.rows():
                self.tally.add(row)
        kept, packed = set[str](), self.shards.held if self.shards else frozenset[str]()
        (self.path / "results.jsonl").touch()  # a run that was killed as it began has none
        for row in json_rows(self.path, self.notes, whole=False):
            settled = place_of(row) or ""
            if settled in packed:  # it was taken into a shard, and then the run was killed
                self.remove(settled)
            elif row["status"] not in retry and settled not in kept and own(row) and self._valid(row):
                self._know(row)
                kept.update([settled] if settled else [])
        self._write_rows()

    def _valid(self, row: dict[str, Any]) -> bool:
        """Whether the files of the row are whole; what is not is remembered as damaged or undrawn."""
        whole = not row["folder"] or intact(self.path, row)
        self.damaged += [] if whole else [row["folder"]]
        self.undrawn += [row] if whole and undrawn(self.path, row) else []
        return whole

    @property
    def held(self) -> set[str]:
        """The folders of the explanations that are there."""
        return {r["folder"] for r in self.rows if r["folder"]} | (self.shards.held if self.shards else set())

    def first(self, count: int) -> list[dict[str, Any]]:
        """Some of the rows."""
        return list(islice(self._every(), count))

    def _every(self) -> Iterator[dict[str, Any]]:
        return chain(self.shards.rows() if self.shards else (), self.rows)

    def write_run(self, values: Mapping[str, Any]) -> None:
        self._write("run.yaml", sealed_text(_yaml(values)), durable=True)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        self._write(name, (json.dumps(sealed(values), indent=1) + "\n").encode())

    def _write(self, name: str, data: bytes, durable: bool = False) -> None:
        with self.writing():
            write_bytes(inside(self.path, name), data, durable, within=self.path)

    def keep(self, row: Mapping[str, Any], data: bytes, files: Mapping[str, bytes] | None = None) -> None:
        """An explanation: the bytes of explanation.npz (none: its row alone is kept), other files by their path in the
        run's folder, and last the row, which says that they are whole.
        """
        with self.writing():
            place = explanation(self.path, row["folder"])
            if place.exists():  # of a run that was killed, or damaged
                shutil.rmtree(place, ignore_errors=True)
            for half in [h for p in {inside(self.path, n).parent for n in files or ()} for h in halves(p)]:
                half.unlink()
        arrays = {f"{row['folder']}/{ARRAYS_FILE}": data} if data else {}
        for name, content in {**(files or {}), **arrays}.items():
            self._write(name, content)
        held = {"crc32": zlib.crc32(data)} if data else {KEEP: "rows"}
        self.add({**row, **held, **_sizes(files or {})})
        if self.shards is not None:
            with self.writing():
                self._pack()

    def draw(self, drawn: Iterable[tuple[str, Mapping[str, bytes]]]) -> None:
        """The pictures of explanations that are there, anew: (folder, the pictures by their path in the run's)."""
        sizes = {}
        for folder, files in drawn:
            for name, content in files.items():
                self._write(name, content)
            sizes[folder] = _sizes(files)
        self.rows = [{**row, **sizes.get(row["folder"], {})} for row in self.rows]
        self._write_rows()

    def _pack(self, rest: bool = False) -> None:
        """Take finished explanations into shards, where they fill one; rest: all of them."""
        assert self.shards is not None
        if self._packing:  # it was interrupted
            self.shards.open()
            self._drop(self.shards.held)
        self._packing = True
        while self._loose and (rest or len(self._loose) >= SIZE or sum(self._loose.values()) >= MOST):
            sizes = list(accumulate(self._loose.values()))
            count = 1 + bisect_left(sizes, MOST)
            names = set(list(self._loose)[: min(count, SIZE)])
            taken = [r for r in self.rows if r["folder"] in names]
            files = [inside(self.path, f"{r['folder']}/{ARRAYS_FILE}") for r in taken]
            self.shards.write(taken, [stored.unpacked(file, stored.kept) for file in files])
            for name in names:  # while their rows are there: whoever goes on removes what is left of them
                self.remove(name)
            self._drop(names)
            self._write_rows()
        self._packing = False

    def _drop(self, names: Collection[str]) -> None:
        self.rows = [r for r in self.rows if r["folder"] not in names]
        self._loose = {name: size for name, size in self._loose.items() if name not in names}

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row to results.jsonl; NaN and inf become null."""
        full = full_row(row)
        with self.writing():
            append(inside(self.path, "results.jsonl"), full)
            self._know(full)
        self.begun = True

    def tell(self, facts: Mapping[str, Any]) -> None:
        """Append what is known of a picture to FACTS_FILE; it is not kept in memory."""
        with self.writing():
            ended(inside(self.path, FACTS_FILE))
            append(inside(self.path, FACTS_FILE), facts)

    def _know(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        self.tally.add(row)
        if self.shards is not None and row["folder"] and not row.get(KEEP):
            self._loose[row["folder"]] = stored.size_of(inside(self.path, f"{row['folder']}/{ARRAYS_FILE}"))

    def recall(self) -> None:
        """After an interrupt: know the row that was written, if it fell between that and this, too. Not of shards."""
        for row in list(json_rows(self.path))[len(self.rows) :]:
            self._know(row)

    def _write_rows(self) -> None:
        self._write("results.jsonl", b"".join(map(line_of, self.rows)))

    def remove(self, name: str) -> None:
        """Take away an explanation's folder, and the folders that it leaves empty."""
        shutil.rmtree(explanation(self.path, name), ignore_errors=True)
        for parent in list((self.path / name).parents)[: len(Path(name).parts) - 1]:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> None:
        """A table with a column for every key of some row; `keys` where there is no row."""
        self._write(name, sheet(rows, keys))

    def finish(self) -> None:
        """Write results.csv from the rows so far, boxes as four numbers between spaces, not of shards; and where
        pyarrow is there, results.parquet.
        """
        with self.writing():
            if self.shards is not None:
                self._pack(rest=True)
            if parquet.known() and next(iter(self._every()), None) is not None:
                parquet.write(inside(self.path, parquet.FILE), self._every)
        if self.shards is not None:
            return
        boxes = (" ".join(f"{v + 0.0:g}" for v in row.get("box") or ()) for row in self.rows)  # no -0
        rows = [{**row, "box": box} for row, box in zip(self.rows, boxes, strict=True)]
        rows = [{k: v for k, v in row.items() if k not in (FILES, KEEP)} for row in rows]
        known = {k for row in rows for k, v in row.items() if v is not None or f"{k}_reason" in row}
        unasked = {k for k in COLUMNS if k.startswith(EVIDENCE)} - known if rows else set()
        rows = [{k: v for k, v in row.items() if k not in unasked} for row in rows]
        self.write_csv("results.csv", rows, COLUMNS)

    def close(self) -> None:
        """Let another process or object work in the folder."""
        self._lock.release()

    def discard(self) -> None:
        """Take back an empty run: the files written so far and the folders made for it."""
        for name in (*RUN_FILES, ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for folder in self._created:
            try:
                folder.rmdir()
            except OSError:
                return


def _place(path: Path) -> tuple[int, int] | None:
    """Which folder lies there; None without any."""
    try:
        there = path.stat()
    except OSError:
        return None
    return there.st_dev, there.st_ino


def _sizes(files: Mapping[str, bytes]) -> dict[str, Any]:
    return {FILES: {name: len(content) for name, content in files.items()}} if files else {}


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
