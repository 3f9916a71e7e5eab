"""What is due in a run, and what was found in it: manifest.jsonl in the run's folder.

    {"pictures": 2, "names": HASH, "of": {...}}        how many pictures are due, and of how many in all shards
    {"due": PATH, "name": NAME}                        a picture; all of them are written before anything is explained
    {"name": NAME, "sha256": ..., "targets": [...]}    what was found in it, written before it is explained

A picture is what is scheduled, an explanation of one of its targets what results. Targets are never looked for again:
a run that goes on explains those of the manifest, and a picture whose bytes have changed since is refused. Lines that
were lost, as by a power cut, are found out by the first one, damaged ones by their seals, and made again.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from igos.base.files import append, line_of, write_bytes, writing
from igos.base.hashing import identity, number_of
from igos.base.inside import Outside, check_name, inside
from igos.base.names import REASONS, SCORES
from igos.base.reading import read_bytes
from igos.base.seals import SEAL, is_sealed, unsealed
from igos.base.untrusted import load_json
from igos.data.coco import decode, encode
from igos.types import ConfigError, Target

FILE = "manifest.jsonl"
MOST = 2**33  # bytes of it, which are read at once


class Way(NamedTuple):
    """How an explanation is made: from which start cell, and a hash of the settings that decide it."""

    start: int | None
    decided: str


@dataclass(frozen=True)
class Item:
    """A picture that is scheduled: its path, its name in the run's folder, its line of the manifest where it was looked
    at before, and the folders of explanations that need not be made again.
    """

    path: str
    name: str
    line: Mapping[str, Any] | None = None
    held: frozenset[str] = frozenset()


class Manifest:
    """The manifest of a run's folder, to read; or, with `find`, to work on: where it is not whole, it is made of the
    share i/n of the pictures (path, name) that find() answers, and of what it holds of their targets.

    damaged: the numbers of the lines, from 1, that are not what was written. Raises ConfigError for a damaged one, if
    it is to be read or if the pictures are others than it was made of; Outside for one that names folders elsewhere.
    """

    def __init__(
        self, folder: Path, find: Callable[[], Sequence[tuple[str, str]]] | None = None, share: str | None = None
    ) -> None:
        self._open(folder)
        if find is None and not self.whole:
            raise ConfigError(f"{self.path}: damaged; igos --resume {folder} makes it whole")
        if find is not None and not self.whole:
            self._make(find(), share)
        if find is not None and (not self.whole or self.damaged or not self._clean):
            with writing(folder):
                self.write()

    @classmethod
    def as_found(cls, folder: Path) -> Manifest:
        """The manifest as far as it can be read, `whole` or not."""
        made = cls.__new__(cls)
        made._open(folder)
        return made

    def _open(self, folder: Path) -> None:
        self.path = inside(folder, FILE)
        self.due: dict[str, str] = {}
        self.lines: dict[str, dict[str, Any]] = {}
        self.of: dict[str, Any] = {}
        self.damaged: list[int] = []
        try:
            lines = read_bytes(self.path, MOST).split(b"\n") if self.path.is_file() else []
        except OSError as error:
            raise ConfigError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        needed = is_sealed(folder)
        alone = bool(lines) and self.path.stat().st_nlink == 1  # lines are added to this file and to no other
        self._clean = alone and not lines[-1] and f'"{SEAL}"'.encode() in lines[0]
        self.whole = self._read(lines, needed)

    def _read(self, lines: Sequence[bytes], needed: bool) -> bool:
        """Whether they are all that there must be; damaged ones are left out. needed: whether lines must have seals."""
        head: dict[str, Any] = {}
        for n, line in enumerate(lines, 1):
            try:
                row = unsealed(load_json(line), needed)
                if "of" in row:
                    head, self.of = ({k: count[k] for k in ("pictures", "names")} for count in (row, row["of"]))
                elif "due" in row:
                    self.due[_checked(row["name"])] = _path(row["due"])
                else:
                    seen = {"seen": row["seen"]} if "seen" in row else {}
                    for record in row["targets"]:
                        decides(record)
                        _checked(row["name"], record["folder"])
                    self.lines[_checked(row["name"])] = {"sha256": row["sha256"], "targets": row["targets"], **seen}
            except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
                self.damaged += [n] if line else []
        return bool(self.of) and head == listed(self.due)

    def hashes(self) -> dict[str, str]:
        """The SHA-256 of each picture in which something was looked for, by its path."""
        return {path: str(self.lines[name]["sha256"]) for name, path in self.due.items() if name in self.lines}

    def _make(self, pictures: Sequence[tuple[str, str]], share: str | None) -> None:
        of = listed(name for _, name in pictures)
        if self.of not in ({}, of):
            raise ConfigError(
                f"{self.path}: damaged, and the pictures are not those of the run any more "
                f"({self.of['pictures']} then, {of['pictures']} now)"
            )
        self.of, self.due = of, {name: path for path, name in share_of(pictures, share)}
        self.lines = {name: line for name, line in self.lines.items() if name in self.due}

    def write(self) -> None:
        """All lines, so that they are on the disk."""
        head = {**listed(self.due), "of": self.of}
        due = ({"due": path, "name": name} for name, path in self.due.items())
        lines = ({"name": name, **line} for name, line in self.lines.items())
        content = b"".join(map(line_of, (head, *due, *lines)))
        write_bytes(self.path, content, durable=True, within=self.path.parent)

    def add(self, name: str, line: Mapping[str, Any]) -> None:
        with writing(self.path.parent):
            append(self.path, {"name": name, **line})
        self.lines[name] = dict(line)

    def items(self, settled: Collection[str], variants: Sequence[str] = ("",)) -> Iterator[Item]:
        """The pictures in which something is still to be done. settled: the explanations' folders, and the names of
        pictures, that need no more work; variants: the folders of a target's explanations within its own ("": its own).

        Where the line of what was found was lost, the picture is looked at again, and what is settled of it stays.
        """
        inside: dict[str, set[str]] = {}
        for folder in settled:
            inside.setdefault(folder.partition("/")[0], set()).add(folder)
        for name, path in self.due.items():
            line, held = self.lines.get(name), frozenset(inside.get(name, ()))
            if name not in held and (line is None or not held.issuperset(folders_of(line, variants))):
                yield Item(path, name, line, held)


def _path(due: Any) -> str:
    if not isinstance(due, str) or "\0" in due:
        raise ValueError("no path")
    return due


def _checked(name: Any, folder: Any = None) -> str:
    """The name of a picture, below whose folder that of a target must lie. Raises Outside."""
    if not isinstance(name, str) or (folder is not None and not isinstance(folder, str)):
        raise ValueError("no text")
    check_name(name)
    if "/" in name or (folder is not None and not folder.startswith(f"{name}/")):
        raise Outside(f"{FILE}: {folder or name!r} lies outside the run's folder for {name!r}")
    if folder is not None:
        check_name(folder)
    return name


def listed(names: Iterable[str]) -> dict[str, Any]:
    """How many pictures, and a hash of their names in any order."""
    known = sorted(names)
    return {"pictures": len(known), "names": identity(*known)}


def folders_of(line: Mapping[str, Any], variants: Sequence[str] = ("",)) -> list[str]:
    """The folders of a picture's explanations."""
    return [f"{t['folder']}/{v}" if v else str(t["folder"]) for t in line["targets"] for v in variants]


