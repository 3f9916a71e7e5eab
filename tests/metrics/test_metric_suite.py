"""The metrics beyond the plain curves: hand-computed examples, extremes, oracles, seeds, costs, what is not known."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from igos.base.baselines import SUBSTRATES
from igos.base.geometry import Geometry
from igos.base.names import DEFAULT_METRICS
from igos.cli.listing import listing
from igos.data.truth import Truth
from igos.methods import METHODS
from igos.metrics import COLUMNS, METRICS, table
from igos.metrics.curves import Deletion
from igos.metrics.ehr import effective_heat
from igos.metrics.metric import Context, afresh
from igos.metrics.regions import tile_sums, tiles
from igos.metrics.road import impute
from igos.metrics.sanity import ssim
from igos.metrics.statistics import pearson, ranks, spearman, summarise
from igos.metrics.transfer import carried
from igos.run.explain import explain_problem
from igos.types import ConfigError, Explanation, Image, Problem, Score, Scorer, Target
from tests.conftest import Later, net_score, toy_image, toy_problem

captum_metrics, grad_cam_road = Later("captum.metrics"), Later("pytorch_grad_cam.metrics.road")
ndimage, stats = Later("scipy.ndimage"), Later("scipy.stats")
SIZE = (4, 4)


def picture_problem(
    x: Tensor,
    forward: Callable[[Tensor, Tensor], Tensor],
    box: tuple[float, ...] | None = (0.0, 0.0, 2.0, 2.0),
    k: int = 1,
) -> Problem:
    """K explanations of one picture (3,H,W) over black, its source of the same size."""
    size = (x.shape[1], x.shape[2])
    image = Image(x.float(), Geometry(size, size), np.zeros((*size, 3), np.uint8))
    target = Target(0, "toy", 1.0, None if box is None else torch.tensor(box))
    views = x.double().expand(k, -1, -1, -1)
    generators = [torch.Generator().manual_seed(7 + i) for i in range(k)]
    return Problem(views, torch.zeros_like(views), Scorer(forward, k, 8), [target] * k, generators, [image] * k)


def explained(problem: Problem, saliency: Tensor, attribution: Tensor | None = None) -> list[Explanation]:
    target, image = problem.targets[0], problem.images[0]
    return [Explanation(saliency, target, image, "hand", attribution=attribution)] * len(problem.x)


def judge(name: str, problem: Problem, saliency: Tensor, context: Context | None = None, **settings: Any) -> Score:
    return METRICS[name](**settings)(problem, explained(problem, saliency), context)[0]  # type: ignore[no-any-return]


def linear(weights: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """f(x) = sum of w (3,H,W) times x."""
    return lambda pictures, rows: (pictures * weights.to(pictures)).sum(dim=(1, 2, 3))


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def white(weights: Tensor) -> Problem:
    """A white 4 x 4 picture over black whose pixels add weights (4,4) to the score."""
    return picture_problem(torch.ones(3, 4, 4), linear(weights.expand(3, -1, -1) / 3))


# --- all of them


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_says_what_it_is(name: str) -> None:
    metric = METRICS[name]()
    assert metric.name == name and metric.better in ("higher", "lower")
    row = dict(zip(COLUMNS, table()[list(METRICS).index(name)], strict=True))
    assert row["name"] == name and row["range"][0] == "[" and row["network images"] and row["paper"]


IN_CELLS = (16, 16)


@pytest.mark.parametrize("name", [n for n in METRICS if "why" in getattr(METRICS[n](), "asks", ("why",))])
def test_what_is_pushed_is_what_the_table_says_and_generators_rest(name: str) -> None:
    problem = toy_problem(net_score(2), 2, size=(16, 16))
    states = [g.get_state().clone() for g in problem.generators]
    attribution, own = random(3, 16, 16), Score("completeness_error", 0.1, "lower")
    known = {"explained": "prob", "score_original": 0.5}
    made = [replace(e, scores=(own,), **known) for e in explained(problem, random(6, 6).float(), attribution)]
    calls: list[Problem] = []

    def explain(p: Problem) -> list[Explanation]:
        calls.append(p)
        return [replace(e, saliency=torch.rand(6, 6, generator=g)) for e, g in zip(made, p.generators, strict=True)]

    other = toy_problem(net_score(1, 5), 1, size=(16, 16))
    truth = Truth("toy", np.array([4, 4, 9, 9.0]), np.eye(16, dtype=bool), (np.eye(16, dtype=bool),))
    truth = replace(truth, rivals=~truth.mask)
    context = Context([truth] * 2, explain, [other, other], ["b", "a"], lambda depth: problem)
    metric = METRICS[name](stages=2) if name == "sanity" else METRICS[name]()
    scores = metric(problem, made, context)
    assert all((g.get_state() == s).all() for g, s in zip(problem.generators, states, strict=True))
    assert len(scores) == 2 and all(s.name == name and s.better == metric.better for s in scores)
    reasons = [s.detail.get(f"{name}_reason", "") for s in scores]
    if name != "necessary":  # no share of a map drawn at random need be
        assert all(math.isfinite(s.value) for s in scores) and not any(reasons)
    pushed = problem.score.forward_images.tolist()
    if "method" in metric.cost:
        assert len(calls) == int(metric.cost.split()[0]) and pushed == [0, 0]
        pairs = list(zip(calls[0].generators, problem.generators, strict=True))
        assert all(g is not h and g.initial_seed() == h.initial_seed() for g, h in pairs)
    elif "other" in metric.cost:
        assert pushed == [0, 0] and other.score.forward_images.tolist() == [2 * int(metric.cost.split()[0])]
    elif "pixels" in metric.cost:
        assert pushed == [math.ceil(16 * 16 / 10) + 1] * 2
    elif name == "degradation_pgig":
        assert pushed == [2, 2], "one tile of 9 px on 16 px"
    else:
        assert pushed == [int(metric.cost)] * 2


@pytest.mark.parametrize("name", [n for n in METRICS if METRICS[n]().needs])
def test_without_what_it_needs_a_metric_is_nan_with_a_reason(name: str) -> None:
    problem = picture_problem(random(3, 16, 16), net_score(1), box=None)
    for context in (None, Context()):
        score = judge(name, problem, random(4, 4), context)
        assert math.isnan(score.value) and len(score.detail[f"{name}_reason"]) > 10
    assert problem.score.forward_images.sum() == 0


def test_without_a_randomised_network_sanity_says_so() -> None:
    problem = picture_problem(random(3, 16, 16), net_score(1))
    score = judge("sanity", problem, random(4, 4), Context(explain=lambda p: []))
    assert "randomised" in score.detail["sanity_reason"]


RANDOM = ["sensitivity_n", "infidelity", "road"]


@pytest.mark.parametrize("name", RANDOM)
def test_figures_follow_the_seed_and_not_the_batch(name: str) -> None:
    forward = net_score(4)
    both = picture_problem(random(3, 16, 16), lambda p, r: forward(p, r * 0), k=2)
    maps = [random(4, 4).float(), random(4, 4, seed=1).float()]
    made = [replace(e, saliency=m) for e, m in zip(explained(both, maps[0]), maps, strict=True)]
    together = [s.value for s in METRICS[name]()(both, made)]
    alone = replace(both, x=both.x[1:], x0=both.x0[1:], score=Scorer(forward, 1, 5), targets=both.targets[1:],
                    generators=both.generators[1:], images=both.images[1:])  # fmt: skip
    torch.rand(3, generator=alone.generators[0])
    (again,) = METRICS[name]()(alone, made[1:])
    assert again.value == pytest.approx(together[1], abs=1e-9)
    reseeded = replace(alone, generators=[torch.Generator().manual_seed(99)])
    assert METRICS[name]()(reseeded, made[1:])[0].value != pytest.approx(together[1], abs=1e-9)


@pytest.mark.parametrize("name", ["sensitivity_n", "infidelity"])
def test_pictures_that_do_not_depend_on_the_map_are_asked_about_once_for_all_methods(name: str) -> None:
    problem, answers = picture_problem(random(3, 16, 16), net_score(1)), {}
    maps = [random(4, 4).float(), random(4, 4, seed=1).float()]
    alone = [judge(name, problem, m) for m in maps]
    asked = problem.score.forward_images.copy()
    shared = [judge(name, problem, m, Context(answers=answers)) for m in maps]
    assert (problem.score.forward_images - asked == asked // 2).all()
    assert [s.value for s in shared] == [s.value for s in alone] and alone[0].value != alone[1].value
    reseeded = replace(problem, generators=[torch.Generator().manual_seed(99)])
    for other, settings in ((reseeded, {}), (problem, {"substrate": "black"})):
        fresh = judge(name, other, maps[0], **settings)
        assert judge(name, other, maps[0], Context(answers=answers), **settings).value == fresh.value
        assert fresh.value != alone[0].value


@pytest.mark.parametrize(
    ("name", "settings"),
    [("degradation", {"tile": 0}), ("degradation", {"replace": "pink"}), ("degradation_pgig", {"steps": 0}),
     ("sensitivity_n", {"subsets": 2}), ("sensitivity_n", {"side": 0}), ("sensitivity_n", {"substrate": "x"}),
     ("road", {"levels": 0}), ("road", {"spread": -1.0}), ("infidelity", {"kind": "round"}),
     ("infidelity", {"square": 1.0}), ("infidelity", {"samples": 0}), ("max_sensitivity", {"radius": 0.0}),
     ("sanity", {"stages": 0}),
     ("transfer", {"steps": 0}), ("pointing_mask", {"tolerance": -1.0}), ("deletion", {"units": "inches"}),
     ("deletion", {"step": -1})],
)  # fmt: skip
def test_settings_that_cannot_be_are_refused(name: str, settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(settings))) as error:
        METRICS[name](**settings)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["deletion", "degradation", "sensitivity_n", "road", "infidelity", "completeness"])
def test_a_score_that_is_not_finite_gives_nan_with_a_reason(name: str) -> None:
    problem = picture_problem(random(3, 16, 16), lambda p, r: p.mean(dim=(1, 2, 3)) * math.nan)
    made = explained(problem, random(4, 4), random(3, 16, 16))
    (score,) = METRICS[name]()(problem, made)
    assert math.isnan(score.value) and score.detail[f"{name}_reason"]


def test_the_list_shows_every_metric_whole() -> None:
    lines = listing().splitlines()
    for row in [COLUMNS, *table()]:
        (line,) = [text for text in lines if text.split("  ")[1:2] == [row[0]] and row[-1] in text]
        assert [cell.strip() for cell in re.split(r"\s{2,}", line.strip())] == list(row)


# --- curves and protocols


def test_the_normalised_form_and_ties() -> None:
    """f = 2 + light in the last cell of four; deleting it first: 3 then 2, 2, 2, 2: area 2.125, of the fall 1/8."""
    weights = torch.zeros(2, 2)
    weights[1, 1] = 1
    problem = picture_problem(torch.ones(3, 2, 2), lambda p, r: 2 + linear(weights.expand(3, -1, -1) / 3)(p, r))
    first = torch.tensor([[0.0, 0.0], [0.5, 1.0]])
    score = judge("deletion", problem, first, substrate="black", steps=4)
    assert score.value == pytest.approx(2.125) and score.detail["deletion_normalised"] == pytest.approx(1 / 8)
    assert score.detail["tie_fraction"] == 0.5
    score = judge("insertion", problem, first, substrate="black", steps=4)
    assert score.value == pytest.approx(2.875) and score.detail["insertion_normalised"] == pytest.approx(7 / 8)
    flat = picture_problem(torch.ones(3, 2, 2), lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + 0.3)
    score = judge("deletion", flat, first)
    assert score.value == pytest.approx(0.3) and math.isnan(score.detail["deletion_normalised"])


def test_pixels_are_taken_in_the_steps_of_the_protocols() -> None:
    """Light is counted: with all pixels alike the curve is the straight line, at every step of 10 pixels or 1/224."""
    x = torch.full((3, 8, 8), 1.0)
    problem = picture_problem(x, lambda p, r: p.mean(dim=(1, 2, 3)))
    score = judge("deletion_iba", problem, random(4, 4).float(), substrate="black")
    assert score.curve is not None
    assert score.curve[0] * 64 == pytest.approx([0, 10, 20, 30, 40, 50, 60, 64])
    assert score.curve[1] == pytest.approx(1 - score.curve[0]) and score.value == pytest.approx(0.5)
    score = judge("insertion_rise", problem, random(4, 4).float(), substrate="black")
    assert score.curve is not None and score.curve.shape == (2, 225) and score.value == pytest.approx(0.5, abs=1e-3)
    assert "insertion_rise_tie_fraction" in score.detail and "tie_fraction" not in score.detail


def test_budgets_of_different_objects_make_curves_of_different_length() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)), 2, size=(24, 32))
    small = replace(problem.targets[0], box=torch.tensor([0.0, 0, 6, 4]))
    made = explained(problem, random(12, 16).float())
    made[1] = replace(made[1], target=small)
    a, b = Deletion(substrate="black", budget="object", step=4)(problem, made)
    assert a.curve is not None and b.curve is not None
    assert len(a.curve[0]) > len(b.curve[0]) == math.ceil(round(3 * 24 / 768 * 192) / 4) + 1
    assert a.curve[1, 0] == b.curve[1, 0]


def test_the_blur_of_rise_is_a_pulse_filtered_by_scipy() -> None:
    pulse = np.zeros((11, 11))
    pulse[5, 5] = 1
    kernel = torch.from_numpy(ndimage.gaussian_filter(pulse, 5))
    x = random(1, 3, 14, 17)
    mean = SUBSTRATES["zero"](x)
    wanted = torch.nn.functional.conv2d((x - mean).view(3, 1, 14, 17), kernel[None, None], padding=5).view(1, 3, 14, 17)
    assert torch.allclose(SUBSTRATES["blur_rise"](x), wanted + mean, atol=1e-12)
    assert torch.allclose(SUBSTRATES["blur_rise"](mean), mean, atol=1e-12), "mean colour stays"


# --- transfer


def test_transfer_is_insertion_minus_deletion_on_the_other_network() -> None:
    problem = toy_problem(net_score(1), size=(16, 16))
    other = toy_problem(net_score(1, seed=3), size=(16, 16))
    saliency = random(6, 6).float()
    score = judge("transfer", problem, saliency, Context(other=[other]), steps=10, substrate="black")
    d, i = (judge(n, other, saliency, steps=10, substrate="black").value for n in ("deletion", "insertion"))
    assert score.value == i - d and score.detail["transfer_insertion"] == i and score.detail["transfer_deletion"] == d
    assert problem.score.forward_images.sum() == 0
    both = toy_problem(net_score(2), 2, size=(16, 16))
    scores = METRICS["transfer"]()(both, explained(both, saliency), Context(other=[None, other]))
    assert math.isnan(scores[0].value) and scores[0].detail["transfer_reason"] and math.isfinite(scores[1].value)


def test_transfer_by_hand_on_four_by_four() -> None:
    """The other network's score is the light of one pixel: gone with the first of 16 cells, or with the last."""
    weights = torch.zeros(4, 4)
    weights[2, 1] = 1
    for map_, value in ((weights, 15 / 16), (-weights, -15 / 16)):
        score = judge("transfer", white(weights), map_, Context(other=[white(weights)]), steps=16, substrate="black")
        assert score.value == pytest.approx(value)


