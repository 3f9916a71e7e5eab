"""`igos figure`: a slide of a row from what a run left, without its model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from igos import cli
from tests.pages import explanation, made_run, photo, rewrite, toy_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four explanations of two pictures, and a picture that was not read."""
    folder = toy_run(tmp_path_factory.mktemp("figure") / "run", 4)
    gone = '{"image": "gone.jpg", "status": "unreadable", "error": "no such file", "folder": null}\n'
    rewrite(folder, lambda text: text + gone)
    return folder


def test_the_rows_that_are_named_are_drawn(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["figure", str(run), "1", "3", "--out", str(tmp_path / "slides")]) == 0
    made = [tmp_path / "slides" / name for name in ("001-photo-0-cat.png", "003-photo-0-emu.png")]
    assert capsys.readouterr().out.split() == [str(p) for p in made] and sorted(made[0].parent.iterdir()) == made
    pictures = [np.asarray(PIL.Image.open(p)).astype(int) for p in made]
    assert all(p.shape[1] == 1280 and p.shape[0] < 500 for p in pictures)
    source = np.asarray(PIL.Image.open(run.parent / "photos" / "photo-0.png").resize((305, 229))).astype(int)
    seen = pictures[0][12 : 12 + 229, 12 : 12 + 305]
    assert np.median(np.abs(seen - source)) < 4, "the photo stands first"
    assert (pictures[0][:240] != pictures[1][:240]).any(), "each row has its own map"


def test_without_rows_all_that_have_a_map_are_drawn(run: Path, tmp_path: Path) -> None:
    assert cli.main(["figure", str(run), "--out", str(tmp_path)]) == 0
    assert [p.name[:3] for p in sorted(tmp_path.iterdir())] == ["001", "002", "003", "004"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        (("0",), "ROW 0: the number of a row is needed, from 1"),
        (("dog",), "ROW dog: the number of a row"),
        (("9",), "ROW 9: "),
        (("5",), "ROW 5: unreadable, there is no map (no such file)"),
    ],
)
def test_a_row_that_cannot_be_drawn_is_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], rows: tuple[str, ...], told: str
) -> None:
    assert cli.main(["figure", str(run), *rows, "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1 and not (tmp_path / "out").exists()


def test_what_was_not_measured_or_has_changed_is_not_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "photo.png"
    made_run(tmp_path / "run", [explanation(path, photo(path), scores=())])
    assert cli.main(["figure", str(tmp_path / "run"), "1", "--out", str(tmp_path / "out")]) == 2
    assert "ROW 1: deletion and insertion were not measured" in capsys.readouterr().err
    photo(path, seed=3)
    assert cli.main(["figure", str(tmp_path / "run"), "1", "--out", str(tmp_path / "out")]) == 2
    assert "has changed since the run" in capsys.readouterr().err
