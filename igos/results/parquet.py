"""All rows of a run as one table for other tools: results.parquet, written with pyarrow (pip install "igos[shards]").

A column of COLUMNS has the same type in every run, whether any row has a value or not. Another column holds numbers,
whole numbers or truth values where all its values are such, else texts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any

from igos.base.files import whole
from igos.results.rows import FIELDS, FILES, KEEP

FILE = "results.parquet"
AT_ONCE = 1000  # rows that are in memory together
Row = Mapping[str, Any]


def known() -> bool:
    """Whether pyarrow is there."""
    return find_spec("pyarrow") is not None


def prepare() -> None:
    """Import what `write` needs, which someone who ends a program should not wait for."""
    if known():
        import pyarrow.json
        import pyarrow.parquet  # noqa: F401


def write(path: Path, rows: Callable[[], Iterable[Row]]) -> None:
    """The table, whole or not at all. rows() gives all rows, and is called twice: they need not fit the memory."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = {"a text": pa.string(), "a whole number": pa.int64(), "four numbers": pa.list_(pa.float64())}
    columns: dict[str, Any] = {f.name: kinds.get(f.metadata["kind"], pa.float64()) for f in FIELDS}
    others: dict[str, set[str]] = {}
    for row in rows():
        for key in row.keys() - columns.keys() - {FILES, KEEP}:
            others.setdefault(key, set()).add(_kind(row[key]))
    made = {"nothing": pa.string(), "truth": pa.bool_(), "whole": pa.int64(), "number": pa.float64()}
    for key in sorted(others):
        kind = _common(others[key] - {"nothing"} or {"nothing"})
        columns[key] = made.get(kind, pa.string())
    schema = pa.schema(list(columns.items()))
    with whole(path, within=path.parent) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as file:
        for some in _chunks(rows()):
            plain = [
                {key: _plain(row.get(key), type_ == pa.string()) for key, type_ in columns.items()} for row in some
            ]
            file.write_table(table(plain, schema))


def table(rows: Sequence[Row], schema: Any) -> Any:
    """pyarrow's table of rows, each value None or such as its column takes. It is read from JSON: pyarrow.array asks
    pandas, where it is there, what kind of list it is given, and the import of that takes a second. Raises
    pyarrow's ArrowInvalid for a value that its column does not take.
    """
    import pyarrow as pa
    import pyarrow.json as reader

    if not rows:
        return pa.Table.from_batches([], schema)
    text = "\n".join(json.dumps({name: row.get(name) for name in schema.names}) for row in rows).encode()
    as_given = reader.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error")
    return reader.read_json(pa.BufferReader(text), reader.ReadOptions(block_size=len(text)), as_given)


def _chunks(rows: Iterable[Row]) -> Iterator[list[Row]]:
    waiting = iter(rows)
    while some := list(islice(waiting, AT_ONCE)):
        yield some


def _kind(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return "truth"
    if isinstance(value, int):
        return "whole" if abs(value) < 2**63 else "text"
    return "number" if isinstance(value, float) else "text"


def _common(kinds: set[str]) -> str:
    if len(kinds) == 1:
        return next(iter(kinds))
    return "number" if kinds == {"whole", "number"} else "text"


def _plain(value: Any, text: bool) -> Any:
    """A value as its column takes it: in one of texts what is none as JSON, and halves of characters as escapes."""
    if value is None or not text:
        return value
    shown = value if isinstance(value, str) else json.dumps(value)
    return shown.encode(errors="backslashreplace").decode()
