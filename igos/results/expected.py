"""What the rows of a run must be, by its manifest and its settings; and what is said of those that are not.

A row's id is a hash of the picture's bytes, the target, the start cell and the settings that decide the result: here it
is computed again, so that a row of another object, or of settings that run.yaml does not hold any more, is found out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from igos.base.seals import is_sealed
from igos.results.manifest import FILE, Manifest, Way, key_of
from igos.results.read import each_row, intact, undrawn
from igos.results.rows import place_of

Row = Mapping[str, Any]
FEW = 3  # names in a sentence


class Expected:
    """The targets of a manifest, and the ids of their explanations where the ways are known in which they are made, by
    the folder within the target's.
    """

    def __init__(self, manifest: Manifest, ways: Mapping[str, Way] | None) -> None:
        self.manifest, self.ways = manifest, ways
        self._targets = {str(t["folder"]): (name, t) for name, line in manifest.lines.items() for t in line["targets"]}

    def misfit(self, row: Row) -> str | None:
        """What speaks against a row: it is of another object than the manifest says, or its id is another."""
        folder = place_of(row)
        if folder is None or "/" not in folder or folder.partition("/")[0] not in self.manifest.lines:
            return None
        target, within = self._target(folder)
        if target is None:
            return "target"
        name, record = target
        if row["image"] != self.manifest.due.get(name, row["image"]) or not _same(row, record):
            return "target"
        if self.ways is None or row["id"] is None:
            return None
        way = self.ways.get(within)
        sha256 = self.manifest.lines[name]["sha256"]
        return None if way is not None and row["id"] == key_of(sha256, record, way) else "id"

    def _target(self, folder: str) -> tuple[tuple[str, Mapping[str, Any]] | None, str]:
        """The target whose folder that is or is in, and the folder within it."""
        if folder in self._targets:
            return self._targets[folder], ""
        above, _, within = folder.rpartition("/")
        return self._targets.get(above), within

    def unfinished(self, settled: Iterable[str | None]) -> list[str]:
        """The pictures of the manifest of which something is neither explained nor said to have failed."""
        variants = [""] if self.ways is None else list(self.ways)
        made = {name for name in settled if name}
        if self.ways is None:  # one explanation of each target will do
            made |= {above for name in made if "/" in (above := name.rpartition("/")[0])}
        return [item.name for item in self.manifest.items(made, variants)]


def _same(row: Row, record: Mapping[str, Any]) -> bool:
    """Whether a row is about a target of the manifest; what failed may not say what it is about."""
    keys = {"name": "name", "label_index": "label", "part": "part"}
    return all(row[key] is None or row[key] == record[of] for key, of in keys.items())


def compared(
    folder: Path, damage: list[str], ways: Mapping[str, Way] | None = None, due: bool = True
) -> Iterator[dict[str, Any]]:
    """The rows of a run's folder, compared with its manifest; what is found goes into `damage`, by the end of the rows.

    due: whether to say what is not finished, too.
    """
    if not is_sealed(folder):
        damage.append(unchecked(folder))
    there = (folder / FILE).is_file()
    manifest = Manifest.as_found(folder)
    damage += [f"{manifest.path}, line {n}: damaged" for n in manifest.damaged]
    if there and not manifest.whole and not manifest.damaged:
        damage.append(f"{manifest.path}: damaged (lines are missing)")
    known = Expected(manifest, ways)
    settled, foreign, doubled, lost = set[str | None](), list[str](), list[str](), list[str]()
    for row in each_row(folder, damage):
        name = place_of(row)
        doubled += [str(name)] if name is not None and name in settled else []
        settled.add(name)
        foreign += [str(name)] if known.misfit(row) else []
        lost += undrawn(folder, row)
        yield row
    if foreign:
        of = "another object than the manifest names, or other settings than run.yaml holds, made"
        damage.append(f"{folder}: {of} {told(foreign, 'row')}")
    if doubled:
        damage.append(f"{folder}: doubled: {told(doubled, 'row')}")
    if lost:
        damage.append(f"{folder}: missing or damaged: {told(lost, 'picture')}; igos --resume {folder} draws them again")
    left = known.unfinished(settled) if due and there else []
    if left:
        damage.append(f"{folder}: not finished: {told(left, 'picture')}; igos --resume {folder} goes on")


def unchecked(folder: Path) -> str:
    """What is said of a folder of igos 0.1.0."""
    return f"{folder}: made by an igos without checksums; what is damaged in it may go unnoticed"


def hurt(folder: Path, rows: Iterable[Row]) -> list[str]:
    """What is said of the rows whose arrays are not there as they were written."""
    lost = [str(row["folder"]) for row in rows if row["folder"] and not intact(folder, row)]
    return [f"{folder}: missing or damaged: {told(lost, 'explanation')}"] if lost else []


def told(names: list[str], what: str) -> str:
    """How many, and the first ones by name."""
    few = ", ".join(names[:FEW]) + ", ..." * (len(names) > FEW)
    return f"{len(names)} {what}{'s' * (len(names) > 1)} ({few})"
