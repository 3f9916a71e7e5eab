"""Methods in pairs: differences, what of them can be read, and how far the interval is to be trusted."""

from __future__ import annotations

import pytest

from igos.results.pairs import ENOUGH, pairs, signed

MINUS = "\N{MINUS SIGN}"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (0.0, "0"),
        (-0.0, "0"),
        (-0.05, f"{MINUS}0.050"),
        (0.0009, "+0.0009"),
        (-0.00012, f"{MINUS}0.0001"),
        (2e-6, f"+2e{MINUS}06"),
    ],
)
def test_a_small_difference_is_not_called_nothing_and_nothing_has_no_sign(value: float, told: str) -> None:
    assert signed(value) == told


@pytest.mark.parametrize("pictures", [2, ENOUGH - 1, ENOUGH])
def test_few_pictures_are_told_however_many_objects_they_hold(pictures: int) -> None:
    things = 2 * ENOUGH
    sources = [(name, n, n % pictures) for name in ("one", "two") for n in range(things)]
    rows = [{"folder": "x", "deletion": 0.1 + 0.05 * (name == "two")} for name, _, _ in sources]
    (pair,) = pairs(sources, {"deletion": "lower", "insertion": "higher"}, rows)
    assert (pair["a"], pair["b"]) == ("one", "two")
    assert pair["few"] == (pictures if pictures < ENOUGH else 0)
    (figure,) = pair["figures"]  # nobody measured insertion
    assert (
        figure["key"] == "deletion"
        and figure["mean"] == f"{MINUS}0.050"
        and figure["wins"] == f"{things} : 0 of {things}"
    )


def test_each_other_method_is_set_against_the_first() -> None:
    sources = [(name, n, n) for name in ("one", "two", "three") for n in range(3)]
    rows = [{"folder": "x", "pointing": float(name != "three")} for name, _, _ in sources]
    made = pairs(sources, {"pointing": "higher"}, rows)
    assert [p["b"] for p in made] == ["two", "three"]
    assert [p["figures"][0]["wins"] for p in made] == ["0 : 0 of 3", "3 : 0 of 3"]
