"""What is known of a picture: COCO's JSON and back, matching, the figures on evidence."""

from __future__ import annotations

import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO

from igos.base.geometry import Geometry
from igos.data.annotations import truths_of
from igos.data.coco import Annotations, write
from igos.data.emblems import CLASSES, scene
from igos.data.truth import Truth, match, peak_on, same_class, scene_truth
from igos.metrics.diversity import covered, diversity
from igos.metrics.evidence import EvidencePointing, EvidenceShare
from igos.metrics.metric import Context
from igos.types import ConfigError, Explanation, Image, Target
from tests.conftest import toy_image, toy_problem

SCENES = [scene(5, i, 64) for i in range(4)]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "instances.json"
    write(path, CLASSES, [(f"s{s.index}.png", scene_truth(s)) for s in SCENES], 64)
    return path


def test_written_truth_reads_back_equal(file: Path) -> None:
    for s in SCENES:
        back = truths_of(str(file.parent / f"s{s.index}.png"))
        assert len(back) == len(s.objects)
        for a, b in zip(scene_truth(s), back, strict=True):
            assert a.name == b.name and (a.box == b.box).all() and (a.mask == b.mask).all()
            assert len(a.evidence) == len(b.evidence)
            assert all((x == y).all() for x, y in zip(a.evidence, b.evidence, strict=True))


