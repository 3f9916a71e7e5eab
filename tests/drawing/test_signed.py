"""The visual language of signed attributions, on maps made by hand and against scipy."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from igos.drawing.signed import clean, level, outline, part, regions, stretch
from igos.types import ConfigError, Explanation
from tests.conftest import Later
from tests.drawing.test_figures import explanation

ndimage = Later("scipy.ndimage")
MAPS = arrays.arrays(np.float64, (6, 7), elements=st.floats(0, 100, allow_subnormal=False))


def test_levels_are_shares_of_mass_not_of_pixels() -> None:
    a = np.array([[5.0, 3], [1, 1]])
    assert level(a, 50) == 5, "the 5 alone holds half"
    assert level(a, 49) == 3 and level(a, 20) == 3 and level(a, 19) == 1 and level(a, 0) == 1 and level(a, 100) == 5
    assert stretch(a, 50, 0).tolist() == [[1, 0.5], [0, 0]]
    assert stretch(a, 50, 20).tolist() == [[1, 0], [0, 0]]
    assert stretch(a, 20, 0).tolist() == [[1, 1], [0, 0]]


@settings(deadline=None, max_examples=60)
@given(MAPS, st.floats(0, 100))
def test_the_values_from_the_level_on_hold_their_share_and_no_fewer_do(a: np.ndarray, percent: float) -> None:
    m, wanted = level(a, percent), (1 - percent / 100) * a.sum()
    assert a[a >= m].sum() >= wanted * (1 - 1e-9)
    assert a[a > m].sum() <= wanted * (1 + 1e-9)


@settings(deadline=None, max_examples=60)
@given(MAPS, st.floats(1, 100), st.floats(0, 99))
def test_stretching_keeps_the_order_and_the_range(a: np.ndarray, above: float, below: float) -> None:
    made = stretch(a, above, min(below, above))
    assert made.min() >= 0 and made.max() <= 1 and np.isfinite(made).all()
    assert (made.max() == 1) == bool(a.any())
    order = np.argsort(a.ravel())
    assert (np.diff(made.ravel()[order]) >= 0).all()
    assert np.allclose(stretch(8 * a, above, min(below, above)), made, atol=1e-6)


def test_maps_without_any_range() -> None:
    assert not stretch(np.zeros((3, 4)), 95, 58).any(), "0 / 0"
    assert (stretch(np.full((3, 4), 2.0), 95, 58) == 1).all(), "m = e"
    single = np.zeros((3, 4))
    single[1, 2] = 7
    assert (stretch(single, 95, 58) == (single > 0)).all()


def test_polarity_splits_each_channel_before_their_mean() -> None:
    a = np.array([[[3.0, -1]], [[-3, -2]], [[0, 0]]])
    assert part(a, 1).tolist() == [[1, 0]] and part(a, -1).tolist() == [[1, 1]]


def test_clean_up_is_grey_closing_then_opening() -> None:
    a = np.random.default_rng(0).random((13, 9)).astype(np.float32)
    theirs = ndimage.grey_opening(ndimage.grey_closing(a, (3, 3)), (3, 3))
    assert np.array_equal(clean(a), theirs)
    speck, pit = np.zeros((7, 7), np.float32), np.ones((7, 7), np.float32)
    speck[3, 3], pit[3, 3] = 1, 0
    assert not clean(speck).any() and clean(pit).all()


def test_outlines_take_the_largest_regions_with_their_holes_filled() -> None:
    mask = np.zeros((40, 40), np.float32)
    mask[1:11, 1:11] = 0.5  # 100 with its hole
    mask[4:7, 4:7] = 0
    mask[1:9, 20:28] = 1  # 64
    mask[20:25, 1:6] = 1  # 25
    mask[20:24, 20:24] = 1  # 16: the fourth
    mask[35, 35] = 0.0005  # no region
    kept = regions(mask)
    assert kept[1:11, 1:11].all() and kept[1:9, 20:28].all() and kept[20:25, 1:6].all()
    assert kept.sum() == 100 + 64 + 25
    mask[20:25, 1:6] = 0
    mask[1:11, 1:19] = 1  # 180: with the 64 it holds 90 %
    assert regions(mask).sum() == 180 + 64
    diagonal = np.eye(5, dtype=np.float32)
    assert regions(diagonal).sum() == 5, "eight neighbours make one region"
    assert not regions(np.zeros((4, 4), np.float32)).any(), "no region at all"


def test_an_outline_is_the_mask_less_its_erosion() -> None:
    inside = np.zeros((12, 12), bool)
    inside[2:9, 3:12] = True  # touches the border
    assert np.array_equal(outline(inside, 1), inside & ~ndimage.binary_erosion(inside))
    assert outline(inside, 2).sum() > outline(inside, 1).sum() and not outline(inside & False, 2).any()


def example(values: dict[tuple[int, int], float], **more: Any) -> Explanation:
    a = torch.zeros(3, 64, 64)
    for (y, x), v in values.items():
        a[:, y : y + 8, x : x + 8] = v
    return replace(explanation(64, 64, photo=np.full((64, 64, 3), 100, np.uint8)), attribution=a, **more)


def at(picture: np.ndarray, y: int, x: int) -> list[int]:
    """The colour amid the 8 x 8 block of network pixels at (y, x)."""
    zoom = len(picture) / 64
    return picture[round((y + 4) * zoom), round((x + 4) * zoom)].tolist()


def test_green_speaks_for_and_red_against_on_one_scale() -> None:
    e = example({(8, 8): 4.0, (8, 40): -2.0})
    bare = e.signed(overlay=False)
    assert at(bare, 8, 8) == [0, 255, 0] and at(bare, 40, 8) == [0, 0, 0]
    assert at(bare, 8, 40) == pytest.approx([128, 0, 0], abs=1), "half as much is half as red"
    over = e.signed()
    assert at(over, 40, 8) == [50, 50, 50] and at(over, 8, 8) == [50, 254, 50]
    for polarity, first, second in (("positive", True, False), ("negative", False, True)):
        only = e.signed(polarity=polarity, overlay=False)
        assert (at(only, 8, 8)[1] == 255) == first and (at(only, 8, 40)[0] == 255) == second


def test_places_and_outlines_are_drawn_where_they_belong() -> None:
    e = example({(16, 24): 1.0})
    lit = e.signed(overlay=False, clip_above=95, clip_below=58, cleanup=True)[..., 1] > 127
    y, x = np.nonzero(lit)
    zoom = len(lit) / 64
    box = np.array([y.min(), y.max() + 1, x.min(), x.max() + 1]) / zoom
    assert box == pytest.approx([16, 24, 24, 32], abs=0.6)
    edge = e.signed(overlay=False, outlines=True)[..., 1] > 0
    assert at(edge[..., None], 16, 24) == [False] and 0 < edge.sum() < 0.3 * lit.sum()


@pytest.mark.parametrize("value", [0.0, float("nan"), 1e-30, 1e30])
def test_any_attribution_can_be_drawn(value: float) -> None:
    for settings_ in ({}, {"cleanup": True, "outlines": True}):
        drawn = example({(0, 0): value}).signed(overlay=False, **settings_)
        assert drawn.dtype == np.uint8 and drawn.any() == (value > 0)


def test_the_box_is_shown_on_the_photo() -> None:
    e = example({})
    boxed = explanation(64, 64, box=(10, 10, 50, 50), photo=e.image.source)
    assert (boxed.image.source == e.image.source).all()
    shown = replace(boxed, attribution=e.attribution).signed()
    assert (shown != e.signed()).any()


def test_settings_that_cannot_be_are_refused() -> None:
    e = example({(0, 0): 1.0})
    for wrong in ({"polarity": "up"}, {"clip_above": 101}, {"clip_below": -1}, {"clip_above": 50, "clip_below": 50}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            e.signed(**wrong)
    with pytest.raises(ConfigError, match="attribution"):
        explanation().signed()
