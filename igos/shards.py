"""Explanations by the thousand in one file: shards/<number>.safetensors, for runs of millions.

A shard holds the arrays of N explanations, `<n>/<array>`, and their rows as JSON in its metadata: whole in itself.
All rows together are results.parquet, written at the end with pyarrow (pip install "igos[shards]").
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from igos.arrays import Wanted, needed, with_source
from igos.checks import checked
from igos.files import whole, write_bytes
from igos.types import ConfigError
from igos.untrusted import load_json

SIZE = 1000  # explanations in one shard


class Shards:
    """The shards in a folder. held: the folders that their rows name, once they are open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.held: set[str] = set()
        self._files: list[Path] = []

    def open(self) -> list[str]:
        """Read which shards there are; answers the names of damaged ones, which are put aside."""
        damaged = []
        for file in sorted(self.path.glob("*.safetensors")):
            try:
                self.held.update(row["folder"] for row in _rows(file))
                self._files.append(file)
            except ConfigError:
                damaged.append(file.name)
                file.rename(file.with_suffix(".damaged"))
        return damaged

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all shards, each with the name of its shard and its place there."""
        for file in self._files:
            for n, row in enumerate(_rows(file)):
                yield {**row, "shard": file.name, "shard_index": n}

    def write(self, rows: Sequence[Mapping[str, Any]], arrays: Sequence[Mapping[str, np.ndarray]]) -> None:
        """One more shard, whole or not at all."""
        file = self._next()
        tensors = {
            f"{n:06}/{name}": np.ascontiguousarray(a) for n, each in enumerate(arrays) for name, a in each.items()
        }
        write_bytes(file, save(tensors, {"rows": json.dumps(list(rows), allow_nan=False)}))
        self._files.append(file)
        self.held.update(r["folder"] for r in rows)

    def take(self, file: Path, copy: Callable[[str, str], Any]) -> None:
        """A shard of another run, whole as it is."""
        self.path.mkdir(exist_ok=True)
        copy(str(file), str(self._next()))
        self.held.update(r["folder"] for r in _rows(file))
        self._files.append(self._next())

    def _next(self) -> Path:
        last = int(self._files[-1].stem) if self._files else 0
        return self.path / f"{last + 1:06}.safetensors"

    def arrays(self, row: Mapping[str, Any], wanted: Wanted) -> dict[str, np.ndarray]:
        """The arrays of a row of `rows`. Raises ConfigError for a shard that is missing or damaged."""
        file = self.path / Path(str(row["shard"])).name
        try:
            opened, names = _opened(file, file.stat().st_mtime_ns)
            own = {k.partition("/")[2]: k for k in names[f"{int(row['shard_index']):06}"]}
            return with_source({n: opened.get_tensor(k) for n, k in own.items() if needed(n, wanted)}, wanted)
        except (OSError, KeyError, ValueError, SafetensorError) as error:
            raise ConfigError(f"{file}: missing or damaged ({error})") from None

    def finish(self, table: Path, others: Sequence[Mapping[str, Any]]) -> None:
        """All rows, and others that are in no shard, as a parquet file, a shard's rows at a time."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        def chunks() -> Iterator[Any]:
            for file in self._files:
                yield [{**r, "shard": file.name, "shard_index": n} for n, r in enumerate(_rows(file))]
            if others:
                yield list(others)

        schemas = [pa.Table.from_pylist(rows).schema for rows in chunks()]
        schema = pa.unify_schemas(schemas, promote_options="permissive") if schemas else pa.schema([])
        with whole(table) as path, pq.ParquetWriter(path, schema, compression="zstd") as writer:
            for rows in chunks():
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def _rows(file: Path) -> list[dict[str, Any]]:
    try:
        with safe_open(file, "numpy") as opened:
            rows = load_json(opened.metadata()["rows"])
        if not isinstance(rows, list):
            raise ValueError("no rows")
        return [checked(row) for row in rows]
    except (OSError, KeyError, TypeError, ValueError, SafetensorError) as error:
        raise ConfigError(f"{file}: damaged ({error})") from None


@lru_cache(maxsize=4)
def _opened(file: Path, changed: int) -> tuple[Any, dict[str, list[str]]]:
    """An open shard, and the names of its arrays by explanation; `changed` tells versions apart."""
    opened = safe_open(file, "numpy").__enter__()
    names: dict[str, list[str]] = {}
    for key in opened.keys():  # noqa: SIM118
        names.setdefault(key.partition("/")[0], []).append(key)
    return opened, names