def test_a_map_is_carried_to_where_the_other_network_sees_the_same() -> None:
    """The source is 16 x 16; one network sees it as it is, the other halved with 4 rows of padding above."""
    saliency = torch.zeros(16, 16)
    saliency[8:12, 2:6] = 1
    image = Image(torch.zeros(3, 16, 16), Geometry((16, 16), (16, 16)), np.zeros((16, 16, 3), np.uint8))
    e = Explanation(saliency, Target(0, "toy", 1.0), image, "hand")
    geometry = Geometry((16, 16), (16, 8), (0.5, 0.5), (4.0, 0.0))
    there = carried(e, Image(torch.zeros(3, 16, 8), geometry, np.zeros((16, 16, 3), np.uint8)))
    wanted = torch.zeros(16, 8)
    wanted[8:10, 1:3] = 1  # row 8 is at 8 / 2 + 4 = 8
    assert there.shape == (16, 8) and torch.allclose(there, wanted, atol=1e-6)
    assert carried(e, image) is saliency


def test_a_map_with_detail_is_judged_by_its_cells_on_pictures_of_another_size() -> None:
    image = toy_image(16, 16)
    saliency = torch.rand(4, 4, generator=torch.Generator().manual_seed(0))
    bare = Explanation(saliency, Target(0, "a", 1.0), image, "x")
    fine = replace(bare, detail=torch.rand(16, 16, generator=torch.Generator().manual_seed(1)))
    other = toy_problem(net_score(), size=(24, 32))
    there = Image(other.x[0].float(), Geometry((16, 16), (24, 32), (1.5, 2.0)), image.source)
    problem = replace(toy_problem(net_score(), size=(16, 16)), images=[image])
    judged = [METRICS["transfer"](steps=4)(problem, [e], Context(other=[replace(other, images=[there])]))
              for e in (bare, fine)]  # fmt: skip
    assert judged[0][0].value == judged[1][0].value != 0


