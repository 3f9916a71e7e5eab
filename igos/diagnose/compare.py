"""Two diagnoses compared: which errors went, and which came."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.boxes import iou
from igos.base.files import write_bytes
from igos.base.inside import inside
from igos.base.seals import unsealed
from igos.base.untrusted import load_json
from igos.diagnose.outcomes import FALSE
from igos.results import page
from igos.results.read import each_row
from igos.types import ConfigError

FILE = "diagnosis.json"
SAME_BOX = 0.5  # the IoU from which two errors of a class in one picture are one


def is_diagnosis(folder: Path) -> bool:
    return (folder / FILE).is_file()


def compare(old: Path, new: Path, out: Path) -> str:
    """Write the page of what changed from one diagnosis to the next; answers a line. Raises ConfigError for folders
    that hold none.
    """
    seen = [pictures(folder) for folder in (old, new)]
    both, notes = seen[0] & seen[1], list[str]()
    names = {Path(p).name for p in seen[0]} & {Path(p).name for p in seen[1]}
    alone = [p for p in seen[0] ^ seen[1] if Path(p).name not in names]
    if alone:
        are = "picture is" if len(alone) == 1 else "pictures are"
        notes.append(f"{len(alone)} {are} in one of the two only, and left out")
    least = [threshold(folder) for folder in (old, new)]
    if least[0] != least[1]:
        notes.append(f"thresholds differ: {least[0]} and {least[1]}; at another one other detections are errors")
    before, after = ([e for e in errors(folder) if e["image"] not in alone] for folder in (old, new))
    gone, came = _without(before, after, both), _without(after, before, both)
    kinds = sorted({_kind(e) for e in (*before, *after)})
    counts = [Counter(map(_kind, rows)) for rows in (before, after)]
    content = {
        "title": f"{old.resolve().name} and {new.resolve().name}",
        "names": [old.resolve().name, new.resolve().name],
        "notes": notes,
        "kinds": [[k, counts[0][k], counts[1][k]] for k in kinds],
        "lists": [["Errors that went", gone], ["Errors that came", came]],
    }
    write_bytes(out, page.render_plain("changes.html", content).encode("utf-8", "replace"))
    went = f"{len(gone)} error{'s' * (len(gone) != 1)} went, {len(came)} came"
    return "; ".join([f"{went}, {len(before) - len(gone)} stayed", *notes])


def pictures(folder: Path) -> frozenset[str]:
    """The paths of the pictures that a diagnosis has looked at."""
    if not (is_diagnosis(folder) and inside(folder, "results.jsonl").is_file()):
        raise ConfigError(f"compare {folder}: holds no diagnosis; is it the folder of `igos diagnose`?")
    return frozenset(str(r["image"]) for r in each_row(folder) if r["status"] == "ok")


def threshold(folder: Path) -> float | None:
    """The least score of a detection of a diagnosis, None of one without a picture. Raises ConfigError for a file that
    is damaged.
    """
    path = inside(folder, FILE)
    try:
        least = unsealed(load_json(path.read_text(encoding="utf-8")))["threshold"]
        return None if least is None else float(least)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{path}: damaged ({error})") from None


def errors(folder: Path) -> list[dict[str, Any]]:
    """The false alarms and misses of a diagnosis. Raises ConfigError without any."""
    path = inside(folder, "objects.csv")
    if not path.is_file():
        raise ConfigError(f"compare {folder}: holds no diagnosis; is it the folder of `igos diagnose`?")
    with path.open(encoding="utf-8", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["outcome"] in (*FALSE, "missed")]
    try:
        return [{**row, "corners": np.array([float(v) for v in row["box"].split()])} for row in rows]
    except (ValueError, KeyError, AttributeError) as error:
        raise ConfigError(f"{path}: damaged ({error})") from None


def _kind(row: Mapping[str, Any]) -> str:
    return f"missed, {row['reason']}" if row["outcome"] == "missed" else str(row["outcome"])


def _without(
    rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], both: Container[str]
) -> list[Mapping[str, Any]]:
    """Those of the rows that have no counterpart, one for one, among the others. both: paths of pictures that both saw;
    others are the same where their names are, for a data set may have moved.
    """
    left: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for other in others:
        left.setdefault(_place(other, both), []).append(other)
    alone = []
    for row in rows:
        alike = left.get(_place(row, both), [])
        near = [iou(row["corners"], o["corners"]) for o in alike]
        best = max(range(len(near)), key=near.__getitem__, default=None)
        if best is None or near[best] < SAME_BOX:
            alone.append(row)
        else:
            alike.pop(best)
    return alone


def _place(row: Mapping[str, Any], both: Container[str]) -> tuple[str, ...]:
    return row["image"] if row["image"] in both else Path(row["image"]).name, row["kind"], row["name"]
