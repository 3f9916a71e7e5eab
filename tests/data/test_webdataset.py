"""What lies beside the pictures of a tar shard: class numbers, COCO's annotations, and files of other kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from igos.base import addresses
from igos.data.annotations import is_annotated, known_of
from igos.data.targets import Selector
from igos.data.truth import Known
from igos.data.webdataset import OTHER
from igos.types import ConfigError, ImageError
from tests.conftest import toy_image
from tests.data.test_anywhere import archive
from tests.data.test_targets import Detector
from tests.faults import local, picture

LEFT = {"bbox": [1, 1, 15, 30], "category_id": 1, "id": 5, "iscrowd": 0}  # of tests.faults, IoU .88 with what it sees
NAMED = [{"id": 1, "name": "left"}, {"id": 2, "name": "right"}]


def shard(path: Path, **beside: Any) -> str:
    """A shard of one picture with these files beside it, by their endings; the picture's address."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = Path(picture(path.parent / "dog.png"))
    texts = {e: v if isinstance(v, bytes) else json.dumps(v).encode() for e, v in beside.items()}
    archive(path, [file], *((f"dog.{e}", v) for e, v in texts.items()))
    file.unlink()
    return f"{path}!/dog.png"


def test_the_annotations_of_a_picture_are_cocos_with_cocos_ids_or_its_own(tmp_path: Path) -> None:
    polygon = [[2, 2, 10, 2, 10, 10, 2, 10]]
    told = [{"bbox": [2, 2, 8, 8], "category_id": 18, "segmentation": polygon}, {**LEFT, "iscrowd": 1}]
    at = shard(tmp_path / "a.tar", json={"annotations": told, "height": 32, "width": 32})
    known = known_of(at, size=(32, 32))
    assert [(t.name, list(t.box), int(t.mask.sum())) for t in known.objects] == [("dog", [2, 2, 10, 10], 64)]
    assert [t.name for t in known.crowds] == ["person"] and not known.warnings and is_annotated(at)
    own = shard(tmp_path / "b.tar", json={"annotations": [LEFT], "categories": NAMED})
    assert [(t.name, t.id) for t in known_of(own, size=(32, 32)).objects] == [("left", "5")]
    with pytest.raises(ConfigError, match=r"b\.tar!/dog\.json|cannot be used \(64 x 32 px in the file"):
        known_of(shard(tmp_path / "c.tar", json={"annotations": told, "height": 32, "width": 64}), size=(32, 32))


def test_a_damaged_object_costs_that_object(tmp_path: Path) -> None:
    told = [LEFT, {"bbox": [1, 2], "category_id": 1}, "none", {**LEFT, "category_id": 12}]
    known = known_of(shard(tmp_path / "a.tar", json={"annotations": told}), size=(32, 32))
    assert [t.name for t in known.objects] == ["person"] and len(known.warnings) == 3
    for text, why in zip(known.warnings, ("is not x, y, width", "lacks 'category_id'", "has the id 12"), strict=True):
        assert why in text and text.startswith(f"--annotations {tmp_path}/a.tar!/dog.json: annotation")


@pytest.mark.parametrize("other", [b"{", b"null", b"\xff\xfe\x00", {"caption": "a dog"}, {"annotations": 3}, [1]])
def test_other_json_is_ignored_with_a_warning_that_is_the_same_for_all(tmp_path: Path, other: Any) -> None:
    assert known_of(shard(tmp_path / "a.tar", json=other, txt=b"a dog"), size=(32, 32)) == Known([], [OTHER])


def test_a_class_number_is_the_target_of_a_classifier(tmp_path: Path) -> None:
    known = known_of(shard(tmp_path / "a.tar", cls=b" 2\n"), size=(32, 32))
    assert known == Known([], [], (), [2])
    seen: Any = Detector(classifier=True)
    found, _ = Selector.parse("gt").select(seen, toy_image(), None, known)
    assert [t.name for t in found] == ["bird"], "also when it is not the top class"
    detector: Any = Detector()
    assert Selector.parse("gt").select(detector, toy_image(), None, known)[0] == [], "a detector asks for objects"
    found, why = Selector.parse("gt").select(seen, toy_image(), None, known._replace(classes=[7]))
    assert not found and why.endswith("and for class 7; fake has 3 classes, from 0")
    assert known_of(shard(tmp_path / "b.tar", cls=b"dog; hound")).warnings == [
        f"{tmp_path}/b.tar!/dog.cls: 'dog, hound' is no class number, and is left out"
    ]


def test_names_are_webdatasets(tmp_path: Path) -> None:
    """A sample's name ends at its first dot; folders, also ./, belong to it."""
    file = Path(picture(tmp_path / "p.png"))
    names = ("./x/a.rgb.png", "./x/b.png", "c.png")
    more = [("./x/a.cls", b"1"), ("./x/b.cls", b"2"), ("x/c.cls", b"3")]
    archive(tmp_path / "s.tar", [], *((n, file.read_bytes()) for n in names), *more)
    assert [list(known_of(f"{tmp_path}/s.tar!/{n}").classes) for n in names] == [[1], [2], []]
    assert known_of(f"{tmp_path}/t.parquet!/1") == Known([], [])


def test_what_is_named_comes_before_what_lies_beside(tmp_path: Path) -> None:
    at = shard(tmp_path / "a.tar", json={"annotations": [LEFT]}, cls=b"1")
    (tmp_path / "none.json").write_text('{"images": [], "categories": [], "annotations": []}')
    known = known_of(at, str(tmp_path / "none.json"), (32, 32))
    assert not known.objects and not known.classes


def test_a_shard_that_cannot_be_had_is_a_picture_that_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And so a row that --retry errors tries again."""
    pytest.importorskip("fsspec")
    monkeypatch.setattr(addresses, "PAUSE", 0.0)
    with pytest.raises(ImageError, match=r"memory://none/a\.tar!/dog\.png: what lies beside it cannot be read"):
        known_of("memory://none/a.tar!/dog.png")


# Runs


def test_a_run_asks_for_what_lies_beside_and_goes_on(tmp_path: Path, undrawn: None) -> None:
    shard(tmp_path / "s-1.tar", json={"annotations": [LEFT], "categories": NAMED})
    shard(tmp_path / "s-2.tar", json={"caption": "a"})
    place, out, more = tmp_path / "s-{1..2}.tar", tmp_path / "out", {"target": "gt"}
    made, lost = sorted(local(place, out, **more).rows, key=lambda r: r["status"])
    assert made["name"] == "left" and made["status"] == "ok" and made["image"].endswith("s-1.tar!/dog.png")
    assert lost["status"] == "skipped" and lost["warning"] == OTHER
    (out / made["folder"] / "explanation.npz").unlink()
    again = local(place, out, **more)
    assert again.damaged == [made["folder"]] and len(again.rows) == 2
    assert [r["id"] for r in again.rows if r["folder"]] == [made["id"]]


def test_one_warning_for_all_pictures(tmp_path: Path, undrawn: None) -> None:
    """Also where a row has others beside it."""
    for n in range(3):
        shard(tmp_path / f"s-{n}.tar", json={"caption": "a"}, **({"cls": b"x"} if n == 1 else {}))
    folder = local(tmp_path / "s-{0..2}.tar", tmp_path / "out")
    told = f"{tmp_path}/s-1.tar!/dog.cls: 'x' is no class number, and is left out"
    assert len(folder.rows) == 6 and list(folder.tally.warnings) == [OTHER, told]
    assert {r["warning"] for r in folder.rows} == {OTHER, f"{OTHER}; {told}"}
