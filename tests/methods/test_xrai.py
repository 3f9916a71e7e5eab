"""XRAI: regions by hand, the sum kept, and the patch that a score looks at."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from igos.methods.gradient.xrai import SIDE, XRAI, regions, segments
from tests.conftest import patch_score, toy_image, toy_problem
from tests.methods.test_gradients import close, raw


def blocks(*corners: tuple[int, int, int, int]) -> np.ndarray:
    masks = np.zeros((len(corners), 20, 20), dtype=bool)
    for mask, (y, x, h, w) in zip(masks, corners, strict=True):
        mask[y : y + h, x : x + w] = True
    return masks


def test_disjoint_regions_get_their_means_and_the_rest_its_own() -> None:
    heat = np.random.default_rng(0).normal(size=(20, 20))
    masks = blocks((0, 0, 10, 10), (0, 10, 10, 10), (10, 0, 10, 10))
    made, ranks = regions(heat, masks)
    for mask in (*masks, ~masks.any(axis=0)):
        assert np.allclose(made[mask], heat[mask].mean())
    assert made.sum() == pytest.approx(heat.sum(), abs=1e-10)
    order = sorted(masks, key=lambda m: -heat[m].mean())
    assert ranks.dtype == np.int32 and [set(ranks[m]) for m in order] == [{1}, {2}, {3}]
    assert set(ranks[~masks.any(axis=0)]) == {4}, "what none covers comes last"


def test_overlaps_belong_to_the_region_of_the_higher_mean() -> None:
    heat = np.zeros((20, 20))
    heat[:10], heat[5:10] = 1, 3
    masks = blocks((0, 0, 10, 20), (5, 0, 15, 20), (5, 0, 5, 20))
    made, ranks = regions(heat, masks)
    assert (made[5:10] == 3).all(), "means 2, 1, 3: the last goes first"
    assert (ranks[5:10] == 1).all() and (ranks[:5] == 2).all() and (ranks[10:] == 3).all()
    assert (made[:5] == 1).all() and (made[10:] == 0).all(), "of the others what is left"
    assert heat[0, 0] == 1, "the argument is not written into"


def test_the_sum_is_kept_whatever_the_regions_and_small_remains_are_left_out() -> None:
    rng = np.random.default_rng(1)
    heat = rng.normal(size=(20, 20))
    masks = rng.random((30, 20, 20)) < 0.3
    assert regions(heat, masks)[0].sum() == pytest.approx(heat.sum(), abs=1e-10)
    heat = np.zeros((20, 20))
    heat[0, :7] = 9
    assert np.allclose(regions(heat, blocks((0, 0, 1, 7)))[0], heat.mean()), "7 pixels are fewer than 50"
    assert np.allclose(regions(heat, blocks((0, 0, 1, 7)), least_new=7)[0], heat)


def test_segments_cover_the_picture_at_every_scale_and_follow_its_edges() -> None:
    x = toy_image(64, 96).pixels * 0
    x[:, :, 40:] = 1
    masks = segments(x, (149, SIDE))
    assert masks.shape[1:] == (149, SIDE) and masks.any(axis=0).all() and len(masks) >= 12
    assert not masks[0][:, 110:].any() and masks[1][:, 110:].all(), "a border with its dilation lies near 93"


def test_xrai_marks_the_patch_and_the_attribution_is_the_mean_over_two_constants() -> None:
    w = torch.zeros(3, 40, 40, dtype=torch.float64)
    w[:, 10:30, 10:30] = 1
    problem = toy_problem(lambda p, r: (p * w).sum(dim=(1, 2, 3)), 2, size=(40, 40))
    problem = replace(problem, x=0.3 + 0.4 * problem.x)
    first, second = XRAI(n_steps=4, size=8)(problem)
    x, ranks = problem.x[0], first.arrays["ranks"]
    assert close(raw(first), (x - (x.min() + x.max()) / 2) * w), "(x - min)/2 + (x - max)/2"
    assert ranks.shape == (SIDE, SIDE) and ranks.dtype == np.int32 and sorted(set(ranks.ravel()))[0] == 1
    assert torch.equal(first.saliency, second.saliency) and problem.score.backward_images.tolist() == [4, 4]
    problem = toy_problem(patch_score(slice(10, 30), slice(10, 30)), size=(40, 40))
    x = problem.x * 0 + 0.2
    x[:, :, 10:30, 10:30] = 0.9
    (e,) = XRAI(n_steps=20, size=8)(replace(problem, x=x))
    inside = e.saliency[2:6, 2:6]
    assert inside.min() > 10 * e.saliency[:, 7].abs().max() and e.settings["n_steps"] == 20