# --- degradation


def test_degradation_of_an_additive_score_is_the_sorted_sum() -> None:
    """Tiles of 1 px that add 3, 1, 0, 0, ...: MoRF 4 1 0 0 .., LeRF 4 .. 4 3 0, by hand on 16 tiles."""
    weights = torch.zeros(4, 4)
    weights[1, 2], weights[3, 3] = 3.0, 1.0
    problem = white(weights)
    score = judge("degradation", problem, weights, tile=1, steps=16, replace="black")
    morf, lerf = (2.5 + 0.5) / 16, (4 * 14 + 3.5 + 1.5) / 16
    assert score.detail["degradation_morf"] == pytest.approx(morf)
    assert score.detail["degradation_lerf"] == pytest.approx(lerf) and score.value == pytest.approx(lerf - morf)
    assert score.detail["degradation_normalised"] == pytest.approx((lerf - morf) / 4)
    assert (score.detail["degradation_start"], score.detail["degradation_end"]) == pytest.approx((4, 0))
    assert score.curve is not None and score.curve[1, [0, -1]] == pytest.approx([0, 0])
    worst = judge("degradation", problem, -weights, tile=1, steps=16, replace="black")
    assert worst.value == pytest.approx(-score.value)
    for seed in range(20):
        other = judge("degradation", problem, random(4, 4, seed=seed).float(), tile=1, steps=16, replace="black")
        assert worst.value - 1e-9 <= other.value <= score.value + 1e-9


