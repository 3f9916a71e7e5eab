"""Seeds follow from the picture's bytes and the target, and from nothing that rounding or a setting changes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image as Picture

import igos
from igos.base.hashing import seed_of
from igos.metrics import METRICS
from igos.metrics.metric import Context, asked_once
from igos.run.problem import make_problem
from igos.run.workers.prefetch import _apart, _joined, _read
from igos.types import Adapter, Image, Target
from tests.detectors.test_yolov3 import noise
from tests.run.test_faithful import rcnn


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    return igos.adapt(rcnn(), list("abcd"))


def seeds(adapter: Adapter, image: Image, target: Target, **more: Any) -> tuple[int, ...]:
    problem = make_problem(adapter, image, [target], **more)
    return problem.generators[0].initial_seed(), *problem.picture_seeds


def target(**changes: Any) -> Target:
    return replace(Target(1, "a", 0.5, torch.tensor([5.0, 5, 60, 60]), index=3), **changes)


def test_a_picture_is_known_by_its_files_bytes_or_its_array(adapter: Adapter, tmp_path: Path) -> None:
    rgb = noise(64, 64)
    Picture.fromarray(rgb).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes())
    sha256 = hashlib.sha256((tmp_path / "a.png").read_bytes()).hexdigest()
    assert [adapter.read(tmp_path / n).sha256 for n in ("a.png", "b.png")] == [sha256] * 2
    for found in (
        _read(adapter.reader, str(tmp_path / "a.png")),
        _joined(_apart(adapter.reader, str(tmp_path / "a.png"))),
    ):
        assert found.image.sha256 == found.sha256 == sha256
    array = adapter.read(rgb).sha256
    assert array == hashlib.sha256(f"|u1{rgb.shape}".encode() + rgb.tobytes()).hexdigest() == adapter.read(rgb).sha256
    assert adapter.read(rgb.transpose(1, 0, 2)).sha256 != array
    assert (
        adapter.read(np.zeros((32, 128, 3), np.uint8)).sha256 != adapter.read(np.zeros((128, 32, 3), np.uint8)).sha256
    )


def test_what_seeds_follow_from(adapter: Adapter) -> None:
    image = adapter.read(noise(64, 64))
    own = seeds(adapter, image, target())
    assert own == (seed_of(f"0|{image.sha256}|1|class|None"), seed_of(f"0|{image.sha256}"))
    rounded = replace(image, pixels=(image.pixels + 6e-8).clamp(0, 1))
    assert seeds(adapter, rounded, target()) == own
    for same in ({"index": 4}, {"box": torch.tensor([1.0, 1, 30, 30])}, {"score": 0.1}, {"name": "x"}):
        assert seeds(adapter, image, target(**same)) == own, same
    assert seeds(adapter, image, target(), score="logit") == own
    others = [seeds(adapter, image, target(label=2)), seeds(adapter, image, target(part="box"))]
    others += [seeds(adapter, image, target(), seed=1), seeds(adapter, image, target(), starts=[0])]
    others.append(seeds(adapter, adapter.read(noise(66, 64)), target()))
    assert len({own[0], *(s[0] for s in others)}) == 6


def test_objects_that_share_their_seed_do_not_share_their_answers(adapter: Adapter) -> None:
    image = adapter.read(noise(64, 64))
    context, metric, asked = Context(answers={}), METRICS["deletion"](), []
    for i, box in enumerate(([5.0, 5, 60, 60], [1.0, 1, 30, 30], [5.0, 5, 60, 60])):
        problem = make_problem(adapter, image, [target(box=torch.tensor(box))])
        asked.append(float(asked_once(metric, problem, context, lambda i=i: np.array([i]))[0]))  # type: ignore[misc]
    assert asked == [0.0, 1.0, 0.0]


def test_maps_do_not_depend_on_the_number_of_threads(adapter: Adapter) -> None:
    made, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2):
            torch.set_num_threads(threads)
            image = adapter.read(noise(100, 100))
            targets = adapter.detect(image, 0.0)[:1]
            less: dict[str, Any] = {"iterations": 3, "size": 7, "sure": False}
            made += igos.explain(adapter, image, targets, "iGOS++", metrics=[METRICS["deletion"](steps=5)], **less)
    finally:
        torch.set_num_threads(before)
    one, two = made
    assert one.seed == two.seed
    assert np.corrcoef(one.saliency.numpy().ravel(), two.saliency.numpy().ravel())[0, 1] >= 0.999
    assert abs(one.scores[0].value - two.scores[0].value) <= 0.01
