"""How long a run says that it will take."""

from __future__ import annotations

import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

import igos
from igos.base import resources
from igos.methods import METHODS
from igos.metrics import METRICS
from igos.results.folder import RunFolder
from igos.run.cells import cells_of
from igos.run.drive import drive
from igos.run.pace import BACK, DRAWN, Pace, about, forecast, images
from igos.run.plan import resolve
from igos.run.presets import read_preset
from igos.run.workers.engines import Local
from igos.run.workers.worker import Worker

OPEN = {"deletion_iba", "insertion_iba", "sanity", "max_sensitivity"}  # of the picture's size, or of the method
PRESETS = sorted(p.stem for p in resources.folder("configs").glob("*.yaml") if "methods" in read_preset(p.stem))


@pytest.mark.parametrize(
    ("cost", "count"),
    [
        ("1", 1),
        ("60 + 2 forward", 62),
        ("25*25 = 625", 625),
        ("100+4480+600", 5180),
        ("4*S*T = 48 + 2 that ask whether it is sure; at most 96", 50),
        ("4*S*T = 20 + 2 that ask whether it is sure, 8 where it is sure then; at most 40", 10),
        ("4 x method", None),
        ("pixels / 10 + 1", None),
    ],
)
def test_a_cost_in_words_is_a_number(cost: str, count: int | None) -> None:
    assert images(cost) == count


@pytest.mark.parametrize("preset", PRESETS)
def test_what_every_preset_costs_is_known(preset: str) -> None:
    """The time of a run by any of them is told before its start."""
    for opt in ("NAG", "PG", "LS"):
        given = {"config": preset, "method": "iGOS++", "opt": opt, "data": ["samples/scene-07.png"]}
        plan = resolve(given, preset)
        assert images(plan.method.cost), plan.method.cost
    assert all(images(method().cost) for method in METHODS.values())
    assert {name for name, metric in METRICS.items() if images(metric().cost) is None} == OPEN


def test_a_forecast_counts_what_goes_forward_and_back() -> None:
    mask, deletion, drise = METHODS["iGOS++"](), METRICS["deletion"](), METHODS["drise"]()
    of_map = 50 * BACK
    assert forecast(mask, [deletion], 0.1, drawn=False) == pytest.approx((0.1 * (of_map + 51), of_map / (of_map + 51)))
    assert forecast(drise, [], 0.1, drawn=False) == pytest.approx((50.1, 1.0))
    assert forecast(drise, [], 0.1) == pytest.approx((50.1 + DRAWN, 50.1 / (50.1 + DRAWN)))


class Clock:
    """A clock that goes on with the network alone: a picture forward takes it a tenth of a second, and so long back."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.slow = 0.0, 3.0  # the first pass takes longer
        for name in ("perf_counter", "monotonic"):
            monkeypatch.setattr(time, name, lambda: self.now)

    def watch(self, module: torch.nn.Module) -> None:
        def passed(module: torch.nn.Module, given: Any, answer: torch.Tensor) -> None:
            self.now += 0.1 * len(answer) + self.slow
            self.slow = 0.0
            if answer.requires_grad:
                answer.register_hook(lambda gradient: setattr(self, "now", self.now + 0.11 * len(gradient)))

        module.register_forward_hook(passed)


@pytest.mark.parametrize(
    ("method", "metrics", "count"),
    [("iGOS++", ["deletion", "insertion"], 1), ("iGOS++", [], 2), ("IG", ["deletion"], 3), ("vanilla_grad", [], 2)],
)
def test_the_time_said_before_the_start_is_about_what_it_takes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, metrics: list[str], count: int
) -> None:
    """On a clock that only the network moves: within a quarter, in runs of different size and kind."""
    clock = Clock(monkeypatch)
    adapter = igos.load("emblem-vgg")
    clock.watch(adapter.module)
    singles = sorted(map(str, resources.folder("samples").glob("singles/*.png")))[1 : 1 + count]
    given = {"model": "emblem-vgg", "method": method, "metrics": metrics, "data": singles, "output": str(tmp_path)}
    plan = resolve({**given, "keep": "maps", "set": [f"{name}.steps=10" for name in metrics]}, "emblem")
    said: list[tuple[float, float]] = []
    made: list[float] = []

    def show(pace: Pace, line: str = "") -> None:
        made.append(pace.made)
        if line:
            said.append((clock.now, pace.left(clock.now) or 0.0))

    folder = RunFolder(tmp_path / "out", {})
    folder.write_run({})
    drive(cells_of(plan), Local(Worker(cells_of(plan), adapter)), folder, show)
    begun, seconds = said[0]
    took = clock.now - begun
    assert took == pytest.approx(seconds, rel=0.25), (method, seconds, took)
    assert made[-1] == count and min(b - a for a, b in pairwise(made)) > -0.1, "what is made is not lost again"


def test_before_the_start_the_work_is_told() -> None:
    pace = Pace(pictures=1, seen=1, objects=3, forecast=4.0, first="dog.jpg")
    assert pace.before() == "3 maps of dog.jpg, about 15 s"
    assert Pace(pictures=10, seen=1, objects=3, forecast=4.0, workers=2).before() == (
        "10 pictures, 3 maps of the first, about 60 s"
    )
    assert [about(s) for s in (0.2, 9.1, 41, 100, 6000)] == [
        "about 1 s", "about 10 s", "about 45 s", "about 2 min", "about 1.7 h",
    ]  # fmt: skip
    pace.began, pace.done = 100.0, 1
    assert pace.left(now=130.0) == pytest.approx(60.0), "by its own pace"


def test_maps_that_wait_for_their_figures_count_while_the_next_batch_is_at_work() -> None:
    """Of two batches the second begins before the first one is done: twelve minutes were said of twenty seconds."""
    pace = Pace(pictures=2, seen=2, objects=7, forecast=3.0, share=0.5, began=0.0)
    pace.begin()
    pace.part = 4.0
    before = pace.made
    pace.begin()
    assert pace.made == before == 2.0
    pace.part = 1.5
    assert pace.left(now=11.0) == pytest.approx(11 / 2.75 * 4.25)
    for done in (1, 2, 3, 4):
        pace.finish()
        assert (pace.done, pace.waiting, pace.part) == (done, 4.0 - done, 1.5)
    pace.part = 3.0
    for _ in range(3):
        pace.finish()
    assert (pace.made, pace.left(now=20.0)) == (7.0, 0.0)
