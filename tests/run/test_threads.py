"""Threads that share an adapter: the maps are those made one by one, and the network is left as it was."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import nn

import igos
from detectors.emblem import SlimVGG
from igos.types import Split, Target
from tests.detectors.test_levers import lively
from tests.detectors.test_yolov3 import noise
from tests.run.test_faithful import rcnn

METHODS: dict[str, dict[str, Any]] = {
    "grad_cam": {}, "odam": {}, "guided_backprop": {}, "vanilla_grad": {},
    "iGOS++": {"iterations": 2, "size": 7, "sure": False}, "rise": {"n_masks": 6},
}  # fmt: skip
THREADS = 12


@pytest.mark.parametrize("family", ["rcnn", "classifier"])
def test_twelve_threads_and_six_methods_give_the_maps_made_one_by_one(family: str) -> None:
    model: nn.Module = rcnn(side=64) if family == "rcnn" else lively(SlimVGG(4))
    options = {} if family == "rcnn" else {"crop": 64, "resize": 64}
    adapter = igos.adapt(model, list("abcd"), **options)
    before = [dict(vars(m)).keys() for m in adapter.module.modules()]

    def made(n: int) -> torch.Tensor:
        image = adapter.read(noise(64, 64))
        method = list(METHODS)[n % len(METHODS)]
        target = adapter.detect(image, 0.0)[n // len(METHODS) % 2]
        (e,) = igos.explain(adapter, image, [target], method, metrics=("sanity",) * (n == 0), **METHODS[method])
        return e.saliency

    alone = [made(n) for n in range(THREADS)]
    with ThreadPoolExecutor(THREADS) as pool:
        together = list(pool.map(made, range(THREADS)))
    for n, (a, b) in enumerate(zip(alone, together, strict=True)):
        assert torch.allclose(a, b, rtol=1e-3, atol=1e-5 * float(a.abs().max())), list(METHODS)[n % len(METHODS)]
    assert [dict(vars(m)).keys() for m in adapter.module.modules()] == before
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in adapter.module.modules())


def test_who_passes_pictures_by_himself_meets_no_hook_of_another_thread() -> None:
    """The end of a pass at a layer, a BaseException, is the end of that thread's pass alone."""
    adapter = igos.adapt(lively(SlimVGG(4)), list("abcd"), crop=64, resize=64)
    module, x, rows = adapter.module, torch.rand(1, 3, 64, 64), torch.zeros(1, dtype=torch.long)
    expected = module(x)
    seen: list[Any] = []

    def forward(pictures: Any, rows: Any) -> Any:
        with ThreadPoolExecutor(1) as pool:
            seen.append(pool.submit(module, pictures).exception())
            seen.append(torch.equal(pool.submit(module, x).result(), expected))
        return adapter.scorer([Target(0, "a", 0.5)]).forward(pictures, rows)

    split = Split(forward, module, "features.4")
    made = split.lower(x, rows)
    split.upper(made, rows)
    assert seen == [None, True] * 2
