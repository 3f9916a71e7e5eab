"""emblem-flawed has learnt its flaws: marks are switched on and off, no map is involved."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

import igos
from benchmarks.flawed import context, learnt, scenes
from igos.data.emblems import Body
from igos.data.flawed import BLOCKED, BLOCKER, CUE, HONEST, MARK, REDUNDANT, SHORTCUT, Beside, FlawedScene

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


def test_either_of_them_is_enough_where_all_else_is_hidden() -> None:
    """Its glyph with its body and no cue, its cue without the body: so an interaction says that they are redundant."""
    each = (scenes(1, first)[0] for first in range(60))
    stars = (s for s in each if any(b.name == REDUNDANT and b.emblems and m.there for b, m in _beside(s)))
    chosen = list(islice(stars, 4))
    row = next(r for r in context(igos.load("emblem-flawed"), chosen, scenes(2)) if REDUNDANT in r["class"])
    assert row["n"] >= 3 and row["interaction"] <= -0.25
    assert row["f_object"] >= MOST and row["f_context"] >= FEW and row["f_neither"] <= 0.1


def _beside(s: FlawedScene) -> Iterator[tuple[Body, Beside]]:
    return zip(s.bodies, s.beside, strict=True)


def test_honest_classes_are_seen_by_their_glyph_whatever_lies_beside() -> None:
    assert seen(HONEST, "glyph", NO) >= MOST and seen(HONEST, "glyph", MARK, BLOCKER, CUE) >= MOST
    assert seen(HONEST, "bare", NO) <= FEW and seen(HONEST, "bare", MARK, BLOCKER, CUE) <= FEW
