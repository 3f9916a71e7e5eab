"""igos.base.ops against independent implementations."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from igos.base import ops
from igos.base.baselines import BASELINES, baseline

SIZES = st.integers(1, 12)


@given(h=SIZES, w=SIZES, height=st.integers(1, 40), width=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_upscale_equals_torch_and_its_adjoint_is_its_transpose(h: int, w: int, height: int, width: int) -> None:
    mask, gradient = torch.rand(2, h, w, dtype=torch.float64), torch.rand(2, height, width, dtype=torch.float64)
    up = ops.upscale(mask, (height, width))
    expected = F.interpolate(mask[None], (height, width), mode="bilinear", align_corners=True)[0]
    assert torch.allclose(up, expected, atol=1e-12)
    left, right = (up * gradient).sum(), (mask * ops.upscale_adjoint(gradient, (h, w))).sum()
    assert torch.allclose(left, right, atol=1e-10)


@pytest.mark.parametrize(("height", "width", "kernel"), [(64, 48, 51), (320, 200, 51), (40, 300, 151), (16, 17, 201)])
def test_blur_equals_opencv_also_where_the_kernel_is_larger_than_the_picture(
    height: int, width: int, kernel: int
) -> None:
    x = np.random.default_rng(0).random((height, width, 3))
    expected = cv2.GaussianBlur(x, (kernel, kernel), kernel - 1, borderType=cv2.BORDER_REFLECT_101)
    ours = ops.gaussian_blur(torch.from_numpy(x).permute(2, 0, 1), kernel, kernel - 1).permute(1, 2, 0)
    assert np.abs(ours.numpy() - expected).max() < 1e-9


def test_the_blur_kernel_follows_the_picture_size() -> None:
    for side, kernel in ((499, 51), (500, 151), (799, 151), (800, 201)):
        x = torch.rand(1, 3, 32, side)
        assert torch.allclose(BASELINES["blur"](x), ops.gaussian_blur(x, kernel, kernel - 1))


def test_a_baseline_of_one_expanded_picture_is_made_once_and_is_the_same() -> None:
    x = torch.rand(1, 3, 40, 50)
    assert torch.equal(baseline("blur", x.expand(4, -1, -1, -1)), BASELINES["blur"](x).expand(4, -1, -1, -1))


def test_smoothing_solves_the_hessian_of_tv_and_leaves_constants_alone() -> None:
    h, w, strength = 5, 7, 3.7
    hessian = torch.autograd.functional.hessian(lambda m: ops.tv(m.view(h, w)), torch.rand(h * w, dtype=torch.float64))
    g = torch.rand(h, w, dtype=torch.float64)
    expected = torch.linalg.solve(torch.eye(h * w, dtype=torch.float64) + strength * hessian, g.ravel())
    ours = ops.smooth(g, torch.tensor(strength, dtype=torch.float64))
    assert torch.allclose(ours.ravel(), expected, atol=1e-12)
    assert torch.allclose(ops.smooth(torch.ones(h, w), torch.tensor(1e4)), torch.ones(h, w), atol=1e-5)


def test_the_curvature_of_tv_is_bounded_as_the_spec_says() -> None:
    assert ops._tv_eigenvalues(28, 28).max() == pytest.approx(16 / 28**2, rel=0.05)


def test_bilateral_tv_is_unchanged_by_transposition() -> None:  # defect 7 of the public code
    guide, mask = torch.rand(3, 6, 9, dtype=torch.float64), torch.rand(6, 9, dtype=torch.float64)
    assert torch.allclose(ops.bilateral_tv(guide, mask), ops.bilateral_tv(guide.mT, mask.mT), atol=1e-14)


def test_bilateral_tv_by_hand_and_its_limits() -> None:
    mask = torch.tensor([[0.0, 1.0], [0.0, 1.0]], dtype=torch.float64)
    flat = torch.zeros(3, 2, 2, dtype=torch.float64)
    edge = flat.clone()
    edge[:, :, 1] = 0.1
    assert ops.tv(mask) == 1
    assert ops.bilateral_tv(flat, mask) == ops.tv(mask)
    assert ops.bilateral_tv(edge, mask) == pytest.approx(0.5 * (1 + np.exp(-0.01 / 0.0005)))


@pytest.mark.parametrize("n", [7, 28, 56])
def test_both_halves_of_bilateral_tv_live_on_the_mask_grid(n: int) -> None:  # defect 8
    ramp = torch.linspace(0, 1, n, dtype=torch.float64).expand(n, n)
    assert ops.bilateral_tv(torch.zeros(3, n, n, dtype=torch.float64), ramp) == pytest.approx(float(ops.tv(ramp)))


def test_rank_breaks_ties_by_the_neighbourhood_then_by_index() -> None:
    saliency = torch.tensor([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0], [0.0, 0.0, 0.0]])
    order, ties = ops.rank(saliency)
    assert order.tolist() == [5, 2, 8, 1, 4, 7, 0, 3, 6] or order[0] == 5
    assert ties == pytest.approx(8 / 9)
    assert set(order[1:6]) == {1, 2, 4, 7, 8}


@given(share=st.floats(0.01, 1.0), height=st.integers(1, 30), width=st.integers(1, 30))
@settings(max_examples=30, deadline=None)
def test_the_top_area_has_exactly_its_share_and_holds_the_best(share: float, height: int, width: int) -> None:
    saliency = np.random.default_rng(0).random((height, width))
    top = ops.top_area(saliency, None, share)
    assert top.sum() == np.clip(round(share * (height * width)), 1, height * width)
    assert top.all() or saliency[top].min() >= saliency[~top].max()


@pytest.mark.parametrize("count", [1, 3])
def test_a_blend_is_the_sum_bit_by_bit_and_lies_as_convolutions_like_it(count: int) -> None:
    a, b, v = torch.rand(count, 3, 9, 7), torch.rand(count, 3, 9, 7), torch.rand(5, 9, 7)
    rows = torch.arange(5) % count
    blend = ops.Blend(a, b)
    made = blend(rows, v)
    assert torch.equal(made, torch.addcmul(a[rows], v[:, None], (b - a)[rows]))
    assert made.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(blend.difference(rows).expand(5, -1, -1, -1), (b - a)[rows])
    assert blend(rows, v.double()).dtype == torch.float64


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_sum_over_channels(layout: torch.memory_format) -> None:
    x = torch.randn(4, 3, 9, 7).to(memory_format=layout)
    torch.testing.assert_close(ops.channel_sum(x), x.sum(dim=1), rtol=0, atol=1e-6)
