"""igos diagnose on the bundled scenes: what it leaves, that it goes on where it stopped, and what it refuses."""

from __future__ import annotations

import csv
import json
import pickle
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from igos import cli
from igos.base.seals import unsealed
from igos.data.nulls import Null
from igos.data.truth import Truth
from igos.diagnose.compare import _without
from igos.diagnose.look import known_to
from igos.diagnose.output import COLUMNS, facts_of, plain_json
from igos.results.manifest import Item
from igos.run.workers.engines import Task
from igos.run.workers.events import Told, portable


def fresh_annotations() -> None:
    """A process reads a file of annotations once."""
    from igos.data import annotations

    annotations._read.cache_clear()


FLAGS = ["--model", "emblem-f-rcnn", "--iterations", "1", "--set", "sure=false", "--size", "8"]
ROOT = Path(__file__).resolve().parents[2]


def diagnose(out: Path, *more: str) -> int:
    return cli.main(["diagnose", *FLAGS, "--output", str(out), *more])


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scenes")
    for name in ("scene-04.png", "scene-07.png", "scene-12.png", "instances.json"):
        shutil.copy(ROOT / "samples" / name, folder)
    known = json.loads((folder / "instances.json").read_text())
    known["images"] = [i for i in known["images"] if not i["file_name"].endswith("scene-12.png")]  # not annotated
    first = next(i["id"] for i in known["images"] if i["file_name"].endswith("scene-04.png"))
    moved = dict(next(a for a in known["annotations"] if a["image_id"] == first))
    x, y, w, h = moved["bbox"]
    moved |= {"id": 9999, "bbox": [(x + 150) % 250, (y + 150) % 250, w, h], "segmentation": None}
    known["annotations"].append(moved)  # an object that is not there is missed
    (folder / "instances.json").write_text(json.dumps(known))
    return folder


@pytest.fixture(scope="module")
def made(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.run.workers.worker.Worker._drawn", lambda self, made, every: [{} for _ in made])
        patch.setattr("igos.data.nulls.bundled", lambda: (Null(0.1, (0.1,) * 16),))
        out = tmp_path_factory.mktemp("out") / "d"
        assert diagnose(out, "--data", str(scenes), "--explain", "3", "--threshold", "0.4") == 0
    return out


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "objects.csv").open() as file:
        return list(csv.DictReader(file))


def test_what_it_leaves(made: Path) -> None:
    table = rows(made)
    data = json.loads((made / "diagnosis.json").read_text())
    assert tuple(table[0]) == COLUMNS and {r["kind"] for r in table} == {"detection", "object"}
    missed = [r for r in table if r["outcome"] == "missed"]
    assert len(missed) == data["objects"]["missed"] >= 1 and all(r["reason"] for r in missed)
    assert data["objects"]["found"] == sum(r["outcome"] == "correct" for r in table)
    asked = [r for r in table if r["question"]]
    assert len(asked) == len(data["explained"]) == 3 and {"why", "why-not"} <= {r["question"] for r in asked}
    told = next(r for r in asked if r["question"] == "why-not")
    assert told["verdict"] in ("covered", "sensitive", "missing") and "null" in told["sentence"]
    assert all((made / r["folder"] / "explanation.npz").is_file() for r in asked)
    right = next(r for r in table if r["outcome"] == "correct")
    assert right["context"] and "surroundings" in right["sentence"] and "backgrounds differ" in right["sentence"]


def test_of_a_picture_that_the_annotations_do_not_know_nothing_is_called_wrong(made: Path) -> None:
    own = [r for r in rows(made) if r["image"].endswith("scene-12.png")]
    assert own and not any(r["outcome"] or r["reason"] or r["kind"] == "object" for r in own)
    data = json.loads((made / "diagnosis.json").read_text())
    assert data["not_annotated"] == 1 and data["annotated"] and data["threshold"] == 0.4
    facts = next(f for f in facts_of(made) if f["path"].endswith("scene-12.png"))
    assert not facts["nulls"] and not facts["ap"] and facts["detections"]
    assert "nothing is said of right and" in (made / "report.html").read_text()


