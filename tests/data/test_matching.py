"""Which detection is which object: as COCO's own evaluation says, also with crowds and difficult objects."""

from __future__ import annotations

import numpy as np
import pytest

from igos.data.matching import matched
from igos.data.truth import Truth

NAMES = ("dog", "cat")


def random_box(rng: np.random.Generator, near: np.ndarray | None = None) -> np.ndarray:
    if near is not None:
        box = near + rng.normal(0, 3, 4)
        return np.concatenate([np.minimum(box[:2], box[2:] - 1), np.maximum(box[2:], box[:2] + 1)])
    at = rng.uniform(0, 60, 2)
    return np.concatenate([at, at + rng.uniform(10, 40, 2)])


def scene(seed: int) -> tuple[list[str], list[float], list[np.ndarray], list[Truth], list[Truth]]:
    rng = np.random.default_rng(seed)
    mask = np.ones((2, 2), bool)
    truths = [
        Truth(str(rng.choice(NAMES)), random_box(rng), mask, difficult=bool(rng.random() < 0.2)) for _ in range(5)
    ]
    crowds = [Truth(str(rng.choice(NAMES)), random_box(rng), mask) for _ in range(int(rng.integers(0, 3)))]
    known = [*truths, *crowds]
    boxes = [random_box(rng, known[rng.integers(len(known))].box if rng.random() < 0.8 else None) for _ in range(9)]
    return [str(rng.choice(NAMES)) for _ in boxes], rng.random(9).round(1).tolist(), boxes, truths, crowds


def of_coco(names: list[str], scores: list[float], boxes: list[np.ndarray], truths: list[Truth], crowds: list[Truth]):
    """pycocotools' own answer: the object of each detection, and whether it is ignored."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    xywh = lambda b: [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]  # noqa: E731
    annotations = [
        {"id": n + 1, "image_id": 1, "category_id": 1 + NAMES.index(t.name), "bbox": xywh(t.box), "area": 500.0,
         "iscrowd": int(n >= len(truths)), "ignore": int(t.difficult)}
        for n, t in enumerate([*truths, *crowds])
    ]  # fmt: skip
    known, found = COCO(), COCO()
    categories = [{"id": i + 1, "name": n} for i, n in enumerate(NAMES)]
    known.dataset = {"images": [{"id": 1}], "annotations": annotations, "categories": categories}
    seen = [
        {"id": n + 1, "image_id": 1, "category_id": 1 + NAMES.index(c), "bbox": xywh(b), "score": s, "area": 500.0}
        for n, (c, s, b) in enumerate(zip(names, scores, boxes, strict=True))
    ]
    found.dataset = {"images": [{"id": 1}], "annotations": seen, "categories": categories}
    known.createIndex()
    found.createIndex()
    judge = COCOeval(known, found, "bbox")
    judge.params.iouThrs, judge.params.areaRng = np.array([0.5]), [[0, 1e10]]
    for a in annotations:
        if a["ignore"] and not a["iscrowd"]:
            a["ignore"] = 1
    judge._prepare()
    for a in judge._gts.values():  # pycocotools forgets what is marked as ignored but no crowd
        for one in a:
            one["ignore"] = int(one["iscrowd"] or annotations[one["id"] - 1]["id"] in _difficult(truths))
    judge.ious = {(1, c): judge.computeIoU(1, c) for c in (1, 2)}
    objects, ignored = np.full(len(names), -1), np.zeros(len(names), bool)
    for c in (1, 2):
        made = judge.evaluateImg(1, c, [0, 1e10], 100)
        for d, g, i in zip(made["dtIds"], made["dtMatches"][0], made["dtIgnore"][0], strict=True) if made else ():
            objects[d - 1] = int(g) - 1 if 0 < g <= len(truths) else -1
            ignored[d - 1] = bool(i)
    return objects, ignored


def _difficult(truths: list[Truth]) -> set[int]:
    return {n + 1 for n, t in enumerate(truths) if t.difficult}


@pytest.mark.parametrize("seed", range(40))
def test_matching_is_cocos(seed: int) -> None:
    names, scores, boxes, truths, crowds = scene(seed)
    own = matched(names, scores, boxes, truths, crowds)
    objects, ignored = of_coco(names, scores, boxes, truths, crowds)
    assert own.object.tolist() == objects.tolist() and own.ignored.tolist() == ignored.tolist()
    for j, i in enumerate(own.detection.tolist()):
        assert i < 0 or own.object[i] == j


def test_one_detection_is_one_object_and_the_best_score_comes_first() -> None:
    t = [Truth("dog", np.array([0.0, 0, 10, 10]), np.ones((1, 1), bool))]
    m = matched(["dog", "dog", "cat"], [0.5, 0.9, 0.99], [np.array([0.0, 0, 10, 10]), np.array([0.0, 0, 9, 10])] * 1
                + [np.array([0.0, 0, 10, 10])], t)  # fmt: skip
    assert m.object.tolist() == [-1, 0, -1] and m.detection.tolist() == [1] and m.false.tolist() == [True, False, True]
    empty = matched([], [], [], t)
    assert empty.detection.tolist() == [-1] and empty.iou.shape == (0, 1)
    assert matched(["dog"], [0.9], [np.array([0.0, 0, 1, 1])], []).false.tolist() == [True]
