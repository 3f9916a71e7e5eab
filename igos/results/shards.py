"""Explanations by the thousand in one file: shards/<number>.safetensors, for runs of millions.

A shard holds the arrays of N explanations, `<n>/<array>`, and in its metadata, as JSON, their rows and a checksum of
each array, and a seal of the whole header: whole in itself. All rows together are results.parquet, written at the end
(igos.results.parquet).
"""

from __future__ import annotations

import json
import math
import re
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from igos.base.files import whole
from igos.base.inside import files, inside
from igos.base.seals import SEAL, is_sealed
from igos.base.untrusted import MOST_BYTES, load_json
from igos.results import parquet
from igos.results.arrays import Wanted, kept, needed, with_source
from igos.results.rows import checked
from igos.types import ConfigError

SIZE, MOST = 1000, 256 * 2**20  # of one shard: explanations, and about so many bytes of arrays


class Damaged(ConfigError):
    """A shard that is not what was written; one that cannot be read just now is a ConfigError."""


class Shards:
    """The shards in a folder. held: the folders that their rows name, once they are open."""

    def __init__(self, path: Path) -> None:
        self.path = inside(path.parent, path.name)
        self.held: set[str] = set()
        self._files: list[Path] = []

    def files(self) -> list[Path]:
        """The shards' files. Raises Outside for what is no plain file."""
        return files(self.path.parent, self.path.name, "*.safetensors")

    def open(self, damage: list[str] | None = None) -> None:
        """Read which shards there are. damage: takes what is said of damaged ones, which are then left out; without it
        they raise Damaged.
        """
        self.held, self._files = set(), []
        for file in self.files():
            try:
                self._know(file, _rows(file))
            except Damaged as error:
                if damage is None:
                    raise
                damage.append(str(error))

    def mend(self, wanted: Callable[[Mapping[str, Any]], bool] = lambda row: True) -> list[str]:
        """Open them; damaged ones are put aside, and what is whole in them, and `wanted`, becomes another shard.
        Answers what is lost: the explanations' folders, or the name of a shard whose rows cannot be read.
        """
        self.held, self._files = set(), []
        lost, hurt = list[str](), list[Path]()
        for file in self.files():
            try:
                rows = _rows(file)
            except Damaged:
                lost.append(file.name)
                file.rename(file.with_suffix(".damaged"))
            else:
                sealed = _header_fits(file) is not None
                if sealed and all(wanted(r) and self.intact(r) for r in _placed(file, rows)):
                    self._know(file, rows)
                else:
                    hurt.append(file)
        for file in hurt:
            rows = [r for r in _placed(file, _rows(file)) if r["folder"] not in self.held]
            good = [r for r in rows if wanted(r) and self.intact(r)]
            if good:
                self.write([_unplaced(r) for r in good], [self.arrays(r, kept) for r in good])
            lost += [r["folder"] for r in rows if r["folder"] not in self.held and wanted(r)]
            file.rename(file.with_suffix(".damaged"))
        return lost

    def intact(self, row: Mapping[str, Any]) -> bool:
        """Whether a row's arrays are there as they were written."""
        try:
            self.arrays(row, kept)
        except Damaged:
            return False
        return True

    def _know(self, file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
        self._files.append(file)
        self.held.update(r["folder"] for r in rows)

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all shards, each with the name of its shard and its place there."""
        for file in self._files:
            yield from _placed(file, _rows(file))

    def write(self, rows: Sequence[Mapping[str, Any]], arrays: Sequence[Mapping[str, np.ndarray]]) -> None:
        """One more shard, whole or not at all, and on the disk."""
        file = self._next()
        tensors = {
            f"{n:06}/{name}": np.ascontiguousarray(a) for n, each in enumerate(arrays) for name, a in each.items()
        }
        sums = {name: zlib.crc32(a.data) for name, a in tensors.items()}
        metadata = {"rows": json.dumps(list(rows), allow_nan=False), "crc32": json.dumps(sums), SEAL: UNSEALED}
        data = save(tensors, metadata)
        head = _with_seal(data[: 8 + int.from_bytes(data[:8], "little")])
        with whole(file, durable=True, within=self.path.parent) as path, path.open("wb") as made:
            made.write(head)
            made.write(memoryview(data)[len(head) :])
        self._know(file, rows)

    def take(self, file: Path, copy: Callable[[str, str], Any]) -> None:
        """A shard of another run, whole as it is; one without a seal gets it."""
        rows = _rows(file)
        if _header_fits(file) is None:
            self.write(rows, [Shards(file.parent).arrays(r, kept) for r in _placed(file, rows)])
            return
        self.path.mkdir(exist_ok=True)
        made = self._next()
        copy(str(file), str(made))
        self._know(made, rows)

    def _next(self) -> Path:
        last = max((int(p.stem) for p in self.path.glob("[0-9]*.*") if p.stem.isdecimal()), default=0)
        return self.path / f"{last + 1:06}.safetensors"

    def arrays(self, row: Mapping[str, Any], wanted: Wanted) -> dict[str, np.ndarray]:
        """The arrays of a row of `rows`. Raises ConfigError for a shard that is missing, Damaged for one that is."""
        file = inside(self.path.parent, f"{self.path.name}/{Path(str(row['shard'])).name}")
        try:
            opened = _opened(file, file.stat().st_mtime_ns)
            own = {k.partition("/")[2]: k for k in opened.names[f"{int(row['shard_index']):06}"]}
            asked = {n: k for n, k in own.items() if needed(n, wanted)}
            size = sum(math.prod(opened.file.get_slice(k).get_shape()) for k in asked.values())
            if size > MOST_BYTES:
                raise ValueError(f"{size} numbers; {MOST_BYTES} are the most that is read")
            found = {n: opened.file.get_tensor(k) for n, k in asked.items()}
            for name, array in found.items():
                if zlib.crc32(np.ascontiguousarray(array).data) != opened.sums[own[name]]:
                    raise ValueError(f"{own[name]} has another checksum")
            return with_source(found, wanted)
        except FileNotFoundError:
            raise Damaged(f"{file}: missing or damaged") from None
        except OSError as error:
            raise ConfigError(f"{file}: cannot be read ({error.strerror or error})") from None
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise Damaged(_damage(file, error)) from None


def check_extra() -> None:
    """Raises ConfigError where what is written at the end would not be."""
    if not parquet.known():
        raise ConfigError('--layout shards needs pyarrow: pip install "igos[shards]"')


def _placed(file: Path, rows: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    for n, row in enumerate(rows):
        yield {**row, "shard": file.name, "shard_index": n}


def _unplaced(row: Mapping[str, Any]) -> dict[str, Any]:
    return {k: v for k, v in row.items() if k not in ("shard", "shard_index")}


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        _check_header(file)
        with safe_open(file, "numpy") as opened:
            rows = load_json(opened.metadata()["rows"])
        if not isinstance(rows, list):
            raise ValueError("no rows")
        return [checked(row) for row in rows]
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (KeyError, TypeError, ValueError, SafetensorError) as error:
        raise Damaged(_damage(file, error)) from None


HEADER_SEAL = re.compile(rf'"{SEAL}":"([0-9a-f]{{8}})"'.encode())  # of safetensors' JSON, which escapes inner quotes
UNSEALED, LONGEST = "0" * 8, 10**8  # bytes of a header, which safetensors too allows


def _seal_of(head: bytes, at: int) -> bytes:
    """The seal of a header, its length among it, whose own seal begins at that byte."""
    return f"{zlib.crc32(head[:at] + UNSEALED.encode() + head[at + 8 :]):08x}".encode()


def _with_seal(head: bytes) -> bytes:
    """A header, whose seal is not known yet, with it."""
    found = HEADER_SEAL.search(head)
    assert found is not None
    return head[: found.start(1)] + _seal_of(head, found.start(1)) + head[found.end(1) :]


def _header_fits(file: Path) -> bool | None:
    """Whether a file's header fits its seal; None where it has none. Raises OSError."""
    with file.open("rb") as opened:
        length = opened.read(8)
        head = length + opened.read(min(int.from_bytes(length, "little"), LONGEST))
    found = HEADER_SEAL.search(head)
    return None if found is None else _seal_of(head, found.start(1)) == found[1]


def _check_header(file: Path) -> None:
    """Raises ValueError where a header is not what was written."""
    fits = _header_fits(file)
    if fits is False or (fits is None and is_sealed(file.parents[1])):
        raise ValueError("its header does not fit its seal")


def _damage(file: Path, error: Exception) -> str:
    return f"{file}: damaged ({error}); igos --resume {file.parents[1]} makes its explanations again"


class _Open(NamedTuple):
    """An open shard, the names of its arrays by explanation, their checksums."""

    file: Any
    names: Mapping[str, list[str]]
    sums: Mapping[str, int]


@lru_cache(maxsize=4)
def _opened(file: Path, changed: int) -> _Open:
    """An open shard; `changed`: when the file was changed. Raises ValueError where its header was."""
    _check_header(file)
    opened = safe_open(file, "numpy").__enter__()
    names: dict[str, list[str]] = {}
    for key in opened.keys():  # noqa: SIM118
        names.setdefault(key.partition("/")[0], []).append(key)
    return _Open(opened, names, load_json(opened.metadata()["crc32"]))
