"""The planted-evidence scenes: what decides a class, what does not, and that everything follows from the seed."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from igos.data.emblems import CLASSES, NONE, Scene, label, scene
from igos.data.glyphs import GLYPHS


@cache
def many() -> list[Scene]:
    return [scene(9, i, 32) for i in range(1000)]


def test_a_scene_follows_from_seed_and_index_alone() -> None:
    a, b, c, d = (scene(*key, 48) for key in ((3, 5), (3, 5), (3, 6), (4, 5)))
    assert (a.picture() == b.picture()).all()
    assert (a.picture() != c.picture()).any() and (a.picture() != d.picture()).any()


def test_size_decides_only_how_finely_a_scene_is_drawn() -> None:
    small, large = scene(3, 5, 80), scene(3, 5, 320)
    assert [b.name for b in small.bodies] == [b.name for b in large.bodies]
    shrunk = large.picture().reshape(80, 4, 80, 4, 3).mean(axis=(1, 3))
    assert np.abs(shrunk - small.picture()).mean() < 6
    np.testing.assert_allclose(np.array(large.box(0)) / 4, small.box(0), atol=1.01)


def test_counts_of_bodies_emblems_and_bare_bodies() -> None:
    bodies = [b for s in many() for b in s.bodies]
    assert {len(s.bodies) for s in many()} == {1, 2, 3, 4}
    assert all(s.bodies[0].emblems for s in many())
    carriers = [b for b in bodies if b.emblems]
    assert np.mean([not b.emblems for b in bodies]) == pytest.approx(1 / 5, abs=0.025)
    assert np.mean([len(b.emblems) == 2 for b in carriers]) == pytest.approx(1 / 3, abs=0.035)
    assert {b.name for b in bodies if not b.emblems} == {NONE}
    assert {b.name for b in carriers} == set(CLASSES) and len(CLASSES) >= 6
    assert all(m.shape is GLYPHS[b.name] for b in carriers for m in b.emblems)


def test_nothing_but_the_emblem_tells_the_class() -> None:
    """Colour, place, size, shape and texture have the same distribution in every class."""
    carriers = [b for s in many() for b in s.bodies if b.emblems]
    features = np.array(
        [
            [*b.texture.colour, *b.centre, *b.axes, b.angle, b.power, len(b.emblems), b.emblems[0].radius]
            for b in carriers
        ]
    )
    names = np.array([b.name for b in carriers])
    spread = features.std(axis=0)
    for name in CLASSES:
        mine, others = features[names == name], features[names != name]
        error = spread * np.sqrt(1 / len(mine) + 1 / len(others))
        assert (np.abs(mine.mean(axis=0) - others.mean(axis=0)) < 4.5 * error).all(), name


@pytest.mark.parametrize("index", range(12))
def test_bodies_lie_apart_and_carry_their_emblems(index: int) -> None:
    s = scene(1, index, 160)
    masks = [s.mask(i) for i in range(len(s.bodies))]
    assert np.sum(masks, axis=0).max() == 1
    for i, mask in enumerate(masks):
        x1, y1, x2, y2 = (int(v) for v in s.box(i))
        assert mask[y1:y2, x1:x2].sum() == mask.sum() > 500
        evidence = s.evidence(i)
        assert len(evidence) == len(s.bodies[i].emblems)
        for e in evidence:
            assert (mask & e).sum() >= 0.93 * e.sum() > 0
        if len(evidence) == 2:
            assert not (evidence[0] & evidence[1]).any()


@pytest.mark.parametrize("index", range(6))
def test_hiding_an_emblem_changes_its_disc_and_nothing_else(index: int) -> None:
    s = scene(1, index, 160)
    picture = s.picture()
    for i in s.objects:
        for j, disc in enumerate(s.evidence(i)):
            changed = (picture != s.picture({(i, j)})).any(axis=2)
            assert changed.sum() > 20
            y, x = np.nonzero(disc)
            near = np.zeros_like(disc)
            near[y.min() - 1 : y.max() + 2, x.min() - 1 : x.max() + 2] = True
            assert not (changed & ~near).any()


def test_the_emblem_stands_out_from_its_body() -> None:
    for s in (scene(2, i, 160) for i in range(20)):
        picture = s.picture().astype(float)
        for i in s.objects:
            disc = s.evidence(i)[0]
            difference = picture - s.picture({(i, j) for j in range(2)})
            assert np.abs(difference[disc]).max() > 60


def test_single_bodies_are_of_every_class_alike() -> None:
    singles = [scene(9, i, 32, single=True) for i in range(700)]
    assert all(len(s.bodies) == 1 for s in singles)
    counts = np.bincount([label(s) for s in singles], minlength=len(CLASSES) + 1)
    assert len(counts) == len(CLASSES) + 1 and counts.min() > 60
    assert all((label(s) == len(CLASSES)) == (not s.bodies[0].emblems) for s in singles)


def test_look_alikes_are_none_of_the_emblems() -> None:
    assert all(m.shape not in GLYPHS.values() for s in many()[:200] for m in s.clutter)
    assert np.mean([len(s.clutter) for s in many()]) > 3


def test_emblems_have_their_shapes() -> None:
    """On a grid over the disc: each glyph fills its own part, none leaves the disc by more than a hair."""
    v, u = np.meshgrid(*[np.linspace(-1.2, 1.2, 241)] * 2, indexing="ij")
    drawn = {name: shape(u, v) for name, shape in GLYPHS.items()}
    for name, shape in drawn.items():
        assert np.hypot(u, v)[shape].max() < 1.01, name
        assert 0.15 < shape.sum() / (np.hypot(u, v) < 1).sum() < 0.75, name
    assert drawn["cross"][120, 120] and drawn["star"][120, 120] and not drawn["ring"][120, 120]
    assert not drawn["dots"][120, 120]
    for a in drawn:
        for b in drawn:
            overlap = (drawn[a] & drawn[b]).sum() / (drawn[a] | drawn[b]).sum()
            assert (overlap < 0.7) == (a != b), (a, b)


def test_a_scene_is_plain_data() -> None:
    assert isinstance(many()[0], Scene) and many()[0].objects[0] == 0
