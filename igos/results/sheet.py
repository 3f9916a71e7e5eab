"""A table as a CSV file that a spreadsheet opens and obeys nothing of."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from igos.base.terminal import plain

FORMULA = ("=", "+", "-", "@", "\t", "\r")  # what a spreadsheet would take for a formula


def sheet(rows: Sequence[Mapping[str, Any]], keys: Sequence[str] = ()) -> bytes:
    """The file's content, with a column for every key of some row; `keys` where there is no row."""
    columns = list(dict.fromkeys(k for row in rows for k in row)) or list(keys)
    return lines([dict(zip(columns, columns, strict=True)), *rows], columns)


def lines(rows: Sequence[Mapping[str, Any]], columns: Sequence[str]) -> bytes:
    """A line for each row."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writerows({k: _cell(v) for k, v in row.items()} for row in rows)
    return text.getvalue().encode(errors="backslashreplace")


def _cell(value: Any) -> Any:
    """A table's cell; a text that a spreadsheet would take for a formula begins with an apostrophe."""
    if not isinstance(value, str):
        return value
    return plain(f"'{value}" if value.startswith(FORMULA) else value)
