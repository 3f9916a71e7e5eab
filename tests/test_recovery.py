"""Runs that were stopped or damaged at odd moments: what is there is kept, told and gone on with."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from igos import cli, engines, results, shards, work
from igos.arrays import kept
from igos.data import find_pictures
from igos.engines import Pool, Task
from igos.files import OWN_NAMES
from igos.manifest import Item, Manifest, share_of
from igos.merge import merge
from igos.methods import METHODS
from igos.results import RunFolder, each_row, read_arrays, read_rows
from igos.shards import Damaged, Shards
from igos.tables import CURVES
from igos.types import ConfigError
from igos.work import Done
from tests.faults import Faulty, local, picture, pictures, same_maps

WORDS = ["--model", "emblem-vgg", "--method", "vanilla_grad", "--metrics", "none", "--num_samples", "3"]


@pytest.fixture(autouse=True)
def _undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures of the results take most of the time, and nothing here looks at them."""
    monkeypatch.setattr(work.Worker, "_drawn", lambda self, made, explanations: [{} for _ in made])


def once(out: Path, count: int) -> None:
    """Each explanation of so many pictures has one row, whose arrays are there."""
    rows = list(each_row(out))
    assert Counter(r["folder"] for r in rows) == Counter(
        {f"p{n:03}/{i}-{side}": 1 for n in range(count) for i, side in enumerate(("left", "right"))}
    )
    for row in rows:
        read_arrays(out, row)


# What stops a run, and what does not


def test_a_rare_target_is_looked_for_in_every_picture(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 13, dict.fromkeys(range(12), "none"))
    local(data, tmp_path / "out", target="class:left", layout="shards")
    assert Counter(r["status"] for r in each_row(tmp_path / "out")) == {"skipped": 12, "ok": 1}
    (data / "p012.png").unlink()
    with pytest.raises(ConfigError, match=r"--target class:left: .* nothing to explain .*in all 12 pictures"):
        local(data, tmp_path / "none", target="class:left")


def test_broken_pictures_between_those_without_the_target_do_not_stop_a_run(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 31, dict.fromkeys(range(30), "none"))
    for file in sorted(data.iterdir())[:30:2]:
        file.write_bytes(b"no picture")
    local(data, tmp_path / "out", target="class:left", layout="shards")
    assert Counter(r["status"] for r in each_row(tmp_path / "out")) == {"skipped": 15, "unreadable": 15, "ok": 1}


@pytest.mark.parametrize("wrong", [0, 3])
def test_one_wrong_annotation_is_a_row_wherever_it_is(wrong: int, tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 4)
    told = [{"id": n, "file_name": f"p{n:03}.png", "height": 33 if n == wrong else 32, "width": 32} for n in range(4)]
    objects = [{"id": n, "image_id": n, "category_id": 1, "bbox": [0, 0, 16, 32]} for n in range(4)]
    truth = {"images": told, "categories": [{"id": 1, "name": "left"}], "annotations": objects}
    (tmp_path / "a.json").write_text(json.dumps(truth))
    local(data, tmp_path / "out", annotations=str(tmp_path / "a.json"), layout="shards")
    rows = {r["item"] or r["folder"]: r["status"] for r in each_row(tmp_path / "out")}
    assert rows.pop(f"p00{wrong}") == "error" and len(rows) == 6 and set(rows.values()) == {"ok"}


def test_a_reader_that_dies_costs_nothing_but_a_picture_that_kills_it(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 4, {1: "unread"})
    local(data, tmp_path / "out", readers=1, layout="shards", target="top1")
    rows = {(r["item"] or r["folder"])[:4]: r for r in each_row(tmp_path / "out")}
    assert len(rows) == 4 and [n for n, r in rows.items() if r["status"] != "ok"] == ["p001"]
    assert rows["p001"]["status"] == "unreadable" and "the process that reads it died twice" in rows["p001"]["error"]


@pytest.mark.parametrize("mixed", [False, True])
def test_what_is_read_ahead_is_not_read_again(mixed: bool, tmp_path: Path) -> None:
    read: list[str] = []

    class Noting(Faulty):
        def read(self, source: Any) -> Any:
            read.append(str(source))
            time.sleep(0.005)
            return super().read(source)

    data = pictures(tmp_path / "data", 24)
    local(data, tmp_path / "out", adapter=Noting(), layout="shards", mix_images=mixed)
    assert sorted(read) == sorted(map(str, data.iterdir()))


