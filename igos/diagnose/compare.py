"""Two diagnoses compared: which errors went, and which came."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from igos.base.boxes import iou
from igos.base.files import write_bytes
from igos.base.inside import inside
from igos.diagnose.outcomes import FALSE
from igos.results import page
from igos.types import ConfigError

FILE = "diagnosis.json"
SAME_BOX = 0.5  # the IoU from which two errors of a class in one picture are one


def is_diagnosis(folder: Path) -> bool:
    return (folder / FILE).is_file()


def compare(old: Path, new: Path, out: Path) -> str:
    """Write the page of what changed from one diagnosis to the next; answers a line. Raises ConfigError for folders
    that hold none.
    """
    before, after = errors(old), errors(new)
    gone, came = _without(before, after), _without(after, before)
    kinds = sorted({_kind(e) for e in (*before, *after)})
    counts = [Counter(map(_kind, rows)) for rows in (before, after)]
    content = {
        "title": f"{old.resolve().name} and {new.resolve().name}",
        "names": [old.resolve().name, new.resolve().name],
        "kinds": [[k, counts[0][k], counts[1][k]] for k in kinds],
        "lists": [["Errors that went", gone], ["Errors that came", came]],
    }
    write_bytes(out, page.render_plain("changes.html", content).encode("utf-8", "replace"))
    went = f"{len(gone)} error{'s' * (len(gone) != 1)} went, {len(came)} came"
    return f"{went}, {len(before) - len(gone)} stayed"


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


def _without(rows: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those of the rows that have no counterpart, one for one, among the others."""
    left: dict[tuple[str, ...], list[Mapping[str, Any]]] = {}
    for other in others:
        left.setdefault(_place(other), []).append(other)
    alone = []
    for row in rows:
        alike = left.get(_place(row), [])
        near = [iou(row["corners"], o["corners"]) for o in alike]
        best = max(range(len(near)), key=near.__getitem__, default=None)
        if best is None or near[best] < SAME_BOX:
            alone.append(row)
        else:
            alike.pop(best)
    return alone


def _place(row: Mapping[str, Any]) -> tuple[str, ...]:
    return Path(row["image"]).name, row["kind"], row["name"]
