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
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

from igos import cli
from igos.methods import METHODS
from igos.results import folder as run_folder
from igos.results.folder import RunFolder
from igos.results.manifest import Item, Manifest
from igos.results.read import each_row, read_rows
from igos.run.workers import engines
from igos.run.workers.engines import Pool, Task
from igos.run.workers.events import Done
from igos.types import ConfigError
from tests.commands import Command
from tests.faults import Faulty, local, once, picture, pictures

WORDS = ["--model", "emblem-vgg", "--method", "vanilla_grad", "--metrics", "none", "--num_samples", "3"]

pytestmark = pytest.mark.usefixtures("undrawn")


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


def test_a_row_that_was_written_as_ctrl_c_came_is_in_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    know, out = RunFolder._know, tmp_path / "out"

    def interrupted(folder: RunFolder, row: dict[str, Any]) -> None:
        if len(folder.rows) == 1:
            monkeypatch.setattr(RunFolder, "_know", know)
            raise KeyboardInterrupt
        know(folder, row)

    monkeypatch.setattr(RunFolder, "_know", interrupted)
    assert cli.main([*WORDS, "--output", str(out)]) == 130
    assert "2 finished rows" in capsys.readouterr().err
    assert len(read_rows(out)) == 2 == len((out / "results.csv").read_text().splitlines()) - 1


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


@pytest.mark.usefixtures("forked")
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


def test_a_corrupt_picture_in_hundreds_is_a_row(tmp_path: Path) -> None:
    data, one = tmp_path / "data", Path(picture(tmp_path / "one.png"))
    data.mkdir()
    for n in range(200):
        os.link(one, data / f"p{n:03}.png")
    (data / "p117.png").unlink()
    (data / "p117.png").write_bytes(one.read_bytes()[:-30])
    few: dict[str, Any] = {"target": "top1", "metrics": ["none"], "iterations": 1, "set": ["sure=false"]}
    folder = local(data, tmp_path / "out", layout="shards", **few)
    assert folder.tally.statuses == {"ok": 199, "unreadable": 1} and [r["item"] for r in folder.rows] == ["p117"]


def test_the_bar_counts_the_pictures_that_are_due(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paces: list[Any] = []
    monkeypatch.setattr(sys.modules["igos.run.drive"], "shown", lambda _: nullcontext(lambda p, *_: paces.append(p)))
    data = pictures(tmp_path / "data", 5, {1: "none", 2: "raise"})
    (data / "p003.png").write_bytes(b"no picture")
    local(data, tmp_path / "out", layout="shards")
    last = paces[-1]
    assert (last.pictures, last.seen, last.done) == (5, 5, last.objects) and last.objects > 0


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
    deep = {"methods": {"A": {"x": 1, "y": 2}}, "same": [1]}
    RunFolder(tmp_path / "deep", deep).close()
    with pytest.raises(ConfigError, match=r"other settings \(methods.A.y: 2 there, 3 now\); choose"):
        RunFolder(tmp_path / "deep", {**deep, "methods": {"A": {"x": 1, "y": 3}}})
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
    assert len(Manifest(out).lines) == 1 and not (out / "results.parquet").exists()
    assert cli.main(["--resume", str(out)]) == 0 and len(read_rows(out)) == 3
    assert capsys.readouterr().out.count("  ok\n") == 3, "a line of the table for each"
    with monkeypatch.context() as patch:
        patch.setattr(sys.modules["igos.cli.session"], "load_models", stop)
        assert cli.main([*WORDS, "--output", str(tmp_path / "new")]) == code
        assert not (tmp_path / "new").exists(), "of a run that had not begun nothing is left"
        assert cli.main(["--resume", str(out)]) == code and len(read_rows(out)) == 3


def test_sigterm_to_all_processes_of_a_run_keeps_what_is_there(tmp_path: Path) -> None:
    out, manifest = tmp_path / "out", tmp_path / "out" / "manifest.jsonl"
    words = ["--model", "emblem-vgg", "--method", "rise", "--metrics", "none", "--output", str(out), "--threads", "1"]
    words += ["--workers", "1", "--layout", "shards"]
    process = Command("-m", "igos", *words, cwd=tmp_path, session=True)
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (manifest.exists() and b"sha256" in manifest.read_bytes()):
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGTERM)
    code, _, err = process.end()
    assert code == 143 and len(err.splitlines()) == 1, err
    assert "finished rows" in err and Manifest(out).lines and not (out / "results.parquet").exists()


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
            patch.setattr(run_folder, name, refused)
            with pytest.raises(ConfigError, match=told):
                RunFolder(out, {"model": "faulty", "shard": None, "layout": "folders"})
        changed = {p.name for p, was in before.items() if not p.exists() or p.read_bytes() != was}
        assert changed <= {".lock", "results.csv", "results.parquet"}, "the tables are made again"


def test_where_no_locks_are_known_the_command_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def unknown(*_: Any) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", unknown)
    assert cli.main([*WORDS, "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().err.count("no locks are known where") == 1
