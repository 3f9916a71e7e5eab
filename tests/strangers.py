"""Folders of runs as someone else may have made them: names that lead elsewhere, links, pipes; and a folder that is
guarded: whatever is done with them, nothing in it may change.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from igos.base.files import line_of
from igos.base.seals import SEAL


def contents(folder: Path) -> dict[str, str]:
    """What a folder holds, by path: kinds, links and the hashes of bytes; the times of nothing."""
    made = {}
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        content = ""
        if stat.S_ISLNK(mode):
            content = os.readlink(path)
        elif stat.S_ISREG(mode):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        made[str(path.relative_to(folder))] = f"{stat.S_IFMT(mode):o} {content}"
    return made


def guarded(folder: Path) -> Path:
    """A folder with what a person would miss, and what a run's folder has too."""
    for name in ("docs/letter.txt", "docs/0-left/explanation.npz", "results.jsonl", "shards/000001.safetensors"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(f"the only copy of {name}\n".encode() * 9)
    return folder


def edited(path: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """The lines of a JSONL file changed, with new seals: a stranger can make them."""
    rows = [json.loads(line) for line in path.read_bytes().splitlines()]
    plain = ({k: v for k, v in row.items() if k != SEAL} for row in rows)
    path.write_bytes(b"".join(line_of(change(row)) for row in plain))


def _linked(path: Path, target: Path) -> None:
    """A link in the place of what is there, which is kept beside it."""
    if path.exists():
        path.rename(path.with_name(f"{path.name}-before"))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def _piped(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _named(run: Path, folder: str) -> None:
    """The first target of the last picture of the manifest explained in that folder."""
    last = [json.loads(line) for line in (run / "manifest.jsonl").read_bytes().splitlines()][-1]["name"]

    def change(row: dict[str, Any]) -> dict[str, Any]:
        if "targets" not in row or row["name"] != last:
            return row
        return {**row, "targets": [{**t, "folder": folder} if n == 0 else t for n, t in enumerate(row["targets"])]}

    edited(run / "manifest.jsonl", change)


def _called(run: Path, name: str) -> None:
    def change(row: dict[str, Any]) -> dict[str, Any]:
        made = {**row, "name": name} if "name" in row else row
        if "targets" in made:
            made["targets"] = [{**t, "folder": f"{name}/{t['folder'].split('/')[1]}"} for t in made["targets"]]
        return made

    edited(run / "manifest.jsonl", change)


def _row(run: Path, **values: Any) -> None:
    edited(run / "results.jsonl", lambda row: {**row, **values})


def _first(run: Path) -> Path:
    """The folder of an explanation, of a run in folders."""
    return min((p.parent for p in run.rglob("explanation.npz") if not p.is_symlink()), default=run / "p000/0-left")


HOSTILE: dict[str, Callable[[Path, Path], Any]] = {  # what is done to a run's folder; the second is the guarded one
    "manifest: a folder above": lambda run, guard: _named(run, os.path.relpath(guard / "docs", run)),
    "manifest: a folder above, below its picture": lambda run, guard: _named(
        run, f"p001/../{os.path.relpath(guard, run)}/docs"
    ),
    "manifest: an absolute folder": lambda run, guard: _named(run, str(guard / "docs")),
    "manifest: the run itself": lambda run, guard: _named(run, "."),
    "manifest: no name": lambda run, guard: _named(run, ""),
    "manifest: the folder of shards": lambda run, guard: _named(run, "shards/0"),
    "manifest: another picture": lambda run, guard: _named(run, "p000/0-left"),
    "manifest: a Windows path": lambda run, guard: _named(run, "C:\\docs"),
    "manifest: a name above": lambda run, guard: _called(run, os.path.relpath(guard, run)),
    "manifest: a hidden name": lambda run, guard: _called(run, ".ssh"),
    "row: a folder above": lambda run, guard: _row(run, folder=os.path.relpath(guard / "docs", run)),
    "row: an absolute folder": lambda run, guard: _row(run, folder=str(guard / "docs")),
    "row: an item above": lambda run, guard: _row(run, item=os.path.relpath(guard / "docs", run)),
    "row: pictures above": lambda run, guard: _row(run, files={os.path.relpath(guard / "docs/letter.txt", run): 3}),
    "a picture's folder is a link": lambda run, guard: _linked(_first(run).parent, guard),
    "an explanation's folder is a link": lambda run, guard: _linked(_first(run), guard / "docs/0-left"),
    "the arrays are a link": lambda run, guard: _linked(
        _first(run) / "explanation.npz", guard / "docs/0-left/explanation.npz"
    ),
    "a picture is a link": lambda run, guard: _linked(_first(run) / "overlay.png", guard / "docs/letter.txt"),
    "masks are a link": lambda run, guard: _linked(run / "feat_masks", guard / "docs"),
    "shards are a link": lambda run, guard: _linked(run / "shards", guard / "shards"),
    "a shard is a link": lambda run, guard: _linked(
        run / "shards/000009.safetensors", guard / "shards/000001.safetensors"
    ),
    "the lock is a link": lambda run, guard: _linked(run / ".lock", guard / "docs/letter.txt"),
    "the lock is a link to nothing": lambda run, guard: _linked(run / ".lock", guard / "docs/new"),
    "rows are a link": lambda run, guard: _linked(run / "results.jsonl", guard / "results.jsonl"),
    "the manifest is a link": lambda run, guard: _linked(run / "manifest.jsonl", guard / "results.jsonl"),
    "the settings are a link": lambda run, guard: _linked(run / "run.yaml", guard / "docs/letter.txt"),
    "a table is a link": lambda run, guard: _linked(run / "results.csv", guard / "docs/letter.txt"),
    "the page is a link": lambda run, guard: _linked(run / "report.html", guard / "docs/letter.txt"),
    "the arrays are a pipe": lambda run, guard: _piped(_first(run) / "explanation.npz"),
    "rows are a pipe": lambda run, guard: _piped(run / "results.jsonl"),
    "the manifest is a pipe": lambda run, guard: _piped(run / "manifest.jsonl"),
    "the settings are a pipe": lambda run, guard: _piped(run / "run.yaml"),
    "the lock is a pipe": lambda run, guard: _piped(run / ".lock"),
    "a shard is a pipe": lambda run, guard: (
        (run / "shards").mkdir(exist_ok=True),
        _piped(run / "shards/000009.safetensors"),
    ),
    "the arrays are a device": lambda run, guard: _linked(_first(run) / "explanation.npz", Path("/dev/zero")),
}
