"""The run's folder: whole files, rows that stay valid, arrays before pictures."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from igos.base import files
from igos.base.files import safe_name, unique
from igos.data.pictures import find_pictures
from igos.methods.mask.igos_pp import IGOSPlusPlus
from igos.metrics.curves import Deletion, Insertion
from igos.results import rows
from igos.results.folder import RunFolder
from igos.results.read import read_rows
from igos.run.explain import explain_problem
from igos.types import ConfigError, Explanation
from tests.conftest import net_score, toy_problem


def explanation() -> Explanation:
    problem = toy_problem(net_score())
    return explain_problem(
        problem, IGOSPlusPlus(size=6, iterations=3, ig_iter=2, sure=False), (Deletion(), Insertion())
    )[0]


def test_an_explanation_is_saved_as_arrays_and_pictures(tmp_path: Path) -> None:  # defect 16
    e = explanation()
    e.save(tmp_path / "deep" / "er")
    folder = tmp_path / "deep" / "er"
    assert {p.name for p in folder.iterdir()} == {
        *("explanation.npz", "heatmap.png", "overlay.png", "curves.png", "figure.png")
    }
    arrays = np.load(folder / "explanation.npz")
    assert arrays["saliency"].shape == (6, 6) and arrays["saliency"].dtype == np.float32
    assert arrays["saliency_source"].shape == (24, 32) and arrays["saliency_source"].dtype == np.float32
    assert arrays["masks"].shape == (2, 6, 6) and arrays["box"].tolist() == [8, 6, 20, 18]
    assert arrays["deletion_curve"].shape == arrays["insertion_curve"].shape == (2, 51)
    assert np.isfinite(arrays["trace_objective"]).all() and len(arrays["trace_objective"]) == 3


def test_the_row_says_what_ran() -> None:
    row = rows.Row.of(explanation(), "a/b").as_dict()
    assert set(row) <= set(rows.COLUMNS)
    assert (row["method"], row["opt"], row["form"], row["status"]) == ("iGOS++", "NAG", "default", "ok")
    assert row["network_images"] == row["backward_images"] == 4 * 2 * 3, "metrics excluded"
    assert 0 < row["score_blurred"] < 1 and 0 < row["deletion"] < 1 and row["seconds"] > 0


def test_rows_survive_a_torn_last_line_and_hold_no_nan(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    folder.add({"image": "a", "deletion": float("nan"), "insertion": np.float32(0.5), "label_index": np.int64(3)})
    folder.add({"image": "b", "extra": [1, 2], "box": [1.0, 2.0, 3.0, 4.0]})
    with open(tmp_path / "run" / "results.jsonl", "a") as file:
        file.write('{"image": "c", "dele')
    rows = read_rows(tmp_path / "run")
    assert [r["image"] for r in rows] == ["a", "b"] and rows[0]["deletion"] is None and rows[0]["insertion"] == 0.5
    for line in (tmp_path / "run" / "results.jsonl").read_text().splitlines()[:2]:
        json.loads(line, parse_constant=lambda c: pytest.fail(c))
    folder.finish()
    table = list(csv.DictReader((tmp_path / "run" / "results.csv").read_text().splitlines()))
    assert table[1]["box"] == "1 2 3 4" and table[0]["deletion"] == ""


def test_a_folder_with_results_or_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    RunFolder(tmp_path / "run").add({"image": "a"})
    with pytest.raises(ConfigError, match="another run"):
        RunFolder(tmp_path / "run")
    (tmp_path / "file").write_text("x")
    for place in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/igos")):
        with pytest.raises(ConfigError, match="cannot be written"):
            RunFolder(place)
    with pytest.raises(ConfigError, match=r"results\.jsonl"):
        read_rows(tmp_path)


def test_an_empty_run_takes_its_folders_back_but_no_one_else_s(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "new" / "run")
    folder.write_run({"a": 1})
    folder.discard()
    assert not (tmp_path / "new").exists()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note.txt").write_text("keep")
    folder = RunFolder(tmp_path / "mine")
    folder.write_run({"a": 1})
    folder.discard()
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["note.txt"]


def test_a_write_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        files.write_bytes(tmp_path / "x", None)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


def test_names_are_safe_and_unique() -> None:
    assert safe_name("../../etc/passwd") == "etc_passwd" or "/" not in safe_name("../../etc/passwd")
    for name in ("<script>", "a/b", "..", "", "C:\\x", ".hidden", "é" * 300):
        made = safe_name(name)
        assert made and "/" not in made and "\\" not in made and not made.startswith(".") and len(made) <= 60
    taken: set[str] = set()
    assert [unique("a", taken), unique("A", taken), unique("a", taken)] == ["a", "A-2", "a-3"]


def test_pictures_from_files_folders_and_patterns(tmp_path: Path) -> None:
    for name in ("b/1.jpg", "a/1.PNG", "a/note.txt", "2.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    found = find_pictures([str(tmp_path)])
    assert [n for _, n in found] == ["2", "a-1", "b-1"]
    assert [n for _, n in find_pictures([str(tmp_path / "*" / "*.jpg"), str(tmp_path / "2.jpg")])] == ["1", "2"]
    assert len(find_pictures([str(tmp_path)], limit=2)) == 2
    orders = {tuple(find_pictures([str(tmp_path)], shuffle=True, seed=s)) for s in range(8)}
    assert len(orders) > 1
    assert find_pictures([str(tmp_path)], True, 3) == find_pictures([str(tmp_path)], True, 3)
    (tmp_path / "empty").mkdir()
    for place in ("missing.jpg", "empty", "*.tif"):
        with pytest.raises(ConfigError, match="--data"):
            find_pictures([str(tmp_path / place)])


def test_pictures_by_number_from_one_with_the_end_left_out(tmp_path: Path) -> None:
    for i in range(7):
        (tmp_path / f"{'abcdefg'[i]}.png").touch()

    def names(*numbers: int, **more: Any) -> str:
        return "".join(n for _, n in find_pictures([str(tmp_path)], numbers=range(*numbers), **more))

    assert names(1, 8) == "abcdefg" and names(1, 7) == "abcdef" and names(2, 8, 3) == "be" and names(7, 99) == "g"
    assert names(2, 8, 2, limit=2) == "bd", "the limit counts what was chosen"
    assert sorted(names(2, 8, 2, shuffle=True, seed=1)) == ["b", "d", "f"]
    with pytest.raises(ConfigError, match="--start_index 8 .*run to 7"):
        names(8, 100)


def test_imagenet_s_validation_pictures_go_by_the_number_in_their_name(tmp_path: Path) -> None:
    for i in (1, 2, 11, 12, 21, 49991, 50000):
        (tmp_path / f"ILSVRC2012_val_{i:08}.JPEG").touch()
    found = find_pictures([str(tmp_path)], numbers=range(1, 50000, 10))
    assert [int(n[-5:]) for _, n in found] == [1, 11, 21, 49991]
    with pytest.raises(ConfigError, match="run to 50000"):
        find_pictures([str(tmp_path)], numbers=range(50001, 60000))


def test_the_python_interface_draws_and_shows() -> None:
    e = explanation()
    assert e.overlay().dtype == np.uint8 and e.overlay().shape[2] == 3
    assert "<img" in e._repr_html_() and "toy" in e._repr_html_()
    assert e.on_source().shape == (24, 32) and torch.is_tensor(e.saliency)


def test_a_run_never_touches_files_that_it_did_not_make(tmp_path: Path) -> None:
    (tmp_path / "results.csv").write_text("mine")
    with pytest.raises(ConfigError, match="another run"):
        RunFolder(tmp_path)
    assert (tmp_path / "results.csv").read_text() == "mine"
    first = RunFolder(tmp_path / "same")
    with pytest.raises(ConfigError):
        RunFolder(tmp_path / "same")
    first.add({"image": "a"})
    assert len(read_rows(tmp_path / "same")) == 1


def test_rows_hold_any_name(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    names = ["caf\u00e9", "a\u2028b", "a\u0085b", "bad\udcff", "<script>", "\u732b"]
    for name in names:
        folder.add({"image": name})
    folder.finish()
    assert [r["image"] for r in read_rows(tmp_path / "run")] == names


def test_pictures_cannot_take_the_run_s_own_names(tmp_path: Path) -> None:
    for name in ("results.csv.jpg", "run.yaml.png"):
        (tmp_path / name).touch()
    assert [n for _, n in find_pictures([str(tmp_path)])] == ["results.csv-2", "run.yaml-2"]