def test_tiles_keep_their_mean_colour_and_the_last_take_the_rest() -> None:
    tile = tiles((5, 7), (2, 3))
    assert tile.tolist() == [[0] * 3 + [1] * 4] * 2 + [[2] * 3 + [3] * 4] * 3
    assert tile_sums(torch.ones(5, 7), tile).tolist() == [6, 8, 9, 12]
    problem = picture_problem(random(3, 8, 8), lambda p, r: p.mean(dim=(1, 2, 3)))
    assert judge("degradation", problem, random(4, 4).float(), tile=4, replace="tile_mean").value == pytest.approx(0)


def test_pgig_degrades_the_first_tile_too() -> None:
    """A checkerboard whose spread is the score: each of four tiles flattened takes a quarter of it."""
    x = torch.zeros(3, 4, 4)
    x[:, ::2, ::2] = x[:, 1::2, 1::2] = 1
    problem = picture_problem(x, lambda p, r: 4 * ((p - 0.5) ** 2).mean(dim=(1, 2, 3)))
    score = judge("degradation_pgig", problem, random(4, 4).float(), tile=2)
    assert score.curve is not None and score.curve[1] == pytest.approx([1, 0.75, 0.5, 0.25, 0])
    assert score.value == pytest.approx(0.5) and not score.detail
    assert judge("degradation_pgig", problem, random(4, 4).float(), tile=2, steps=1).value == pytest.approx(0.125)


def test_pgig_s_figure_is_the_mean_of_what_the_tiles_took_and_the_score_is_told_at_some() -> None:
    """Of 16 tiles the first three decide, by 4, 2 and 1 of 7: the points weigh alike, the first one too."""
    weights = torch.zeros(4, 4)
    weights[0, 1], weights[2, 2], weights[3, 0] = 4.0, 2.0, 1.0
    x = torch.rand(3, 16, 16, generator=torch.Generator().manual_seed(0))
    tile = tiles((16, 16), (4, 4))

    def left(p: Tensor, r: Tensor) -> Tensor:
        means = tile_sums(p, tile)[..., tile] / 16
        kept = (tile_sums((p - means) ** 2, tile).sum(dim=1) > 1e-6).to(p)
        return kept @ weights.flatten().to(p) / 7

    score = judge("degradation_pgig", picture_problem(x, left), weights.flatten()[tile], tile=4, steps=12)
    assert score.curve is not None and score.curve[1] == pytest.approx([1, 3 / 7, 1 / 7, *[0] * 10])
    assert score.value == pytest.approx((4 / 7 + 6 / 7 + 10) / 13) and score.better == "higher"
    assert score.detail == {"degradation_pgig_at_10": pytest.approx(0)}


def test_pgig_s_own_code_spares_the_first_tile_and_dark_channels() -> None:
    """Four tiles of two colours each, the reds above the data's mean and the blues below: what is left is red alone."""
    x = torch.zeros(3, 4, 4)
    x[0], x[2] = 0.6, 0.1
    x[:, ::2, ::2] *= 1.5
    x[:, 1::2, 1::2] *= 1.5

    def spread(p: torch.Tensor, r: torch.Tensor) -> torch.Tensor:
        flat = torch.stack([p[..., i : i + 2, j : j + 2] for i in (0, 2) for j in (0, 2)], dim=1).flatten(3)
        return flat.var(dim=3, correction=0).sum(dim=1) @ torch.tensor([1.0, 0.0, 10.0], dtype=p.dtype)

    problem = picture_problem(x, spread)
    heat = torch.tensor([[4.0, 3], [2, 1]])
    red, blue = 4 * 0.15**2, 10 * 4 * 0.025**2
    ours = judge("degradation_pgig", problem, heat, tile=2)
    theirs = judge("degradation_pgig", problem, heat, tile=2, compat="pgig")
    assert ours.curve is not None and theirs.curve is not None
    assert ours.curve[1] == pytest.approx([(red + blue) * (1 - k / 4) for k in range(5)], abs=1e-6)
    assert theirs.curve[0].tolist() == [0, 1, 2, 3]
    assert theirs.curve[1] == pytest.approx([blue + red * (1 - k / 4) for k in range(4)], abs=1e-6)
    weighted = picture_problem(x, lambda p, r: spread(p, r) * 0 + p[:, 0, 0, 1])  # a pixel of the most relevant tile
    assert len(set(judge("degradation_pgig", weighted, heat, tile=2, compat="pgig").curve[1])) == 1  # type: ignore[index]
    assert len(set(judge("degradation_pgig", weighted, heat, tile=2).curve[1])) == 2  # type: ignore[index]


# --- sensitivity-n, infidelity, completeness


