"""The only reader and writer of a run's folder.

    run.yaml         the run as a preset: --config run.yaml repeats it, --resume FOLDER goes on with it
    manifest.jsonl   the pictures that are due and what was found in them (igos.manifest)
    results.jsonl    a row per explanation, written as soon as it is known; results.csv, the same at the end
    <folder>/        per explanation: explanation.npz (igos.arrays) and its pictures (igos.report)
    shards/          with layout "shards": finished explanations by the thousand, with their rows (igos.shards);
                     results.jsonl holds the other rows, results.parquet all of them at the end

`igos evaluate` adds metrics.csv, metrics.json and the mean curves; its folder can be opened again to go on with it.

Files are written under a temporary name and renamed; rows are appended whole, and a torn last line is cut off. A row
counts when its file is there and has its checksum. One process at a time works in a folder.
"""

from __future__ import annotations

import csv
import io
import json
import shutil
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from igos import arrays as stored
from igos.arrays import Wanted, every
from igos.arrays import write_arrays as write_arrays
from igos.checks import checked
from igos.files import Lock, append, write_bytes, writing
from igos.rows import ROW_KEYS as ROW_KEYS
from igos.rows import plain
from igos.rows import restored as restored
from igos.rows import row as row
from igos.shards import SIZE, Shards
from igos.tally import Tally
from igos.types import ConfigError
from igos.untrusted import load_json, load_yaml

