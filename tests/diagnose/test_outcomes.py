"""TIDE's kinds by hand, AP50 as pycocotools has it, and what is chosen."""

from __future__ import annotations

import numpy as np
import pytest

from igos.data.matching import matched
from igos.data.truth import Truth
from igos.diagnose.choose import Key, choose, nulls_like
from igos.diagnose.outcomes import outcomes, unexplained
from igos.diagnose.summary import Summary, average_precision
from tests.data.test_matching import NAMES, scene

MASK = np.ones((2, 2), bool)


def box(x: float, y: float, w: float, h: float) -> np.ndarray:
    return np.array([x, y, x + w, y + h], float)


def truth(name: str, at: np.ndarray, difficult: bool = False) -> Truth:
    return Truth(name, at, MASK, difficult=difficult)


OBJECTS = [truth("dog", box(0, 0, 10, 10)), truth("cat", box(50, 0, 10, 10)), truth("dog", box(100, 0, 10, 10))]
CASES = [  # class, score, box -> kind, partner
    ("dog", 0.95, box(0, 0, 10, 10), "correct", 0),
    ("dog", 0.9, box(1, 0, 10, 10), "duplicate", 0),
    ("dog", 0.8, box(0, 6, 10, 10), "localization", 0),  # IoU 1/4 with a dog that is found
    ("dog", 0.7, box(50, 0, 10, 9), "classification", 1),
    ("cat", 0.6, box(100, 6, 10, 10), "both", 2),  # IoU 1/4 with a dog
    ("cat", 0.5, box(200, 0, 10, 10), "background", None),
    ("cat", 0.4, box(108.5, 0, 10, 10), "background", None),  # IoU .08
]


def test_kinds_of_tide_by_hand() -> None:
    m = matched([c[0] for c in CASES], [c[1] for c in CASES], [c[2] for c in CASES], OBJECTS)
    made = outcomes(m)
    assert [(o.kind, o.partner) for o in made] == [(kind, partner) for *_, kind, partner in CASES]
    assert made[2].iou == pytest.approx(0.25) and made[1].iou == pytest.approx(9 / 11)
    assert unexplained(m, made).tolist() == [False, False, True], (
        "the cat is confused, the second dog is explained by none"
    )
    assert [d < 0 for d in m.detection] == [False, True, True]


def test_the_order_of_tide_decides() -> None:
    """Localization comes before classification, classification before duplicate."""
    both = [truth("dog", box(0, 0, 10, 10)), truth("cat", box(0, 6, 10, 10))]
    (only,) = outcomes(matched(["dog"], [0.9], [box(0, 6, 10, 10)], both))
    assert only.kind == "localization" and only.partner == 0
    assert only.also == (1, pytest.approx(1)), "it is the cat's box, which the order hides"
    near = [truth("dog", box(0, 0, 10, 10)), truth("cat", box(0, 1, 10, 10))]
    first, second = outcomes(matched(["dog", "dog"], [0.9, 0.8], [box(0, 0, 10, 10), box(0, 1, 10, 10)], near))
    assert (first.kind, second.kind) == ("correct", "classification")


def test_what_does_not_count_is_no_error() -> None:
    hard = [truth("dog", box(0, 0, 10, 10), difficult=True)]
    (only,) = outcomes(matched(["dog"], [0.9], [box(0, 0, 10, 10)], hard))
    assert only.kind == "ignored"
    m = matched(["dog", "dog"], [0.9, 0.8], [box(0, 0, 10, 10)] * 2, [], [truth("dog", box(0, 0, 100, 100))])
    assert [o.kind for o in outcomes(m)] == ["ignored", "ignored"], "a crowd is taken as often as it fits"