def test_exact_contributions_have_full_sensitivity_and_fidelity() -> None:
    w, x = random(3, 12, 12) - 0.5, random(3, 12, 12, seed=1)
    problem = picture_problem(x, linear(w))
    exact = (w * x).sum(dim=0)
    made = explained(problem, torch.rand(4, 4), (w * x).float())
    (score,) = METRICS["sensitivity_n"](side=6, substrate="black")(problem, made)
    assert score.value == pytest.approx(1, abs=1e-6) and score.detail["sensitivity_n_undefined"] == 0
    assert score.curve is not None and score.curve[1] == pytest.approx(np.ones(6), abs=1e-6)
    (score,) = METRICS["infidelity"](substrate="black")(problem, made)
    assert score.value == pytest.approx(0, abs=1e-9) and score.detail["infidelity_raw"] == pytest.approx(0, abs=1e-9)
    opposite = explained(problem, -exact)  # no attribution: the map itself
    assert METRICS["sensitivity_n"](side=6, substrate="black")(problem, opposite)[0].value == pytest.approx(-1)
    assert METRICS["infidelity"](substrate="black")(problem, opposite)[0].value == pytest.approx(0, abs=1e-9)


def test_sensitivity_n_by_hand_on_four_by_four() -> None:
    """Sets of one: the correlation of the map with the pixels' own weights, over the pixels that were drawn."""
    weights = torch.arange(16.0).view(4, 4)
    problem, saliency = white(weights), random(4, 4).float()
    metric = METRICS["sensitivity_n"](side=4, sizes=1, subsets=60, substrate="black")
    (score,) = metric(problem, explained(problem, saliency))
    sets = metric._sets(problem, 0, np.array([1]), 16)[1:]
    assert (sets.sum(dim=1) == 1).all() and sets.any(dim=0).sum() > 10
    drawn = sets.int().argmax(dim=1)
    wanted = np.corrcoef(saliency.flatten()[drawn].numpy(), drawn.numpy())[0, 1]
    assert score.value == pytest.approx(wanted, abs=1e-6)
    flat = metric(problem, explained(problem, torch.ones(4, 4)))[0]
    assert math.isnan(flat.value) and flat.detail["sensitivity_n_undefined"] == 1


@pytest.mark.parametrize("kind", ["square", "noise"])
def test_infidelity_is_captums(kind: str) -> None:
    problem = picture_problem(random(3, 12, 12), net_score(1))
    attribution = (random(3, 12, 12, seed=4) - 0.4).float()
    metric = METRICS["infidelity"](kind=kind, samples=12, substrate="black")
    (score,) = metric(problem, explained(problem, torch.rand(4, 4), attribution))

    def perturb(x: Tensor) -> tuple[Tensor, Tensor]:
        change = torch.stack([metric.perturbation(problem, 0, j).expand(3, -1, -1) for j in range(1, 13)])
        return change, x - change * x if kind == "square" else x - change

    def forward(x: Tensor) -> Tensor:
        return problem.score.forward(x, torch.zeros(len(x), dtype=torch.long))

    for normalise, key in ((False, "infidelity_raw"), (True, "infidelity_scaled")):
        wanted = captum_metrics.infidelity(
            forward, perturb, problem.x, attribution.double()[None], n_perturb_samples=12, normalize=normalise
        )
        assert score.detail[key] == pytest.approx(float(wanted), rel=1e-6)
    assert 0 < score.value < 1


def test_infidelity_by_hand_and_its_extremes() -> None:
    """On 4 x 4 a square of side 1: a map that names one of two equal pixels explains half of the change."""
    weights = torch.zeros(4, 4)
    weights[0, 0] = weights[3, 3] = 1.0
    problem, half = white(weights), torch.zeros(4, 4)
    half[0, 0] = 1.0
    metric = METRICS["infidelity"](samples=400, square=0.25, substrate="black")
    hits = torch.stack([metric.perturbation(problem, 0, j)[0] for j in range(1, 401)]).sum(dim=0)
    assert hits.sum() == 400 and (hits > 5).all(), "squares of one pixel, everywhere"
    wanted = float(hits[3, 3] / (hits[0, 0] + hits[3, 3]))
    assert metric(problem, explained(problem, half))[0].value == pytest.approx(wanted)
    blind = torch.zeros(4, 4)
    blind[1, 1] = 1.0
    assert metric(problem, explained(problem, blind))[0].value == pytest.approx(1)
    still = picture_problem(torch.ones(3, 4, 4), lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + 0.5)
    for p, m, why in ((problem, half * 0, "zero"), (still, half, "no perturbation")):
        score = metric(p, explained(p, m))[0]
        assert math.isnan(score.value) and why in score.detail["infidelity_reason"]


@pytest.mark.parametrize(
    ("method", "settings"),
    [
        ("integrated_gradients", {"n_steps": 3, "rule": "left"}),
        ("integrated_gradients", {"n_steps": 40, "baseline": "noise", "draws": 2}),
        ("blur_ig", {"n_steps": 4}),
        ("guided_integrated_gradients", {"n_steps": 3}),
    ],
)
def test_completeness_is_the_method_s_own_error_of_the_score_that_it_explained(
    method: str, settings: dict[str, Any]
) -> None:
    """Also where the metrics ask another score, and where the path starts at no baseline that has a name."""
    problem = picture_problem(random(3, 12, 12), net_score(1))
    other = picture_problem(random(3, 12, 12), lambda p, r: 7 * p.mean(dim=(1, 2, 3))).score
    metrics = [METRICS["completeness"]()]
    (e,) = explain_problem(problem, METHODS[method](**settings), metrics, judge=other)
    own, made = e.scores
    assert own.name == "completeness_error" and made.value == own.value > 0
    assert not other.forward_images.any()


def test_without_a_change_to_sum_to_there_is_no_completeness() -> None:
    problem = picture_problem(random(3, 32, 32), net_score(1))
    for name, why in (("xrai", "no score's change"), ("vanilla_grad", "no score's change"), ("rise", "no attribution")):
        settings = {"n_steps": 2} if name == "xrai" else {"n_masks": 3} if name == "rise" else {}
        (e,) = explain_problem(problem, METHODS[name](**settings), [METRICS["completeness"]()])
        assert math.isnan(e.scores[-1].value) and why in e.scores[-1].detail["completeness_reason"]


