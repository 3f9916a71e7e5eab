"""Folders of igos 0.1.0: every command that reads takes them; one in which something is due is not gone on with."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from igos import cli
from igos.results.read import each_row, read_arrays, read_rows

ROOT = Path(__file__).resolve().parents[2]
KINDS = ("evaluate", "explain", "shards")


@pytest.fixture
def old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folders that 0.1.0 left, whose pictures are those of samples/."""
    monkeypatch.chdir(ROOT)
    return Path(shutil.copytree(ROOT / "tests" / "runs_0_1_0", tmp_path / "old"))


@pytest.mark.parametrize("kind", KINDS)
def test_report_and_export_read_them(old: Path, kind: str, tmp_path: Path) -> None:
    assert cli.main(["report", str(old / kind)]) == 0
    rows = [r for r in each_row(old / kind) if r["folder"]]
    assert rows[0]["name"] in (old / kind / "report.html").read_text()
    assert cli.main(["export", str(old / kind), "--format", "coco", "--out", str(tmp_path / "maps.json")]) == 0
    assert len(json.loads((tmp_path / "maps.json").read_text())["annotations"]) == len(rows)


def test_compare_reads_them(old: Path, tmp_path: Path) -> None:
    folders = [str(old / kind) for kind in KINDS]
    assert cli.main(["compare", *folders, "--out", str(tmp_path / "page.html")]) == 0
    assert "bars" in (tmp_path / "page.html").read_text()


@pytest.mark.parametrize("kind", KINDS)
def test_evaluate_judges_their_maps(old: Path, kind: str, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert cli.main(["evaluate", "--results", str(old / kind), "--metrics", "deletion", "--output", str(out)]) == 0
    before = {r["folder"]: r for r in each_row(old / kind) if r["folder"]}
    for row in read_rows(out):
        assert row["deletion"] == pytest.approx(before[row["folder"]]["deletion"], abs=1e-4)
        maps = [read_arrays(f, r)["saliency"] for f, r in ((out, row), (old / kind, before[row["folder"]]))]
        assert np.array_equal(*maps)
    assert list(csv.DictReader((out / "metrics.csv").read_text().splitlines()))


@pytest.mark.parametrize("kind", ["explain", "shards"])
def test_a_finished_one_is_finished(old: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    assert cli.main(["--resume", str(old / kind)]) == 0
    out, err = capsys.readouterr()
    assert "nothing is due" in out
    assert (
        err
        == f"igos: warning: {old / kind}: made by an igos without checksums; what is damaged in it may go unnoticed\n"
    )
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before


def test_one_in_which_something_is_due_is_refused(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = (old / "explain" / "results.jsonl").read_text().splitlines(keepends=True)
    (old / "explain" / "results.jsonl").write_text(lines[0])
    before = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    again = ["--model", "emblem-vgg", "--config", "quick", "--output", str(old / "explain")]
    for words in (["--resume", str(old / "explain")], again, ["evaluate", "--resume", str(old / "evaluate")]):
        assert cli.main(words) == 2
        out, err = capsys.readouterr()
        assert "made by igos 0.1.0; go on with that version or a new --output" in err and not out
        assert len(err.splitlines()) == 1
    assert {p: p.read_bytes() for p in old.rglob("*") if p.is_file()} == before
