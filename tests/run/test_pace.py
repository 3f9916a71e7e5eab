"""How long a run says that it will take."""

from __future__ import annotations

import pytest

from igos.base import resources
from igos.methods import METHODS
from igos.metrics import METRICS
from igos.run.pace import BACK, Pace, about, forecast, images
from igos.run.plan import resolve
from igos.run.presets import read_preset

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
        ("4*S*T = 20 + 2 that ask whether it is sure, 8 where it is sure then; at most 40", 22),
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
    assert forecast(mask, [deletion], 0.1) == pytest.approx((0.1 * (50 * BACK + 51), 150 / 201))
    assert forecast(drise, [], 0.1) == pytest.approx((50.1, 1.0))


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