# --- ROAD


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_imputation_is_grad_cams_and_a_dense_solve(share: float) -> None:
    x = random(3, 13, 11)
    keep = random(13, 11, seed=2) > share
    keep[:6, :7] = False  # a hole at the border, one corner included
    filled = impute(x[None], keep[None], 1e-8)[0]
    wanted = grad_cam_road.NoisyLinearImputer(noise=0)(x.float(), keep.float())
    assert torch.allclose(filled.float(), wanted, atol=2e-5)
    assert torch.equal(filled[:, keep], x[:, keep])
    quick = impute(x.float()[None], keep[None])[0]
    assert torch.allclose(quick, wanted, atol=1e-3), "single precision, as metrics do it"
    weights = {(i, j): 1 / 6 if i * j == 0 else 1 / 12 for i in (-1, 0, 1) for j in (-1, 0, 1) if (i, j) != (0, 0)}
    matrix, right = np.eye(143), np.zeros((143, 3))
    for n in range(143):
        y, z = divmod(n, 11)
        if keep[y, z]:
            right[n] = x[:, y, z]
            continue
        near = {(y + i, z + j): w for (i, j), w in weights.items() if 0 <= y + i < 13 and 0 <= z + j < 11}
        for (a, b), w in near.items():
            matrix[n, a * 11 + b] -= w / sum(near.values())
    dense = np.linalg.solve(matrix, right).T.reshape(3, 13, 11)
    assert filled.numpy() == pytest.approx(dense, abs=1e-5)
    assert filled.min() >= x[:, keep].min() - 1e-6 and filled.max() <= x[:, keep].max() + 1e-6


def test_a_ramp_is_restored_and_one_pixel_fills_all() -> None:
    ramp = (torch.arange(9.0)[:, None] / 10 + torch.arange(9.0) / 20).double().expand(1, 3, -1, -1)
    keep = torch.ones(1, 9, 9, dtype=torch.bool)
    keep[0, 2:7, 3:6] = False
    assert torch.allclose(impute(ramp, keep, 1e-8), ramp, atol=1e-5)
    alone = torch.zeros(1, 9, 9, dtype=torch.bool)
    alone[0, 4, 4] = True
    assert torch.allclose(impute(ramp, alone, 1e-8), ramp[:, :, 4:5, 4:5].expand_as(ramp), atol=1e-5)


def test_road_by_hand_on_four_by_four() -> None:
    """The score is the light of the one bright pixel. Removed first it is 0 by its dark neighbours; removed last, 1."""
    weights = torch.zeros(4, 4)
    weights[1, 2] = 1.0
    problem = picture_problem(weights.expand(3, -1, -1), linear(weights.expand(3, -1, -1) / 3))
    score = judge("road", problem, weights, levels=5, spread=0.0)
    assert score.value == pytest.approx(0.5, abs=1e-6) and score.detail["road_morf"] == pytest.approx(0, abs=1e-6)
    assert judge("road", problem, -weights, levels=5, spread=0.0).value == pytest.approx(-0.5, abs=1e-6)
    noisy = judge("road", problem, weights, levels=5, spread=0.05).value
    assert noisy != pytest.approx(0.5, abs=1e-6) and abs(noisy - 0.5) < 0.1
    still = picture_problem(random(3, 8, 8), lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + 0.7)
    assert judge("road", still, random(4, 4).float()).value == pytest.approx(0)


# --- heat in the object


def test_effective_heat_ratio_by_hand() -> None:
    """Heat 1 on one cell inside, .5 on one inside and two outside, .05 elsewhere: quantiles over {1, .5, .5, .5}.

    q <= 0.6 bounds at .5 (4 cells: 1.5 of heat and 2 cells inside), q = 0.7 at .55, up to .99: the one cell of 1.
    """
    heat, box = np.full((4, 4), 0.05), np.zeros((4, 4), bool)
    box[:2, :2] = True
    heat[0, 0], heat[0, 1], heat[3, 3], heat[2, 3] = 1, 0.5, 0.5, 0.5
    found = effective_heat(heat * 8, box)
    low = {"weighted": 1.5 / 4, "unweighted": 2 / 4, "energy": 1.5 / 2.5}
    for form, value in low.items():
        assert found[form] == pytest.approx([value] * 7 + [1] * 4)
    problem = picture_problem(torch.ones(3, 4, 4), net_score(1))
    for form, value in low.items():
        score = judge(f"ehr_{form}", problem, torch.from_numpy(heat).float())
        assert score.value == pytest.approx(0.65 * value + 0.35)


def test_effective_heat_ratio_at_its_extremes() -> None:
    box = np.zeros((10, 10), bool)
    box[:2, :2] = True
    for form in ("weighted", "unweighted", "energy"):
        assert effective_heat(box.astype(float), box)[form] == pytest.approx(np.ones(11)), "a perfect map"
        assert effective_heat(np.ones((10, 10)), box)[form] == pytest.approx(np.full(11, 0.04)), "the area"
        assert effective_heat(1.0 - box, box)[form] == pytest.approx(np.zeros(11))
    peak = np.full((10, 10), 0.5)
    peak[9, 9] = 1
    found = {f: v[0] for f, v in effective_heat(peak, box).items()}
    assert found == pytest.approx({"weighted": 0.02, "unweighted": 0.04, "energy": 2 / 50.5})
    problem = picture_problem(torch.ones(3, 4, 4), net_score(1))
    saliency = torch.zeros(4, 4)
    score = judge("ehr_energy", problem, saliency)
    assert math.isnan(score.value) and "positive" in score.detail["ehr_energy_reason"]
    assert (saliency == 0).all()


def test_energy_by_hand() -> None:
    """A quarter of the picture is the box; it holds 3 of 5 of heat, the negative cells do not count."""
    saliency = torch.zeros(4, 4)
    saliency[0, 0], saliency[1, 1], saliency[3, 0], saliency[2, 2], saliency[0, 1] = 1, 2, 2, -9, -1
    problem = picture_problem(torch.ones(3, 4, 4), net_score(1))
    score = judge("energy_pointing", problem, saliency)
    assert score.value == pytest.approx(0.6) and score.detail["energy_pointing_lift"] == pytest.approx(0.6 / 0.25)
    mask = np.zeros((4, 4), bool)
    mask[3, :] = True
    truth = Truth("toy", np.array([0, 3, 4, 4.0]), mask)
    assert judge("energy_mask", problem, saliency, Context([truth])).value == pytest.approx(0.4)
    assert math.isnan(judge("energy_mask", problem, -saliency.abs(), Context([truth])).value)


