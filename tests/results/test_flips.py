"""Single flipped bits in the files of a run: none passes unnoticed with other content.

Before there were seals, 271 of 600 in results.jsonl, 200 of 400 in manifest.jsonl and 68 of 300 in headers of shards
did. `python -m tests.results.test_flips` prints the table.
"""

from __future__ import annotations

import random
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from igos.results.expected import compared
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest
from igos.results.read import each_row, read_arrays, read_facts, read_run
from igos.run.workers.worker import Worker
from igos.types import ConfigError
from tests.faults import local, pictures, plan

CASES = {  # file -> flips
    "results.jsonl": 600, "manifest.jsonl": 400, "shards/000001.safetensors": 300, "run.yaml": 300,
    "p000/0-left/explanation.npz": 300, "p000/0-left/diversity.json": 100,
}  # fmt: skip


def read(folder: Path, name: str) -> tuple[Any, list[str]]:
    """What a command is told of the file, and what it says of damage."""
    damage: list[str] = []
    if name == "run.yaml":
        return read_run(folder, damage), damage
    if name == "manifest.jsonl":
        found = Manifest.as_found(folder)
        list(compared(folder, damage))
        return (found.due, found.lines, found.of), damage
    if name.endswith(".json"):
        return read_facts(folder, name, damage), damage
    rows = list(each_row(folder, damage))
    if name == "results.jsonl":
        list(compared(folder, damage))
        return rows, damage
    own = [row for row in rows if name.startswith(("shards", row["folder"]))]
    arrays = [read_arrays(folder, row) for row in own]
    return (rows, [{k: (a.dtype, a.tobytes()) for k, a in each.items()} for each in arrays]), damage


def flipped(data: bytes, most: int, draw: random.Random) -> bytes:
    """One bit of the first `most` bytes."""
    made = bytearray(data)
    made[draw.randrange(most)] ^= 1 << draw.randrange(8)
    return bytes(made)


def made_run(place: Path, layout: str) -> Path:
    folder, data = place / layout, pictures(place / f"data-{layout}", 3)
    local(data, folder, layout=layout)
    settings = {"model": "faulty", "shard": None, "layout": layout}
    made = RunFolder(folder, settings, layout)
    made.write_json("p000/0-left/diversity.json", {"mean_correlation": 0.25, "evidence": 2, "evidence_covered": 1})
    made.write_run(plan(data, layout=layout).as_preset())
    made.close()
    return folder


def unnoticed(folder: Path, name: str, count: int, seed: int = 0) -> list[int]:
    """Which of so many flips are read as other content without a word."""
    path, draw, passed = folder / name, random.Random(seed), list[int]()
    whole = path.read_bytes()
    most = 8 + int.from_bytes(whole[:8], "little") if name.startswith("shards") else len(whole)
    right, said = read(folder, name)
    assert not said, said
    for n in range(count):
        path.write_bytes(flipped(whole, most, draw))
        try:
            content, damage = read(folder, name)
        except ConfigError:
            continue
        if not damage and content != right:
            passed.append(n)
    path.write_bytes(whole)
    return passed


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    place = tmp_path_factory.mktemp("flips")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Worker, "_drawn", lambda self, made, explanations: [{} for _ in made])
        made = {layout: made_run(place, layout) for layout in ("folders", "shards")}
    return lambda name: made["shards" if name.startswith("shards") else "folders"]


@pytest.mark.parametrize("name", CASES)
def test_no_flipped_bit_passes_with_other_content(name: str, runs: Callable[[str], Path]) -> None:
    assert unnoticed(runs(name), name, CASES[name]) == []


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as where:
        folders = {layout: made_run(Path(where), layout) for layout in ("folders", "shards")}
        for name, count in CASES.items():
            folder = folders["shards" if name.startswith("shards") else "folders"]
            print(f"{name:30} {len(unnoticed(folder, name, count))} of {count}")
