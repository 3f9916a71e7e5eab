"""Maps for other tools: read back by pycocotools and Pillow, they are the run's own."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from pycocotools.coco import COCO

from igos import cli
from igos.base.ops import top_area
from igos.results.read import read_arrays, read_rows
from igos.types import Explanation
from tests.pages import RUN, explanation, made_run, photo, toy_run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return toy_run(tmp_path / "run", 4)


def test_coco_reads_the_top_area_of_each_map(run: Path, tmp_path: Path) -> None:
    out = tmp_path / "maps.json"
    assert cli.main(["export", str(run), "--format", "coco", "--out", str(out)]) == 0
    coco, rows = COCO(str(out)), read_rows(run)
    assert len(coco.anns) == len(rows) and len(coco.imgs) == 2
    for annotation, row in zip(coco.anns.values(), rows, strict=True):
        map_ = read_arrays(run, row)["saliency_source"]
        mask = coco.annToMask(annotation).astype(bool)
        assert (mask == top_area(map_, np.array(row["box"]))).all()
        assert annotation["area"] == mask.sum() == round(0.1 * 100 * 80)
        y, x = np.where(mask)
        assert annotation["bbox"] == [x.min(), y.min(), x.max() - x.min() + 1, y.max() - y.min() + 1]
        assert annotation["target_box"] == [20, 20, 100, 80] and annotation["score"] == row["score"]
        assert coco.cats[annotation["category_id"]]["name"] == row["name"]
        assert coco.imgs[annotation["image_id"]]["file_name"] == row["image"]


def exported(run: Path, out: Path, *words: str) -> tuple[dict[str, int], str]:
    """The ids of the categories by name, and what the JSON says of them."""
    out.unlink(missing_ok=True)
    assert cli.main(["export", str(run), "--format", "coco", "--out", str(out), *words]) == 0
    made = json.loads(out.read_text())
    used = {a["category_id"] for a in made["annotations"]}
    assert used == {c["id"] for c in made["categories"]}
    return {c["name"]: c["id"] for c in made["categories"]}, made["info"]["description"]


def test_category_ids_are_those_that_mean_the_class_elsewhere(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The classes' own places in the model's list, + 1, mean other classes in COCO: 17 for a dog is a cat there."""
    out, file = tmp_path / "maps.json", tmp_path / "instances.json"
    ids, said = exported(run, out)
    assert ids == {"cat": 1, "dog": 2, "emu": 3} and said.endswith("category ids are the model's class index + 1")
    categories = [{"id": i, "name": name} for i, name in ((7, "dog"), (30, "Cat"), (5, "emu"), (9, "owl"))]
    file.write_text(json.dumps({"images": [], "annotations": [], "categories": categories}))
    ids, said = exported(run, out, "--annotations", str(file))
    assert ids == {"Cat": 30, "dog": 7, "emu": 5} and said.endswith(f"category ids of {file}")
    assert f"(category ids of {file})" in capsys.readouterr().out
    noted = made_run(
        tmp_path / "noted",
        list(_explained(tmp_path)),
        {**RUN, "record": {"categories": {"cat": 3, "dog": 4, "emu": 9}}},
    )
    ids, said = exported(noted, out)
    assert ids == {"cat": 3, "dog": 4, "emu": 9} and said.endswith("category ids of the run's annotations")


def test_cocos_classes_have_cocos_ids(tmp_path: Path) -> None:
    made = [
        replace(e, target=replace(e.target, name=name, label=label))
        for e, (name, label) in zip(_explained(tmp_path), (("dog", 16), ("sofa", 57), ("toothbrush", 79)), strict=True)
    ]
    ids, said = exported(made_run(tmp_path / "run", made), tmp_path / "maps.json")
    assert ids == {"dog": 18, "couch": 63, "toothbrush": 90} and said.endswith("category ids of COCO")


