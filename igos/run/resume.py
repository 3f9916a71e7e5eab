"""A run's folder that another version of igos made: it is read by all, and gone on with by the version that made it."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from igos.base.names import VERSION
from igos.results.manifest import FILE as MANIFEST
from igos.results.manifest import Manifest
from igos.results.read import each_row, read_run, written_by
from igos.results.rows import place_of
from igos.run.cells import folders_of_run
from igos.types import ConfigError


def finished_by_another(folder: str | Path | None, retry: Collection[str] = ()) -> int | None:
    """How many explanations a folder holds that another minor version made and finished; None where this version works
    in the folder, or nobody has. retry: statuses of rows that are to be explained again.

    Raises ConfigError where something is due in a folder of another version.
    """
    if folder is None or not (Path(folder) / "run.yaml").is_file():
        return None
    folder = Path(folder)
    values = read_run(folder, [])  # whoever goes on says what is damaged
    version = written_by(values)
    if not another(version):
        return None
    rows = [row for row in each_row(folder) if row["status"] not in retry]
    settled = {name for row in rows if (name := place_of(row))}
    due = not (folder / MANIFEST).is_file()  # of 0.1.0's `igos evaluate`, which did not write what is due
    due = due or any(True for _ in Manifest(folder).items(settled, folders_of_run(values)))
    if due:
        raise ConfigError(f"{folder}: made by igos {version}; go on with that version or a new --output")
    return sum(1 for row in rows if row["folder"])


def another(version: str | None) -> bool:
    """Whether that is another minor version than this one, which need not make the same ids."""
    return version is not None and minor(version) != minor(VERSION)


def minor(version: str) -> str:
    """0.1 of 0.1.3."""
    return ".".join(version.split(".")[:2])
