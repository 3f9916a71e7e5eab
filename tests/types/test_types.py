"""Geometry, the scorer's chunks and counts, and the shapes that are contracts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from igos.base.geometry import Geometry
from igos.types import ConfigError, Explanation, Image, ImageError, Scorer, Target
from tests.conftest import net_score, toy_image


@given(
    height=st.integers(20, 400), width=st.integers(20, 400), net=st.integers(32, 256),
    x=st.floats(0, 0.6), y=st.floats(0, 0.6), side=st.floats(0.1, 0.4),
)  # fmt: skip
@settings(max_examples=40, deadline=None)
def test_boxes_there_and_back(height: int, width: int, net: int, x: float, y: float, side: float) -> None:
    scale = min(net / height, net / width)
    pad = ((net - height * scale) / 2, (net - width * scale) / 2)
    geometry = Geometry((height, width), (net, net), (scale, scale), pad)
    box = torch.tensor([x * width, y * height, (x + side) * width, (y + side) * height])
    assert torch.allclose(geometry.to_source(geometry.to_network(box)), box, atol=1e-2)


@pytest.mark.parametrize(
    ("source", "network", "offset"),
    [((40, 60), (40, 60), (0, 0)), ((100, 50), (64, 64), (0, 16)), ((90, 120), (60, 60), (0, -10))],
)
def test_a_map_lands_on_the_source_pixels_that_made_it(
    source: tuple[int, int], network: tuple[int, int], offset: tuple[int, int]
) -> None:  # defect 12
    scale = 1.0 if source == network else 0.64 if offset[1] > 0 else 60 / 90
    geometry = Geometry(source, network, (scale, scale), offset)
    y, x = source[0] * 0.3, source[1] * 0.5
    ny, nx = y * scale + offset[0], x * scale + offset[1]
    rows, columns = torch.meshgrid(torch.arange(network[0]), torch.arange(network[1]), indexing="ij")
    saliency = torch.exp(-((rows + 0.5 - ny) ** 2 + (columns + 0.5 - nx) ** 2) / 20)
    on_source = geometry.map_to_source(saliency)
    assert on_source.shape == source
    peak = np.unravel_index(int(on_source.argmax()), source)
    assert abs(peak[0] + 0.5 - y) <= 1.5 and abs(peak[1] + 0.5 - x) <= 1.5


def test_outside_the_crop_the_map_is_zero() -> None:
    geometry = Geometry((60, 120), (60, 60), (1, 1), (0, -30))
    on_source = geometry.map_to_source(torch.ones(7, 7))
    assert on_source[:, :30].sum() == 0 and on_source[:, 90:].sum() == 0 and on_source[:, 30:90].min() > 0.9999


@pytest.mark.parametrize("batch", [1, 3, 100])
def test_the_scorer_is_differentiable_and_does_not_depend_on_chunks(batch: int) -> None:
    pictures = torch.rand(3, 4, 3, 16, 20, dtype=torch.float64, requires_grad=True)
    whole, cut = Scorer(net_score(3), 3, 1000), Scorer(net_score(3), 3, batch)
    assert torch.allclose(whole(pictures), cut(pictures), atol=1e-12)
    (g,) = torch.autograd.grad(cut(pictures)[1].sum(), pictures)
    assert g[1].abs().sum() > 0 and g[0].abs().sum() == 0, "row k is scored for target k"


def test_the_scorer_counts_what_each_target_pushed() -> None:
    scorer = Scorer(net_score(2), 2, 4)
    pictures = torch.rand(6, 3, 16, 20, dtype=torch.float64)
    rows = torch.tensor([0, 0, 0, 0, 1, 1])
    parts = [part for part, _, _ in scorer.stream(rows, lambda s: pictures[s], gradient=True)]
    assert [p.stop - p.start for p in parts] == [4, 2]
    list(scorer.stream(rows[:1], lambda s: pictures[s]))
    assert scorer.forward_images.tolist() == [5, 2] and scorer.backward_images.tolist() == [4, 2]
    assert scorer.seconds > 0


def test_wrong_shapes_are_refused() -> None:
    image = toy_image()
    with pytest.raises(ImageError):
        Image(image.pixels[:2], image.geometry, image.source)
    with pytest.raises(ImageError):
        Image(image.pixels, Geometry((9, 9), (9, 9)), image.source)
    with pytest.raises(ConfigError):
        Target(0, "a", 1.0, torch.zeros(3))
    with pytest.raises(ConfigError):
        Explanation(torch.zeros(1, 3, 3), Target(0, "a", 1.0), image, "m")
    with pytest.raises(ConfigError):
        Explanation(torch.zeros(3, 3), Target(0, "a", 1.0), image, "m", status="great")
