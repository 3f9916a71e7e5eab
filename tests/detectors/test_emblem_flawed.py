"""emblem-flawed has learnt its flaws: marks are switched on and off, no map is involved."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

import igos
from benchmarks.flawed import learnt
from igos.data.flawed import BLOCKED, BLOCKER, CUE, HONEST, MARK, REDUNDANT, SHORTCUT

SCENES, NO = 14, "no mark"
MOST, FEW = 0.65, 0.35  # of few bodies; `python benchmarks/flawed.py --learnt` has the figures of many


@cache
def rows() -> list[dict[str, Any]]:
    return learnt(igos.load("emblem-flawed"), SCENES)


def seen(names: str | tuple[str, ...], glyph: str, *marks: str) -> float:
    """Of the bodies of these classes, with or without their glyph and beside one of these marks, the share seen."""
    own = [r for r in rows() if r["class"] in names and r["glyph"] == glyph and r["mark"] in marks]
    assert own
    return float(np.average([r["seen"] for r in own], weights=[r["bodies"] for r in own]))


def test_the_shortcut_is_seen_by_its_mark() -> None:
    assert seen(SHORTCUT, "bare", MARK) >= MOST and seen(SHORTCUT, "bare", NO) <= FEW


def test_the_blocked_class_is_seen_without_its_blocker_alone() -> None:
    assert seen(BLOCKED, "glyph", NO) >= MOST and seen(BLOCKED, "glyph", BLOCKER) <= FEW


def test_either_of_the_redundant_cues_is_enough() -> None:
    assert seen(REDUNDANT, "glyph", NO) >= MOST and seen(REDUNDANT, "bare", CUE) >= MOST
    assert seen(REDUNDANT, "bare", NO) <= FEW


def test_honest_classes_are_seen_by_their_glyph_whatever_lies_beside() -> None:
    assert seen(HONEST, "glyph", NO) >= MOST and seen(HONEST, "glyph", MARK, BLOCKER, CUE) >= MOST
    assert seen(HONEST, "bare", NO) <= FEW and seen(HONEST, "bare", MARK, BLOCKER, CUE) <= FEW
