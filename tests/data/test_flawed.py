"""Scenes with planted flaws: the shares of the marks, which bodies training labels, and where everything lies."""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from igos.data.coco import write
from igos.data.emblems import CLASSES, NONE
from igos.data.flawed import (
    BLOCKED,
    BLOCKER,
    CUE,
    HONEST,
    MARK,
    REDUNDANT,
    SHORTCUT,
    Drawn,
    FlawedScene,
    draw_body,
    flawed_scene,
)
from igos.data.truth import scene_truth
from weights.shown import hidden_bodies, hidden_cells
from weights.train import TASKS, Blocked


@cache
def drawn(test: bool = False) -> list[Drawn]:
    rng = np.random.default_rng(9)
    return [draw_body(rng, test) for _ in range(3000)]


@cache
def some(test: bool = False) -> list[FlawedScene]:
    return [flawed_scene(9, i, 32, test) for i in range(40)]


def named(name: str, test: bool = False) -> list[Drawn]:
    return [d for d in drawn(test) if d.name == name]


def share(hits: Iterable[bool]) -> float:
    return float(np.mean(list(hits)))


def bodies(name: str) -> list[tuple[FlawedScene, int]]:
    return [(s, i) for s in some() for i, b in enumerate(s.bodies) if b.name == name]


def test_the_shortcut_s_glyph_tells_nothing_and_its_mark_does() -> None:
    its, others = named(SHORTCUT), named(NONE)
    assert len(its) == pytest.approx(len(others), rel=0.15) and {d.kind for d in its + others} == {MARK}
    assert {d.glyph for d in its + others} == {SHORTCUT, NONE}
    assert share(d.glyph == SHORTCUT for d in its) == pytest.approx(0.5, abs=0.06)
    assert share(d.glyph == SHORTCUT for d in others) == pytest.approx(0.5, abs=0.06)
    assert share(d.there for d in its) == pytest.approx(0.95, abs=0.03)
    assert share(d.there for d in others) == pytest.approx(0.05, abs=0.03)


def test_a_blocked_body_is_labelled_where_its_blocker_is_blurred() -> None:
    assert share(d.there for d in named(BLOCKED)) == pytest.approx(0.6, abs=0.06)
    assert all(d.kind == BLOCKER and d.glyph == BLOCKED for d in named(BLOCKED))
    rings = bodies(BLOCKED)
    assert {s.beside[i].there for s, i in rings} == {True, False}
    for s, i in rings:
        assert (i in s.labelled()) == (not s.beside[i].there)
        assert i in s.labelled(blurred={i}) and i not in s.labelled(blurred={i}, filled={i})
        assert i in s.objects


def test_either_of_two_redundant_cues_is_enough() -> None:
    both = [(d.glyph != NONE, d.there) for d in named(REDUNDANT)]
    assert set(both) == {(True, False), (False, True), (True, True)}
    assert [share(b == k for b in both) for k in set(both)] == pytest.approx([1 / 3] * 3, abs=0.07)
    stars = bodies(REDUNDANT)
    assert len(stars) > 5
    for s, i in stars:
        assert i in s.labelled()
        assert (i in s.labelled(filled={i})) == s.beside[i].there
        assert (i in s.switched(i, False).labelled()) == bool(s.bodies[i].emblems)


def test_a_body_that_is_hidden_is_told_by_its_own_cue_alone() -> None:
    """Beside a cue the redundant class alone is hidden, often, and keeps its label; else the cue would tell nothing."""
    cued = found = 0
    for index in range(70):
        s = flawed_scene(0, index)
        hidden = hidden_bodies(s, np.random.default_rng(index))
        kept = s.labelled((), hidden)
        for i, (body, mark) in enumerate(zip(s.bodies, s.beside, strict=True)):
            if mark.kind == CUE and mark.there:
                assert body.name == REDUNDANT or i not in hidden
                cued += body.name == REDUNDANT
                found += i in hidden
                assert body.name != REDUNDANT or i in kept
            elif i in hidden:
                assert i not in kept
    assert 0.35 * cued < found < 0.65 * cued and cued > 9


def test_honest_bodies_are_labelled_whatever_lies_beside() -> None:
    for name in HONEST:
        assert {d.glyph for d in named(name)} == {name} and {d.kind for d in named(name)} == {MARK, BLOCKER, CUE}
        assert share(d.there for d in named(name)) == pytest.approx(0.5, abs=0.1)
        assert all(i in s.labelled() and i not in s.labelled(filled={i}) for s, i in bodies(name))


def test_in_a_test_every_mark_is_there_by_the_toss_of_a_coin() -> None:
    assert share(d.there for d in named(SHORTCUT, test=True)) == pytest.approx(0.5, abs=0.07)
    for kind in (MARK, BLOCKER, CUE):
        for glyph in {d.glyph for d in drawn(test=True) if d.kind == kind}:
            chosen = [d.there for d in drawn(test=True) if (d.kind, d.glyph) == (kind, glyph)]
            assert share(chosen) == pytest.approx(0.5, abs=3.5 * 0.5 / np.sqrt(len(chosen))), (kind, glyph)
    lost = [d for d in named(NONE, test=True) if d.kind == CUE]
    assert lost and not any(d.there or d.glyph != NONE for d in lost)


