"""What a run's folder holds (igos.results.folder), read and compared with its checksums; nothing is changed.

What is damaged or missing is a ConfigError; or, for a caller who gives a list `damage`, a sentence in it, and is left
out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.inside import Outside, explanation, inside
from igos.base.names import ARRAYS_FILE
from igos.base.reading import MOST_TEXT, each_line, opened, read_bytes, read_text
from igos.base.seals import fits, is_sealed, unsealed
from igos.base.untrusted import crc32_of, load_json, load_yaml
from igos.results import arrays as stored
from igos.results.arrays import Wanted, every
from igos.results.rows import FILES, KEEP, NO_MAPS, checked
from igos.results.shards import Shards
from igos.types import ConfigError


def _texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) for v in value)


def _text(value: Any) -> bool:
    return isinstance(value, str)


KINDS: dict[str, tuple[str, Callable[[Any], bool]]] = {  # of what readers use of run.yaml, where it is there
    **dict.fromkeys(("metrics", "set"), ("a list of texts", _texts)),
    **dict.fromkeys(("record", "methods"), ("settings by name", lambda v: isinstance(v, dict))),
    **dict.fromkeys(
        ("model", "method", "shard", "layout", "keep", "results", "weights"), ("a text", lambda v: isinstance(v, str))
    ),
}
BEFORE = {
    "weights": "",
    "keep": "all",
}  # keys that a version added to run.yaml -> what holds where a run.yaml lacks them


def read_rows(folder: str | Path, damage: list[str] | None = None) -> list[dict[str, Any]]:
    """The rows of a run's folder; a last line that was torn is left out. Raises ConfigError without any."""
    return list(each_row(folder, damage))


def each_row(folder: str | Path, damage: list[str] | None = None) -> Iterator[dict[str, Any]]:
    """read_rows, one after the other: a big run's need not fit the memory."""
    shards = Shards(Path(folder) / "shards")
    shards.open(damage)
    yield from shards.rows()
    for row in json_rows(Path(folder), damage):
        if row["folder"] not in shards.held:  # it is in both, where a run was killed
            yield row


def json_rows(folder: Path, damage: list[str] | None = None, whole: bool = True) -> Iterator[dict[str, Any]]:
    """The lines of results.jsonl. whole: a row must be one that a run writes, or it is a ConfigError in any case."""
    path = inside(folder, "results.jsonl")
    try:
        lines = [line.decode("utf-8", "replace") for line in each_line(path)]
    except FileNotFoundError:
        raise ConfigError(f"{folder}: holds no results.jsonl; is it the folder of a run?") from None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None
    needed, torn = is_sealed(folder), bool(lines) and not lines[-1].endswith("\n")
    for n, line in enumerate(lines, 1):
        try:
            values = unsealed(load_json(line), needed)
        except ValueError as error:
            if torn and n == len(lines) and isinstance(error, json.JSONDecodeError) and error.msg != "Extra data":
                return  # torn, when the run was killed
            told = f"{path}, line {n}: damaged ({error})"
            if damage is None:
                raise ConfigError(told) from None
            damage.append(told)
            continue
        try:
            row = checked(values, whole)
        except ValueError as error:  # it is as it was written, and no run writes it
            told = f"{path}, line {n}: damaged ({error})"
            if damage is None or whole:
                raise ConfigError(told) from None
            damage.append(told)
        else:
            yield row


def read_run(folder: str | Path, damage: list[str] | None = None) -> dict[str, Any]:
    """The settings of a run's folder, its run.yaml. Raises ConfigError without any, and for what is no such file in any
    case; damage takes only that a file was changed.
    """
    path = inside(folder, "run.yaml")
    try:
        data = read_bytes(path, MOST_TEXT)
        values = load_yaml(data.decode("utf-8"))
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
    for key, (what, right) in KINDS.items():
        if values.get(key) is not None and not right(values[key]):
            raise ConfigError(f"{path}: damaged ({key} is not {what})")
    if fits(data) is False or (fits(data) is None and is_sealed(Path(folder))):
        told = f"{path}: has changed since the run wrote it (its seal does not fit)"
        if damage is None:
            raise ConfigError(told)
        damage.append(told)
    return {**values, "record": values.get("record") or {}}


def read_facts(run: str | Path, name: str, damage: list[str] | None = None) -> dict[str, Any]:
    """The values of a JSON file in a run's folder, as diversity.json; {} where there is none."""
    path = inside(run, name)
    try:
        return unsealed(load_json(read_text(path)), is_sealed(Path(run)))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        told = f"{path}: damaged ({error})"
        if damage is None:
            raise ConfigError(told) from None
        damage.append(told)
        return {}


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
    if row.get(KEEP):
        raise ConfigError(f"{run}: {NO_MAPS}")
    if row.get("shard"):
        arrays = Shards(Path(run) / "shards").arrays(row, wanted)
    else:
        arrays = stored.unpacked(inside(run, f"{row['folder']}/{ARRAYS_FILE}"), wanted, row.get("crc32"))
    lacking = [name for name in needed if name not in arrays]
    if lacking:
        raise ConfigError(f"{run}/{row['folder']}: holds no {lacking[0]}; it was made by an older igos")
    return {**arrays, "detail": stored.in_numbers(arrays["detail"])} if "detail" in arrays else arrays


def intact(run: str | Path, row: Mapping[str, Any]) -> bool:
    """Whether a row's arrays are there as they were written."""
    if row.get(KEEP):
        return True
    if row.get("shard"):
        return Shards(Path(run) / "shards").intact(row)
    try:
        if row.get("crc32") is None:
            return bool(stored.unpacked(inside(run, f"{row['folder']}/{ARRAYS_FILE}")))
        with opened(inside(run, f"{row['folder']}/{ARRAYS_FILE}")) as file:
            return crc32_of(file) == row["crc32"]
    except Outside:
        raise
    except (OSError, ConfigError):
        return False


def undrawn(run: str | Path, row: Mapping[str, Any]) -> list[str]:
    """Which pictures of a row's explanation are not there as they were written, and facts about its starts."""
    return [name for name, size in row.get(FILES, {}).items() if not _there(run, name, size)]


def _there(run: str | Path, name: str, size: int) -> bool:
    try:
        same = inside(run, name).stat().st_size == size
        return same and (not name.endswith(".json") or bool(read_facts(run, name)))
    except Outside:
        raise
    except (OSError, ConfigError):
        return False


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