def test_classes_go_by_the_names_of_the_model() -> None:
    model = SimpleNamespace(labels=["motorbike", "dog"])
    known = [Truth(n, np.zeros(4), np.ones((2, 2), bool)) for n in ("motorcycle", "unicorn", "dog")]
    assert [t.name for t in known_to(model, known)] == ["motorbike", "dog"]  # type: ignore[arg-type]


def test_the_page_is_one_file_and_each_card_is_linked(made: Path) -> None:
    page = (made / "report.html").read_text()
    assert " pictures</small>" in page, "an interval from so few is not to be trusted"
    data = json.loads((made / "diagnosis.json").read_text())
    assert "<script" not in page and "http" not in page.replace("http-equiv", "")
    for card in data["explained"]:
        assert f'id="{card["id"]}"' in page
    assert page.count('href="#') >= sum(c["group"] != "context" for c in data["explained"])


def test_parquet_and_csv_agree(made: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    table = pq.read_table(made / "objects.parquet").to_pylist()
    assert [r["sentence"] for r in table] == [r["sentence"] for r in rows(made)]


def test_it_goes_on_where_it_stopped(made: Path, scenes: Path, tmp_path: Path, undrawn: None, monkeypatch: Any) -> None:
    """A copy whose second picture was not looked at, and one of whose answers is gone, becomes the same again."""
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    lines = (copy / "results.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "results.jsonl").write_bytes(lines[0])
    facts = (copy / "facts.jsonl").read_bytes().splitlines(keepends=True)
    (copy / "facts.jsonl").write_bytes(facts[0] + facts[1][:50])
    shutil.rmtree(copy / "explained" / json.loads(lines[0])["item"])
    monkeypatch.setattr("igos.data.nulls.bundled", lambda: (Null(0.1, (0.1,) * 16),))
    assert diagnose(copy, "--data", str(scenes), "--explain", "3", "--threshold", "0.4") == 0
    assert rows(copy) == rows(made) and len(list(facts_of(copy))) == 3


def test_parts_joined_are_the_whole(
    made: Path, scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A part looks only; joined, the same command goes on with what all parts saw: the same as in one go."""
    flags = ("--data", str(scenes), "--explain", "0", "--threshold", "0.4")
    parts = [tmp_path / f"part{i}" for i in (1, 2)]
    for i, part in enumerate(parts, 1):
        assert diagnose(part, *flags, "--shard", f"{i}/2") == 0
        assert not (part / "diagnosis.json").exists() and not (part / "explained").exists()
    assert "igos merge" in capsys.readouterr().out
    looked = [[f["name"] for f in facts_of(part)] for part in parts]
    assert sorted(sum(looked, [])) == sorted(f["name"] for f in facts_of(made)) and all(looked)
    assert cli.main(["merge", *map(str, parts), "--out", str(tmp_path / "all")]) == 0
    assert "warning" not in capsys.readouterr().err
    assert diagnose(tmp_path / "all", *flags) == 0
    asked = {"question": "", "verdict": "", "folder": "", "sentence": ""}
    both = [sorted(({**r, **asked} for r in rows(out)), key=str) for out in (tmp_path / "all", made)]
    assert both[0] == both[1] and len(both[0]) > 4


def test_annotations_that_changed_are_told(made: Path, scenes: Path, tmp_path: Path, capsys: Any) -> None:
    """Else the old outcomes would stand, though the file that names the same objects says something else now."""
    copy = tmp_path / "copy"
    shutil.copytree(made, copy)
    file, flags = scenes / "instances.json", ("--data", str(scenes), "--explain", "3", "--threshold", "0.4")
    text = file.read_text()
    known = json.loads(text)
    known["annotations"] = [a for a in known["annotations"] if a["id"] != 9999]
    try:
        file.write_text(json.dumps(known))
        fresh_annotations()
        assert diagnose(copy, *flags) == 2
    finally:
        file.write_text(text)
        fresh_annotations()
    told = capsys.readouterr().err.strip().splitlines()[-1]
    assert "scene-04.png" in told and "changed since" in told and "new folder" in told


def test_what_was_not_looked_at_and_what_was_left_out_stand_on_the_page(scenes: Path, tmp_path: Path) -> None:
    folder = tmp_path / "d"
    folder.mkdir()
    shutil.copy(ROOT / "samples" / "scene-04.png", folder)
    (folder / "torn.png").write_bytes((ROOT / "samples" / "scene-07.png").read_bytes()[:900])
    known = json.loads((ROOT / "samples" / "instances.json").read_text())
    known["annotations"][0]["bbox"] = [1, 2]
    (folder / "instances.json").write_text(json.dumps(known))
    own = next(i["id"] for i in known["images"] if i["file_name"].endswith("scene-04.png"))
    assert diagnose(tmp_path / "o", "--data", str(folder), "--explain", "0") == 0
    data = json.loads((tmp_path / "o" / "diagnosis.json").read_text())
    assert data["pictures"] == 1 and data["not_looked_at"] == 1
    page = " ".join((tmp_path / "o" / "report.html").read_text().split())
    assert "1 picture could not be looked at" in page
    assert data["damaged_annotations"] == (known["annotations"][0]["image_id"] == own)


def test_facts_go_from_process_to_process() -> None:
    event = Told({"item": "a", "status": "ok"}, {"name": "a"})
    assert pickle.loads(pickle.dumps(portable(event))) == event
    task = Task([Item("a.png", "a"), Item("b.png", "b")])
    task.see(event)
    assert [i.name for i in task.left().items] == ["b"]


def test_two_diagnoses_compared(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other"
    shutil.copytree(made, other)
    lines = (other / "objects.csv").read_text().splitlines()
    gone = next(n for n, line in enumerate(lines) if ",missed," in line)
    (other / "objects.csv").write_text("\n".join(lines[:gone] + lines[gone + 1 :]) + "\n")
    assert cli.main(["compare", str(made), str(other), "--out", str(tmp_path / "c.html")]) == 0
    told = capsys.readouterr().out
    assert "1 error went, 0 came" in told
    page = (tmp_path / "c.html").read_text()
    assert "missed" in page and "<script" not in page
    assert cli.main(["compare", str(other), str(made), "--out", str(tmp_path / "d.html")]) == 0
    assert "0 errors went, 1 came" in capsys.readouterr().out
    assert cli.main(["compare", str(made), str(made / "explained"), "--out", str(tmp_path / "e.html")]) == 2
    assert "no diagnosis" in capsys.readouterr().err


def test_compared_are_pictures_that_both_saw_at_one_threshold(made: Path, tmp_path: Path, capsys: Any) -> None:
    """Errors of a picture that one of them never saw did not go; at another threshold others are errors."""
    other = tmp_path / "other"
    shutil.copytree(made, other)
    lines = (other / "results.jsonl").read_bytes().splitlines(keepends=True)
    (other / "results.jsonl").write_bytes(b"".join(line for line in lines if b"scene-04.png" not in line))
    table = (other / "objects.csv").read_text().splitlines(keepends=True)
    (other / "objects.csv").write_text("".join(line for line in table if "scene-04.png" not in line))
    data = unsealed(json.loads((other / "diagnosis.json").read_text()))
    (other / "diagnosis.json").write_bytes(plain_json({**data, "threshold": 0.25}))
    assert cli.main(["compare", str(made), str(other), "--out", str(tmp_path / "c.html")]) == 0
    told, page = capsys.readouterr().out, (tmp_path / "c.html").read_text()
    assert "0 errors went, 0 came" in told
    for words in ("1 picture is in one of the two only", "thresholds differ: 0.4 and 0.25"):
        assert words in told and words in page


def test_pictures_of_one_name_in_two_folders_are_not_mixed_up() -> None:
    box = np.array([0.0, 0, 10, 10])
    old, new = ([{"image": f"{n}/1.jpg", "kind": "object", "name": "dog", "corners": box}] for n in "ab")
    both = frozenset(("a/1.jpg", "b/1.jpg"))
    assert _without(old, new, both) == old and _without(old, new, frozenset()) == []


def test_without_annotations_nothing_is_called_wrong(scenes: Path, tmp_path: Path, undrawn: None) -> None:
    alone = tmp_path / "alone"
    alone.mkdir()
    shutil.copy(scenes / "scene-04.png", alone)
    assert diagnose(tmp_path / "o", "--data", str(alone), "--explain", "1") == 0
    table = rows(tmp_path / "o")
    assert table and {r["kind"] for r in table} == {"detection"} and not any(r["outcome"] for r in table)
    page = (tmp_path / "o" / "report.html").read_text()
    assert "No annotations" in page and "No error was found" not in page
    assert json.loads((tmp_path / "o" / "diagnosis.json").read_text())["explained"][0]["group"] == "context"


def test_a_data_set_without_an_error_says_so(scenes: Path, tmp_path: Path) -> None:
    right = tmp_path / "right"
    right.mkdir()
    shutil.copy(scenes / "scene-04.png", right)
    shutil.copy(ROOT / "samples" / "instances.json", right)
    assert diagnose(tmp_path / "o", "--data", str(right), "--explain", "0") == 0
    data = json.loads((tmp_path / "o" / "diagnosis.json").read_text())
    if "missed" not in data["objects"] and set(data["detections"]) == {"correct"}:
        assert "No error was found" in (tmp_path / "o" / "report.html").read_text()
    else:
        pytest.fail("choose another scene: this one has an error")


def test_classes_of_one_side_alone(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An object of a class that the model lacks is there all the same: what lies on it is no background. A detection
    of a class that is not annotated may be right: it is not judged. Both are told.
    """
    folder = tmp_path / "d"
    folder.mkdir()
    shutil.copy(ROOT / "samples" / "scene-04.png", folder)
    known = json.loads((ROOT / "samples" / "instances.json").read_text())
    ring, bars = (next(c["id"] for c in known["categories"] if c["name"] == n) for n in ("ring", "bars"))
    known["categories"] = [c for c in known["categories"] if c["id"] != ring] + [{"id": 99, "name": "goat"}]
    known["annotations"] = [
        a | {"category_id": 99 if a["category_id"] == bars else a["category_id"]}
        for a in known["annotations"]
        if a["category_id"] != ring
    ]
    (folder / "instances.json").write_text(json.dumps(known))
    assert diagnose(tmp_path / "o", "--data", str(folder), "--explain", "0") == 0
    of = {r["name"]: r for r in rows(tmp_path / "o") if r["kind"] == "detection"}
    assert of["bars"]["outcome"] == "classification"
    assert "no bars is annotated there, but goat is" in of["bars"]["sentence"]
    assert of["ring"]["outcome"] == "ignored" and of["star"]["outcome"] == "correct"
    data = json.loads((tmp_path / "o" / "diagnosis.json").read_text())
    assert data["unknown_classes"] == {"goat": 1} and data["classes_not_annotated"] == {"ring": 1}
    told = capsys.readouterr().out
    assert "of classes that the model lacks: 1 goat" in told and "of classes that are not annotated: 1 ring" in told
    assert "of classes that are not annotated: 1 ring" in " ".join((tmp_path / "o" / "report.html").read_text().split())


def test_what_cannot_be_diagnosed_is_one_line(scenes: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = json.loads((scenes / "instances.json").read_text())
    strange["categories"] = [{"id": c["id"], "name": f"tool {c['id']}"} for c in strange["categories"]]
    (tmp_path / "a.json").write_text(json.dumps(strange))
    for flags, words in (
        (["--data", str(scenes), "--annotations", str(tmp_path / "a.json")], "none of its classes (tool 1, "),
        (["--data", str(scenes), "--explain", "-1"], "--explain must be at least 0"),
        (["--data", str(scenes), "--explain", "few"], "--explain must be a whole number"),
    ):
        assert diagnose(tmp_path / "o", *flags) == 2
        told = capsys.readouterr().err.strip().splitlines()
        assert words in told[-1] and told[-1].startswith("igos: "), told
    assert cli.main(["diagnose", "--model", "emblem-vgg", "--output", str(tmp_path / "c")]) == 2
    assert "emblem-vgg is a classifier" in capsys.readouterr().err