def share_of(pictures: Sequence[tuple[str, str]], share: str | None) -> list[tuple[str, str]]:
    """Of pictures (path, name) those of shard i/n: by a hash of the name, the same on every machine."""
    if share is None:
        return list(pictures)
    i, n = (int(v) for v in share.split("/"))
    return [p for p in pictures if number_of(p[1]) % n == i - 1]


def target_record(target: Target, folder: str) -> dict[str, Any]:
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
        **({} if target.own is None else {"own": dict(target.own)}),
        **({"pins": [p.tolist() for p in target.pins]} if target.pins else {}),
        **({"reason": target.reason} if target.reason else {}),
        **({} if target.wanted is None else {"wanted": target.wanted.tolist()}),
        **({"rival": target_record(target.rival, "")} if target.rival else {}),
    }


def decides(record: Mapping[str, Any]) -> dict[str, Any]:
    """Of a target's record, what decides its explanations on every device: neither its score nor 0.1 px."""
    box = record["box"] and [round(v, 1) + 0.0 for v in record["box"]]
    rival = {"rival": decides(record["rival"])} if record.get("rival") else {}
    return {"box": box, **{k: record[k] for k in ("label", "name", "index", "part")}, **rival}


def key_of(sha256: str, record: Mapping[str, Any], way: Way) -> str:
    """The id of the explanation of a target, by its record, in a picture of that hash, made in that way."""
    return identity(sha256, decides(record), way.start, way.decided)


def _box(values: Sequence[Any], device: torch.device) -> torch.Tensor:
    return torch.tensor([float(v) for v in values], dtype=torch.float32, device=device)


def target_of(plain: Mapping[str, Any], device: torch.device, size: tuple[int, int]) -> Target:
    """What `target_record` wrote of a picture of that size (height, width) in network pixels. Raises ConfigError for
    what it cannot have written.
    """
    try:
        box, mask = plain["box"], plain["mask"]
        reason, wanted, rival = (plain.get(k) for k in ("reason", "wanted", "rival"))
        if reason is not None and reason not in REASONS:
            raise ValueError(f"reason {reason!r}")
        return Target(
            label=int(plain["label"]),
            name=str(plain["name"]),
            score=float(plain["score"]),
            box=None if box is None else _box(box, device),
            mask=None if mask is None else torch.from_numpy(decode(mask, size)).to(device),
            index=None if plain["index"] is None else int(plain["index"]),
            part=str(plain["part"]),
            own={k: float(plain["own"][k]) for k in SCORES if k in plain["own"]} if plain.get("own") else None,
            pins=tuple(torch.tensor([int(v) for v in p], device=device) for p in plain.get("pins", ())),
            reason=reason,
            wanted=None if wanted is None else _box(wanted, device),
            rival=None if rival is None else target_of(rival, device, size),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(f"{FILE}: a target is damaged ({error!r})") from None