RUN_FILES = ("run.yaml", "manifest.jsonl", "results.jsonl", "results.csv", "results.parquet")
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class RunFolder:
    """One run's folder, open for writing. Raises ConfigError if it cannot be written, holds another run, or another
    process works in it.

    resume: settings as for write_run; a folder that holds a run of just these is gone on with: rows whose files are
    whole are kept, the others are to be made again, and so are those with a status of `retry`. layout: folders or
    shards.
    """

    def __init__(
        self,
        path: str | Path,
        resume: Mapping[str, Any] | None = None,
        layout: str = "folders",
        retry: Sequence[str] = (),
    ) -> None:
        self.path = Path(path)
        self.rows: list[dict[str, Any]] = []
        self.tally = Tally()
        self.damaged: list[str] = []
        self._made: list[Path] = []
        self.shards: Shards | None = None
        again = resume is not None and (self.path / "run.yaml").is_file()
        try:
            self._made = [p for p in (self.path, *self.path.parents) if not p.exists()]
            if not again and any((self.path / name).exists() for name in RUN_FILES):
                raise ConfigError(f"--output {self.path}: holds the results of another run; choose a new folder")
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock = Lock(self.path / ".lock")
            if layout == "shards":
                self.shards = Shards(self.path / "shards")
            if again and resume is not None:
                self._reopen(resume, retry)
            else:
                (self.path / "results.jsonl").open("x").close()
        except FileExistsError:
            raise ConfigError(f"--output {self.path}: cannot be written (another run or a file is there)") from None
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"--output {self.path}: this folder cannot be written ({reason})") from None

    def _reopen(self, values: Mapping[str, Any], retry: Sequence[str]) -> None:
        there, now = read_run(self.path), load_yaml(_yaml(values))
        keys = [k for k in {**there, **now} if k != "record" and there.get(k) != now.get(k)]
        if keys:
            told = "; ".join(f"{k}: {there.get(k)} there, {now.get(k)} now" for k in keys)
            raise ConfigError(f"--output {self.path}: holds a run with other settings ({told}); choose a new folder")
        for file in (*self.path.glob("results.[cp]*"), *self.path.glob(".*.tmp"), *self.path.glob("shards/.*.tmp")):
            file.unlink(missing_ok=True)
        held: set[str] = set()
        if self.shards is not None:
            self.damaged += self.shards.open()
            for row in self.shards.rows():
                held.add(row["folder"])
                self.tally.add(row)
        for row in _json_rows(self.path, strict=False):
            if row["folder"] in held:  # it was taken into a shard, and then the run was killed
                shutil.rmtree(self.path / row["folder"], ignore_errors=True)
            elif row["status"] not in retry and self._valid(row):
                self.rows.append(row)
                self.tally.add(row)
                held.add(row["folder"] or "")
        self._write_rows()

    def _valid(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's arrays are there as they were written."""
        if not row["folder"]:
            return True
        try:
            data = (self.path / row["folder"] / stored.FILE).read_bytes()
        except OSError:
            data = b""
        whole = zlib.crc32(data) == row["crc32"] if row.get("crc32") is not None else data[:2] == b"PK"
        self.damaged += [] if whole else [row["folder"]]
        return whole

    @property
    def held(self) -> set[str]:
        """The folders of the explanations that are there."""
        return {r["folder"] for r in self.rows if r["folder"]} | (self.shards.held if self.shards else set())

    def write_run(self, values: Mapping[str, Any]) -> None:
        with writing(self.path):
            write_bytes(self.path / "run.yaml", _yaml(values).encode())

    def write_json(self, name: str, values: Any) -> None:
        write_bytes(self.path / name, (json.dumps(values, indent=1) + "\n").encode())

    def keep(self, row: Mapping[str, Any], data: bytes, files: Mapping[str, bytes] | None = None) -> None:
        """An explanation: the bytes of explanation.npz, other files by their path in the run's folder, and last the
        row, which says that they are whole.
        """
        with writing(self.path):
            if (self.path / row["folder"]).exists():  # of a run that was killed, or damaged
                shutil.rmtree(self.path / row["folder"], ignore_errors=True)
            for name, content in (files or {}).items():
                write_bytes(self.path / name, content)
            write_bytes(self.path / row["folder"] / stored.FILE, data)
        self.add({**row, "crc32": zlib.crc32(data)})
        with writing(self.path):
            self._pack(SIZE)

    def _pack(self, least: int) -> None:
        """Take the finished explanations into a shard, if there are at least so many."""
        if self.shards is None:
            return
        done = [r for r in self.rows if r["folder"]]
        if len(done) < least:
            return
        self.shards.write(done, [stored.unpacked(self.path / r["folder"] / stored.FILE, stored.kept) for r in done])
        self.rows = [r for r in self.rows if not r["folder"]]
        self._write_rows()
        for each in done:
            self.remove(each["folder"])

    def add(self, row: Mapping[str, Any]) -> None:
        """Append one row to results.jsonl; NaN and inf become null."""
        full = {key: plain(row.get(key)) for key in (*ROW_KEYS, *(k for k in row if k not in ROW_KEYS))}
        with writing(self.path):
            append(self.path / "results.jsonl", full)
        self.rows.append(full)
        self.tally.add(full)

    def _write_rows(self) -> None:
        lines = "".join(json.dumps(row, allow_nan=False) + "\n" for row in self.rows)
        write_bytes(self.path / "results.jsonl", lines.encode())

    def remove(self, name: str) -> None:
        """Take back an explanation's folder that got no row, and the folders that it leaves empty."""
        shutil.rmtree(self.path / name, ignore_errors=True)
        for parent in list((self.path / name).parents)[: len(Path(name).parts) - 1]:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()

    def write_csv(self, name: str, rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> None:
        """A table with a column for every key of some row; `keys` where there is no row."""
        text = io.StringIO()
        columns = list(dict.fromkeys(k for row in rows for k in row)) or list(keys)
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
        with writing(self.path):
            write_bytes(self.path / name, text.getvalue().encode(errors="backslashreplace"))

    def finish(self) -> None:
        """Write results.csv from the rows so far, boxes as four numbers between spaces; of shards results.parquet."""
        if self.shards is not None:
            with writing(self.path):
                self._pack(1)
                self.shards.finish(self.path / "results.parquet", self.rows)
            return
        boxes = (" ".join(f"{v + 0.0:g}" for v in row.get("box") or ()) for row in self.rows)  # no -0
        rows = [{**row, "box": box} for row, box in zip(self.rows, boxes, strict=True)]
        self.write_csv("results.csv", rows, ROW_KEYS)

    def close(self) -> None:
        """Let another process or object work in the folder."""
        self._lock.release()

    def discard(self) -> None:
        """Take back an empty run: the files written so far and the folders made for it."""
        for name in (*RUN_FILES, ".lock"):
            (self.path / name).unlink(missing_ok=True)
        for folder in self._made:
            try:
                folder.rmdir()
            except OSError:
                return


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's folder; a last line that was torn is left out. Raises ConfigError without any."""
    return list(each_row(folder))


def each_row(folder: str | Path) -> Iterator[dict[str, Any]]:
    """read_rows, one after the other: a big run's need not fit the memory."""
    if (Path(folder) / "shards").is_dir():
        shards = Shards(Path(folder) / "shards")
        shards.open()
        yield from shards.rows()
    yield from _json_rows(Path(folder))


def _json_rows(folder: Path, strict: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of results.jsonl; where not strict, damaged ones are left out."""
    path = folder / "results.jsonl"
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").rstrip("\n").split("\n")
    except OSError:
        raise ConfigError(f"{folder}: holds no results.jsonl; is it the folder of a run?") from None
    for n, line in enumerate(lines if lines != [""] else []):
        try:
            row = checked(load_json(line), whole=strict)
        except ValueError as error:
            if strict and (n < len(lines) - 1 or not isinstance(error, json.JSONDecodeError)):
                raise ConfigError(f"{path}, line {n + 1}: damaged ({error})") from None
        else:
            yield {**dict.fromkeys(ROW_KEYS), **row}


def read_run(folder: str | Path) -> dict[str, Any]:
    """The settings of a run's folder, its run.yaml. Raises ConfigError without any."""
    path = Path(folder) / "run.yaml"
    try:
        values = load_yaml(path.read_text(encoding="utf-8"))
    except OSError:
        raise ConfigError(f"{folder}: holds no run.yaml; is it the folder of a run?") from None
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: damaged (no keys and values)")
    return values


def read_arrays(
    run: str | Path, row: Mapping[str, Any], wanted: Wanted = every, needed: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of the explanation that a row of the run tells of, or those `wanted` by name (igos.arrays).

    Raises ConfigError if they are missing, damaged, said to lie outside the run's folder, or lack one that is needed.
    """
    if row.get("shard"):
        arrays = Shards(Path(run) / "shards").arrays(row, wanted)
    else:
        arrays = stored.unpacked(place(run, row) / stored.FILE, wanted)
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        raise ConfigError(f"{run}/{row['folder']}: holds no {lacking[0]}; it was made by an older igos")
    return arrays


def place(run: str | Path, row: Mapping[str, Any]) -> Path:
    """The folder of a row's explanation. Raises ConfigError where it is not within the run's folder."""
    made = (Path(run) / row["folder"]).resolve()
    if not made.is_relative_to(Path(run).resolve()):
        raise ConfigError(f"{run}/results.jsonl: {row['folder']!r} lies outside the run's folder")
    return made


def _cell(value: Any) -> Any:
    """A table's cell; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _yaml(values: Mapping[str, Any]) -> str:
    return yaml.safe_dump(dict(values), sort_keys=False, allow_unicode=True)