def test_a_picture_that_changes_or_vanishes_while_the_run_works_is_a_row(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 16), tmp_path / "out"

    class Moving(Faulty):
        def detect(self, image: Any, *words: Any) -> Any:
            (data / "p015.png").unlink(missing_ok=True)
            return super().detect(image, *words)

        def read(self, source: Any) -> Any:
            image = super().read(source)
            if "p002" in str(source):
                picture(data / "p002.png", seed=77)
            return image

    local(data, out, adapter=Moving(), layout="shards")
    told = {r["item"]: r["error"] for r in each_row(out) if r["status"] == "unreadable"}
    assert told.keys() == {"p002", "p015"} and len(list(each_row(out))) == 30
    assert told["p002"].endswith("changed while it was read") and "no such file" in told["p015"]


def test_a_corrupt_picture_in_a_thousand_is_a_row(tmp_path: Path) -> None:
    data, one = tmp_path / "data", Path(picture(tmp_path / "one.png"))
    data.mkdir()
    for n in range(1000):
        os.link(one, data / f"p{n:03}.png")
    (data / "p617.png").unlink()
    (data / "p617.png").write_bytes(one.read_bytes()[:-30])
    few: dict[str, Any] = {"target": "top1", "metrics": ["none"], "iterations": 1, "set": []}
    folder = local(data, tmp_path / "out", layout="shards", **few)
    assert folder.tally.statuses == {"ok": 999, "unreadable": 1} and [r["item"] for r in folder.rows] == ["p617"]


class Late:
    """A worker that has long answered when its engine, which was busy, comes to look."""

    following, ready, died, starts = None, True, False, 1

    def __init__(self) -> None:
        self.task: Task | None = None
        self.heard, self.says = 0.0, list[Any]()

    def ask(self, task: Task, ahead: list[str]) -> None:
        self.heard, self.says = time.monotonic() - 60, [Done({"folder": "p/0-left"}, b"", {}), None]

    def hear(self) -> tuple[list[Any], str | None]:
        said, self.heard = self.says.pop(0), time.monotonic()
        if said is None:
            self.task = None
            return [], None
        assert self.task is not None
        return [self.task.see(said)], None

    def end(self) -> None:
        pass