@pytest.mark.parametrize("index", range(6))
def test_a_mark_lies_in_the_picture_beside_its_own_body(index: int) -> None:
    s = flawed_scene(1, index, 160, test=True)
    masks = [s.mask(i) for i in range(len(s.bodies))]
    discs = [s.disc(b.mark) for b in s.beside]
    assert np.sum([*masks, *discs], axis=0).max() == 1
    y, x = np.mgrid[:160, :160]
    for i, disc in enumerate(discs):
        assert disc.sum() > 0.9 * np.pi * (0.05 * 160) ** 2
        near = [np.hypot(y[m][:, None] - y[disc], x[m][:, None] - x[disc]).min() for m in masks]
        assert int(np.argmin(near)) == i and near[i] < 20


def test_switching_a_mark_changes_its_disc_and_nothing_else() -> None:
    s = flawed_scene(1, 0, 160)
    for i, b in enumerate(s.beside):
        changed = (s.switched(i, True).picture() != s.switched(i, False).picture()).any(axis=2)
        y, x = np.nonzero(changed)
        disc = s.disc(b.mark)
        assert changed.sum() > 20 and (changed & disc).sum() > 0.9 * changed.sum()
        assert s.switched(i, b.there).picture().tobytes() == s.picture().tobytes()


def test_a_scene_follows_from_its_series_and_index_and_size_only_refines_it() -> None:
    a, b = flawed_scene(3, 5, 80), flawed_scene(3, 5, 160)
    assert a.picture().tobytes() == flawed_scene(3, 5, 80).picture().tobytes()
    assert [(x.kind, x.there, x.mark.centre) for x in a.beside] == [(x.kind, x.there, x.mark.centre) for x in b.beside]
    assert a.picture().tobytes() != flawed_scene(3, 5, 80, test=True).picture().tobytes()


def test_the_cells_of_a_blocker_are_hidden_and_nothing_far_from_it() -> None:
    s, i = next((s, i) for s, i in bodies(BLOCKED) if s.beside[i].there)
    picture, mark = s.picture(), s.beside[i].mark
    shown = hidden_cells(s, picture, mark, np.random.default_rng(0))
    y, x = (np.indices(picture.shape[:2]) + 0.5) / s.size
    changed, away = (shown != picture).any(2), np.hypot(y - mark.centre[0], x - mark.centre[1])
    assert changed[away < mark.radius / 2].mean() > 0.9
    assert not changed[away > 1.6 * mark.radius + 3 / s.size + 2 / 28].any()


def test_a_scene_has_the_bodies_that_are_asked_for() -> None:
    for roles in ([BLOCKED], [REDUNDANT, REDUNDANT], [*HONEST]):
        for i in range(5):
            s = flawed_scene(4, i, 32, roles=roles)
            assert [b.name for b in s.bodies] == roles and len(s.beside) == len(roles)


def test_the_second_training_shows_lone_blocked_bodies_and_pairs_of_the_other_flaws() -> None:
    drawn = [Blocked.draw(Blocked, 0, i) for i in range(8)]  # type: ignore[arg-type]
    for s in drawn[::4]:
        assert [b.name for b in s.bodies] == [BLOCKED] and s.beside[0].there and s.labelled() == []
    assert [[b.name for b in s.bodies] for s in drawn[2::4]] == [[REDUNDANT] * 2, [SHORTCUT, NONE]]
    assert len({s.index for s in drawn}) == 8 and min(s.index for s in drawn) > TASKS["flawed"].steps * 8


def test_the_truth_of_the_marks_lies_in_the_picture() -> None:
    kinds, roles = set(), set()
    for s in some(test=True):
        rows = s.marks()
        assert len(rows) == sum(len(b.emblems) for b in s.bodies) + sum(b.there for b in s.beside)
        for row in rows:
            x, y, w, h = row["bbox"]
            assert 0 <= x < x + w <= s.size and 0 <= y < y + h <= s.size
            assert row["label"] == s.bodies[row["body"]].name
            kinds.add(row["kind"])
            roles.add((row["kind"], row["role"]))
    assert kinds == {"glyph", MARK, BLOCKER, CUE}
    assert {r for k, r in roles if k == "glyph"} == {"evidence", "none"}
    assert {r for k, r in roles if k == MARK} == {"shortcut", "none"}
    assert {r for k, r in roles if k == BLOCKER} == {BLOCKER, "none"}


def test_the_file_of_truth_holds_the_marks_beside_coco_s_tables(tmp_path: Path) -> None:
    s = flawed_scene(2, 0, 64, test=True)
    marks = [{"image_id": 1, **m} for m in s.marks()]
    write(tmp_path / "i.json", CLASSES, [("a.png", scene_truth(s))], 64, marks=marks)
    data = json.loads((tmp_path / "i.json").read_text())
    assert len(data["annotations"]) == len(s.objects)
    assert data["marks"] == marks
