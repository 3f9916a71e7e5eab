"""Annotations as people have them: names of pictures from other machines, damaged objects, COCO, VOC and YOLO."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import igos
from igos import cli
from igos.base import resources
from igos.data.annotations import class_names, known_of, truths_of, warnings_of
from igos.data.coco import Annotations
from igos.data.places import Places
from igos.results.read import read_rows
from igos.types import ConfigError
from tests.conftest import shared_data

SCENES = sorted(resources.folder("samples").glob("scene-*.png"))
SIZE = (20, 30)
BOX = [2.0, 1, 9, 8]  # x, y, width, height


def coco(
    path: Path, names: list[str], change: dict[str, Any] | None = None, more: list[dict[str, Any]] | None = None
) -> str:
    """A COCO JSON with one dog in each of these pictures (ids from 0), each one pixel further to the right."""
    data: dict[str, Any] = {
        "images": [{"id": n, "file_name": name, "height": 20, "width": 30} for n, name in enumerate(names)],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [
            {"id": 10 + n, "image_id": n, "category_id": 3, "bbox": [2 + n, 1, 9, 8], "iscrowd": 0}
            for n in range(len(names))
        ],
    }
    data["annotations"] += more or []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({**data, **(change or {})}))
    return str(path)


def ids(picture: str | Path, file: str) -> list[str]:
    return [t.id for t in truths_of(str(picture), file, SIZE)]


# --- which entry is a picture's ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name", ["x.jpg", "images/x.jpg", "./x.jpg", "images\\x.jpg", "C:\\me\\x.jpg", "/home/me/x.jpg", "../images/x.jpg",
             "http://host/val2017/x.jpg"]
)  # fmt: skip
def test_pictures_are_found_however_their_files_were_named(name: str, tmp_path: Path) -> None:
    file = coco(tmp_path / "a.json", [name, "y.jpg"])
    assert ids("/data/x.jpg", file) == ["10"] and ids(tmp_path / "images" / "x.jpg", file) == ["10"]
    assert ids("/data/y.jpg", file) == ["11"] and ids("/data/xx.jpg", file) == []


def test_the_longest_end_of_the_path_decides(tmp_path: Path) -> None:
    file = coco(tmp_path / "a.json", ["a/x.jpg", "b/x.jpg", "sub/y.jpg", "y.jpg", "val/deep/z.jpg", "b/only.jpg"])
    assert ids("/d/a/x.jpg", file) == ["10"] and ids("/d/b/x.jpg", file) == ["11"]
    assert ids("/d/y.jpg", file) == ["13"] and ids("/d/sub/y.jpg", file) == ["12"]
    assert ids("/d/z.jpg", file) == ["14"]
    assert ids("/d/a/only.jpg", file) == [], "the file knows a folder a, and this is not in it"
    objects, (told,), *_ = known_of("/d/x.jpg", file, SIZE)
    assert objects == [] and "'a/x.jpg' or 'b/x.jpg'" in told


def test_another_picture_of_the_same_name_is_not_taken_for_it(tmp_path: Path) -> None:
    for part, length in (("train", 5), ("val", 6), ("copy", 5)):
        (tmp_path / part).mkdir()
        (tmp_path / part / "1.jpg").write_bytes(b"x" * length)
    file = coco(tmp_path / "a.json", ["train/1.jpg"])
    assert ids(tmp_path / "train" / "1.jpg", file) == ids(tmp_path / "copy" / "1.jpg", file) == ["10"]
    assert ids(tmp_path / "val" / "1.jpg", file) == []


def test_a_link_to_the_annotated_folder_is_that_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.jpg").touch()
    (tmp_path / "link").symlink_to(tmp_path / "b")
    file = coco(tmp_path / "a.json", ["a/x.jpg", "b/x.jpg"])
    with pytest.raises(ValueError, match="may be"):
        Places([("a/x", 1), ("b/x", 2)], ending=False, home=lambda *_: ()).find("/c/x.jpg")
    assert ids(tmp_path / "b" / "x.jpg", file) == ["11"]


def test_letters_with_accents_are_the_same_however_a_system_writes_them(tmp_path: Path) -> None:
    assert ids("/d/cafe\u0301.jpg", coco(tmp_path / "a.json", ["caf\u00e9.jpg"])) == ["10"]


def test_ids_are_the_same_as_numbers_and_as_texts(tmp_path: Path) -> None:
    images = [{"id": "0", "file_name": "x.jpg", "height": "20", "width": 30.0}]
    file = coco(tmp_path / "a.json", ["x.jpg"], {"images": images, "categories": [{"id": "3", "name": "dog"}]})
    assert ids("x.jpg", file) == ["10"]
    images[0]["id"] = 0.0  # type: ignore[assignment]
    assert ids("x.jpg", coco(tmp_path / "b.json", ["x.jpg"], {"images": images})) == ["10"]


def test_a_file_that_stands_there_twice_has_the_objects_of_both_once(tmp_path: Path) -> None:
    same = {"id": 30, "image_id": 1, "category_id": 3, "bbox": BOX}
    file = coco(tmp_path / "a.json", ["images/x.jpg", "./x.jpg"], more=[same])
    assert ids("x.jpg", file) == ["10", "11"], "30 is 10 again"
    twice = {"images": [{"id": 0, "file_name": "x.jpg", "height": 20, "width": 30}] * 2}
    assert ids("x.jpg", coco(tmp_path / "b.json", ["x.jpg"], twice)) == ["10"]


def test_an_id_of_two_pictures_or_classes_is_told_and_not_guessed(tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": f"{x}.jpg", "height": 20, "width": 30} for x in "xy"]
    file = coco(tmp_path / "a.json", ["x.jpg"], {"images": images})
    assert ids("x.jpg", file) == [] and "1 ids of its images, 0 for one" in Annotations(file).warnings[0]
    two = [{"id": 3, "name": "dog"}, {"id": 3, "name": "cat"}]
    file = coco(tmp_path / "b.json", ["x.jpg"], {"categories": two})
    objects, (told,), *_ = known_of("x.jpg", file, SIZE)
    assert objects == [] and "no category has the id 3" in told and "of its categories" in Annotations(file).warnings[0]


def test_entries_without_what_they_need_are_left_out_of_the_file(tmp_path: Path) -> None:
    images = [{"id": 0, "file_name": "x.jpg"}, {"id": 1}, 7, {"id": [2], "file_name": "y.jpg"}]
    file = coco(tmp_path / "a.json", ["x.jpg"], {"images": images}, [{"id": 3}])
    assert ids("x.jpg", file) == ["10"]
    warnings, known = warnings_of(file, ["x.jpg"])
    assert known and "3 of its 4 images lack id or file_name" in warnings[0] and "1 of its 2 annotations" in warnings[1]


# --- one bad object costs that object -----------------------------------------------------------------------

BAD_COCO = {
    "two points": ({"segmentation": [[1, 1, 5, 5]]}, "three points"),
    "unknown category": ({"category_id": 99}, "no category has the id 99"),
    "zero area": ({"bbox": [3, 3, 0, 5]}, "without area"),
    "negative": ({"bbox": [3, 3, -2, 5]}, "without area"),
    "NaN": ({"bbox": [3, float("nan"), 2, 5]}, "finite"),
    "outside": ({"bbox": [31, 3, 5, 5]}, "outside of the picture of 30 x 20 px"),
    "no box": ({"bbox": None}, "x, y, width, height"),
    "short box": ({"bbox": []}, "x, y, width, height"),
    "empty mask": ({"segmentation": [[31, 1, 35, 1, 35, 5]]}, "covers no pixel"),
    "odd mask": ({"segmentation": 7}, "neither polygons nor RLE"),
}


@pytest.mark.parametrize("case", BAD_COCO)
def test_one_bad_annotation_of_coco_costs_that_object(case: str, tmp_path: Path) -> None:
    change, why = BAD_COCO[case]
    bad = {"id": 77, "image_id": 0, "category_id": 3, "bbox": BOX, **change}
    objects, (told,), *_ = known_of("x.jpg", coco(tmp_path / "a.json", ["x.jpg"], more=[bad]), SIZE)
    assert [t.id for t in objects] == ["10"]
    assert "annotation 77 is left out" in told and why in told and "\n" not in told


def test_boxes_are_cut_at_the_edges_and_thin_ones_keep_a_pixel(tmp_path: Path) -> None:
    more = [
        {"id": 1, "image_id": 0, "category_id": 3, "bbox": [20, 10, 500, 500]},
        {"id": 2, "image_id": 0, "category_id": 3, "bbox": [29.6, 3.1, 0.4, 0.3]},
    ]
    (_, cut, thin), told, *_ = known_of("x.jpg", coco(tmp_path / "a.json", ["x.jpg"], more=more), SIZE)
    assert cut.box.tolist() == [20, 10, 30, 20] and cut.mask.sum() == 100 and not told
    assert thin.mask.sum() == 1 and thin.mask[3, 29]


def test_many_bad_objects_of_a_picture_are_counted(tmp_path: Path) -> None:
    more = [{"id": n, "image_id": 0, "category_id": 99, "bbox": BOX} for n in range(9)]
    _, told, *_ = known_of("x.jpg", coco(tmp_path / "a.json", ["x.jpg"], more=more), SIZE)
    assert len(told) == 4 and "6 more objects" in told[-1]


XML = """<annotation><filename>images\\dog.v2.jpg</filename>{size}<object><name>dog</name>
<bndbox><xmin>3</xmin><ymin>2</ymin><xmax>11</xmax><ymax>9</ymax></bndbox></object>{more}</annotation>"""
STATED = "<size><width>{}</width><height>{}</height></size>"


@pytest.mark.parametrize(
    "size", ["", STATED.format(0, 0), STATED.format("30.0", "20.0"), STATED.format("", "x"), "<size/>"]
)
def test_voc_without_a_size_has_the_picture_s_own(size: str, tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text(XML.format(size=size, more=""))
    (dog,), told, *_ = known_of("/photos/a.jpg", str(tmp_path), SIZE)
    assert dog.mask.shape == SIZE and dog.mask.sum() == 9 * 8 and not told
    assert len(truths_of("/photos/dog.v2.jpg", str(tmp_path / "a.xml"), SIZE)) == 1


@pytest.mark.parametrize(
    ("box", "why"),
    [
        ("<xmin>wide</xmin><ymin>1</ymin><xmax>3</xmax><ymax>4</ymax>", "wide"),
        ("<xmin>5</xmin><ymin>1</ymin><xmax>1</xmax><ymax>4</ymax>", "without area"),
        ("<xmin>50</xmin><ymin>1</ymin><xmax>60</xmax><ymax>4</ymax>", "outside"),
        ("<xmin>nan</xmin><ymin>1</ymin><xmax>60</xmax><ymax>4</ymax>", "finite"),
        ("", "it lacks bndbox/xmin"),
    ],
)
def test_one_bad_object_of_voc_costs_that_object(box: str, why: str, tmp_path: Path) -> None:
    bad = f"<object><name>cat</name><bndbox>{box}</bndbox></object>"
    (tmp_path / "a.xml").write_text(XML.format(size="", more=bad))
    objects, (told,), *_ = known_of("a.jpg", str(tmp_path), SIZE)
    assert [t.name for t in objects] == ["dog"] and "object 2 is left out" in told and why in told


def test_voc_of_two_years_is_told_apart_by_the_folders(tmp_path: Path) -> None:
    for year, name in (("VOC2007", "dog"), ("VOC2012", "cat")):
        place = tmp_path / year / "Annotations"
        place.mkdir(parents=True)
        (place / "000001.xml").write_text(XML.format(size="", more="").replace("<name>dog", f"<name>{name}"))
    for year, name in (("VOC2007", "dog"), ("VOC2012", "cat")):
        picture = tmp_path / year / "JPEGImages" / "000001.jpg"
        assert [t.name for t in truths_of(str(picture), str(tmp_path), SIZE)] == [name]
    objects, (told,), *_ = known_of("/elsewhere/000001.jpg", str(tmp_path), SIZE)
    assert objects == [] and "may be" in told


def test_classes_of_a_folder_of_voc_are_those_that_have_an_object(tmp_path: Path) -> None:
    """One file tells of one picture: of what is not in it nobody knows whether it was looked for."""
    for n, name in enumerate(("dog", "cat", "dog")):
        (tmp_path / f"{n}.xml").write_text(XML.format(size="", more="").replace("<name>dog", f"<name>{name}"))
    (tmp_path / "torn.xml").write_text("<annotation><object>")
    assert class_names("0.jpg", str(tmp_path)) == ["dog", "cat"]
    assert class_names("0.jpg", str(tmp_path / "0.xml")) == []


# --- YOLO -----------------------------------------------------------------------------------------------------


def yolo(root: Path, labels: dict[str, str], data: str | None = "names: [dog, cat]\n") -> Path:
    """A folder with label files by path, and a data.yaml."""
    for name, text in labels.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    if data is not None:
        root.mkdir(exist_ok=True)
        (root / "data.yaml").write_text(data)
    return root


DOG = "0 0.5 0.5 0.2 0.4\n"  # in 30 x 20 px: 12, 6, 18, 14


def names_at(picture: str | Path, named: Path) -> list[str]:
    return [t.name for t in truths_of(str(picture), str(named), SIZE)]


def test_yolo_s_boxes_and_polygons(tmp_path: Path) -> None:
    lines = DOG + "\n1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"
    root = yolo(tmp_path / "set", {"labels/train/x.txt": lines})
    for named in (root, root / "data.yaml", root / "labels", root / "labels" / "train"):
        dog, cat = truths_of(str(root / "images" / "train" / "x.jpg"), str(named), SIZE)
        assert (dog.name, dog.id) == ("dog", "1") and np.allclose(dog.box, [12, 6, 18, 14])
        assert dog.mask.sum() == 48 and dog.mask[6:14, 12:18].all()
        assert (cat.name, cat.id) == ("cat", "3") and np.allclose(cat.box, [3, 2, 15, 10])
        assert cat.mask.sum() == 96 and cat.mask[2:10, 3:15].all()
        assert names_at("/copied/x.jpg", named) == ["dog", "cat"] and names_at("/copied/y.jpg", named) == []


LAYOUTS: dict[str, tuple[dict[str, str], str, str]] = {
    "list": ({"labels/train/x.txt": DOG}, "path: .\ntrain: images/train\nnames: [dog]", "images/train/x.jpg"),
    "dict": ({"labels/val/x.txt": DOG}, "val: images/val\nnames:\n  0: dog\n  1: cat", "images/val/x.jpg"),
    "texts": ({"labels/x.txt": DOG}, "train: images\nnames: {'0': dog}", "images/x.jpg"),
    "Roboflow": (
        {"train/labels/x.txt": DOG}, "train: ../train/images\nval: ../valid/images\nnames: [dog]", "train/images/x.jpg",
    ),
    "several": ({"labels/b/x.txt": DOG}, "train: [images/a, images/b]\nnames: [dog]", "images/b/x.jpg"),
    "another machine's": ({"labels/x.txt": DOG}, "path: /content/set\ntrain: images\nnames: [dog]", "images/x.jpg"),
    "beside": ({"photos/x.txt": DOG}, "train: photos\nnames: [dog]", "photos/x.jpg"),
    "a list of pictures": (
        {"labels/x.txt": DOG, "train.txt": "./images/x.jpg\n"}, "train: train.txt\nnames: [dog]", "images/x.jpg",
    ),
    "no folders": ({"labels/x.txt": DOG}, "nc: 1\nnames: [dog]", "images/x.jpg"),
    "pose": ({"labels/x.txt": DOG.strip() + " 0.1 0.2 2 0.3 0.4 2"}, "kpt_shape: [2, 3]\nnames: [dog]", "images/x.jpg"),
    "backslashes": ({"labels/train/x.txt": DOG}, "train: images\\train\nnames: [dog]", "images/train/x.jpg"),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_yolo_s_folders_as_they_are_found(layout: str, tmp_path: Path) -> None:
    labels, data, picture = LAYOUTS[layout]
    root = yolo(tmp_path / "set", labels, data)
    assert names_at(root / picture, root / "data.yaml") == ["dog"]
    assert names_at(root / Path(picture).with_name("background.jpg"), root / "data.yaml") == []


def test_yolo_s_sets_keep_their_pictures_apart(tmp_path: Path) -> None:
    root = yolo(
        tmp_path / "set", {"labels/train/1.txt": DOG, "labels/val/1.txt": "1 .5 .5 .2 .4", "labels/val/2.txt": ""}
    )
    assert names_at(root / "images" / "train" / "1.jpg", root) == ["dog"]
    assert names_at(root / "images" / "val" / "1.jpg", root) == ["cat"]
    assert names_at(root / "images" / "train" / "2.jpg", root) == [], "which has no labels"
    for part, length in (("train", 5), ("val", 6)):
        (root / "images" / part).mkdir(parents=True)
        (root / "images" / part / "1.jpg").write_bytes(b"x" * length)
    assert names_at(root / "images" / "val" / "1.jpg", root / "labels" / "train") == [], "another picture's"


def test_names_stand_in_classes_txt_too(tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"labels/x.txt": DOG, "labels/classes.txt": "hound\ncat\n"}, None)
    assert names_at("x.jpg", root / "labels") == ["hound"]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("7 .5 .5 .1 .1", "no class has the number 7"),
        ("0.5 .5 .5 .1 .1", "no class has the number 0.5"),
        ("0 .5 .5 0 .1", "without area"),
        ("0 .5 nan .1 .1", "no shares"),
        ("0 320 240 50 60", "no shares"),
        ("0 .1 .1 .2", "4 numbers"),
        ("0 .5 .5 .1 .1 .9", "6 numbers"),
        ("dog .5 .5 .1 .1", "could not convert"),
        ("0", "1 numbers"),
    ],
)
def test_one_bad_line_of_yolo_costs_that_object(line: str, why: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"labels/x.txt": f"{line}\n{DOG}"})
    objects, (told,), *_ = known_of("x.jpg", str(root), SIZE)
    assert [t.id for t in objects] == ["2"] and "x.txt: line 1 is left out" in told and why in told


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("nc: 3", "lacks `names`"),
        ("names: []", "lacks `names`"),
        ("names: 3", "lacks `names`"),
        ("names: [yes, no]", "names: 0: True is no name; put it in quotes"),
        ("names: {a: dog}", "'a' is not the number of a class"),
        ("names: [dog]\ntrain: elsewhere", "no labels, .txt files, in .*elsewhere"),
        ('names: [dog]\npath: "a\\0b"', "is no path"),
        ("[", "cannot be read as YAML"),
        ("- 1", "no keys"),
    ],
)
def test_a_data_yaml_that_is_none_is_refused_in_one_line(data: str, why: str, tmp_path: Path) -> None:
    root = yolo(tmp_path / "set", {"labels/x.txt": DOG}, data)
    with pytest.raises(ConfigError, match=why) as error:
        known_of("x.jpg", str(root / "data.yaml"), SIZE)
    assert "data.yaml" in str(error.value) and "\n" not in str(error.value)


def test_folders_without_annotations_or_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"no data\.yaml or classes\.txt"):
        known_of("x.jpg", str(yolo(tmp_path / "deep" / "er" / "set", {"x.txt": DOG}, None)), SIZE)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigError, match=r"no \.xml file .*\.txt file .*of COCO name the JSON file itself"):
        known_of("x.jpg", str(tmp_path / "empty"), SIZE)
    (tmp_path / "set" / "labels").mkdir(parents=True)
    (tmp_path / "set" / "data.yaml").write_text("names: [dog]")
    (tmp_path / "set" / "labels" / "x.txt").write_bytes(b"\xff\xfe\x00\xd8")
    with pytest.raises(ConfigError, match=r"x\.txt: is no text"):
        known_of("x.jpg", str(tmp_path / "set"), SIZE)


def _as_boxes(a: dict[str, Any], width: int, height: int) -> list[float]:
    x, y, w, h = a["bbox"]
    return [(x + w / 2) / width, (y + h / 2) / height, w / width, h / height]


def _as_polygon(a: dict[str, Any], width: int, height: int) -> list[float]:
    (points,) = a["segmentation"]
    return [v / (height if i % 2 else width) for i, v in enumerate(points)]


@pytest.mark.parametrize("convert", [_as_boxes, _as_polygon])
def test_coco_s_photos_have_the_same_objects_as_yolo_s(
    convert: Callable[[dict[str, Any], int, int], list[float]], tmp_path: Path
) -> None:
    folder = shared_data("coco")
    data = json.loads((folder / "instances.json").read_text())
    polygons = convert is _as_polygon
    chosen = [
        a for a in data["annotations"] if not a["iscrowd"] and (not polygons or len(a.get("segmentation", ())) == 1)
    ]
    if not polygons:
        chosen = [{k: v for k, v in a.items() if k != "segmentation"} for a in chosen]
    (tmp_path / "coco.json").write_text(json.dumps({**data, "annotations": chosen}))
    numbers = {c["id"]: n for n, c in enumerate(data["categories"])}
    labels: dict[str, str] = {}
    for image in data["images"]:
        own = [a for a in chosen if a["image_id"] == image["id"]]
        lines = [[numbers[a["category_id"]], *convert(a, image["width"], image["height"])] for a in own]
        name = Path(image["file_name"]).with_suffix(".txt").name
        labels[f"labels/val/{name}"] = "".join(" ".join(f"{v:.10g}" for v in line) + "\n" for line in lines)
    names = json.dumps({n: c["name"] for n, c in enumerate(data["categories"])})
    root = yolo(tmp_path / "set", labels, f"path: .\nval: images/val\nnames: {names}")
    objects = 0
    for image in data["images"]:
        picture, size = str(folder / "images" / image["file_name"]), (image["height"], image["width"])
        wanted, told, *_ = known_of(picture, str(tmp_path / "coco.json"), size)
        made, told_too, *_ = known_of(picture, str(root / "data.yaml"), size)
        assert [t.name for t in made] == [t.name for t in wanted] and told == told_too == []
        for a, b in zip(wanted, made, strict=True):
            assert np.allclose(a.box, b.box, atol=0.01 if not polygons else 1)
            assert (a.mask != b.mask).sum() <= np.ceil(a.box[2:] - a.box[:2]).max(), "an edge on half a pixel, no more"
        objects += len(made)
    assert objects == len(chosen) > 150


# --- in a run ---------------------------------------------------------------------------------------------------


def scenes(folder: Path, count: int) -> list[str]:
    folder.mkdir()
    for n in range(count):
        shutil.copyfile(SCENES[n], folder / f"s{n}.png")
    return [str(folder / f"s{n}.png") for n in range(count)]


def words(data: Path, annotations: str, out: Path, *more: str) -> list[str]:
    how = ["--model", "emblem-vgg", "--method", "vanilla_grad", "--metrics", "energy_mask", "--layout", "shards"]
    return ["--data", str(data), "--annotations", annotations, *how, "--output", str(out), *more]


def test_annotations_that_know_no_picture_are_told_once_with_an_example_of_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes(tmp_path / "data", 2)
    file = coco(tmp_path / "a.json", ["other/1.jpg", "2.jpg"])
    assert cli.main(words(tmp_path / "data", file, tmp_path / "gt", "--target", "gt")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and not (tmp_path / "gt").exists()
    for said in ("a.json", "none of the 2 pictures", "other/1.jpg", "s0.png"):
        assert said in error
    assert cli.main(words(tmp_path / "data", file, tmp_path / "all", "--target", "top1")) == 0
    error = capsys.readouterr().err
    assert error.count("none of the 2 pictures") == 1 and error.startswith("igos: warning: --annotations")


@pytest.mark.usefixtures("sketched")
def test_a_bad_object_is_a_warning_in_the_rows_of_its_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scenes(tmp_path / "data", 1)
    bad = {"id": 77, "image_id": 0, "category_id": 99, "bbox": BOX}
    file = coco(tmp_path / "a.json", ["s0.png"], {"images": [{"id": 0, "file_name": "images\\s0.png"}]}, [bad])
    assert cli.main(words(tmp_path / "data", file, tmp_path / "out", "--target", "top1")) == 0
    (row,) = read_rows(tmp_path / "out")
    assert row["status"] == "ok" and "annotation 77 is left out (no category has the id 99)" in row["warning"]
    assert capsys.readouterr().err.count("annotation 77") == 1
    again = ["evaluate", "--results", str(tmp_path / "out"), "--metrics", "energy_mask", "--annotations", file]
    assert cli.main([*again, "--output", str(tmp_path / "again")]) == 0
    (judged,) = read_rows(tmp_path / "again")
    assert judged["warning"] == row["warning"], "once"
    capsys.readouterr()
    other = coco(tmp_path / "b.json", ["other/1.jpg"])
    assert cli.main([*again[:-1], other, "--output", str(tmp_path / "other")]) == 0
    assert capsys.readouterr().err.count("other/1.jpg") == 1
    skipped = words(tmp_path / "data", file, tmp_path / "none", "--target", "ann:77")
    assert cli.main(skipped) == 2 and "0 annotated objects" in capsys.readouterr().err


def test_explain_in_python_says_it_too(tmp_path: Path) -> None:
    (path,) = scenes(tmp_path / "data", 1)
    bad = {"id": 77, "image_id": 0, "category_id": 99, "bbox": BOX}
    coco(tmp_path / "data" / "instances.json", ["s0.png"], {"images": [{"id": 0, "file_name": "s0.png"}]}, [bad])
    adapter = igos.load("emblem-m-rcnn")
    image = adapter.read(path)
    (made,) = igos.explain(adapter, image, adapter.detect(image, 0.4)[:1], "vanilla_grad", metrics=())
    assert "annotation 77 is left out" in made.warnings[0]
