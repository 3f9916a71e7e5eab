"""Objects that were expected and are no detections: each reason, by hand, and which candidate stands for the object."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import igos
from igos.data.annotations import known_of
from igos.data.expected import expected, missed
from igos.data.targets import Selector
from igos.data.truth import Known, Truth
from igos.results.manifest import target_of, target_record
from igos.types import Candidates, ConfigError, Image, Target
from tests.conftest import darknet_options, shared_data, toy_image

AT, BESIDE, FAR = [4.0, 4, 14, 14], [4.0, 9, 14, 19], [20.0, 4, 30, 14]  # IoU of the first two: 1/3
NEAR, HALF = [4.0, 4, 14, 13], [4.0, 4, 14, 12]  # IoU .9 and .8 with AT


class Detector:
    """Rows (box, score of dog, score of cat) and which of them are detections, as (row, class)."""

    name, labels, default_target, threshold = "fake", ["__background__", "dog", "cat"], "all", 0.4

    def __init__(self, rows: list[tuple[list[float], float, float]], seen: list[tuple[int, int]], two: Any = None):
        self.rows, self.seen, self.two = rows, seen, two

    def detect(self, image: Image, threshold: float) -> list[Target]:
        made = [
            Target(c, self.labels[c], self.rows[r][c], torch.tensor(self.rows[r][0]), index=r) for r, c in self.seen
        ]
        return sorted((t for t in made if t.score >= threshold), key=lambda t: -t.score)

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        p = torch.tensor([[1e-6, dog, cat] for _, dog, cat in self.rows])
        boxes = torch.tensor([b for b, _, _ in self.rows])
        proposals = None if self.two is None else torch.tensor(self.two)[None]
        return Candidates(boxes[None], p.logit()[None], proposals=proposals)


def truth(name: str, box: list[float]) -> Truth:
    return Truth(name, np.array(box), np.ones((24, 32), bool))


DOG = truth("dog", AT)
CASES: dict[str, tuple[Detector, list[Truth], int, str | None]] = {  # known objects; the pinned row; the rival
    "shared": (Detector([(AT, 0.9, 0.1)], [(0, 1)]), [truth("dog", NEAR), DOG], 0, "dog"),
    "suppressed": (Detector([(NEAR, 0.6, 0.1), ([4.0, 9, 14, 13], 0.7, 0.1)], [(1, 1)]), [DOG], 0, "dog"),
    "classification": (Detector([(NEAR, 0.2, 0.8)], [(0, 2)]), [DOG], 0, "cat"),
    "localization": (Detector([(NEAR, 0.2, 0.1), (BESIDE, 0.9, 0.1)], [(1, 1)]), [DOG], 0, "dog"),
    "below-threshold": (Detector([(HALF, 0.2, 0.1), (NEAR, 0.1, 0.1), (FAR, 0.3, 0.1)], []), [DOG], 0, None),
    "no-proposal": (Detector([(BESIDE, 0.3, 0.1)], [], [BESIDE]), [DOG], 0, None),
    "no-candidate": (Detector([(NEAR, 0.005, 0.1), (FAR, 0.9, 0.1)], [(1, 1)]), [DOG], 0, None),
}


@pytest.mark.parametrize("reason", CASES)
def test_every_reason(reason: str) -> None:
    detector, known, row, rival = CASES[reason]
    made: Any = missed(detector, toy_image(), known, 0.4)  # type: ignore[arg-type]
    (t,) = [t for t in made if t.wanted.tolist() == (known[-1] if reason != "shared" else known[0]).box.tolist()]
    assert (t.reason, t.index, t.rival and t.rival.name) == (reason, row, rival)
    assert t.score == pytest.approx(detector.rows[row][1], rel=1e-4) and t.box.tolist() == detector.rows[row][0]


def test_the_first_reason_that_holds_is_told() -> None:
    """A candidate that was suppressed lies under a false alarm of another class, beside one of its own."""
    d = Detector([(NEAR, 0.6, 0.1), (HALF, 0.1, 0.9), (BESIDE, 0.8, 0.1)], [(1, 2), (2, 1)])
    (t,) = missed(d, toy_image(), [DOG], 0.4)  # type: ignore[arg-type]
    assert t.reason == "suppressed" and t.rival is not None and t.rival.index == 2, "that of its class removed it"
    d.rows[0] = (NEAR, 0.3, 0.1)
    (t,) = missed(d, toy_image(), [DOG], 0.4)  # type: ignore[arg-type]
    assert t.reason == "classification"
    (t,) = missed(d, toy_image(), [DOG, truth("cat", HALF)], 0.4)  # type: ignore[arg-type]
    assert t.reason == "localization", "the cat is no false alarm any more"


def test_what_scores_less_removed_nothing() -> None:
    weak = ([4.0, 9, 14, 13], 0.5, 0.1)  # overlaps the candidate more than the one that removed it
    d = Detector([(AT, 0.6, 0.1), (BESIDE, 0.8, 0.1), weak], [(1, 1), (2, 1)])
    (t,) = missed(d, toy_image(), [DOG], 0.4)  # type: ignore[arg-type]
    assert t.reason == "suppressed" and t.rival is not None and t.rival.index == 1


def test_an_expected_object_may_be_a_detection_and_one_that_is_annotated() -> None:
    d = Detector([(NEAR, 0.9, 0.1)], [(0, 1)])
    found = expected(d, toy_image(), "dog", AT, 0.4, [DOG])  # type: ignore[arg-type]
    assert found.reason == "found" and found.score == pytest.approx(0.9)
    assert expected(d, toy_image(), "cat", AT, 0.4).reason == "classification"  # type: ignore[arg-type]
    other = [truth("dog", NEAR)]
    assert expected(d, toy_image(), "dog", BESIDE, 0.4, other).reason == "no-candidate"  # type: ignore[arg-type]


def test_what_cannot_be_expected_is_one_line() -> None:
    d: Any = Detector([(NEAR, 0.9, 0.1)], [])
    with pytest.raises(ConfigError, match=r"expected dog at 40, 0, 50, 9: .* outside of the picture of 32 x 24 px"):
        expected(d, toy_image(), "dog", [40, 0, 50, 9], 0.4)
    for text in ("expect:dog@1,2,3", "expect:dog@5,5,2,2", "expect:@1,1,2,2", "expect:dog"):
        with pytest.raises(ConfigError, match="--target"):
            Selector.parse(text)
    with pytest.raises(ConfigError, match="--target expect:horse: fake has no such class"):
        Selector.parse("expect:horse@1,1,9,9").check(d)
    with pytest.raises(ConfigError, match="classifier"):
        Selector.parse("missed").check(igos.load("emblem-vgg"))


def test_targets_by_the_words_of_the_command_and_back_from_the_manifest() -> None:
    d: Any = Detector([(NEAR, 0.6, 0.1), ([4.0, 9, 14, 13], 0.7, 0.1)], [(1, 1)])
    for text, known in (("missed", [DOG]), ("expect:dog@4,4,14,14", [])):
        (t,), _ = Selector.parse(text).select(d, toy_image(), None, Known(known, []))
        back = target_of(target_record(t, "a/0-dog"), torch.device("cpu"), (24, 32))
        assert back.reason == "suppressed" and back.wanted is not None and back.wanted.tolist() == AT
        assert back.rival is not None and back.rival.index == 1 and back.rival.box is not None
    assert Selector.parse("missed").select(d, toy_image(), None)[0] == []


def test_a_real_miss_is_pinned_at_the_score_that_the_scorer_gives() -> None:
    adapter = igos.load("darknet", **darknet_options(small=True))
    path = sorted(shared_data("coco", "images").glob("*"))[1]
    image = adapter.read(path)
    known = known_of(str(path), str(shared_data("coco", "instances.json")), image.geometry.source)
    made = missed(adapter, image, known.objects, 0.4, known.crowds)
    assert made and all(t.reason for t in made)
    for score in ("prob", "logodds"):
        values = adapter.scorer(made, score)(image.pixels.expand(len(made), 1, -1, -1, -1))[:, 0].double()
        p = values if score == "prob" else values.sigmoid()
        assert torch.allclose(p, torch.tensor([t.score for t in made]).double(), atol=1e-5)
