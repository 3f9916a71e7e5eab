"""A run's folder read in Python: rows, arrays, pictures, frames and detections, in either layout."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import igos
from igos.base.files import npz_bytes
from igos.results.folder import RunFolder
from igos.results.read import read_arrays, read_rows
from igos.results.rows import COLUMNS, Row
from tests.commands import Command
from tests.pages import RUN, explanation, photo, toy_run


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return toy_run(tmp_path_factory.mktemp("opened") / "run", 4)


@pytest.fixture(scope="module")
def shards(folders: Path) -> Path:
    """The same explanations in shards, and a picture that cannot be read."""
    made = RunFolder(folders.with_name("shards"), layout="shards")
    made.write_run({**RUN, "layout": "shards"})
    for row in read_rows(folders):
        made.keep({k: row[k] for k in COLUMNS}, npz_bytes(read_arrays(folders, row)))
    made.add(Row(image="lost.png", status="unreadable", error="no such file", item="lost").as_dict())
    made.finish()
    made.close()
    return made.path


@pytest.fixture(params=["folders", "shards"])
def run(request: pytest.FixtureRequest) -> Iterator[Path]:
    yield request.getfixturevalue(request.param)


def test_rows_and_their_arrays_are_those_of_the_run(run: Path, folders: Path) -> None:
    made = igos.open_run(run)
    explained = [row for row in made if row["folder"]]
    assert [row["name"] for row in explained] == ["cat", "dog", "emu", "cat"] and made.settings["model"] == "toy"
    for row, other in zip(explained, read_rows(folders), strict=True):
        own = read_arrays(folders, other)
        assert all(np.array_equal(own[k], a) for k, a in made.arrays(row).items())
        assert made.arrays(row, "box").keys() == {"box"}
    with pytest.raises(igos.ConfigError, match="holds no trace_x"):
        made.arrays(explained[0], "trace_x")


def test_rows_are_read_one_after_the_other(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = []
    monkeypatch.setattr("igos.results.opened.each_row", lambda *_: (read.append(n) or {"n": n} for n in range(9)))
    made = igos.open_run(run)
    read.clear()
    assert next(iter(made)) == {"n": 0} and read == [0]


def test_a_frame_has_a_row_for_each_and_no_column_of_the_folder_alone(run: Path) -> None:
    frame = igos.open_run(run).to_pandas()
    assert list(frame["name"].dropna()) == ["cat", "dog", "emu", "cat"]
    assert list(frame["deletion"].dropna()) == pytest.approx([0.1, 0.11, 0.12, 0.13])
    assert not {"files", "shard", "shard_index", "seal"} & set(frame.columns)


def test_the_objects_of_a_picture_are_supervisions_detections(run: Path) -> None:
    pytest.importorskip("supervision")
    made = igos.open_run(run)
    found = made.detections("photo-0.png")
    assert list(found.data["class_name"]) == ["cat", "emu"] and list(found.class_id) == [0, 2]
    assert np.allclose(found.xyxy, [[20, 20, 120, 100]] * 2, atol=0.01)
    assert np.allclose(found.confidence, [0.99, 0.97])
    rows = {row["folder"]: row for row in made if row["folder"]}
    assert [rows[folder]["name"] for folder in found.data["folder"]] == ["cat", "emu"]
    with pytest.raises(igos.ConfigError, match="explains nothing in other.png"):
        made.detections("other.png")


def test_an_object_that_several_methods_explain_is_one_detection(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    pixels = photo(tmp_path / "photo.png")
    e = explanation(tmp_path / "photo.png", pixels)
    igos.Explanations([e, replace(e, method="odam", opt=None)]).save(tmp_path / "run")
    assert len(igos.open_run(tmp_path / "run").detections(tmp_path / "photo.png")) == 1


def test_a_class_without_a_box_is_no_detection(tmp_path: Path) -> None:
    pytest.importorskip("supervision")
    pixels = photo(tmp_path / "photo.png")
    e = explanation(tmp_path / "photo.png", pixels)
    igos.Explanations([replace(e, target=replace(e.target, box=None))]).save(tmp_path / "run")
    with pytest.raises(igos.ConfigError, match="is a class, which has no box"):
        igos.open_run(tmp_path / "run").detections("photo.png")


def test_a_drawn_picture_is_one_of_pillows(tmp_path: Path) -> None:
    pixels = photo(tmp_path / "photo.png")
    igos.Explanations([explanation(tmp_path / "photo.png", pixels)]).save(tmp_path / "run")
    made = igos.open_run(tmp_path / "run")
    row = next(iter(made))
    assert made.picture(row, "heatmap").size == (160, 120) and list(made.pictures) == ["photo"]
    with pytest.raises(igos.ConfigError, match=r"attribution\.png: no such picture"):
        made.picture(row, "attribution")
    with pytest.raises(igos.ConfigError, match="outside"):
        made.picture(row, "../../../photo")


def test_what_is_damaged_is_told(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", 3)
    path = run / "results.jsonl"
    path.write_text(path.read_text().replace("emu", "gnu"))
    made = igos.open_run(run)
    with pytest.warns(UserWarning, match="line 3: damaged"):
        assert len(list(made)) == 2
    with pytest.raises(igos.ConfigError, match="is it the folder of a run"):
        igos.open_run(tmp_path)


# results.parquet


def test_both_layouts_have_the_table_with_the_same_columns(folders: Path, shards: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    one, other = (pq.read_table(run / "results.parquet") for run in (folders, shards))
    assert one.schema.names == list(COLUMNS) and other.schema.names == [*COLUMNS, "shard", "shard_index"]
    assert one.schema.equals(other.select(list(COLUMNS)).schema)
    assert one.column("box").to_pylist()[0] == pytest.approx([20, 20, 120, 100], abs=0.01)
    for name in ("name", "deletion", "label_index", "status"):
        assert one.column(name).to_pylist() == [row[name] for row in read_rows(folders)]
        assert other.column(name).to_pylist()[:4] == one.column(name).to_pylist()
    assert str(one.schema.field("evidence_share").type) == "double", "also where no row has a value"


def test_other_columns_have_the_type_that_holds_all_their_values(tmp_path: Path) -> None:
    pq = pytest.importorskip("pyarrow.parquet")
    from igos.results.parquet import write

    rows = [
        {"image": "a\udce9.png", "n": 1, "x": 1, "word": "a", "mixed": 2, "yes": True, "big": 2**70, "files": {"a": 1}},
        {"image": "b.png", "n": None, "x": 0.5, "word": None, "mixed": "two", "yes": None, "big": 1},
    ]
    write(tmp_path / "t.parquet", lambda: rows)
    table = pq.read_table(tmp_path / "t.parquet")
    types = {name: str(table.schema.field(name).type) for name in ("n", "x", "word", "mixed", "yes", "big")}
    assert types == {"n": "int64", "x": "double", "word": "string", "mixed": "string", "yes": "bool", "big": "string"}
    assert table.column("mixed").to_pylist() == ["2", "two"] and table.column("x").to_pylist() == [1.0, 0.5]
    assert table.column("image").to_pylist() == ["a\\udce9.png", "b.png"] and "files" not in table.schema.names


WITHOUT_PANDAS = """
import sys
import pyarrow as pa
from igos.results.parquet import prepare, table
prepare()
types = {"text": pa.string(), "whole": pa.int64(), "number": pa.float64(), "yes": pa.bool_()}
types["box"] = pa.list_(pa.float64())
rows = [
    {"text": "\\u00e4\\u2603", "whole": -(2**62) - 1, "number": 0.1, "yes": True, "box": [1.5, 2.0]},
    {"text": "", "whole": 0, "number": float("inf"), "yes": False, "box": []},
    {"box": [3.0], "number": 1},
    *[{"whole": n, "yes": n % 3 == 0} for n in range(9)],
]
schema = pa.schema(list(types.items()))
made = [table(some, schema) for some in (rows, rows[:1], [{}], [])]
assert "pandas" not in sys.modules
for some, one in zip((rows, rows[:1], [{}], []), made):
    one.validate(full=True)
    assert one.equals(pa.Table.from_pylist(some, schema=schema)), one
for wrong in ({"whole": 1.5}, {"number": "1"}):
    try:
        print(table([wrong], schema))
    except pa.ArrowInvalid:
        pass
"""


def test_the_table_is_pyarrow_s_own_and_pandas_is_not_imported_for_it(tmp_path: Path) -> None:
    pytest.importorskip("pyarrow.parquet")
    (tmp_path / "script.py").write_text(WITHOUT_PANDAS)
    code, out, err = Command(str(tmp_path / "script.py"), cwd=tmp_path).end()
    assert code == 0 and not out, err


def test_without_pyarrow_a_run_in_folders_has_its_csv_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igos.results.parquet.find_spec", lambda name: None)
    run = toy_run(tmp_path / "run", 1)
    assert (run / "results.csv").is_file() and not (run / "results.parquet").exists()
