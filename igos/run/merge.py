"""Shards of one run, made apart (--shard i/n), joined to a run's folder in which nothing is missing or doubled."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from igos.base.files import ended, refuse_taken, whole_folder
from igos.base.inside import inside, tree
from igos.base.names import FACTS_FILE
from igos.metrics import build_metrics
from igos.results import tables
from igos.results.expected import compared
from igos.results.folder import RunFolder
from igos.results.look_over import MASKS, look_over
from igos.results.manifest import FILE as MANIFEST
from igos.results.manifest import Manifest, listed
from igos.results.read import different, each_row, intact, read_run
from igos.results.rows import place_of
from igos.results.shards import Shards
from igos.run.cells import folders_of_run, labels_of_run
from igos.run.decides import ways_of_run
from igos.run.settings import WHERE
from igos.types import ConfigError

APART = (*WHERE, "record", "shard")  # of run.yaml, what may differ


def merge(folders: Sequence[Path], out: Path, damage: list[str] | None = None, *, strict: bool = False) -> int:
    """Join the folders to `out`, which is new; answers how many explanations it holds. damage takes what is damaged and
    does not keep the parts from being joined.

    Raises ConfigError for settings that differ, for shards, pictures or explanations that are missing, damaged or
    doubled, with their names, and, strict, for any damage; `out` is then not there.
    """
    refuse_taken(out)
    damage = [] if damage is None else damage
    for folder in folders:
        look_over(folder)
    runs = [read_run(folder, damage) for folder in folders]
    _same_settings(folders, runs)
    _every_shard(folders, runs)
    manifests = [_manifest(folder) for folder in folders]
    _same_pictures(folders, manifests)
    seen: dict[str, Path] = {}
    for folder, run, manifest in zip(folders, runs, manifests, strict=True):
        _complete(folder, run, manifest, seen, damage)
    _every_picture(folders, manifests)
    if strict and damage:
        raise ConfigError(f"--strict: {len(damage)} {'faults' if len(damage) > 1 else 'fault'}, named above")
    with whole_folder(out) as made:
        joined = RunFolder(made, layout=runs[0].get("layout", "folders"))
        joined.write_run({**{k: v for k, v in runs[0].items() if k != "shard"}, "record": runs[0].get("record", {})})
        for folder, manifest in zip(folders, manifests, strict=True):
            _take(folder, manifest, joined)
        pictures = [(path, name) for m in manifests for name, path in m.due.items()]
        whole = Manifest(made, lambda: pictures)
        whole.lines = {name: line for m in manifests for name, line in m.lines.items()}
        whole.write()
        joined.finish()
        if labels_of_run(runs[0]):
            metrics, _ = build_metrics(_metrics(runs[0]), runs[0].get("set") or ())
            tables.write(joined, metrics, int(runs[0].get("manual_seed") or 0))
        joined.close()
        (made / ".lock").unlink()
    return joined.tally.explanations


def _metrics(run: Mapping[str, Any]) -> list[str]:
    return [name for name in run.get("metrics") or () if name != "none"]


def _same_settings(folders: Sequence[Path], runs: Sequence[Mapping[str, Any]]) -> None:
    for folder, run in zip(folders[1:], runs[1:], strict=True):
        first, own = ({k: v for k, v in values.items() if k not in APART} for values in (runs[0], run))
        if differences := different(first, own, f"in {folders[0]}", "there"):
            raise ConfigError(f"{folder}: a run with other settings ({differences})")


def _every_shard(folders: Sequence[Path], runs: Sequence[Mapping[str, Any]]) -> None:
    places: dict[str, Path] = {}
    for folder, run in zip(folders, runs, strict=True):
        shard = run.get("shard")
        if not shard:
            raise ConfigError(f"{folder}: no shard of a run; it was made without --shard i/n")
        if shard in places:
            raise ConfigError(f"shard {shard} is doubled: {places[shard]} and {folder}")
        places[shard] = folder
    counts = {shard.partition("/")[2] for shard in places}
    if len(counts) > 1:
        raise ConfigError(f"shards of different parts: {', '.join(sorted(places))}")
    (n,) = counts
    missing = [f"{i}/{n}" for i in range(1, int(n) + 1) if f"{i}/{n}" not in places]
    if missing:
        raise ConfigError(f"shard {', '.join(missing)} is missing among {', '.join(str(f) for f in folders)}")


def _manifest(folder: Path) -> Manifest:
    if not (folder / MANIFEST).is_file():
        raise ConfigError(f"{folder}: holds no {MANIFEST}; was the run ever started?")
    return Manifest(folder)


def _same_pictures(folders: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    """The parts were taken of the same pictures."""
    first = manifests[0].of
    for folder, of in zip(folders, [m.of for m in manifests], strict=True):
        if of != first:
            counts = f"{of['pictures']} there, {first['pictures']} for {folders[0]}"
            raise ConfigError(f"{folder}: its part is one of other pictures ({counts}); --data has changed in between")


def _every_picture(folders: Sequence[Path], manifests: Sequence[Manifest]) -> None:
    if (due := listed(name for m in manifests for name in m.due)) != manifests[0].of:
        of = manifests[0].of["pictures"]
        raise ConfigError(f"{', '.join(map(str, folders))}: hold {due['pictures']} pictures of the run's {of}")


def _complete(
    folder: Path, run: Mapping[str, Any], manifest: Manifest, seen: dict[str, Path], damage: list[str]
) -> None:
    """What a shard's manifest holds due has one row each, and is whole; seen: what shards before it hold."""
    settled, hurt = set[str](), list[str]()
    for row in compared(folder, damage, ways_of_run(folder, run, damage), due=False):
        name = place_of(row)
        if name is None:
            continue
        if name in settled or name in seen:
            raise ConfigError(f"{name} is doubled, in {seen.get(name, folder)} and in {folder}")
        settled.add(name)
        hurt += [] if not row["folder"] or intact(folder, row) else [row["folder"]]
    if hurt:
        few = f"{', '.join(hurt[:3])}{', ...' * (len(hurt) > 3)}"
        raise ConfigError(
            f"{folder}: {len(hurt)} explanations are missing or damaged ({few}); first: {_again(folder, run)}"
        )
    for name in (*manifest.due, *settled):
        other = seen.setdefault(name, folder)
        if other != folder:
            raise ConfigError(f"{name} is doubled, in {other} and in {folder}")
    left = [i.name for i in manifest.items(settled, folders_of_run(run))]
    if left:
        raise ConfigError(
            f"{folder}: {len(left)} pictures are not finished ({', '.join(left[:3])}{', ...' * (len(left) > 3)}); "
            f"first: {_again(folder, run)}"
        )


def _again(folder: Path, run: Mapping[str, Any]) -> str:
    return f"its igos diagnose once more, --output {folder}" if run.get("diagnose") else f"igos --resume {folder}"


def _take(folder: Path, manifest: Manifest, joined: RunFolder) -> None:
    """A shard's files, by hard links where that is possible, and its rows; of the folder only what the run made."""
    for name in (*sorted(manifest.due), *MASKS):
        for file in tree(folder, name):
            made = inside(joined.path, file.relative_to(folder))
            made.parent.mkdir(parents=True, exist_ok=True)
            _link(str(file), str(made))
    for file in Shards(folder / "shards").files():
        assert joined.shards is not None
        joined.shards.take(file, _link)
    if (told := inside(folder, FACTS_FILE)).is_file():
        together = inside(joined.path, FACTS_FILE)
        with told.open("rb") as source, together.open("ab") as target:
            shutil.copyfileobj(source, target)
        ended(together)
    for row in each_row(folder):
        if row.get("shard"):
            joined.tally.add(row)
        else:
            joined.add(row)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