def test_pycocotools_reads_what_is_written(file: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO(str(file))
    assert len(coco.getImgIds()) == len(SCENES)
    assert [c["name"] for c in coco.loadCats(coco.getCatIds())] == list(CLASSES)
    for n, s in enumerate(SCENES, start=1):
        for a, i in zip(coco.loadAnns(coco.getAnnIds(imgIds=[n])), s.objects, strict=True):
            assert (coco.annToMask(a).astype(bool) == s.mask(i)).all()
            x, y, w, h = a["bbox"]
            assert (x, y, x + w, y + h) == s.box(i) and a["area"] == s.mask(i).sum()


def test_polygons_boxes_and_uncompressed_masks_are_read(tmp_path: Path) -> None:
    common = {"image_id": 7, "category_id": 3, "bbox": [2, 1, 4, 3]}
    counts = [0, 3, 97]  # column by column, starting with zeros
    objects = [
        {**common, "id": 1, "segmentation": [[2, 1, 6, 1, 6, 4, 2, 4]]},
        {**common, "id": 2},
        {**common, "id": 3, "segmentation": {"size": [10, 10], "counts": counts}},
    ]
    images = [{"id": 7, "file_name": "p.png", "height": 10, "width": 10}]
    data = {"images": images, "annotations": objects, "categories": [{"id": 3, "name": "cat"}]}
    (tmp_path / "instances.json").write_text(json.dumps(data))
    polygon, box, plain = truths_of(str(tmp_path / "p.png"))
    wanted = np.zeros((10, 10), bool)
    wanted[1:4, 2:6] = True
    assert (polygon.mask == wanted).all() and (box.mask == wanted).all()
    assert plain.mask[:3, 0].all() and plain.mask.sum() == 3
    assert polygon.name == "cat" and not polygon.evidence and box.box.tolist() == [2, 1, 6, 4]


@pytest.mark.parametrize(
    ("text", "why"),
    [("{", "not JSON"), ("[]", "not JSON"), ('{"images": []}', "lacks"), ('{"categories": [], "images": []}', "lacks")],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(ConfigError, match=why) as error:
        Annotations(tmp_path / "x.json")
    assert "x.json" in str(error.value) and "\n" not in str(error.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        Annotations(tmp_path / "missing.json")


def test_crowds_are_no_objects(file: Path) -> None:
    data = json.loads(file.read_text())
    before = truths_of(str(file.parent / "s0.png"))
    crowd = {**next(a for a in data["annotations"] if a["image_id"] == 1), "id": 999, "iscrowd": 1}
    file.write_text(json.dumps({**data, "annotations": [*data["annotations"], crowd]}))
    assert [t.id for t in Annotations(file).of(file.parent / "s0.png").objects] == [t.id for t in before]


def test_pictures_without_truth_have_none(tmp_path: Path, file: Path) -> None:
    assert truths_of(str(tmp_path / "elsewhere" / "a.png")) == []
    assert truths_of(str(file.parent / "other.png")) == []
    assert len(truths_of("/somewhere/else/s0.png", str(file))) == len(SCENES[0].objects)


def _truth(name: str, box: list[float], *evidence: np.ndarray) -> Truth:
    mask = np.zeros((24, 32), bool)
    x1, y1, x2, y2 = (int(v) for v in box)
    mask[y1:y2, x1:x2] = True
    return Truth(name, np.array(box), mask, evidence)


def test_a_detection_matches_the_best_object_of_its_class() -> None:
    image = toy_image()
    target = Target(0, "cat", 0.9, torch.tensor([4.0, 4, 14, 14]))
    near, far = _truth("cat", [5, 4, 14, 14]), _truth("cat", [12, 4, 24, 14])
    dog = _truth("dog", [4, 4, 14, 14])
    found = match(target, image, [far, near, dog])
    assert found is not None and found.mask is near.mask
    assert match(target, image, [far, dog]) is None and match(target, image, []) is None


def test_a_class_matches_all_objects_of_that_class() -> None:
    a, b = _truth("cat", [1, 1, 5, 5], np.eye(3, dtype=bool)), _truth("cat", [8, 8, 12, 12])
    found = match(Target(0, "cat", 0.9), toy_image(), [a, _truth("dog", [0, 0, 9, 9]), b])
    assert found is not None and found.box.tolist() == [1, 1, 12, 12] and len(found.evidence) == 1
    assert (found.mask == (a.mask | b.mask)).all()


def _explanation(saliency: torch.Tensor, image: Image | None = None) -> Explanation:
    return Explanation(saliency, Target(0, "toy", 1.0, torch.tensor([0.0, 0, 8, 8])), image or toy_image(9, 9), "x")


def test_evidence_share_by_hand() -> None:
    """A map of 3 x 3 nodes on 9 x 9 pixels, heat at one corner: bilinear weights (4-i)(4-j)/16."""
    saliency = torch.zeros(3, 3)
    saliency[0, 0] = 1.0
    e = _explanation(saliency)
    evidence = np.zeros((9, 9), bool)
    evidence[:2, :2] = True
    truth = Truth("toy", np.array([0, 0, 6, 6.0]), np.pad(np.ones((6, 6), bool), (0, 3)), (evidence,))
    (score,) = EvidenceShare()(toy_problem(lambda p, r: p.mean((1, 2, 3))), [e], Context([truth]))
    assert score.value == pytest.approx((1 + 0.75) ** 2 / (1 + 0.75 + 0.5 + 0.25) ** 2)
    assert score.detail["evidence_lift"] == pytest.approx(score.value * 36 / 4)
    (negative,) = EvidenceShare()(
        toy_problem(lambda p, r: p.mean((1, 2, 3))), [_explanation(-saliency)], Context([truth])
    )
    assert np.isnan(negative.value)


def test_evidence_metrics_are_unknown_without_truth() -> None:
    problem, e = toy_problem(lambda p, r: p.mean((1, 2, 3))), _explanation(torch.rand(3, 3))
    for metric in (EvidenceShare(), EvidencePointing()):
        for context in (None, Context(), Context([None]), Context([_truth("toy", [0, 0, 5, 5])])):
            (score,) = metric(problem, [e], context)
            assert np.isnan(score.value)


XML = """<annotation><filename>dog.jpg</filename><size><width>32</width><height>24</height><depth>3</depth></size>
<object><name>sofa</name><difficult>1</difficult>
  <bndbox><xmin>1</xmin><ymin>1</ymin><xmax>32</xmax><ymax>24</ymax></bndbox></object>
<object><name>dog</name><part><name>head</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>
  </part><bndbox><xmax>14</xmax><ymax>9.5</ymax><xmin>5</xmin><ymin>3</ymin></bndbox></object></annotation>"""


def test_voc_is_read_from_a_file_or_a_folder_with_what_is_difficult(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "dog.xml").write_text(XML)
    for place in (tmp_path, tmp_path / "deep" / "dog.xml"):
        sofa, dog = truths_of("/photos/dog.jpg", str(place))
        assert (sofa.name, sofa.difficult, sofa.id) == ("sofa", True, "1")
        assert (dog.name, dog.difficult, dog.id) == ("dog", False, "2")
        assert sofa.mask.all() and sofa.mask.shape == (24, 32), "a box of the whole picture, counted from 1"
        assert dog.box.tolist() == [4, 2, 14, 9.5] and dog.mask[2:9, 4:14].all()
        assert truths_of("/photos/cat.jpg", str(place)) == []
    (tmp_path / "deep" / "dog.xml").rename(tmp_path / "other.xml")
    assert len(truths_of("/photos/dog.jpg", str(tmp_path / "other.xml"))) == 2, "by the file name that it tells"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<annotation>", "cannot be read as XML"),
        ("<svg/>", "<annotation> should be"),
        (XML.replace("<width>32</width>", "<width>33</width>"), "33 x 24 px in the file, 32 x 24 px in the picture"),
    ],
)
def test_damaged_voc_files_are_refused_in_one_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "dog.xml").write_text(text)
    with pytest.raises(ConfigError, match=why) as error:
        truths_of("dog.jpg", str(tmp_path / "dog.xml"), (24, 32))
    assert "dog.xml" in str(error.value) and "\n" not in str(error.value)