def test_a_class_that_the_named_file_lacks_is_named(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "instances.json"
    file.write_text(json.dumps({"images": [], "annotations": [], "categories": [{"id": 1, "name": "cat"}]}))
    words = ["export", str(run), "--out", str(tmp_path / "x.json"), "--annotations", str(file), "--format"]
    assert cli.main([*words, "coco"]) == 2 and cli.main([*words, "png"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert "has no category 'dog' with an id" in first and "--annotations goes with --format coco" in second


def _explained(folder: Path, count: int = 3) -> list[Explanation]:
    path = folder / "photo.png"
    return [explanation(path, photo(path), n) for n in range(count)]


def test_png_maps_are_as_large_as_the_photo_and_as_dark_as_the_map(run: Path, tmp_path: Path) -> None:
    assert cli.main(["export", str(run), "--format", "png", "--out", str(tmp_path / "maps")]) == 0
    for row in read_rows(run):
        grey = np.asarray(PIL.Image.open(tmp_path / "maps" / f"{row['folder']}.png"))
        map_ = read_arrays(run, row)["saliency_source"]
        assert grey.dtype == np.uint8 and grey.shape == (120, 160)
        assert np.abs(grey / 255 - map_ / map_.max()).max() < 1 / 255


def exported_samples(run: Path, out: Path) -> list[dict[str, Any]]:
    """The samples of an export to FiftyOne, their relative paths below fields/<the field's name>."""
    assert cli.main(["export", str(run), "--format", "fiftyone", "--out", str(out)]) == 0
    assert "version" not in json.loads((out / "metadata.json").read_text()), "else a database's documents are expected"
    samples: list[dict[str, Any]] = json.loads((out / "samples.json").read_text())["samples"]
    for sample in samples:
        assert Path(sample["filepath"]).is_file() and sample["tags"] == []
        for name, heat in sample.items():
            if isinstance(heat, dict) and heat["_cls"] == "Heatmap":
                assert heat["map_path"].startswith(f"fields/{name}/") and heat["range"] == [0, 255]
                assert PIL.Image.open(out / heat["map_path"]).size == (160, 120)
    return samples


def test_fiftyone_finds_a_heatmap_for_each_detection(run: Path, tmp_path: Path) -> None:
    samples = exported_samples(run, tmp_path / "fo")
    assert len(samples) == 2
    for sample in samples:
        assert sample["detections"]["_cls"] == "Detections"
        made = sample["detections"]["detections"]
        assert len({d["heatmap"] for d in made}) == 2 and all(d["heatmap"].isidentifier() for d in made)
        for detection in made:
            assert detection["_cls"] == "Detection" and sample[detection["heatmap"]]["_cls"] == "Heatmap"
            assert detection["bounding_box"] == pytest.approx([20 / 160, 20 / 120, 100 / 160, 80 / 120], abs=1e-4)
            assert detection["status"] == "ok" and detection["folder"].startswith("picture/")


def test_fiftyone_takes_a_class_without_a_box_for_a_classification(tmp_path: Path) -> None:
    made = [replace(e, target=replace(e.target, box=None)) for e in _explained(tmp_path)]
    (sample,) = exported_samples(made_run(tmp_path / "run", made), tmp_path / "fo")
    labels = sample["classifications"]
    assert labels["_cls"] == "Classifications" and len(labels["classifications"]) == 3 and "detections" not in sample
    assert {c["_cls"] for c in labels["classifications"]} == {"Classification"}


def test_fiftyone_itself_reads_the_folder(run: Path, tmp_path: Path) -> None:
    """Where it is installed; its database is not needed."""
    importers = pytest.importorskip("fiftyone.utils.data.importers")
    exported_samples(run, tmp_path / "fo")
    importer = importers._handle_legacy_formats(importers.FiftyOneDatasetImporter(dataset_dir=str(tmp_path / "fo")))
    with importer:
        samples = list(importer)
    for sample in samples:
        for detection in sample["detections"].detections:
            assert Path(sample[detection["heatmap"]].map_path).is_file() and detection.label in ("cat", "dog", "emu")


@pytest.mark.parametrize(
    ("form", "out", "told"),
    [
        ("coco", "maps.txt", "ends in .json"),
        ("png", "run", "exists; choose a new name"),
        ("voc", "x", "known: coco, fiftyone, png"),
    ],
)
def test_mistakes_are_one_line(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str, out: str, told: str
) -> None:
    assert cli.main(["export", str(run), "--format", form, "--out", str(tmp_path / out)]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1


@pytest.mark.parametrize("form", ["coco", "png", "fiftyone"])
def test_a_damaged_run_leaves_nothing_behind(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    (run / "picture/3/explanation.npz").write_bytes(b"PK")
    before = sorted(tmp_path.rglob("*"))
    words = ["export", str(run), "--format", form, "--out", str(tmp_path / "maps.json")]
    assert cli.main([*words, "--strict"]) == 2
    assert "damaged" in capsys.readouterr().err and sorted(tmp_path.rglob("*")) == before
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert out.startswith("3 maps") and err.count("npz: damaged") == 1
