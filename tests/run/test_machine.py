"""What holds over a long run: memory that does not grow, chunks that fit, half precision that changes no map."""

from __future__ import annotations

import gc
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import igos
from detectors.classifier import ClassifierAdapter
from igos.base import resources
from igos.methods import METHODS
from igos.metrics.curves import Deletion
from igos.metrics.metric import Context
from igos.run.problem import make_problem
from igos.run.settings import memory_size
from igos.types import Adapter, ConfigError, Image, Problem, Target

MB = 2**20


def resident() -> float:
    """MB of this process that lie in memory."""
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / MB


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads Linux's /proc")
def test_two_hundred_explanations_in_a_row_do_not_grow() -> None:
    names = [f"class {i}" for i in range(10)]
    torch.manual_seed(0)
    layers = (nn.Conv2d(3, 8, 5, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, 10, 3, 2), nn.AdaptiveAvgPool2d(1))
    adapter = ClassifierAdapter(nn.Sequential(*layers, nn.Flatten()), names, crop=32, resize=32)
    picture = adapter.read(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))
    target = adapter.detect(picture)[:1]

    def explain(times: int) -> None:
        for _ in range(times):
            igos.explain(adapter, picture, target, "iGOS++", iterations=1, metrics=[])

    explain(20)
    before = resident()
    explain(200)
    assert resident() < 1.02 * before


@pytest.mark.parametrize(
    ("text", "bytes_"), [("2G", 2 * 2**30), ("500m", 500 * MB), ("1.5K", 1536), ("77", 77), (None, None)]
)
def test_sizes_of_memory(text: str | None, bytes_: float | None) -> None:
    assert memory_size(text) == bytes_


@pytest.mark.parametrize("text", ["", "G", "-1G", "2T", "two", "nan", "inf", "0"])
def test_sizes_that_are_none(text: str) -> None:
    with pytest.raises(ConfigError, match="--max_memory"):
        memory_size(text)


@pytest.fixture(scope="module")
def single() -> tuple[Adapter, Image, list[Target]]:
    """A bundled classifier with one of its samples."""
    adapter = igos.load("emblem-vgg")
    image = adapter.read(next(iter(sorted((resources.folder("samples") / "singles").glob("*.png")))))
    return adapter, image, adapter.detect(image)[:1]


def test_a_chunk_keeps_no_more_than_max_memory_and_the_map_stays(single: tuple[Adapter, Image, list[Target]]) -> None:
    adapter, image, targets = single
    whole = make_problem(adapter, image, targets)
    small = make_problem(adapter, image, targets, max_memory=2 * whole_picture(whole))
    assert small.score.batch == 2 < whole.score.batch
    assert make_problem(adapter, image, targets, max_memory=1e12).score.batch == whole.score.batch
    method = METHODS["integrated_gradients"](n_steps=7)
    assert torch.allclose(method(small)[0].saliency, method(whole)[0].saliency, rtol=0, atol=1e-6)
    with pytest.raises(ConfigError, match="--max_memory: one picture takes .* MB, more than 0 MB"):
        make_problem(adapter, image, targets, max_memory=1000)


def whole_picture(problem: Problem) -> float:
    """Bytes that one picture keeps, found by asking for chunks of 10^12 bytes."""
    problem.score.fit(problem.x[:1], 1e12, 10**12)
    each = 1e12 / problem.score.batch
    problem.score.batch = 8
    return each * 1.001


DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"))]


@pytest.mark.parametrize("device", DEVICES)
def test_half_precision_finds_the_same_map_and_is_judged_in_full(device: str) -> None:
    adapter = igos.load("emblem-vgg", device=device)
    image = adapter.read(next(iter(sorted((resources.folder("samples") / "singles").glob("*.png")))))
    targets = adapter.detect(image)[:1]
    full, half = (
        igos.explain(
            adapter, image, targets, "iGOS++", iterations=2, sure=False, precision=p, metrics=[Deletion(steps=5)]
        )[0]
        for p in ("float32", "bfloat16")
    )
    maps = torch.stack([full.saliency.flatten(), half.saliency.flatten()])
    assert not torch.equal(maps[0], maps[1])
    assert torch.corrcoef(maps)[0, 1] > 0.99
    problem = make_problem(adapter, image, targets)
    assert half.scores[-1].value == Deletion(steps=5)(problem, [half], Context())[0].value


SIZES = [(64, 64), (200, 4000), (1999, 131)]
EACH = ("emblem-m-rcnn", "emblem-yolov3spp", "emblem-resnet")


@pytest.mark.parametrize(
    ("name", "size"), [*((name, size) for name in EACH for size in SIZES), ("emblem-yolov3spp", (4000, 3000))]
)
def test_pictures_of_any_size_have_maps_of_that_size(name: str, size: tuple[int, int]) -> None:
    adapter = igos.load(name)
    image = adapter.read(np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8))
    h, w = image.geometry.network
    box = None if name == "emblem-resnet" else torch.tensor([0.25 * w, 0.25 * h, 0.75 * w, 0.75 * h])
    target = Target(1, adapter.labels[1], 0.5, box, index=0)
    (e,) = igos.explain(adapter, image, [target], "iGOS++", iterations=1, size=7, metrics=[])
    assert e.on_source().shape == size and np.isfinite(e.on_source()).all()
