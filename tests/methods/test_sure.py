"""Maps that are asked whether they are sure: who ends early, who goes on, who says that it is not; and the ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from benchmarks import finer
from igos.base.ops import upscale
from igos.methods import build_method
from igos.methods.mask.detail import Walk
from igos.methods.mask.i_gos import IGOS
from igos.methods.mask.igos_plus import IGOSPlus
from igos.methods.mask.igos_pp import IGOSPlusPlus
from igos.methods.mask.loop import MaskMethod
from igos.methods.mask.optim import OPTIMIZERS
from igos.methods.mask.sure import HIDE, SHOW, _counts, holds
from igos.run.explain import explain_problem
from igos.run.presets import read_preset
from tests.conftest import patch_score, toy_problem

MASK_METHODS = (IGOS, IGOSPlus, IGOSPlusPlus)
TOY = dict(size=8, iterations=6, ig_iter=2, alpha=60.0, L1=0.05, L2=0.05)
PATCH = slice(6, 12), slice(16, 24)


def deaf(pictures: Tensor, rows: Tensor) -> Tensor:
    """A score of the picture's light as a whole: no few cells carry it."""
    return pictures.mean(dim=(1, 2, 3))


def one_of(*forwards: Callable[[Tensor, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
    """Explanation k's score is forwards[k]."""
    return lambda p, r: torch.stack([f(p, r) for f in forwards]).gather(0, r[None])[0]


def test_a_map_of_the_patch_holds_and_one_of_another_place_does_not() -> None:
    problem = toy_problem(patch_score(*PATCH), 2)
    right, wrong = torch.zeros(2, 8, 8, dtype=torch.float64)
    right[1:5, 3:7], right[2:4, 4:6] = 1, 2
    wrong[5:, :3] = 1
    before = problem.score.forward_images.copy()
    problem = type(problem)(**{**vars(problem), "ends": problem.score_ends()})
    asked = problem.score.forward_images.copy()
    told = holds(problem, torch.stack([right, wrong]), torch.arange(2))
    assert told.tolist() == [True, False]
    assert (asked - before).tolist() == [2, 2] and (problem.score.forward_images - asked).tolist() == [2, 2]


@pytest.mark.parametrize(("left", "back", "sure"), [(0.14, 0.86, True), (0.16, 0.86, False), (0.14, 0.84, False)])
def test_sure_is_what_a_good_curve_is(left: float, back: float, sure: bool) -> None:
    """The benchmarks call a map that loses .15 of the score a failure: between its ends, 3 and 1."""
    told = torch.tensor([1 + 2 * left, 1 + 2 * back])
    score = SimpleNamespace(stream=lambda each, pictures: [(slice(0, 2), told, None)])
    target, ends = SimpleNamespace(box=None), torch.tensor([[3.0, 1.0]])
    problem: Any = SimpleNamespace(
        score=score, score_ends=lambda: ends, targets=[target], size=(8, 8), x=torch.zeros(1, 3, 8, 8)
    )
    assert holds(problem, torch.rand(1, 8, 8), torch.arange(1)).tolist() == [sure]


def test_what_is_hidden_and_shown_follows_the_box_of_a_large_object() -> None:
    problem = toy_problem(deaf)  # the box is 12 x 12 of 24 x 32 pixels
    area = 12 * 12 / (24 * 32)
    assert _counts(problem, 0, 784) == (round(max(HIDE, area / 4) * 784), round(max(SHOW, area / 2) * 784))
    object.__setattr__(problem.targets[0], "box", torch.tensor([0.0, 0.0, 32.0, 24.0]))
    assert _counts(problem, 0, 784) == (196, 392)
    object.__setattr__(problem.targets[0], "box", None)
    assert _counts(problem, 0, 784) == (round(HIDE * 784), round(SHOW * 784))


def test_ends_that_are_alike_tell_nothing() -> None:
    problem = toy_problem(lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + 0.5)
    assert holds(problem, torch.rand(1, 8, 8), torch.arange(1)).tolist() == [True]
    (e,) = IGOS(**TOY)(problem)  # type: ignore[arg-type]
    assert e.status == "no-effect" or e.status == "ok"


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_easy_ones_end_early_and_hard_ones_go_on_and_say_that_they_are_unsure(cls: type[MaskMethod], opt: str) -> None:
    method = cls(**{**TOY, "alpha": 10.0}, opt=opt, early=2)  # type: ignore[arg-type]
    easy, hard = explain_problem(toy_problem(one_of(patch_score(*PATCH), deaf), 2), method)
    each = len(cls.terms) * 2
    assert easy.status == "ok" and not easy.warnings and len(easy.trace["objective"]) in (2, 6)
    assert hard.status == "unsure" and "unsure after" in hard.warnings[0]
    assert easy.backward_images < hard.backward_images <= 2 * method.iterations * each
    if opt != "LS":
        assert easy.network_images <= each * 6 + 4
        assert hard.network_images <= 2 * method.iterations * each, "the questions are part of the budget"


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_who_is_beside_it_changes_no_explanation(opt: str) -> None:
    method = IGOSPlusPlus(**TOY, opt=opt, early=1, noise=0.02)  # type: ignore[arg-type]
    forwards = patch_score(*PATCH), deaf
    together = method(toy_problem(one_of(*forwards), 2, seeds=[3, 4]))
    for e, forward, seed in zip(together, forwards, (3, 4), strict=True):
        (alone,) = method(toy_problem(forward, seeds=[seed]))
        assert alone.status == e.status and len(alone.trace["objective"]) == len(e.trace["objective"])
        assert torch.allclose(alone.saliency, e.saliency, atol=1e-5)
        assert alone.detail is not None and e.detail is not None
        assert torch.allclose(alone.detail, e.detail, atol=1e-3)


def test_what_ended_early_is_what_fewer_iterations_give() -> None:
    (early,) = IGOSPlus(**TOY, early=2)(toy_problem(patch_score(*PATCH)))  # type: ignore[arg-type]
    (short,) = IGOSPlus(**{**TOY, "iterations": 2, "sure": False})(toy_problem(patch_score(*PATCH)))  # type: ignore[arg-type]
    assert len(early.trace["objective"]) == 2
    assert torch.equal(early.masks, short.masks) and torch.equal(early.saliency, short.saliency)  # type: ignore[arg-type]


def test_the_cells_are_ranked_by_mask_and_evidence_together() -> None:
    settings = {**TOY, "iterations": 2, "sure": False}
    (plain,) = IGOSPlus(**settings, detail=False)(toy_problem(patch_score(*PATCH)))  # type: ignore[arg-type]
    (fine,) = IGOSPlus(**settings)(toy_problem(patch_score(*PATCH)))  # type: ignore[arg-type]
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[PATCH] = True
    heat = [upscale(e.saliency, (24, 32)) for e in (plain, fine)]
    shares = [float(h[inside].sum() / h.sum()) for h in heat]
    assert shares[1] > 1.15 * shares[0]  # a tenth of each cell is of its surroundings
    assert fine.saliency.min() >= 0 and fine.saliency.max() <= 1
    assert np.isfinite(fine.saliency.numpy()).all()


def test_of_cells_that_the_mask_hides_alike_the_one_with_detail_comes_first() -> None:
    masks = torch.ones(1, 1, 8, 8)
    masks[0, 0, 2, 2] = masks[0, 0, 5, 5] = masks[0, 0, 5, 6] = 0.4
    walk = Walk(masks, (24, 32), pixels=True)
    looked = torch.zeros(1, 1, 8, 8)
    looked[0, 0, 5, 5], looked[0, 0, 2, 6] = 1, 1
    for kept in (walk.line, walk.slope, walk.steepness):
        assert kept is not None
        kept += upscale(looked[:, 0], (24, 32))
    (told,) = IGOS(size=8, L1=0.5)._maps(masks, walk, torch.tensor([0]))
    assert told[5, 5] == told.max() and told[5, 5] > 5 * told[2, 2]
    assert told[2, 6] < 2e-3, "the detail ranks what the mask hides, and marks nothing beside it"
    (plain,) = IGOS(size=8, L1=0.5, detail=False)._maps(masks, Walk(masks, (24, 32), pixels=False), torch.tensor([0]))
    assert float(plain[5, 5] - plain[2, 2]) == pytest.approx(0, abs=2e-3)


def test_the_benchmark_takes_a_setting_of_any_kind(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "--count",
        "0",
        "--threads",
        str(torch.get_num_threads()),
        "--set",
        "sure=false",
        "alpha=2.5",
        "early=null",
    ]
    monkeypatch.setattr("sys.argv", ["finer.py", *words])
    finer.main()
    assert "{'sure': False, 'alpha': 2.5, 'early': None}" in capsys.readouterr().out


@pytest.mark.parametrize("price", (0.0, 0.5))
def test_cells_that_are_alike_keep_the_order_of_their_pull(price: float) -> None:
    method = IGOS(size=8, iterations=1, L1=price)
    masks = torch.ones(1, 1, 8, 8)
    masks[0, 0, 2, 2] = 0
    walk = Walk(masks, (24, 32), pixels=True)
    for kept in (walk.line, walk.slope, walk.steepness):
        assert kept is not None
        kept += upscale(1 - masks[:, 0], (24, 32))  # the evidence lies in the one cell that is hidden
    walk.pull[0, 0, 6, 6] = 1.0  # and a cell far from it was pulled at, too
    (told,) = method._maps(masks, walk, torch.tensor([0]))
    far, beside = float(told[6, 6]), float(told[3, 3])
    assert told[2, 2] == told.max() and far > beside


@pytest.mark.parametrize(("preset", "most"), [("quick", 10), ("detect-yolo", 20), ("thorough", 42)])
def test_a_sure_map_takes_no_more_network_images_than_its_preset_says(preset: str, most: int) -> None:
    method = replace(build_method("iGOS++", {"opt": "NAG"}, read_preset(preset)), size=8)
    problem = toy_problem(patch_score(*PATCH))
    problem = replace(problem, ends=problem.score_ends())
    before = int(problem.score.forward_images[0])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.methods.mask.loop.FLAT", 0.0)
        method(problem)
    used = int(problem.score.forward_images[0]) - before
    assert used <= most and f"= {used - 2 * bool(method.sure)}" in method.cost


def test_the_emblems_preset_asks_after_two_steps_and_ends_there_where_the_map_is_sure() -> None:
    method = replace(build_method("iGOS++", {"opt": "NAG"}, read_preset("emblem")), size=8)
    problem = toy_problem(patch_score(*PATCH))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.methods.mask.loop.holds", lambda p, maps, rows: torch.ones(len(rows), dtype=torch.bool))
        patch.setattr("igos.methods.mask.loop.FLAT", 0.0)
        (e,) = method(problem)
    assert len(e.trace["objective"]) == 2 and problem.score.backward_images.tolist() == [8]


def test_without_detail_nobody_asks() -> None:
    problem = toy_problem(deaf)
    (e,) = IGOSPlus(**TOY, detail=False)(problem)  # type: ignore[arg-type]
    assert e.status == "ok" and problem.score.forward_images.tolist() == [6 * 2 * 2]
    assert IGOSPlus(form="published").sure is False and IGOSPlus(sure=False).detail is True
