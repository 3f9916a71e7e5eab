"""Deletion, insertion and pointing: hand-computed examples and extremes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from igos.metrics import METRICS
from igos.metrics.curves import Deletion, Insertion
from igos.metrics.pointing import Pointing
from igos.metrics.refine import first, following
from igos.types import ConfigError, Explanation, Problem
from tests.conftest import toy_problem


def explained(problem: Problem, saliency: torch.Tensor) -> list[Explanation]:
    return [Explanation(saliency, problem.targets[0], problem.images[0], "hand")]


def value(metric: object, problem: Problem, saliency: torch.Tensor) -> float:
    return metric(problem, explained(problem, saliency))[0].value  # type: ignore[operator]


@pytest.mark.parametrize("size", [(4, 4), (7, 7), (28, 28), (5, 9)])
@pytest.mark.parametrize("constant", [0.0, 1.0, 0.3])
@pytest.mark.parametrize("metric", [Deletion(), Insertion(), Deletion(budget="object"), Insertion(steps=7)])
def test_a_constant_score_gives_exactly_itself(
    metric: object, constant: float, size: tuple[int, int]
) -> None:  # defect 4
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + constant)
    assert value(metric, problem, torch.rand(size)) == pytest.approx(constant, abs=1e-12)


def test_a_hand_computed_four_by_four() -> None:
    """White over black with the score = the share of light in one corner cell's pixel (0,0).

    The saliency ranks that cell second of 16, in 16 steps of one cell: deletion keeps score 1 for x = 0 and
    1/16 and 0 from 2/16 on: area = 1/16 + half of 1/16.
    """
    problem = toy_problem(lambda p, r: p[:, :, 0, 0].mean(dim=1), size=(16, 16))
    white = torch.ones(1, 3, 16, 16, dtype=torch.float64)
    problem = type(problem)(
        white, torch.zeros_like(white), problem.score, problem.targets, problem.generators, problem.images
    )
    saliency = torch.arange(16.0).view(4, 4) * 0.01
    saliency[3, 3], saliency[0, 0] = 2.0, 1.0
    assert value(Deletion(substrate="black", steps=16), problem, saliency) == pytest.approx(1.5 / 16)
    assert value(Insertion(substrate="black", steps=16), problem, saliency) == pytest.approx(1 - 1.5 / 16)
    last = -saliency
    assert value(Deletion(substrate="black", steps=16), problem, last) == pytest.approx(1 - 1.5 / 16)


def test_better_maps_score_better_and_monotone_transforms_change_nothing() -> None:
    problem = toy_problem(lambda p, r: p[:, :, 6:12, 16:24].mean(dim=(1, 2, 3)))
    good = torch.rand(8, 8, generator=torch.Generator().manual_seed(0)) * 0.1
    good[2:4, 4:6] += 1
    for metric, sign in ((Deletion(substrate="black"), -1), (Insertion(substrate="black"), 1)):
        assert sign * value(metric, problem, good) > sign * value(metric, problem, 1 - good)
        assert value(metric, problem, good) == pytest.approx(value(metric, problem, torch.exp(3 * good)), abs=1e-12)
        assert metric.better == ("lower" if sign < 0 else "higher")


def test_costs_and_the_shape_of_the_curve() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)))
    (score,) = Deletion()(problem, explained(problem, torch.rand(28, 28)))
    assert problem.score.forward_images.tolist() == [51]
    assert score.curve is not None and score.curve.shape == (2, 51)
    assert score.curve[0, 0] == 0 and score.curve[0, -1] == 1
    assert np.allclose(np.diff(score.curve[0]), 1 / 50, atol=1 / 784)
    x, y = problem.score(problem.x[:, None])[0, 0], score.curve[1, 0]
    assert float(x) == pytest.approx(float(y)), "the first point is the untouched picture"


def test_the_object_budget_is_three_times_the_object() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)))
    (score,) = METRICS["deletion_igos"](substrate="black")(problem, explained(problem, torch.rand(20, 20)))
    assert score.name == "deletion_igos" and Deletion(budget="object").name == "deletion_object"
    share = 3 * 12 * 12 / (24 * 32)
    changed = 1 - score.curve[1, -1] / score.curve[1, 0]
    assert 0.5 * share < changed < min(1.6 * share, 1)


def test_ties_are_reported() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)))
    (score,) = Deletion()(problem, explained(problem, torch.zeros(6, 6)))
    assert score.detail["tie_fraction"] == 1


def test_pointing() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)))
    inside, outside = torch.zeros(25, 33), torch.zeros(25, 33)
    inside[12, 14] = outside[1, 1] = 1
    assert value(Pointing(), problem, inside) == 1 and value(Pointing(), problem, outside) == 0
    assert value(Pointing(), problem, inside + outside) == 0.5, "the share of the tied maxima that hit"
    assert math.isnan(value(Pointing(), problem, torch.ones(8, 8)))
    edge = torch.zeros(24, 32)
    edge[12, 7] = 1
    assert value(Pointing(tolerance=0), problem, edge) == 0 and value(Pointing(tolerance=1), problem, edge) == 1


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (dict(substrate="pink"), dict(budget="half"), dict(steps=0)):
        with pytest.raises(ConfigError):
            Deletion(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        Pointing(tolerance=-1)


def refined(y: np.ndarray, within: float) -> np.ndarray:
    """The points of a whole curve that are scored."""
    x, known, asked = np.linspace(0, 1, len(y)), np.zeros(0, int), first(len(y))
    while len(asked):
        known = np.union1d(known, asked)
        asked = following(x, np.where(np.isin(np.arange(len(y)), known), y, 7e7), known, within)  # the rest is not read
    return known


def test_a_monotone_curve_s_area_is_as_near_as_asked() -> None:
    rng = np.random.default_rng(0)
    x = np.linspace(0, 1, 51)
    for sharp in (0.3, 1, 5, 40) * 10:
        y = np.sort(rng.random(51) ** sharp)
        y = (1 - y if rng.random() < 0.5 else y) * rng.uniform(0.2, 1)
        for within in (0.002, 0.02):
            known = refined(y, within)
            assert abs(np.trapezoid(y[known], x[known]) - np.trapezoid(y, x)) <= within
    assert len(refined(np.repeat([1.0, 0.0], [5, 46]), 0.002)) < 15  # a step is found by halving
    assert len(refined(np.full(51, 0.4), 0.002)) == 6
    assert refined(np.array([0.2]), 0.002).tolist() == [0]
    spike = np.zeros(51)
    spike[5] = 1.0
    assert 5 not in refined(spike, 0.002)  # what comes and goes between two points is not seen: the docs say so


def test_a_curve_of_fewer_images_holds_the_points_that_were_scored() -> None:
    def light(p: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(12 * (p[:, :, :16, :16].mean(dim=(1, 2, 3)) - 0.4 - 0.1 * r))

    whole, few = toy_problem(light, 3), toy_problem(light, 3)
    maps = [torch.rand(14, 14, generator=torch.Generator().manual_seed(n)) for n in range(3)]
    maps[0][:7, :7] += 1
    made = [Explanation(m, t, i, "hand") for m, t, i in zip(maps, whole.targets, whole.images, strict=True)]
    for metric in (Deletion, Insertion):
        all_, some = metric()(whole, made), metric(within=0.002)(few, made)
        for a, b in zip(all_, some, strict=True):
            assert a.curve is not None and b.curve is not None and b.curve.shape[1] < 51
            at = np.searchsorted(a.curve[0], b.curve[0])
            np.testing.assert_allclose(a.curve[:, at], b.curve, rtol=1e-12)
            assert abs(a.value - b.value) <= 0.002
            assert b.hides is None  # its steps cannot be replayed
    assert whole.score.forward_images.tolist() == [102] * 3
    assert 0 < few.score.forward_images.max() < 80
    assert Deletion(within=0.002).cost == "51, or fewer" and Deletion().cost == "51"


def test_a_curve_without_finite_scores_ends() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)) * float("nan"))
    (score,) = Deletion(within=0.002)(problem, explained(problem, torch.rand(8, 8)))
    assert math.isnan(score.value) and problem.score.forward_images.tolist() == [6]
