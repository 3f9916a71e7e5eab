"""What a run's folder holds (igos.results.folder), read. What cannot be read is a ConfigError; nothing is changed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.inside import explanation, inside
from igos.base.names import ARRAYS_FILE
from igos.base.reading import each_line, read_bytes, read_text
from igos.base.untrusted import load_json, load_yaml
from igos.results import arrays as stored
from igos.results.arrays import Wanted, every
from igos.results.rows import checked
from igos.results.shards import Shards
from igos.types import ConfigError

BEFORE = {"weights": ""}  # keys that a version added to run.yaml -> what holds where a run.yaml lacks them


def read_rows(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of a run's folder; a last line that was torn is left out. Raises ConfigError without any."""
    return list(each_row(folder))


def each_row(folder: str | Path) -> Iterator[dict[str, Any]]:
    """read_rows, one after the other: a big run's need not fit the memory."""
    shards = Shards(Path(folder) / "shards")
    shards.open()
    yield from shards.rows()
    yield from (r for r in json_rows(Path(folder)) if r["folder"] not in shards.held)  # both, where a run was killed


def json_rows(folder: Path, strict: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of results.jsonl; where not strict, damaged ones are left out."""
    path = inside(folder, "results.jsonl")
    try:
        lines = [line.decode("utf-8", "replace") for line in each_line(path)]
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no results.jsonl; is it the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    while lines and not lines[-1]:
        lines.pop()
    for n, line in enumerate(lines):
        try:
            row = checked(load_json(line), whole=strict)
        except ValueError as error:
            if strict and (n < len(lines) - 1 or not isinstance(error, json.JSONDecodeError)):
                raise ConfigError(f"{path}, line {n + 1}: damaged ({error})") from None
        else:
            yield row


def read_run(folder: str | Path) -> dict[str, Any]:
    """The settings of a run's folder, its run.yaml. Raises ConfigError without any."""
    path = inside(folder, "run.yaml")
    try:
        values = load_yaml(read_text(path))
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no run.yaml; is it the folder of a run?") from None
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValueError as error:
        raise ConfigError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"{path}: damaged (no keys and values)")
    if "output" in values:
        raise ConfigError(f"{path}: names an output folder, as no run does; take that line out")
    for key, kind in (("metrics", list), ("set", list), ("record", dict)):
        if not isinstance(values.get(key) or kind(), kind):
            raise ConfigError(f"{path}: damaged ({key} is no {kind.__name__})")
    return values


def written_by(values: Mapping[str, Any]) -> str | None:
    """The version of igos that wrote a run.yaml, where it says so."""
    versions = (values.get("record") or {}).get("versions")
    version = versions.get("igos") if isinstance(versions, dict) else None
    return version if isinstance(version, str) else None


def read_arrays(
    run: str | Path, row: Mapping[str, Any], wanted: Wanted = every, needed: Sequence[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of the explanation of a row of the run, or those `wanted` by name (igos.results.arrays).

    Raises ConfigError if they are missing, damaged, said to lie outside the run's folder, or lack one that is needed.
    """
    if row.get("shard"):
        arrays = Shards(Path(run) / "shards").arrays(row, wanted)
    else:
        arrays = stored.unpacked(inside(run, f"{row['folder']}/{ARRAYS_FILE}"), wanted)
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        raise ConfigError(f"{run}/{row['folder']}: holds no {lacking[0]}; it was made by an older igos")
    return arrays


def intact(run: str | Path, row: Mapping[str, Any]) -> bool:
    """Whether a row's arrays are there as they were written."""
    if row.get("shard"):
        return Shards(Path(run) / "shards").intact(row)
    try:
        data = read_bytes(inside(run, f"{row['folder']}/{ARRAYS_FILE}"))
    except OSError:
        return False
    return zlib.crc32(data) == row["crc32"] if row.get("crc32") is not None else data[:2] == b"PK"


def folder_of(run: str | Path, row: Mapping[str, Any]) -> Path:
    """The folder of a row's explanation. Raises Outside where it is not within the run's folder."""
    return explanation(run, row["folder"])


def different(a: Mapping[str, Any], b: Mapping[str, Any], there: str, now: str, inside: str = "") -> str:
    """Which settings differ, in words; "" for none."""
    differences = []
    for key in {**a, **b}:
        one, other = a.get(key), b.get(key)
        if isinstance(one, dict) and isinstance(other, dict):
            differences.append(different(one, other, there, now, f"{inside}{key}."))
        elif one != other:
            differences.append(f"{inside}{key}: {one} {there}, {other} {now}")
    return "; ".join(filter(None, differences))