@pytest.mark.parametrize("name", ["pointing", "energy_pointing", "ehr_weighted", "ehr_unweighted", "ehr_energy"])
def test_a_class_is_looked_for_in_the_box_of_its_objects(name: str) -> None:
    saliency = torch.zeros(8, 8)
    saliency[5, 6] = 1
    inside, outside = (Truth("toy", np.array(b, float), np.eye(8, dtype=bool)) for b in ([5, 4, 8, 8], [0, 0, 4, 4]))
    problem = picture_problem(random(3, 8, 8), net_score(1), box=None)
    assert judge(name, problem, saliency, Context([inside])).value == pytest.approx(1)
    assert judge(name, problem, saliency, Context([outside])).value == pytest.approx(0)
    detected = picture_problem(random(3, 8, 8), net_score(1), box=(5.0, 4.0, 8.0, 8.0))
    assert judge(name, detected, saliency, Context([outside])).value == pytest.approx(1), "the target's own box counts"


def test_where_the_maximum_lies_on_four_by_four() -> None:
    """Two maxima, at (1,1) in the box of 2 x 2 and at (3,3) on the mask, which (1,1) misses by the root of 8 pixels."""
    saliency, mask = torch.zeros(4, 4), np.zeros((4, 4), bool)
    saliency[1, 1] = saliency[3, 3] = 2.0
    mask[3, 3] = True
    problem, context = white(torch.ones(4, 4)), Context([Truth("toy", np.array([3, 3, 4, 4.0]), mask, (mask,))])
    assert judge("pointing", problem, saliency, context).value == 0.5
    for tolerance, value in ((0.0, 0.5), (2.8, 0.5), (2.9, 1.0)):
        assert judge("pointing_mask", problem, saliency, context, tolerance=tolerance).value == value
    assert judge("evidence_pointing", problem, saliency, context).value == 0.5
    assert judge("evidence_share", problem, saliency, context).value == pytest.approx(0.5)


def test_pointing_on_masks_agrees_with_a_distance_transform() -> None:
    problem = picture_problem(random(3, 20, 24), net_score(1))
    mask = np.zeros((20, 24), bool)
    mask[9:12, 10] = mask[10, 5] = True
    far = ndimage.distance_transform_edt(~mask)
    for seed in range(30):
        saliency = random(20, 24, seed=seed).float()
        y, x = divmod(int(saliency.argmax()), 24)
        for tolerance in (0.0, 3.0, 5.0, 8.5):
            truth = Truth("toy", np.zeros(4), mask)
            hit = judge("pointing_mask", problem, saliency, Context([truth]), tolerance=tolerance).value
            assert hit == (mask[y, x] or far[y, x] < tolerance)
    assert math.isnan(judge("pointing_mask", problem, torch.ones(4, 4), Context([truth])).value)


# --- the map's shape


def test_sparseness_and_complexity() -> None:
    problem = picture_problem(torch.ones(3, 4, 4), net_score(1))
    one, flat, saliency = torch.zeros(4, 4), torch.full((4, 4), 3.0), random(4, 4) - 0.5
    one[2, 1] = -4
    assert judge("sparseness", problem, one).value == pytest.approx(15 / 16)
    assert judge("sparseness", problem, flat).value == pytest.approx(0, abs=1e-12)
    a = saliency.abs().flatten().numpy()
    wanted = np.abs(a[:, None] - a).sum() / (2 * 16 * a.sum())  # half the relative mean difference
    assert judge("sparseness", problem, saliency).value == pytest.approx(wanted)
    assert judge("complexity", problem, one).value == pytest.approx(0)
    assert judge("complexity", problem, flat).value == pytest.approx(math.log(16))
    assert judge("complexity", problem, saliency).value == pytest.approx(stats.entropy(a))
    hand = torch.tensor([[1.0, 1.0], [2.0, 0.0]])
    assert judge("sparseness", problem, hand).value == pytest.approx(0.375)
    assert judge("complexity", problem, hand).value == pytest.approx(1.5 * math.log(2))
    for name in ("sparseness", "complexity"):
        assert judge(name, problem, one * 0).detail[f"{name}_reason"] == "the map is zero"


# --- explaining again


def constant_map(saliency: Tensor) -> Callable[[Problem], list[Explanation]]:
    return lambda p: explained(p, saliency)


def test_max_sensitivity_is_captums() -> None:
    problem = picture_problem(0.3 + 0.4 * random(3, 6, 6), net_score(1))

    def attribute(x: Tensor) -> Tensor:
        return (x**2).sum(dim=-3)

    def explain(p: Problem) -> list[Explanation]:
        return [replace(e, saliency=attribute(x)) for e, x in zip(explained(p, torch.ones(1, 1)), p.x, strict=True)]

    metric = METRICS["max_sensitivity"](radius=0.05, samples=6)
    (score,) = metric(problem, explain(problem), Context(explain=explain))
    moved = torch.stack([metric.moved(problem, 0, j) for j in range(6)])
    assert 0.03 < (moved - problem.x).abs().max() <= 0.05
    wanted = captum_metrics.sensitivity_max(
        lambda x: (attribute(x if isinstance(x, Tensor) else x[0]),),
        problem.x,
        perturb_func=lambda x: moved,
        n_perturb_samples=6,
    )
    assert score.value == pytest.approx(float(wanted), rel=1e-9) and score.detail["max_sensitivity_floor"] == 0
    still = metric(problem, explained(problem, torch.ones(4, 4)), Context(explain=constant_map(torch.ones(4, 4))))
    assert still[0].value == 0
    assert math.isnan(metric(problem, explained(problem, torch.zeros(4, 4)), Context(explain=explain_zero))[0].value)


def explain_zero(problem: Problem) -> list[Explanation]:
    return explained(problem, torch.zeros(4, 4))


