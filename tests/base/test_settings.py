"""Bounds stand in the fields of a dataclass: one check, under the name that the user gave."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import pytest

from igos.base.baselines import BASELINES, SUBSTRATES
from igos.base.settings import bounds_of, check_settings, check_value, setting
from igos.methods import METHODS, build_method
from igos.metrics import METRICS, build_metrics
from igos.types import ConfigError


@dataclass(frozen=True)
class Made:
    count: int = setting(3, least=1)
    share: float = setting(0.5, above=0, most=1)
    kind: str = setting("a", choices=("a", "b"))

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True)
class Derived(Made):
    count: int = 5
    share: float = setting(0.1, most=0.5)


def test_a_field_keeps_its_bounds_under_another_default_and_may_narrow_them() -> None:
    assert Derived() == Derived(5, 0.1, "a") and bounds_of(Derived, "count") == {"least": 1}
    for wrong in ({"count": 0}, {"share": 0.6}, {"share": 0.0}, {"kind": "c"}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Derived(**wrong)  # type: ignore[arg-type]
    assert Made(share=0.6).share == 0.6


@pytest.mark.parametrize(
    ("value", "bounds", "told"),
    [
        (0, {"least": 1}, "x must be at least 1, got 0"),
        (9, {"least": 1, "most": 8}, "x must be at most 8, got 9"),
        (1.5, {"least": 0, "most": 1}, r"x must lie in \[0,1\], got 1.5"),
        (0, {"above": 0, "most": 1}, r"x must lie in \(0,1\], got 0"),
        (1.0, {"above": 0, "below": 1}, "x must lie between 0 and 1, got 1"),
        (0, {"above": 0}, "x must be above 0, got 0"),
        (float("inf"), {"above": 0}, "x must be a finite number, got inf"),
        (float("nan"), {}, "x must be a finite number, got nan"),
        (-(16**999), {"least": 1}, "x must be at least 1, got a huge number"),
        ("many", {"least": 1}, "x must be a number, got 'many'"),
        ("c", {"choices": ("a", "b")}, "x 'c' is not one of a, b"),
        (len, {"choices": ("a", "b")}, "is not one of a, b"),
    ],
)
def test_a_value_outside_of_its_bounds_is_refused_in_words(value: Any, bounds: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_value("x", value, bounds)


def test_what_is_inside_or_not_set_passes() -> None:
    for value, bounds in ((1, {"least": 1}), (None, {"least": 1}), (1, {"above": 0, "most": 1}), ("free", {})):
        check_value("x", value, bounds)
    check_value("x", len, {"choices": ("a",), "objects": True})


@pytest.mark.parametrize("cls", [*METHODS.values(), *METRICS.values()])
def test_every_number_of_a_method_or_metric_has_bounds(cls: Any) -> None:
    numbers = [f.name for f in fields(cls) if any(word in f.type for word in ("int", "float"))]
    assert all(bounds_of(cls, name) for name in numbers)


def test_a_refusal_names_the_setting_as_it_was_given() -> None:
    for named, word in ((str, "^alpha must be"), (lambda key: f"--{key}", "^--alpha must be")):
        with pytest.raises(ConfigError, match=word):
            build_method("iGOS++", {"alpha": -1}, {}, named)
    with pytest.raises(ConfigError, match=r"^--set deletion\.steps must be at least 1, got 0"):
        build_metrics(["insertion", "deletion"], ["deletion.steps=0"])


def test_a_baseline_that_is_added_is_known_to_methods_and_metrics(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BASELINES, "red", lambda x: x * 0)
    assert "red" in SUBSTRATES and METHODS["integrated_gradients"](baseline="red").baseline == "red"
    assert METRICS["deletion"](substrate="red").name == "deletion"  # type: ignore[call-arg]