def test_folders_and_files_without_voc_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no .xml file"):
        truths_of("p.jpg", str(tmp_path))
    with pytest.raises(ConfigError, match="no such file"):
        truths_of("p.jpg", str(tmp_path / "missing.xml"))


def test_classes_are_the_same_under_the_words_of_voc_and_coco() -> None:
    assert same_class("sofa", "couch") and same_class("tvmonitor", "TV") and same_class("dining_table", "diningtable")
    assert same_class("tench, Tinca tinca", "tench") and not same_class("cat", "caterpillar")


def test_peaks_are_looked_for_on_source_pixels() -> None:
    """A letterboxed picture: the source is 8 x 16, the network 32 x 32 with 8 rows of padding above and below."""
    geometry = Geometry((8, 16), (32, 32), (2.0, 2.0), (8.0, 0.0))
    image = Image(torch.zeros(3, 32, 32), geometry, np.zeros((8, 16, 3), np.uint8))
    saliency = torch.zeros(32, 32)
    saliency[10, 20] = 1  # network row 10 is source row 1, column 20 is source column 10
    region = np.zeros((8, 16), bool)
    region[1, 10] = True
    assert peak_on(_explanation(saliency, image), region) == 1
    assert peak_on(_explanation(saliency, image), ~region, tolerance=0.01) == 0
    saliency[30, 20] = 1  # in the padding: a second maximum that is nowhere
    assert peak_on(_explanation(saliency, image), region) == 0.5
    assert np.isnan(peak_on(_explanation(torch.ones(4, 4), image), region))


def test_coverage_counts_the_emblems_that_some_start_points_at() -> None:
    left, right, none = (np.zeros((9, 9), bool) for _ in range(3))
    left[4, 0], right[4, 8] = True, True
    maps = [torch.zeros(9, 9) for _ in range(3)]
    maps[0][4, 0], maps[1][4, 0], maps[2][0, 4] = 1, 1, 1
    made = [_explanation(m) for m in maps]
    truth = Truth("toy", np.array([0, 0, 9, 9.0]), np.ones((9, 9), bool), (left, right))
    assert covered(made, truth) == 1
    maps[2][4, 8] = 2
    assert covered(made, truth) == 2
    assert diversity(made, truth)["evidence_covered"] == 2 and diversity(made)["evidence_covered"] is None
