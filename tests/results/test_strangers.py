"""Folders of runs from strangers: nothing outside of them is read, written or removed."""

from __future__ import annotations

import io
import json
import os
import resource
import shutil
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

from igos import cli
from igos.base.inside import Outside, inside
from igos.base.reading import each_line, read_bytes, read_text
from igos.base.untrusted import load_npz
from igos.cli.report import read_picture
from igos.results.manifest import Manifest, target_of
from igos.results.page_content import album
from igos.results.read import each_row
from igos.run.merge import merge
from igos.types import ConfigError
from tests.faults import local, once, pictures
from tests.pages import toy_run
from tests.strangers import HOSTILE, contents, edited, guarded

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two pictures of which one target is still due, beside its data."""
    place = tmp_path_factory.mktemp("calm")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.run.workers.worker.Worker._drawn", lambda self, made, explanations: [{} for _ in made])
        local(pictures(place / "data", 2), place / "run")
    lines = (place / "run" / "results.jsonl").read_bytes().splitlines(keepends=True)
    (place / "run" / "results.jsonl").write_bytes(b"".join(lines[:-1]))
    shutil.rmtree(place / "run" / "p001" / "1-right")
    return place


@pytest.fixture
def run(calm: Path, tmp_path: Path) -> Path:
    shutil.copytree(calm / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture
def guard(tmp_path: Path) -> Path:
    return guarded(tmp_path / "guard")


@pytest.mark.parametrize("how", HOSTILE)
def test_a_run_that_leads_out_of_its_folder_is_not_gone_on_with(calm: Path, run: Path, guard: Path, how: str) -> None:
    HOSTILE[how](run, guard)
    before = contents(run), contents(guard)
    with pytest.raises(ConfigError) as caught:
        local(calm / "data", run)
    assert "\n" not in str(caught.value)
    assert (contents(run), contents(guard)) == before, "nothing is changed before it is refused"


@pytest.mark.parametrize("how", HOSTILE)
def test_no_reader_leaves_the_folder(run: Path, guard: Path, tmp_path: Path, how: str, capsys: Any) -> None:
    """Exit 0 and what is whole, or one line; nothing changes but what is written; nothing of the guard is in it."""
    HOSTILE[how](run, guard)
    before = contents(guard)
    (run / "report.html").unlink() if (run / "report.html").is_file() else None
    out = tmp_path / "out"
    words = [["report", str(run)], ["export", str(run), "--format", "png", "--out", str(out)]]
    words += [["compare", str(run), str(run / "p000"), "--out", str(tmp_path / "both.html")]]
    words += [["merge", str(run), "--out", str(tmp_path / "merged")]]
    for each in words:
        assert cli.main(each) in (0, 2)
        told = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
        assert len(told) <= 1, told
    assert contents(guard) == before
    made = [p for p in (run / "report.html", *out.rglob("*")) if p.is_file() and not p.is_symlink()]
    assert not any(b"the only copy of docs" in p.read_bytes() for p in made)


@pytest.mark.parametrize("name", [".lock", "results.jsonl", "manifest.jsonl"])
def test_a_hard_link_keeps_its_content(calm: Path, run: Path, guard: Path, name: str) -> None:
    """Copies by hard links are common; what a run adds to its own file is not added to the copy."""
    if name == ".lock":
        (guard / "copy").write_bytes(b"another file")
        (run / name).unlink()
        os.link(guard / "copy", run / name)
    else:
        os.link(run / name, guard / "copy")
    before = contents(guard)
    if name == "manifest.jsonl":  # a line is lost, so that one is added
        lines = (run / name).read_bytes().splitlines(keepends=True)
        (guard / "copy").unlink()
        (run / name).write_bytes(b"".join(lines[:-1]))
        os.link(run / name, guard / "copy")
        before = contents(guard)
    local(calm / "data", run)
    once(run, 2)
    assert contents(guard) == before


def test_what_is_inside(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "file").touch()
    (tmp_path / "link").symlink_to("a")
    for name in ("a", "a/file", "a/new/er", "new", "a//file", "./a"):
        assert inside(tmp_path, name).resolve().is_relative_to(tmp_path.resolve())
    for name in ("..", "a/../../b", "/etc", "", ".", "a\0b", "\ud800", "C:/x", "\\\\server\\x", "..\\x", "link",
                 "link/file", "a/file/below", Path("/dev/null")):  # fmt: skip
        with pytest.raises(Outside):
            inside(tmp_path, name)
    (tmp_path / "reached").symlink_to(tmp_path / "a")
    assert inside(tmp_path / "reached", "file").is_file(), "the folder itself is named by the user"


def test_merge_takes_what_the_run_made_and_nothing_else(tmp_path: Path, guard: Path) -> None:
    data, parts = pictures(tmp_path / "data", 4), [tmp_path / "1", tmp_path / "2"]
    for n, part in enumerate(parts, 1):
        local(data, part, shard=f"{n}/2")
    (parts[0] / "scene-99").symlink_to(guard)
    (parts[1] / "notes").mkdir()
    (parts[1] / "notes" / "mine.txt").write_text("mine")
    merge(parts, tmp_path / "merged")
    once(tmp_path / "merged", 4)
    assert sorted(p.name for p in (tmp_path / "merged").iterdir() if p.is_dir()) == ["p000", "p001", "p002", "p003"]
    (next(parts[1].glob("p*/*/explanation.npz")).parent / "more.png").symlink_to(guard / "docs/letter.txt")
    with pytest.raises(Outside, match="symbolic link"):
        merge(parts, tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_page_holds_the_run_s_own_pictures_and_no_other(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", 2)
    assert all(album([run], read_picture).photos)
    secret = tmp_path / "secret.png"
    PIL.Image.new("RGB", (160, 120), "red").save(secret)
    edited(run / "results.jsonl", lambda row: {**row, "image": str(secret)})
    for due in (False, True):
        if due:
            edited(run / "manifest.jsonl", lambda row: {**row, "due": str(secret)} if "due" in row else row)
        made = album([run], read_picture)
        assert made.photos == [None] and "secret.png" in made.pictures[0]["lost"]
    (run / "manifest.jsonl").unlink()
    assert album([run], read_picture).photos == [None]


def test_a_changed_picture_is_not_shown(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", 2)
    PIL.Image.new("RGB", (160, 120), "red").save(tmp_path / "photos" / "photo-0.png")
    made = album([run], read_picture)
    assert "has changed since the run" in made.pictures[0]["lost"] and made.photos[1]


# --- bounds before reading ----------------------------------------------------------------------------------


def grown(work: Callable[[], Any]) -> int:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


@pytest.mark.parametrize("kind", ["zero", "pipe", "sparse", "folder"])
def test_a_picture_that_never_ends_is_a_row(calm: Path, run: Path, kind: str, tmp_path: Path) -> None:
    places = {"zero": "/dev/zero", "folder": str(tmp_path)}
    path = places.get(kind, str(tmp_path / "a.png"))
    if kind == "pipe":
        os.mkfifo(path)
    if kind == "sparse":
        with open(path, "wb") as file:
            file.truncate(1 << 40)

    def change(row: dict[str, Any]) -> dict[str, Any]:
        return {**row, "due": path} if row.get("due", "").endswith("p001.png") else row

    edited(run / "manifest.jsonl", change)
    assert grown(lambda: local(calm / "data", run)) < 200 << 20
    unread = [r for r in each_row(run) if r["status"] == "unreadable"]
    assert [r["item"] for r in unread] == ["p001"] and unread[0]["error"]


def test_a_path_that_no_system_has_is_damage(calm: Path, run: Path) -> None:
    edited(run / "manifest.jsonl", lambda row: {**row, "due": "a\0b"} if "due" in row else row)
    local(calm / "data", run)
    once(run, 2)


def test_reading_takes_no_more_room_than_the_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc\r\nd")
    tracemalloc.start()
    assert read_bytes(tmp_path / "a") == b"abc\r\nd" and read_text(tmp_path / "a") == "abc\nd"
    assert list(each_line(tmp_path / "a")) == [b"abc\r\n", b"d"]
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()
    with pytest.raises(OSError, match="the most that is read"):
        read_bytes(tmp_path / "a", 5)


def test_a_mask_has_the_picture_s_size(run: Path) -> None:
    line = next(iter(Manifest(run).lines.values()))
    for size in ([100_000, 60_000], [32, 33], [-1, -32], ["a", "b"], [2**70, 1]):
        mask = {"size": size, "counts": [0, 6 * 10**9]}

        def work(mask: Any = mask) -> None:
            with pytest.raises(ConfigError, match="a target is damaged"):
                target_of({**line["targets"][0], "mask": mask}, torch.device("cpu"), (32, 32))

        assert grown(work) < 100 << 20


def test_an_array_s_header_is_bounded(tmp_path: Path) -> None:
    path, huge = tmp_path / "a.npz", b"\x93NUMPY\x02\x00" + struct.pack("<I", 300_000_000)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(huge)
        for _ in range(100):  # twice what may be held
            file.write(b" " * 1_000_000)

    def work() -> None:
        with pytest.raises(ValueError, match="a header of 300000000 bytes"):
            load_npz(path)

    assert path.stat().st_size < 1 << 20 and grown(work) < 50 << 20
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "|u1", "fortran_order": False, "shape": (3 * 10**8 + 1,)})
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as file:
        file.write(head.getvalue())
        for _ in range(300):
            file.write(bytes(1_000_000))

    def again() -> None:
        with pytest.raises(ValueError, match="300000000 bytes are not"):
            load_npz(path)

    assert grown(again) < 50 << 20


@pytest.mark.parametrize("name", ["run.yaml", "results.jsonl", "manifest.jsonl"])
def test_a_file_of_a_run_has_its_bounds(calm: Path, run: Path, name: str, capsys: Any) -> None:
    with open(run / name, "wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ConfigError, match="bytes"):
        local(calm / "data", run)
    assert cli.main(["report", str(run)]) == 2 or name == "manifest.jsonl"


def test_annotations_and_settings_are_files(tmp_path: Path, capsys: Any) -> None:
    os.mkfifo(tmp_path / "pipe")
    photo = tmp_path / "a.png"
    PIL.Image.new("RGB", (64, 64)).save(photo)
    for place in ("/dev/zero", str(tmp_path / "pipe")):
        for flag in ("--annotations", "--subset_file", "--config", "--names", "--model_file"):
            words = ["--model", "emblem-vgg", "--data", str(photo), flag, place, "--output", str(tmp_path / "out")]
            assert cli.main(words) == 2
            told = capsys.readouterr().err.splitlines()
            assert len([line for line in told if "warning" not in line]) == 1, told


def test_a_run_that_names_an_output_folder_is_refused(run: Path, tmp_path: Path, capsys: Any) -> None:
    (run / "run.yaml").write_text(f"model: emblem-vgg\noutput: {tmp_path / 'elsewhere'}\n")
    for words in (["--resume", str(run)], ["evaluate", "--results", str(run)]):
        assert cli.main(words) == 2 and "names an output folder" in capsys.readouterr().err
    assert not (tmp_path / "elsewhere").exists()


def test_geometry_of_any_scale_is_damage(tmp_path: Path, capsys: Any) -> None:
    run = toy_run(tmp_path / "run", 1)
    path = run / "picture" / "0" / "explanation.npz"
    with np.load(path) as file:
        arrays = dict(file)
    arrays["geometry"][2] = 1e6
    np.savez(path, **arrays)
    edited(run / "results.jsonl", lambda row: {**row, "crc32": None})

    def work() -> None:
        assert cli.main(["report", str(run)]) == 0

    assert grown(work) < 100 << 20 and "geometry" in json.dumps((run / "report.html").read_text())
