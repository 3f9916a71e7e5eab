"""Selecting targets, and where diverse starts begin."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from igos.data.targets import Selector
from igos.data.truth import Known, Truth
from igos.methods.mask import starts
from igos.metrics import diversity
from igos.types import ConfigError, Explanation, Image, Target
from tests.conftest import toy_image

BOXES = [[2.0, 2, 12, 12], [4.0, 2, 14, 12], [16.0, 10, 30, 22]]


class Detector:
    """Three fixed detections; or, as a classifier, three classes."""

    name, labels = "fake", ["dog, hound", "cat", "bird"]

    def __init__(self, classifier: bool = False) -> None:
        self.default_target, self.threshold = ("top1", 0.05) if classifier else ("all", 0.4)

    def detect(self, image: Image, threshold: float) -> list[Target]:
        boxes = [None] * 3 if self.default_target == "top1" else [torch.tensor(b) for b in BOXES]
        made = zip((0, 0, 2), (0.9, 0.6, 0.3), boxes, self.labels, strict=True)
        return [Target(c, self.labels[c], s, b) for c, s, b, _ in made if s >= threshold]


def select(text: str | None, threshold: float | None = None, classifier: bool = False) -> list[float]:
    selector = Selector.parse(text)
    detector = Detector(classifier)
    selector.check(detector)  # type: ignore[arg-type]
    return [t.score for t in selector.select(detector, toy_image(), threshold)[0]]  # type: ignore[arg-type]


def test_forms_of_target() -> None:
    assert select(None) == [0.9, 0.6] and select(None, classifier=True) == [0.9]
    assert select("all", 0.1) == [0.9, 0.6, 0.3] and select("top1") == [0.9]
    assert select("index:1") == [0.6] and select("index:7") == []
    assert select("class:hound") == [0.9, 0.6] and select("class:Dog, Hound") == [0.9, 0.6]
    assert select("class:bird", 0.2) == [0.3] and select("class:bird") == []
    assert select("class:bird", classifier=True) == [0.3], "also when it is not the top class"
    assert select("index:2", classifier=True) == [0.3], "a classifier's index is the class"
    assert select("box:5,2,14,12") == [0.6] and select("box:20,2,30,8") == []


def truth(name: str, box: list[float], id: str = "") -> Truth:
    return Truth(name, np.array(box), np.ones((24, 32), bool), id=id)


def annotated(text: str, truths: list[Truth], classifier: bool = False) -> tuple[list[float], str]:
    selector, detector = Selector.parse(text), Detector(classifier)
    found, told = selector.select(detector, toy_image(), 0.1, Known(truths, []))  # type: ignore[arg-type]
    return [t.score for t in found], told


def test_gt_takes_the_detection_of_each_annotated_object() -> None:
    first, second = truth("dog", [2, 2, 12, 12], "7"), truth("dog", [5, 2, 15, 12], "8")
    bird, cat = truth("bird", [16, 10, 30, 22], "9"), truth("cat", [2, 2, 12, 12], "10")
    assert annotated("gt", [first, second, bird])[0] == [0.9, 0.6, 0.3]
    assert annotated("gt", [second])[0] == [0.6] and annotated("gt", [cat])[0] == []
    assert annotated("gt", [truth("dog", [2, 2, 12, 6.9])])[0] == [], "IoU .49"
    assert annotated("gt", [truth("dog", [2, 2, 12, 7.1])])[0] == [0.9], "IoU .51"
    assert annotated("ann:8", [first, second])[0] == [0.6] and annotated("ann:99", [first])[0] == []
    assert "2 annotated objects" in annotated("gt", [first, cat])[1]


def test_two_detections_of_one_object_are_one() -> None:
    assert annotated("gt", [truth("dog", [2, 2, 12, 12])])[0] == [0.9]


def test_gt_of_a_classifier_is_the_classes_that_are_there() -> None:
    objects = [truth("hound", [2, 2, 12, 12], "1"), truth("bird", [0, 0, 5, 5], "2")]
    assert annotated("gt", objects, classifier=True)[0] == [0.9, 0.6, 0.3], (
        "the toy has the class of dog and hound twice"
    )
    assert annotated("ann:2", objects, classifier=True)[0] == [0.3]
    assert annotated("gt", objects[:1], classifier=True)[0] == [0.9, 0.6]


def test_what_matches_in_no_picture_is_refused() -> None:
    for text, classifier in (("class:horse", False), ("box:1,1,5,5", True), ("index:3", True)):
        with pytest.raises(ConfigError):
            select(text, classifier=classifier)


@pytest.mark.parametrize("box", [[0.0, 0, 32, 24], [3.0, 5, 29, 12], [10.0, 2, 13, 23], [30.0, 20, 32, 24]])
@pytest.mark.parametrize("k", [1, 2, 3])
def test_every_start_cell_is_filled_and_in_place(box: list[float], k: int) -> None:  # defect 3
    target = Target(0, "a", 1.0, torch.tensor(box))
    for cell in range(k * k):
        mask = starts.start_mask(target, (24, 32), 28, k, cell, 0.7)
        rows, columns = torch.nonzero(mask < 1).unbind(1)
        assert len(rows) and torch.allclose(mask[mask < 1], torch.tensor(0.3, dtype=mask.dtype))
        assert len(rows) == len(rows.unique()) * len(columns.unique()), "a rectangle, not a band"
        row, column = divmod(cell, k)
        x = box[0] + (box[2] - box[0]) * (column + 0.5) / k
        y = box[1] + (box[3] - box[1]) * (row + 0.5) / k
        assert abs(float(rows.double().mean()) / 27 * 24 - y) <= 0.51 * 24 / 27
        assert abs(float(columns.double().mean()) / 27 * 32 - x) <= 0.51 * 32 / 27


def test_an_instance_mask_narrows_its_cell_and_a_missed_cell_is_used_whole() -> None:
    instance = torch.zeros(24, 32, dtype=torch.bool)
    instance[:12, :8] = True
    target = Target(0, "a", 1.0, torch.tensor([0.0, 0, 32, 24]), instance)
    first, last = (starts.start_mask(target, (24, 32), 28, 2, n, 1.0) for n in (0, 3))
    assert (first < 1).sum() == 14 * 7 and (last < 1).sum() == 14 * 14


def test_positions() -> None:
    assert starts.positions(2, ["all"]) == [0, 1, 2, 3] and starts.positions(3, ["5", "1", "5"]) == [5, 1]


def test_diversity_of_equal_and_of_disjoint_maps() -> None:
    image = toy_image()
    left, right = torch.zeros(24, 32), torch.zeros(24, 32)
    left[:, :8], right[:, 24:] = torch.rand(24, 8), torch.rand(24, 8)
    made = [Explanation(m, Target(0, "a", 1.0), image, "m", start=i) for i, m in enumerate((left, left, right))]
    figures = diversity.diversity(made)
    assert figures["correlation"][0][1] == pytest.approx(1) and figures["top_area_overlap"][0][1] == pytest.approx(1)
    assert figures["correlation"][0][2] < 0 and figures["top_area_overlap"][0][2] == 0
    assert figures["starts"] == [0, 1, 2] and 0 < figures["mean_top_area_overlap"] < 1
