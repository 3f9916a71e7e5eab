"""What is due in a run, and what was found in it: manifest.jsonl in the run's folder.

    {"due": PATH, "name": NAME}                        a picture; all of them are written before anything is explained
    {"name": NAME, "sha256": ..., "targets": [...]}    what was found in it, written before it is explained

A picture is what is scheduled, an explanation of one of its targets what results. Targets are never looked for again:
a run that goes on explains those of the manifest, and a picture whose bytes have changed since is refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from igos.files import append, write_bytes, writing
from igos.truth import decode, encode
from igos.types import ConfigError, Target

FILE = "manifest.jsonl"


@dataclass(frozen=True)
class Item:
    """A picture that is scheduled: its path, its name in the run's folder, its line of the manifest where it was looked
    at before, and the folders of explanations that need not be made again.
    """

    path: str
    name: str
    found: Mapping[str, Any] | None = None
    held: frozenset[str] = frozenset()


class Manifest:
    """The manifest of a run's folder: made from pictures (path, name), or the one that is there, which then holds.

    Raises ConfigError for a damaged one.
    """

    def __init__(self, folder: Path, pictures: Sequence[tuple[str, str]] = ()) -> None:
        self.path = folder / FILE
        self.due: dict[str, str] = {}
        self.found: dict[str, dict[str, Any]] = {}
        if self.path.is_file():
            self._read()
        else:
            self.due = {name: path for path, name in pictures}
            lines = "".join(json.dumps({"due": path, "name": name}) + "\n" for path, name in pictures)
            with writing(folder):
                write_bytes(self.path, lines.encode())

    def _read(self) -> None:
        lines = self.path.read_bytes().split(b"\n")
        for n, line in enumerate(lines[:-1], 1):  # behind the last line end: nothing, or a torn line
            try:
                row = json.loads(line)
                if "due" in row:
                    self.due[str(row["name"])] = str(row["due"])
                else:
                    self.found[str(row["name"])] = {"sha256": row["sha256"], "targets": row["targets"]}
            except (ValueError, KeyError, TypeError):
                raise ConfigError(f"{self.path}, line {n}: damaged") from None
        if lines[-1]:
            write_bytes(self.path, b"\n".join([*lines[:-1], b""]))

    def add(self, name: str, found: Mapping[str, Any]) -> None:
        with writing(self.path.parent):
            append(self.path, {"name": name, **found})
        self.found[name] = dict(found)

    def items(self, settled: Collection[str], starts: Sequence[int] | None = None) -> Iterator[Item]:
        """The pictures in which something is still to be done. settled: the explanations' folders, and the names of
        pictures, that need no more work; starts: the cells from which each target is explained.
        """
        for name, path in self.due.items():
            found = self.found.get(name)
            if name in settled:
                continue
            folders = [] if found is None else folders_of(found, starts)
            held = frozenset(f for f in folders if f in settled)
            if found is None or len(held) < len(folders):
                yield Item(path, name, found, held)


def folders_of(found: Mapping[str, Any], starts: Sequence[int] | None = None) -> list[str]:
    """The folders of a picture's explanations."""
    places = [str(t["folder"]) for t in found["targets"]]
    return places if starts is None else [f"{place}/start-{start}" for place in places for start in starts]


def share_of(pictures: Sequence[tuple[str, str]], share: str | None) -> list[tuple[str, str]]:
    """Of pictures (path, name) those of shard i/n: by a hash of the name, the same on every machine."""
    if share is None:
        return list(pictures)
    i, n = (int(v) for v in share.split("/"))
    return [p for p in pictures if int.from_bytes(hashlib.sha256(p[1].encode()).digest()[:8], "big") % n == i - 1]


def digest(path: str | Path) -> str:
    """The SHA-256 of a file's bytes."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def identity(*decides: Any) -> str:
    """A short hash of plain data that decides a result."""
    return hashlib.sha256(json.dumps(decides, sort_keys=True, default=str).encode()).hexdigest()[:16]


def told(target: Target, folder: str) -> dict[str, Any]:
    """A target as plain data, and the folder of its explanations."""
    return {
        "folder": folder,
        "label": target.label,
        "name": target.name,
        "score": target.score,
        "index": target.index,
        "part": target.part,
        "box": None if target.box is None else target.box.tolist(),
        "mask": None if target.mask is None else encode(target.mask.cpu().numpy()),
    }


def target_of(plain: Mapping[str, Any], device: torch.device) -> Target:
    """What `told` wrote. Raises ConfigError for what it cannot have written."""
    try:
        box, mask = plain["box"], plain["mask"]
        return Target(
            label=int(plain["label"]),
            name=str(plain["name"]),
            score=float(plain["score"]),
            box=None if box is None else torch.tensor([float(v) for v in box], device=device),
            mask=None if mask is None else torch.from_numpy(decode(mask, tuple(mask["size"]))).to(device),
            index=None if plain["index"] is None else int(plain["index"]),
            part=str(plain["part"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{FILE}: a target is damaged ({error!r})") from None