def test_ap50_is_that_of_pycocotools() -> None:
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    known, found, s = COCO(), COCO(), Summary()
    truths_, seen_ = [], []
    for n in range(25):
        names, scores, boxes, truths, crowds = scene(1000 + n)
        truths = [t for t in truths if not t.difficult]
        m = matched(names, scores, boxes, truths, crowds)
        hits = np.where(m.ignored, -1, (m.object >= 0).astype(int)).tolist()
        counts = {c: sum(t.name == c for t in truths) for c in NAMES}
        s.add({"annotated": True, "threshold": 0.4, "counts": counts, "unknown": {}, "detections": [], "objects": [],
               "ap": list(zip(names, scores, hits, strict=True))})  # fmt: skip
        for j, t in enumerate([*truths, *crowds]):
            w, h = t.box[2:] - t.box[:2]
            truths_.append({"id": len(truths_) + 1, "image_id": n, "category_id": NAMES.index(t.name), "area": w * h,
                            "bbox": [*t.box[:2], w, h], "iscrowd": int(j >= len(truths))})  # fmt: skip
        for name, score, b in zip(names, scores, boxes, strict=True):
            w, h = b[2:] - b[:2]
            seen_.append({"id": len(seen_) + 1, "image_id": n, "category_id": NAMES.index(name), "score": score,
                          "bbox": [*b[:2], w, h], "area": w * h})  # fmt: skip
    images, categories = [{"id": n} for n in range(25)], [{"id": i, "name": c} for i, c in enumerate(NAMES)]
    for each, rows in ((known, truths_), (found, seen_)):
        each.dataset = {"images": images, "categories": categories, "annotations": rows}
        each.createIndex()
    judge = COCOeval(known, found, "bbox")
    judge.params.iouThrs = np.array([0.5])
    judge.evaluate()
    judge.accumulate()
    precision = judge.eval["precision"][0, :, :, 0, -1]
    for c, name in enumerate(NAMES):
        assert s.ap50()[name] == pytest.approx(float(precision[:, c].mean()), abs=1e-6)


def test_ap_of_nothing_and_of_all() -> None:
    assert average_precision([], [], 3) == 0 and average_precision([0.9, 0.8], [1, 1], 2) == pytest.approx(1)
    assert average_precision([0.9, 0.8], [0, 1], 1) == pytest.approx(0.5)


def detection(outcome: str | None, score: float, context: float = 0.1) -> dict[str, object]:
    return {"name": "dog", "outcome": outcome, "score": score, "context": context, "partner": 0, "target": {}}


def missed(reason: str, score: float, place: int, rival: bool = False) -> dict[str, object]:
    target = {"rival": {"label": 0}} if rival else {}
    return {"outcome": "missed", "reason": reason, "score": score, "place": place, "target": target}


def test_objects_that_the_model_lacks_are_no_strange_annotations() -> None:
    """Where it has another class of theirs, its detections can be judged: a goldfish that is called a carrot."""
    facts = {"annotated": True, "threshold": 0.4, "counts": {}, "unknown": {"goldfish": 1}, "ap": [], "detections": []}
    for shared in (True, False):
        made = Summary()
        made.add({**facts, "objects": [], "shared": shared})
        assert made.strange != shared


def test_what_is_explained_is_shared_among_the_kinds() -> None:
    nulls = [{"score": 0.02}, {"score": 0.3}]
    facts = [
        {"name": "a", "path": "a.jpg", "sha256": "1", "threshold": 0.4, "nulls": nulls, "objects": [
            missed("below-threshold", 0.38, 0), missed("no-candidate", 0.001, 1), missed("suppressed", 0.7, 2, True),
            missed("shared", 0.9, 3), missed("localization", 0.41, 4)],
         "detections": [detection("background", 0.9), detection("both", 0.5), detection("classification", 0.8),
                        detection("correct", 0.9, 0.6), detection("correct", 0.9, 0.2), detection("ignored", 1.0)]},
    ]  # fmt: skip
    chosen, null = choose(facts, 5)
    assert [(c.group, c.ask, c.key.place) for c in chosen] == [
        ("false alarm", "why", 0), ("missed", "why-not", 0), ("confusion", "versus", 2), ("context", "why", 3),
        ("false alarm", "why", 1),
    ]  # fmt: skip
    every, _ = choose(facts, 50)
    assert {(c.group, c.key.place, c.ask) for c in every if c.group == "missed"} == {
        ("missed", 0, "why-not"), ("missed", 2, "versus"), ("missed", 1, "why-not")
    }  # fmt: skip
    assert 4 not in {c.key.place for c in every if c.group == "missed"}, "its score passes: nothing holds it down"
    assert not choose(facts, 0)[0] and chosen[0].key == Key("a", "detection", 0)
    assert [n.record["score"] for n in nulls_like(null, [0.31], 1)] == [0.3]
    drawn = {f"{n.folder}/why-not" for n in null if n.record["score"] == 0.02}
    assert [n.record["score"] for n in nulls_like(null, [0.31], 2, drawn)] == [0.02, 0.3], "those that are drawn stay"