def test_what_explains_again_by_hand_on_four_by_four() -> None:
    """A map of ones turns into 1.25 and 1.5 of itself beside the picture, into 0.9 by another seed; 16 ranks into
    the opposite ones in a half randomised network, and stay in a wholly randomised one.
    """
    problem, ones, rising = white(torch.ones(4, 4)), torch.ones(4, 4), torch.arange(16.0).view(4, 4)
    factors = iter((1.25, 1.5, 0.9))
    again = Context(explain=lambda p: explained(p, ones * next(factors)))
    score = judge("max_sensitivity", problem, ones, again, samples=2)
    assert score.value == pytest.approx(0.5) and score.detail["max_sensitivity_floor"] == pytest.approx(0.1)
    maps = iter((-rising, rising))
    cascade = Context(explain=lambda p: explained(p, next(maps)), layers=["a", "b"], randomised=lambda depth: problem)
    score = judge("sanity", problem, rising, cascade, stages=2)
    assert score.value == pytest.approx(0) and score.detail["sanity_abs"] == pytest.approx(1)
    assert score.curve is not None and score.curve.tolist() == [[0, 0.5, 1], pytest.approx([1, -1, 1])]


def test_max_sensitivity_uses_the_first_seeds_and_shows_what_others_change() -> None:
    """A map of noise alone: with its own seeds it does not move, with others it does."""
    problem = picture_problem(random(3, 6, 6), net_score(1))

    def explain(p: Problem) -> list[Explanation]:
        return explained(p, torch.rand(4, 4, generator=p.generators[0]))

    first = explain(problem)
    (score,) = METRICS["max_sensitivity"](samples=2)(problem, first, Context(explain=explain))
    assert score.value == 0 and score.detail["max_sensitivity_floor"] > 0.1


def test_afresh_repeats_the_first_draws() -> None:
    problem = toy_problem(net_score(2), 2)
    first = [torch.rand(3, generator=g) for g in problem.generators]
    again = [torch.rand(3, generator=g) for g in afresh(problem, problem).generators]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    other = [torch.rand(3, generator=g) for g in afresh(problem, problem, shift=1).generators]
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


def test_spearman_is_scipys() -> None:
    a, b = random(60).numpy().round(1), (random(60, seed=1).numpy()).round(1)
    assert ranks(a) == pytest.approx(stats.rankdata(a))
    assert spearman(a, b) == pytest.approx(stats.spearmanr(a, b).statistic)
    assert spearman(a, a**3) == pytest.approx(1) and spearman(a, -a) == pytest.approx(-1)
    assert math.isnan(spearman(a, a * 0 + 0.1)) and math.isnan(pearson(a, a * 0 + 0.1))


def test_sanity_of_a_map_that_ignores_the_network_and_of_one_that_is_noise() -> None:
    problem = picture_problem(random(3, 16, 16), net_score(1))
    saliency = random(8, 8).float()
    asked: list[int] = []

    def randomised(depth: int) -> Problem:
        asked.append(depth)
        return problem

    def context(maps: Callable[[Problem], list[Explanation]]) -> Context:
        return Context(explain=maps, layers=list("abcde"), randomised=randomised)

    same = judge("sanity", problem, saliency, context(constant_map(saliency)), stages=3)
    assert asked == [2, 4, 5] and same.value == pytest.approx(1) and same.detail["sanity_ssim"] == pytest.approx(1)
    assert same.curve is not None and same.curve[0] == pytest.approx([0, 0.4, 0.8, 1])
    assert abs(same.detail["sanity_floor"]) < 0.2 and abs(same.detail["sanity_ssim_floor"]) < 0.3
    other = random(8, 8, seed=9).float()
    noise = judge("sanity", problem, saliency, context(constant_map(other)))
    assert noise.value == pytest.approx(stats.spearmanr(saliency.flatten(), other.flatten()).statistic)
    turned = judge("sanity", problem, saliency - 0.5, context(constant_map(0.5 - saliency)))
    assert turned.value == pytest.approx(-1) and turned.detail["sanity_abs"] == pytest.approx(1)
    flat = judge("sanity", problem, saliency, context(constant_map(torch.ones(8, 8))))
    assert math.isnan(flat.value) and flat.detail["sanity_undefined"] == 4
    sparse = torch.zeros(20, 20)
    sparse[3, 3] = 1
    floor = judge("sanity", problem, sparse, context(constant_map(sparse))).detail["sanity_ssim_floor"]
    assert floor > 0.6, "two single cells at random places are alike to SSIM"


def test_ssim_of_maps() -> None:
    a = random(9, 9).numpy()
    assert ssim(a, 5 * a + 2) == pytest.approx(1) and ssim(a, -a) < 0
    assert math.isnan(ssim(a, a * 0)) and math.isnan(ssim(a[:2], a[:2]))
    assert ssim(a[:4], a[:4] * 2) == pytest.approx(1), "a grid smaller than the window"


# --- many values


def test_values_are_summed_up_with_the_unknown_counted() -> None:
    found = summarise([1, 0, math.nan, 1, math.nan], ["cat", "cat", "cat", "dog", "eel"])
    assert found == pytest.approx((2 / 3, 0.75, 3, 2))
    empty = summarise([math.nan], ["cat"])
    assert math.isnan(empty.mean) and math.isnan(empty.class_mean) and (empty.n, empty.missing) == (0, 1)


def test_default_metrics_are_metrics_and_settings_are_plain() -> None:
    assert set(DEFAULT_METRICS) <= set(METRICS)
    for name in METRICS:
        assert {f.type for f in fields(type(METRICS[name]()))} <= {"int", "float", "str"}, name


def test_a_setting_of_a_method_is_not_taken_for_a_metrics() -> None:
    """`--set KEY=VALUE` gives a key to whoever knows it: metrics share theirs, but none with a method."""
    of_methods = {f.name for m in METHODS.values() for f in fields(m)}
    assert not of_methods & {f.name for name in METRICS for f in fields(type(METRICS[name]()))}
