"""One sentence for each error: what it says is what was measured, and no more."""

from __future__ import annotations

from typing import Any

import pytest

from igos.diagnose.outcomes import FALSE
from igos.diagnose.words import WHAT, of_answer, of_record

LOST = {"outcome": "missed", "name": "airplane", "score": 0.36, "iou": 0.44, "target": {"label": 4}}
ALARM = {"name": "dog", "score": 0.8, "iou": 0.3, "partner_name": "elephant", "context": None, "target": {"label": 1}}


def test_every_kind_of_false_alarm_has_its_words() -> None:
    assert set(WHAT) == set(FALSE)
    told = {kind: of_record("detection", {**ALARM, "outcome": kind}) for kind in FALSE}
    assert all(t.startswith("dog .80, a false alarm: ") for t in told.values())
    assert told["both"].endswith("no dog is annotated there; the nearest is elephant (overlap .30)")
    both = of_record("detection", {**ALARM, "outcome": "localization", "partner_name": "dog", "also": ["truck", 0.75]})
    assert both.endswith("it overlaps the dog there by .30 only, and covers truck by .75")
    inner = of_record("detection", {**ALARM, "outcome": "background", "partner_name": None, "iou": 0.06})
    assert "the best overlap is .06" in inner, "a small box inside of a large object lies on it all the same"


def test_a_candidate_that_does_not_cover_the_object_is_told_so() -> None:
    told = of_record("object", {**LOST, "reason": "no-candidate", "rival": None})
    assert told.startswith("airplane, missed: no candidate covers it with a score above .01")
    assert "the nearest has .36 and overlaps it by .44 only" in told
    faint = of_record("object", {**LOST, "reason": "no-candidate", "rival": None, "score": 0.002, "iou": 0.8})
    assert faint.endswith("(the nearest has .00)")
    gone = of_record("object", {**LOST, "reason": "suppressed", "rival": None})
    assert "removed for the other detection beside it" in gone


@pytest.mark.parametrize(
    ("flips", "words"),
    [(0, "it has two names"), (0.05, "turns it into elephant .60"), (None, "no blurring of up to 32 %")],
)
def test_versus_says_what_the_row_says(flips: float | None, words: str) -> None:
    row = {"ask": "versus", "flips": flips, "flips_to": 0.6}
    r: dict[str, Any] = {**ALARM, "outcome": "classification"}
    assert words in of_answer("detection", r, row) and "both are detected" not in of_answer("detection", r, row)


@pytest.mark.parametrize(("interaction", "words"), [(0.6, "both are needed"), (-0.5, "either is enough"), (0.1, "")])
def test_what_is_needed_together_is_told(interaction: float, words: str) -> None:
    figures = {"f": 0.8, "f_object": 0.1, "context": 0.4, "object": 0.4, "interaction": interaction, "range": 0.0}
    r = {**ALARM, **figures, "outcome": "correct", "substrate_dependent": False}
    told = of_record("detection", r)
    assert words in told and "this candidate keeps .10 of .80" in told
    assert ("needed" in told or "enough" in told) == bool(words) and "not judged" not in told
    assert "not judged" in of_record("detection", {**r, "outcome": "ignored"})
