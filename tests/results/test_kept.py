"""--keep: what is left of an explanation, and what those who read a run's folder do with it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import igos
from igos import cli
from igos.base.files import npz_bytes
from igos.results import kept
from igos.results.arrays import unpacked
from igos.results.read import read_arrays, read_rows
from igos.run import keeping
from tests.faults import local, pictures, plan, same_maps

pytestmark = pytest.mark.usefixtures("undrawn")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures(tmp_path_factory.mktemp("kept") / "data", 2)


@pytest.fixture(scope="module")
def whole(data: Path) -> Path:
    out = data.parent / "all"
    local(data, out)
    return out


@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_maps_are_the_same_maps_with_fewer_bytes(data: Path, whole: Path, tmp_path: Path, layout: str) -> None:
    local(data, tmp_path / "maps", layout=layout, keep="maps")
    same_maps(whole, tmp_path / "maps")
    rows = {row["folder"]: row for row in igos.open_run(tmp_path / "maps")}
    for row in read_rows(whole):
        own, few = read_arrays(whole, row), read_arrays(tmp_path / "maps", rows[row["folder"]])
        assert rows[row["folder"]]["id"] == row["id"], "what is kept decides nothing"
        assert np.abs(own["detail"].astype(float) - few["detail"]).max() <= 0.5 / 255 + 0.001
        assert np.abs(own["saliency_source"] - few["saliency_source"]).max() < 0.01
        assert np.allclose(own["deletion_curve"], few["deletion_curve"]) and np.allclose(
            own["masks"], few["masks"], atol=1e-3
        )
        assert "files" not in rows[row["folder"]], "nothing is drawn"


def test_of_rows_alone_the_figures_are_left(data: Path, whole: Path, tmp_path: Path) -> None:
    out = tmp_path / "rows"
    local(data, out, keep="rows")
    assert not list(out.rglob("*.npz")) and not [p for p in out.iterdir() if p.is_dir()]
    rows = read_rows(out)
    assert [r["deletion"] for r in rows] == [r["deletion"] for r in read_rows(whole)]
    again = local(data, out, keep="rows")
    assert not again.damaged and len(again.rows) == len(rows) == 4, "what was never kept is no damage"
    with pytest.raises(igos.ConfigError, match="holds no maps: the run kept the rows alone"):
        igos.open_run(out).arrays(rows[0])


def test_shards_of_rows_alone_need_no_shard(data: Path, tmp_path: Path) -> None:
    folder = local(data, tmp_path / "out", layout="shards", keep="rows")
    assert len(folder.rows) == 4 and not list((tmp_path / "out").glob("shards/*"))
    assert len(list(igos.open_run(tmp_path / "out"))) == 4


def test_commands_work_with_what_is_there_or_say_what_is_missing(
    data: Path, whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "rows"
    local(data, out, keep="rows")
    for words in (["report", str(out)], ["compare", str(whole), str(out), "--out", str(tmp_path / "both.html")]):
        assert cli.main(words) == 0
        assert "holds no maps" not in capsys.readouterr().err
    for form in ("coco", "fiftyone", "png"):
        assert cli.main(["export", str(out), "--format", form, "--out", str(tmp_path / "x.json")]) == 2
        assert capsys.readouterr().err == f"igos: {out}: holds no maps: the run kept the rows alone (--keep rows)\n"
    local(data, tmp_path / "maps", keep="maps")
    assert cli.main(["export", str(tmp_path / "maps"), "--format", "coco", "--out", str(tmp_path / "m.json")]) == 0
    assert "damaged" not in capsys.readouterr().err
    shutil.rmtree(next(p for p in (tmp_path / "maps").iterdir() if p.is_dir()))
    assert cli.main(["report", str(tmp_path / "maps"), "--strict"]) == 2, "what keep holds and is gone is damage"


def arrays(side: int, masks: int = 1) -> dict[str, np.ndarray]:
    """The worst that is kept: noise."""
    rng = np.random.default_rng(0)
    return {
        "saliency": rng.random((side, side)).astype(np.float32),
        "detail": rng.random((3 * side, 4 * side)).astype(np.float16),
        "masks": rng.random((masks, 28, 28)).astype(np.float32),
        "geometry": np.array([[900, 1200], [300, 400], [1 / 3, 1 / 3], [0, 0]]),
        "attribution": rng.random((3, side, side)).astype(np.float32),
        "saliency_source": rng.random((90, 120)).astype(np.float32),
    }


@pytest.mark.parametrize(("side", "masks"), [(28, 1), (28, 30), (224, 1)])
def test_the_maps_of_an_explanation_take_at_most_40_kb(tmp_path: Path, side: int, masks: int) -> None:
    file, given = tmp_path / "e.npz", arrays(side, masks)
    file.write_bytes(kept.maps_bytes(given))
    made = unpacked(file, lambda name: name != "saliency_source")
    assert file.stat().st_size <= kept.MOST < len(npz_bytes(given))
    assert made["detail"].dtype == np.uint8 and max(made["detail"].shape) <= kept.LONGEST
    assert {"saliency", "detail", "geometry"} <= made.keys() <= {"saliency", "detail", "geometry", "masks"}
    assert made["saliency"].dtype == np.float32 and ("masks" in made) == (masks == 1 and side == 28)
    assert made["detail"].mean() / 255 == pytest.approx(given["detail"].mean(), abs=0.01), "coarser by means"
    if side == 28:
        assert np.array_equal(made["saliency"], given["saliency"])


# The choice


def test_many_pictures_keep_their_maps_and_few_keep_all(data: Path, tmp_path: Path) -> None:
    asked = plan(data)
    few, told = keeping.with_keep(asked, lambda: range(100))
    assert few.run.keep == "all" and told is None
    many, told = keeping.with_keep(asked, lambda: range(101))
    assert many.run.keep == "maps" and told is not None and "101 pictures" in told and "--keep all" in told
    given, told = keeping.with_keep(plan(data, keep="all"), lambda: range(101))
    assert given.run.keep == "all" and told is None
    assert many.as_preset()["keep"] == "maps"


def test_a_run_goes_on_keeping_what_it_kept(data: Path, tmp_path: Path) -> None:
    (tmp_path / "run.yaml").write_text("keep: rows\n")
    there, _ = keeping.with_keep(plan(data, output=str(tmp_path)), lambda: range(500))
    assert there.run.keep == "rows"
    (tmp_path / "run.yaml").write_text("model: toy\n")
    older, _ = keeping.with_keep(plan(data, output=str(tmp_path)), lambda: range(500))
    assert older.run.keep == "all", "a run of before --keep"
