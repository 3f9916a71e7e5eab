"""Folders as they are found: links entered without loops, hidden files and what tools leave behind left out."""

from __future__ import annotations

import shutil
from pathlib import Path

import PIL.Image
import pytest

from detectors.pictures import read_rgb
from igos import cli
from igos.base import resources
from igos.data.annotations import truths_of
from igos.data.folders import files_below
from igos.data.pictures import find_pictures
from igos.types import ConfigError

HIDDEN = (
    ".hidden.jpg", "._a.jpg", ".ipynb_checkpoints/a-checkpoint.jpg", "@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "#recycle/a.jpg", "__MACOSX/a.jpg", "sub/.git/a.jpg", "sub/@eaDir/a.jpg",
)  # fmt: skip


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def found(*places: Path | str) -> list[str]:
    return [name for _, name in find_pictures([str(p) for p in places])]


def test_hidden_files_and_what_tools_leave_behind_are_no_pictures(tmp_path: Path) -> None:
    touch(tmp_path, *HIDDEN, "a.jpg", "sub/b.jpg")
    assert found(tmp_path) == ["a", "sub-b"]
    assert found(tmp_path / "**" / "*.jpg") == ["a", "b"]
    assert found(tmp_path / "@eaDir") == ["a.jpg-SYNOPHOTO_THUMB_M"], "asked for by name"
    assert found(tmp_path / "__MACOSX" / "*.jpg") == ["a"] and found(tmp_path / ".hidden.jpg") == ["hidden"]
    with pytest.raises(ConfigError, match="no pictures in this folder .*hidden files and folders are not searched"):
        find_pictures([str(touch(tmp_path / "only", "._a.jpg"))])


def test_jfif_is_a_picture(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (30, 20), (200, 10, 10)).save(tmp_path / "a.jfif", format="JPEG")
    assert found(tmp_path) == ["a"] and read_rgb(tmp_path / "a.jfif")[0].shape == (20, 30, 3)


def test_links_to_folders_are_entered_once_and_never_round_and_round(tmp_path: Path) -> None:
    data, other = touch(tmp_path / "data", "real/a.jpg"), touch(tmp_path / "other", "deep/b.jpg", "c.jpg")
    (data / "again").symlink_to(data / "real")
    (data / "link").symlink_to(other)
    (data / "loop").symlink_to(data)
    (data / "real" / "up").symlink_to(tmp_path)
    (other / "back").symlink_to(data)
    (other / "deep" / "round").symlink_to(other)
    (data / "broken").symlink_to(tmp_path / "nowhere")
    (data / "broken.jpg").symlink_to(tmp_path / "nowhere.jpg")
    (data / "one.jpg").symlink_to(other / "c.jpg")
    assert found(data) == ["link-c", "link-deep-b", "one", "real-a"]
    (tmp_path / "entry").symlink_to(data)
    assert found(tmp_path / "entry") == ["link-c", "link-deep-b", "one", "real-a"]
    assert found(data / "**" / "*.jpg") == ["c", "b", "one", "a"], "a pattern enters links too"


def test_a_folder_given_twice_is_one(tmp_path: Path) -> None:
    data = touch(tmp_path / "data", "a.jpg", "sub/b.jpg")
    (tmp_path / "link").symlink_to(data)
    assert found(data, tmp_path / "link", data / "sub" / ".." / "a.jpg", data / "*.jpg") == ["a", "sub-b"]


def test_annotations_are_listed_by_the_same_rules(tmp_path: Path) -> None:
    data = touch(tmp_path / "notes", ".ipynb_checkpoints/a.xml", "._a.xml", "@eaDir/a.xml", "deep/a.xml")
    (data / "round").symlink_to(data)
    assert files_below(data, {".xml"}) == [data / "deep" / "a.xml"]
    box = "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox>"
    (data / "deep" / "a.xml").write_text(f"<annotation><object><name>dog</name>{box}</object></annotation>")
    assert [t.name for t in truths_of("a.jpg", str(data), (9, 9))] == ["dog"]


def split_set(folder: Path) -> Path:
    scenes = sorted(resources.folder("samples").glob("scene-*.png"))
    for c in ("cat", "dog"):
        (folder / c).mkdir(parents=True)
        for n in range(2):
            shutil.copyfile(scenes[n], folder / c / f"{c}{n}.png")
            (folder / c / f"._{c}{n}.png").write_bytes(b"x")
    return folder


def test_split_leaves_hidden_ones_out_and_follows_links(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = split_set(tmp_path / "val")
    (data / ".ipynb_checkpoints").mkdir()
    (tmp_path / "bird").mkdir()
    for n in range(2):
        shutil.copyfile(data / "cat" / "cat0.png", tmp_path / "bird" / f"bird{n}.jfif")
    (data / "bird").symlink_to(tmp_path / "bird")
    (data / "cat" / "folder.png").mkdir()
    words = ["split", "--data", str(data), "--per_class", "1", "--out"]
    assert cli.main([*words, str(tmp_path / "out")]) == 0 and capsys.readouterr().out.startswith("3 classes")
    copied = sorted(p.name[:-5] for p in (tmp_path / "out").rglob("*.*") if p.is_file())
    assert len(copied) == 6 and not any(name.startswith(".") for name in copied)
    too_many = ["split", "--data", str(data), "--per_class", "2", "--out", str(tmp_path / "two")]
    assert cli.main(too_many) == 2 and "has 2 pictures" in capsys.readouterr().err


def test_split_says_where_it_finds_no_annotations(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, notes = split_set(tmp_path / "val"), tmp_path / "notes"
    words = [
        "split",
        "--data",
        str(data),
        "--per_class",
        "1",
        "--out",
        str(tmp_path / "out"),
        "--annotations",
        str(notes),
    ]
    notes.mkdir()
    assert cli.main(words) == 2 and not (tmp_path / "out").exists()
    assert "no XML file of a picture of --data (looked for cat" in capsys.readouterr().err
    touch(notes, "cat/cat0.xml", "cat1.xml")
    assert cli.main(words) == 0
    assert "igos: warning: 1 pictures have no annotations" in capsys.readouterr().err
    assert len(list((tmp_path / "out" / "annotations").rglob("*.xml"))) == 1