def test_a_slow_driver_does_not_take_its_networks_for_dead(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[float | None] = []

    class Slow(Pool):
        def _start(self, number: int, starts: int = 1) -> Any:
            return Late()

        def _speaking(self, members: Any, seconds: float | None) -> Any:
            looks.append(seconds)
            return [] if len(looks) == 1 else [m for m in members if m.says]

    def share(waiting: Any, members: Any) -> None:
        original(waiting, members)
        for m in members:
            m.heard = min(m.heard, time.monotonic() - 60) if not looks else m.heard

    original = engines._share
    monkeypatch.setattr(engines, "_share", share)
    events = list(Slow(1, timeout=5).work([[Item("p.png", "p")]]))
    assert [type(e) for e in events] == [Done], "nothing was given up"


# Opened, stopped


def test_a_run_that_was_killed_while_its_model_was_loaded_can_be_gone_on_with(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 1), tmp_path / "out"
    settings = {"model": "faulty", "shard": None, "layout": "folders"}
    first = RunFolder(out, settings)
    with pytest.raises(ConfigError, match="another run works in this folder"):
        RunFolder(out, settings)
    first.close()  # as the system does for a process that is killed
    (out / "results.jsonl").unlink()
    with pytest.raises(ConfigError, match="model: faulty there, other now"):
        RunFolder(out, {**settings, "model": "other"})
    (out / "results.jsonl").touch()
    local(data, out)
    once(out, 1)


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_a_run_stopped_before_its_first_explanation_is_kept(
    sent: signal.Signals, code: int, layout: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    def stop(*_: Any) -> Any:
        os.kill(os.getpid(), sent)
        time.sleep(5)

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(METHODS["vanilla_grad"], "__call__", stop)
        assert cli.main([*WORDS, "--output", str(out), "--layout", layout]) == code
    assert f"0 finished rows in {out}; --resume {out} goes on" in capsys.readouterr().err
    assert len(Manifest(out).found) == 1 and not (out / "results.parquet").exists()
    assert cli.main(["--resume", str(out)]) == 0 and len(read_rows(out)) == 3
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["igos.commands.explain"], "load_models", stop)
        assert cli.main([*WORDS, "--output", str(tmp_path / "new")]) == code
        assert not (tmp_path / "new").exists(), "of a run that had not begun nothing is left"
        assert cli.main(["--resume", str(out)]) == code and len(read_rows(out)) == 3


def test_a_resume_that_fails_takes_nothing_away(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "out"
    for n in range(2):
        picture(data / f"{n}.png", n)
    words = [*WORDS, "--data", str(data), "--output", str(out)]
    assert cli.main(words) == 0
    for file in out.rglob("explanation.npz"):
        file.write_bytes(b"")
    shutil.move(data, tmp_path / "moved")
    capsys.readouterr()
    assert cli.main(words) == 2
    told = capsys.readouterr().err
    assert "damaged, and made again: 2 explanations (0/" in told and "no such file" in told
    assert {p.name for p in out.iterdir()} >= {"run.yaml", "manifest.jsonl", "results.jsonl"}
    shutil.move(tmp_path / "moved", data)
    assert cli.main([*words, "--retry", "errors"]) == 0 and {r["status"] for r in read_rows(out)} == {"ok"}


def test_a_finished_run_needs_its_pictures_no_more(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    data = pictures(tmp_path / "data", 3)
    words = [*WORDS, "--output", str(out)]
    assert cli.main([*words, "--data", str(data)]) == 0
    other = pictures(tmp_path / "other", 3)
    assert cli.main([*words, "--data", str(other)]) == 2 and "data: " in capsys.readouterr().err
    shutil.rmtree(data)
    assert cli.main(["--resume", str(out)]) == 0 and len(read_rows(out)) == 3


def test_a_run_in_a_folder_that_can_only_be_read_is_refused_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = pictures(tmp_path / "data", 2), tmp_path / "out"
    local(data, out)
    before = {p: p.read_bytes() for p in out.rglob("*") if p.is_file()}

    def refused(*_: Any, **__: Any) -> Any:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    told = r"--output .*: this folder cannot be written \(Read-only file system"
    for name in ("Lock", "write_bytes"):
        with monkeypatch.context() as patch:
            patch.setattr(results, name, refused)
            with pytest.raises(ConfigError, match=told):
                RunFolder(out, {"model": "faulty", "shard": None, "layout": "folders"})
        changed = {p.name for p, was in before.items() if not p.exists() or p.read_bytes() != was}
        assert changed <= {".lock", "results.csv"}, "the table is made again"


def test_where_no_locks_are_known_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unknown)
    assert cli.main([*WORDS, "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("no locks are known where") == 1


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


def test_reading_says_which_shard_is_damaged_and_leaves_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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
    for read in (read_rows, lambda p: cli.main(["report", str(p), "--debug"])):
        with pytest.raises(Damaged, match=rf"000001.safetensors: damaged .*; igos --resume {out} makes"):
            read(out)
    assert [p.name for p in (out / "shards").iterdir()] == ["000001.safetensors"]


def test_shards_need_pyarrow_from_the_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"--layout shards needs pyarrow: pip install .igos\[shards\]"):
        RunFolder(tmp_path / "out", layout="shards")
    assert not (tmp_path / "out").exists()


def test_large_explanations_fill_a_shard_sooner(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 5), tmp_path / "out"
    local(data, tmp_path / "calm", layout="shards")
    size = sum(a.nbytes for a in read_arrays(tmp_path / "calm", next(each_row(tmp_path / "calm")), kept).values())
    monkeypatch.setattr(results, "MOST", 2 * size)
    local(data, out, layout="shards")
    assert len(list((out / "shards").iterdir())) >= 5
    once(out, 5)
    same_maps(out, tmp_path / "calm")


# Packing that is interrupted


def test_a_run_killed_while_it_packs_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    monkeypatch.setattr(results, "SIZE", 4)
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
    monkeypatch.setattr(results, "SIZE", 4)
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


# The manifest


def _cut(lines: list[bytes], damage: str) -> bytes:
    return {
        "emptied": b"",
        "half": b"".join(lines[:3]),
        "without its first line": b"".join(lines[1:]),
        "last line lost": b"".join(lines[:-1]),
        "last line torn": b"".join(lines)[:-9],
        "zeros": b"".join(lines[:-2]) + b"\0" * 70 + b"\n" + lines[-1],
    }[damage]


@pytest.mark.parametrize("layout", ["folders", "shards"])
@pytest.mark.parametrize(
    "damage", ["emptied", "half", "without its first line", "last line lost", "last line torn", "zeros"]
)
def test_a_manifest_that_lost_lines_is_made_whole(damage: str, layout: str, tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    local(data, out, layout=layout)
    shutil.copytree(out, tmp_path / "calm")
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(_cut(lines, damage))
    if layout == "folders":
        shutil.rmtree(out / "p002")
        shutil.rmtree(out / "p003" / "1-right")
    for _ in range(2):
        local(data, out, layout=layout)
        once(out, 4)
    same_maps(out, tmp_path / "calm")
    assert sorted(Manifest(out).due) == ["p000", "p001", "p002", "p003"]


def test_a_manifest_that_lost_lines_is_not_made_whole_of_other_pictures(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 4), tmp_path / "out"
    local(data, out)
    lines = (out / "manifest.jsonl").read_bytes().splitlines(keepends=True)
    (out / "manifest.jsonl").write_bytes(b"".join(lines[:3]))
    with pytest.raises(ConfigError, match="damaged; igos --resume"):
        Manifest(out)
    (data / "p001.png").unlink()
    with pytest.raises(ConfigError, match=r"are not those of the run any more \(4 then, 3 now\)"):
        local(data, out)
    assert len(read_rows(out)) == 8


# Merging


def test_parts_of_other_pictures_are_not_merged(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 12)
    listed = [(str(p), p.stem) for p in sorted(data.iterdir())]
    local(data, tmp_path / "1", shard="1/2")
    Path(share_of(listed, "2/2")[0][0]).unlink()
    local(data, tmp_path / "2", shard="2/2")
    with pytest.raises(ConfigError, match=r"other pictures \(11 there, 12 for .*1\); --data has changed in between"):
        merge([tmp_path / "1", tmp_path / "2"], tmp_path / "all")
    assert not (tmp_path / "all").exists()


@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_damaged_explanations_are_not_merged(layout: str, tmp_path: Path) -> None:
    data, parts = pictures(tmp_path / "data", 6), [tmp_path / "1", tmp_path / "2"]
    for i, part in enumerate(parts, 1):
        local(data, part, shard=f"{i}/2", layout=layout)
    files = sorted(parts[1].rglob("explanation.npz")) or sorted(parts[1].rglob("*.safetensors"))
    whole = bytearray(files[0].read_bytes())
    whole[-5] ^= 1
    hurts = [lambda: files[0].write_bytes(whole)]
    hurts += [lambda: files[0].write_bytes(b"x"), files[0].unlink] if layout == "folders" else []
    for hurt in hurts:
        hurt()
        with pytest.raises(ConfigError, match=r"1 explanations are missing or damaged \(p00.*; first: igos --resume"):
            merge(parts, tmp_path / "all")
    local(data, parts[1], shard="2/2", layout=layout)
    assert merge(parts, tmp_path / "all") == 12
    once(tmp_path / "all", 6)
    assert len(Manifest(tmp_path / "all").due) == 6


# Names


def test_pictures_may_have_the_names_of_the_run_s_own_files(tmp_path: Path) -> None:
    assert {f"{m}{end}" for m in CURVES for end in (".png", "_curves.csv")} < set(OWN_NAMES)
    for n, name in enumerate([*OWN_NAMES, "results.cat", "Shards"]):
        picture(tmp_path / "data" / f"{name}.png", n)
    data, count = tmp_path / "data", 2 * len(OWN_NAMES) + 4
    names = {name.lower() for _, name in find_pictures([str(data)])}
    assert len(names) == count / 2 and not names & set(OWN_NAMES)
    for layout in ("folders", "shards"):
        parts = [tmp_path / f"{layout}-{i}" for i in (1, 2)]
        for i, part in enumerate(parts, 1):
            for _ in range(2):
                local(data, part, shard=f"{i}/2", layout=layout)
        whole = tmp_path / layout
        assert merge(parts, whole) == count
        assert all(np.isfinite(read_arrays(whole, r)["saliency"]).all() for r in each_row(whole))
