"""A run's folder looked over before anything in it is changed: it may have come from anyone."""

from __future__ import annotations

from pathlib import Path

from igos.base.files import FOLDER_NAMES
from igos.base.inside import explanation, files, inside, tree
from igos.results.manifest import Manifest
from igos.results.read import json_rows

MASKS = ("feat_masks", "input_masks")  # folders beside those of the pictures


def look_over(folder: Path) -> None:
    """Raises Outside where something that a run reads, writes or removes there leads out of the folder, or is no plain
    file or folder. What else lies in the folder is never touched, and not looked at.
    """
    for name in (*FOLDER_NAMES, ".lock"):
        inside(folder, name)
    files(folder, pattern=".*.tmp")
    manifest = Manifest.as_found(folder)
    names = {*manifest.due, *manifest.lines}
    rows = json_rows(folder, [], whole=False) if (folder / "results.jsonl").is_file() else ()
    names |= {(row["folder"] or row["item"] or "").partition("/")[0] for row in rows}
    for name in sorted(names - {""}):
        explanation(folder, name)
        for _ in tree(folder, name):
            pass
    for name in ("shards", *MASKS):
        for _ in tree(folder, name):
            pass
