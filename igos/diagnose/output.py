"""What a diagnosis leaves: diagnosis.json, objects.csv and objects.parquet, written as the facts stream by."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from igos.base.files import whole
from igos.base.inside import inside
from igos.base.names import ARRAYS_FILE, FACTS_FILE
from igos.base.reading import each_line
from igos.base.seals import sealed, unsealed
from igos.base.untrusted import load_json
from igos.diagnose import words
from igos.diagnose.choose import Chosen, Key
from igos.results import parquet
from igos.results.read import each_row
from igos.results.sheet import lines
from igos.types import ConfigError

COLUMNS = (
    "image", "kind", "outcome", "reason", "label", "name", "score", "box", "iou", "partner", "object", "context",
    "interaction", "object_drop", "context_drop", "question", "verdict", "folder", "sentence", "range",
    "substrate_dependent", "object_logodds", "context_logodds", "interaction_logodds",
)  # fmt: skip
TEXTS = {"image", "kind", "outcome", "reason", "name", "box", "partner", "question", "verdict", "folder", "sentence"}
PART = 5000  # rows of a table that are held at once
Answers = Mapping[Key, tuple[Chosen, Mapping[str, Any]]]


def facts_of(folder: Path, names: frozenset[str] | None = None) -> Iterator[dict[str, Any]]:
    """The facts of a diagnosis, picture by picture, each once. names: of the pictures that are settled. Raises
    ConfigError where the facts of one of these are lost.
    """
    path, seen = inside(folder, FACTS_FILE), set[str]()
    if not path.is_file():
        return
    for line in each_line(path):
        try:
            facts = unsealed(load_json(line.decode("utf-8")))
            name = str(facts["name"])
        except (ValueError, KeyError):
            continue  # torn, when the run was killed
        if name not in seen and (names is None or name in names):
            seen.add(name)
            yield facts
    if names is not None and (lost := len(names - seen)):
        raise ConfigError(f"{path}: damaged: what was seen in {lost} pictures is lost; diagnose in a new folder")


def seen_in(rows: Iterable[Mapping[str, Any]]) -> Iterator[str]:
    """The names of the pictures that were looked at, from the rows of a diagnosis."""
    return (r["item"] for r in rows if r["status"] == "ok")


def folders_of(folder: Path) -> set[str]:
    """The folders of the explanations of a run; none where there is no run yet."""
    return {r["folder"] for r in each_row(folder) if r["folder"]} if (folder / "results.jsonl").is_file() else set()


def rows_of(facts: Mapping[str, Any], answers: Answers) -> Iterator[dict[str, Any]]:
    """The rows of a picture's detections and objects, by COLUMNS."""
    for kind, records in (("detection", facts["detections"]), ("object", facts["objects"])):
        for n, r in enumerate(records):
            place = n if kind == "detection" else r["place"]
            chosen, row = answers.get(Key(facts["name"], kind, place), (None, {}))
            partner = f"object {r['partner']}" if kind == "detection" else f"detection {r['partner']}"
            rival = r.get("rival")
            told = words.of_answer(kind, r, row) if row else words.of_record(kind, r)
            made = {
                **{k: r.get(k) for k in COLUMNS},
                "image": facts["path"],
                "kind": kind,
                "box": " ".join(f"{v:g}" for v in r["box"]),
                "partner": partner if r["partner"] is not None else rival and f"{rival['name']} {rival['score']:.2f}",
                "question": words.question(r, row),
                "verdict": row.get("verdict"),
                "folder": f"explained/{row['folder']}" if row.get("folder") else None,
                "sentence": told,
            }
            yield made


def write_tables(folder: Path, every: Iterable[Mapping[str, Any]]) -> None:
    """objects.csv, and objects.parquet where pyarrow is installed, part by part."""
    writer = _Parquet(inside(folder, "objects.parquet")) if find_spec("pyarrow") else None
    with whole(inside(folder, "objects.csv"), within=folder) as temporary, temporary.open("wb") as file:
        file.write(lines([dict(zip(COLUMNS, COLUMNS, strict=True))], COLUMNS))
        part: list[Mapping[str, Any]] = []
        for row in every:
            part.append(row)
            if len(part) == PART:
                _flush(file, writer, part)
                part = []
        _flush(file, writer, part)
    if writer is not None:
        writer.close()


def _flush(file: Any, writer: _Parquet | None, part: Sequence[Mapping[str, Any]]) -> None:
    file.write(lines([{k: r[k] for k in COLUMNS} for r in part], COLUMNS))
    if writer is not None:
        writer.add(part)


class _Parquet:
    """A table written part by part; whole, or not there."""

    def __init__(self, path: Path) -> None:
        import pyarrow as pa
        import pyarrow.parquet as pq

        def kind(name: str) -> Any:
            if name in TEXTS:
                return pa.string()
            return {"label": pa.int64(), "substrate_dependent": pa.bool_()}.get(name, pa.float64())

        self._path, self._half = path, path.with_name(f".{path.name}.part")
        self._schema = pa.schema([(name, kind(name)) for name in COLUMNS])
        self._writer = pq.ParquetWriter(self._half, self._schema)

    def add(self, rows: Sequence[Mapping[str, Any]]) -> None:
        if rows:
            self._writer.write_table(parquet.table(rows, self._schema))

    def close(self) -> None:
        self._writer.close()
        self._half.replace(self._path)


def plain_json(values: Mapping[str, Any]) -> bytes:
    """A file of JSON with its seal."""
    return (json.dumps(sealed(values), indent=1, allow_nan=False) + "\n").encode()


def cards(answered: Sequence[tuple[Chosen, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """What each explained error shows, in the order of its group."""
    made = []
    for chosen, row in answered:
        kind = "object" if chosen.key.kind == "object" else "detection"
        made.append(
            {
                "id": "-".join(str(k) for k in chosen.key),
                "group": chosen.group,
                "image": chosen.path,
                "name": chosen.record["name"],
                "question": words.question(chosen.record, row),
                "verdict": row.get("verdict"),
                "status": row.get("status"),
                "sentence": words.of_answer(kind, chosen.record, row),
                "heat_own": row.get("heat_own"),
                "heat_leak": row.get("heat_leak"),
                "heat_elsewhere": row.get("heat_elsewhere"),
                "folder": f"explained/{row['folder']}",
                "picture": f"explained/{row['folder']}/overlay.png",
                "arrays": f"explained/{row['folder']}/{ARRAYS_FILE}",
            }
        )
    return made
