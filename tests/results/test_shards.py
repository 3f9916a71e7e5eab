"""Explanations by the thousand in one file: the same as in folders, damaged ones told and made again."""

from __future__ import annotations

import errno
import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igos import cli
from igos.results import folder as run_folder
from igos.results.arrays import kept
from igos.results.folder import RunFolder
from igos.results.read import each_row, read_arrays, read_rows
from igos.results.shards import Damaged, Shards
from igos.types import ConfigError
from tests.faults import Faulty, local, once, pictures, same_maps

pytestmark = pytest.mark.usefixtures("undrawn")


def test_shards_hold_what_folders_hold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    monkeypatch.setattr(run_folder, "SIZE", 5)
    data = pictures(tmp_path / "data", 6, {2: "raise"})
    local(data, tmp_path / "a")
    local(data, tmp_path / "b", layout="shards")
    same_maps(tmp_path / "a", tmp_path / "b")
    assert {p.name for p in (tmp_path / "b").iterdir()} == {
        "run.yaml", "manifest.jsonl", "results.jsonl", "results.parquet", "shards", ".lock",
    }  # fmt: skip
    assert len(list((tmp_path / "b" / "shards").iterdir())) == 2
    rows = {r["folder"]: r for r in each_row(tmp_path / "b")}
    for row in read_rows(tmp_path / "a"):
        if row["folder"]:
            one, other = read_arrays(tmp_path / "a", row), read_arrays(tmp_path / "b", rows[row["folder"]])
            assert one.keys() == other.keys() and all(np.array_equal(one[k], other[k]) for k in one)
            assert rows[row["folder"]]["deletion"] == row["deletion"]
    table = pq.read_table(tmp_path / "b" / "results.parquet").to_pylist()
    assert Counter(r["status"] for r in table) == {"ok": 10, "error": 2}
    shard = tmp_path / "b" / "shards" / "000001.safetensors"
    shard.write_bytes(shard.read_bytes()[:-10])
    folder = local(data, tmp_path / "b", layout="shards")
    assert folder.damaged == ["000001.safetensors"]
    same_maps(tmp_path / "a", tmp_path / "b")
    with pytest.raises(ConfigError, match="missing or damaged"):
        Shards(tmp_path / "b" / "shards").arrays({"shard": "000009.safetensors", "shard_index": 0}, bool)


# Damaged shards


def test_one_flipped_byte_costs_one_explanation_of_a_shard(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 3), tmp_path / "out"
    local(data, out, layout="shards")
    shutil.copytree(out, tmp_path / "calm")
    (file,) = (out / "shards").glob("*.safetensors")
    content = bytearray(file.read_bytes())
    content[-5] ^= 0x55
    file.write_bytes(content)
    with pytest.raises(Damaged, match=r"another checksum\); igos --resume"):
        [read_arrays(out, r) for r in each_row(out)]
    assert file.exists(), "reading changes nothing"
    folder = local(data, out, layout="shards")
    assert len(folder.damaged) == 1 and folder.damaged[0].startswith("p00") and folder.tally.explanations == 6
    once(out, 3)
    same_maps(out, tmp_path / "calm")
    assert local(data, out, layout="shards").damaged == []


def test_reading_says_which_shard_is_damaged_and_leaves_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = pictures(tmp_path / "data", 1), tmp_path / "out"
    local(data, out, layout="shards")
    (file,) = (out / "shards").glob("*.safetensors")
    whole, opened = file.read_bytes(), Path.open

    def failing(self: Path, *words: Any, **more: Any) -> Any:
        if self == file:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(self, *words, **more)

    with monkeypatch.context() as patch, pytest.raises(ConfigError, match="cannot be read"):
        patch.setattr(Path, "open", failing)
        RunFolder(out, {"model": "faulty", "shard": None, "layout": "shards"}, "shards")
    assert file.read_bytes() == whole, "what cannot be read just now is not damaged"
    file.write_bytes(whole[:-10])
    with pytest.raises(Damaged, match=rf"000001.safetensors: damaged .*; igos --resume {out} makes"):
        read_rows(out)
    assert cli.main(["report", str(out)]) == 0 and cli.main(["report", str(out), "--strict"]) == 2
    assert capsys.readouterr().err.count(f"igos: warning: {file}: damaged") == 2
    assert [p.name for p in (out / "shards").iterdir()] == ["000001.safetensors"]


def test_shards_need_pyarrow_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igos.results.parquet.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--layout shards needs pyarrow: pip install .igos\[shards\]"):
        RunFolder(tmp_path / "out", layout="shards")
    assert not (tmp_path / "out").exists()


def test_large_explanations_fill_a_shard_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 5), tmp_path / "out"
    local(data, tmp_path / "calm", layout="shards")
    size = sum(a.nbytes for a in read_arrays(tmp_path / "calm", next(each_row(tmp_path / "calm")), kept).values())
    monkeypatch.setattr(run_folder, "MOST", 2 * size)
    local(data, out, layout="shards")
    assert len(list((out / "shards").iterdir())) >= 5
    once(out, 5)
    same_maps(out, tmp_path / "calm")


# Packing that is interrupted


def test_a_run_killed_while_it_packs_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    monkeypatch.setattr(run_folder, "SIZE", 4)
    removed: list[str] = []

    class Killed(BaseException):
        pass

    def dying(self: RunFolder, name: str) -> None:
        if removed:
            raise Killed
        removed.append(name)
        original(self, name)

    original = RunFolder.remove
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(RunFolder, "remove", dying)
        local(data, out, layout="shards")
    assert len({r["folder"] for r in each_row(out)}) == len(list(each_row(out))) == 4, "and can be read meanwhile"
    local(data, out, layout="shards")
    once(out, 4)
    assert not list(out.rglob("explanation.npz"))


def test_an_interrupt_while_a_shard_is_written_doubles_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    monkeypatch.setattr(run_folder, "SIZE", 4)
    original, written = Shards.write, list[int]()

    def interrupted(self: Shards, *words: Any) -> None:
        original(self, *words)
        written.append(1)
        if len(written) == 1:
            raise KeyboardInterrupt

    folders: list[RunFolder] = []
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Shards, "write", interrupted)
        patch.setattr(RunFolder, "finish", lambda self: folders.append(self))
        local(data, out, layout="shards", adapter=_noted(folders, patch))
    (folder,) = folders
    monkeypatch.undo()
    folder.finish()
    folder.close()
    assert len({r["folder"] for r in each_row(out)}) == len(list(each_row(out))) == 4
    local(data, out, layout="shards")
    once(out, 4)


def _noted(folders: list[RunFolder], patch: pytest.MonkeyPatch) -> Faulty:
    """The folder that a run opens is put into the list."""
    original = RunFolder.write_run

    def write_run(self: RunFolder, values: Any) -> None:
        folders[:] = [self]
        original(self, values)

    patch.setattr(RunFolder, "write_run", write_run)
    return Faulty()
