"""I-GOS, iGOS+ and iGOS++: gradients, steps, costs, and one test per defect of the public code."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch

from igos.base.ops import rank, upscale
from igos.methods import METHODS
from igos.methods.mask.detail import Walk
from igos.methods.mask.i_gos import IGOS
from igos.methods.mask.igos_plus import IGOSPlus
from igos.methods.mask.igos_pp import IGOSPlusPlus
from igos.methods.mask.loop import MaskMethod, MaskObjective
from igos.methods.mask.optim import ARMIJO, OPTIMIZERS
from igos.methods.mask.path import Draw, Term, path_scores
from igos.run.explain import explain_problem
from igos.types import ConfigError, Problem
from tests.conftest import net_score, patch_score, toy_problem

MASK_METHODS = (IGOS, IGOSPlus, IGOSPlusPlus)
TOY = dict(size=8, iterations=6, ig_iter=2, alpha=20.0, L1=0.05, L2=0.2, sure=False)  # what sure adds: test_sure.py


def toy(cls: type[MaskMethod], **more: object) -> MaskMethod:
    return cls(**{**TOY, **more})  # type: ignore[arg-type]


def objectives(method: MaskMethod, problem: Problem) -> Iterator[MaskObjective]:
    walk = Walk(method._start(problem), problem.size, pixels=False)
    return method._objectives(problem, walk, method.iterations)


@pytest.mark.parametrize("reg", ["TV", "BTV"])
@pytest.mark.parametrize("form", ["default", "published"])
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_the_gradient_is_that_of_the_value(cls: type[MaskMethod], form: str, reg: str) -> None:  # defect 6
    problem = toy_problem(net_score(2), 2, batch=5)
    objective = next(objectives(toy(cls, size=4, form=form, reg=reg, noise=0.05, ig_iter=3), problem))
    masks = torch.rand(2, cls.mask_count, 4, 4, dtype=torch.float64)
    rows = torch.arange(2)
    value, g = objective.gradient(masks, rows)
    assert torch.equal(value, objective.value(masks, rows)), "the same noise and points for value and gradient"
    problem.score.batch = 1000  # all cells at once
    h, count = 1e-6, masks[0].numel()
    moved = h * torch.eye(count, dtype=torch.float64).view(count, 1, *masks.shape[1:])
    every = rows.repeat(count)
    up, down = (objective.value((masks + way * moved).flatten(0, 1), every).view(count, 2) for way in (1, -1))
    assert torch.allclose((up - down) / (2 * h), g.flatten(1).T, atol=1e-8)


@pytest.mark.parametrize("insert", [False, True])
def test_the_path_gradient_equals_autograd_through_the_blend(insert: bool) -> None:
    problem = toy_problem(net_score(2), 2, batch=3)
    draw = Draw.sample(problem, 4, jitter=True, noise=0.0)
    masks = torch.rand(2, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    u = upscale(masks, problem.size).prod(dim=1, keepdim=True)
    blends = []
    for k in range(4):
        shown = draw.t[:, k, None, None, None] * u
        a, b = (problem.x0, problem.x) if insert else (problem.x, problem.x0)
        blends.append(a * shown + b * (1 - shown))
    expected = 0.7 * problem.score(torch.stack(blends, dim=1)).mean(dim=1)
    (slope,) = torch.autograd.grad(expected.sum(), masks)
    value, g = path_scores(problem, [Term(0.7, (0, 1), insert)], masks.detach(), draw, torch.arange(2), gradient=True)
    assert g is not None
    assert torch.allclose(value, expected, atol=1e-12)
    assert torch.allclose(g.masks, slope, atol=1e-12)


def test_path_points_fixed_and_jittered() -> None:
    problem = toy_problem(net_score(), 2)
    assert torch.allclose(Draw.sample(problem, 4, False, 0).t[0], torch.tensor([0.25, 0.5, 0.75, 1.0]).double())
    t = Draw.sample(problem, 4, True, 0).t
    assert ((t * 4).floor() == torch.arange(4)).all(), "one point per stratum"
    assert not torch.equal(t, Draw.sample(problem, 4, True, 0).t), "a fresh draw each time"


@pytest.mark.parametrize("form", ["default", "published"])
@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_the_heat_lies_on_the_patch_that_the_score_looks_at(cls: type[MaskMethod], opt: str, form: str) -> None:
    problem = toy_problem(patch_score(slice(6, 12), slice(16, 24)))
    settings = dict(iterations=15, alpha=60.0 if form == "default" else 3.0, L2=0.05, detail=False)
    (e,) = toy(cls, opt=opt, form=form, **settings)(problem)
    heat = upscale(e.saliency, problem.size)
    inside = torch.zeros(24, 32, dtype=torch.bool)
    inside[6:12, 16:24] = True
    assert e.status == "ok"
    assert heat[inside].mean() > 4 * heat[~inside].mean()
    tie = 1e-3 if form == "default" else 1e-6
    assert torch.allclose(e.saliency, 1 - e.masks.prod(dim=0), atol=1.1 * tie), "1 - mask, turned round once"


def test_cells_that_the_bounds_made_equal_keep_the_order_of_their_pull() -> None:
    problem = toy_problem(net_score())
    (e,) = toy(IGOSPlus, alpha=3000.0, L1=0.5, detail=False)(problem)
    assert e.masks is not None
    bare = 1 - e.masks.prod(dim=0)
    assert rank(bare)[1] > 0.5, "the bounds hold most of the cells"
    order, tied = rank(e.saliency)
    assert tied < 0.05
    assert bool((bare.flatten()[order].diff() <= 2.5e-3).all()), "only cells that are nearly equal change places"


def counts(cls: type[MaskMethod], **more: object) -> tuple[int, int]:
    problem = toy_problem(net_score())
    toy(cls, **more)(problem)
    return int(problem.score.forward_images[0]), int(problem.score.backward_images[0])


@pytest.mark.parametrize("cls", MASK_METHODS)
def test_iterations_are_mask_steps_and_ig_iter_path_points(cls: type[MaskMethod]) -> None:  # defect 2
    terms = len(cls.terms)
    assert counts(cls, opt="NAG", iterations=5, ig_iter=3) == (terms * 15, terms * 15)
    calls: list[int] = []
    problem = toy_problem(net_score(), batch=10_000)
    forward = problem.score.forward
    problem.score.forward = lambda p, r: calls.append(len(p)) or forward(p, r)  # type: ignore[func-returns-value]
    toy(cls, opt="NAG", iterations=5, ig_iter=3)(problem)
    assert calls == [terms * 3] * 5, "T calls of S points per term"


def test_line_search_pushes_extra_forward_pictures_only() -> None:
    forward, backward = counts(IGOSPlus, opt="LS", iterations=4, ig_iter=2)
    assert backward == 2 * 2 * 4
    assert forward > backward and (forward - backward) % (2 * 2) == 0


def test_the_optimiser_that_is_asked_for_is_the_one_that_runs() -> None:  # defect 1
    maps = {}
    for opt in OPTIMIZERS:
        (e,) = toy(IGOSPlusPlus, opt=opt)(toy_problem(net_score()))
        assert e.opt == opt
        maps[opt] = e.saliency
    assert not torch.equal(maps["LS"], maps["NAG"]) and not torch.equal(maps["NAG"], maps["PG"])


@pytest.mark.parametrize("opt", OPTIMIZERS)
def test_every_iterate_stays_in_the_unit_box(opt: str) -> None:  # defect 5
    problem = toy_problem(net_score())
    method = toy(IGOSPlusPlus, alpha=5000.0, iterations=10)
    asked = []

    def watched() -> object:
        for objective in objectives(method, problem):
            gradient = objective.gradient
            object.__setattr__(objective, "gradient", lambda m, r, g=gradient: asked.append(m) or g(m, r))
            yield objective

    steps = list(OPTIMIZERS[opt](watched(), torch.ones(1, 2, 8, 8, dtype=torch.float64)))
    assert len(asked) == 10
    for masks in [*asked, *(s.masks for s in steps)]:
        assert masks.min() >= 0 and masks.max() <= 1


def test_accepted_line_search_steps_never_raise_the_objective_they_tested() -> None:  # defect 6
    problem = toy_problem(net_score(), 2)
    method = toy(IGOSPlusPlus, form="published", opt="LS", alpha=100.0, iterations=8, noise=0.05)
    x = torch.ones(2, 2, 8, 8, dtype=torch.float64)
    rows = torch.arange(2)
    for objective in objectives(method, problem):
        (step,) = OPTIMIZERS["LS"]([objective], x)
        before, g = objective.gradient(x, rows)
        after = objective.value(step.masks, rows)
        gain = (g * (x - step.masks)).sum(dim=(1, 2, 3))
        assert (after <= before - ARMIJO * gain + 1e-15)[step.accepted].all()
        x = step.masks
    assert (x < 1).any()


def test_line_search_takes_its_own_step_for_each_explanation() -> None:
    alone = [toy(IGOS, opt="LS", alpha=500.0)(toy_problem(net_score(3), 3, seeds=[0, 1, 2]))]
    for i in range(3):
        problem = toy_problem(net_score(3), 3, seeds=[0, 1, 2])
        single = replace(
            problem,
            x=problem.x[:1],
            x0=problem.x0[:1],
            score=type(problem.score)(lambda p, r, i=i, f=problem.score.forward: f(p, r + i), 1),
            targets=problem.targets[:1],
            generators=problem.generators[i : i + 1],
            images=problem.images[:1],
        )
        (e,) = toy(IGOS, opt="LS", alpha=500.0)(single)
        assert torch.allclose(e.saliency, alone[0][i].saliency, atol=1e-6)


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_batch_order_and_chunks_do_not_matter(cls: type[MaskMethod], opt: str) -> None:  # defect 14
    seeds = [5, 6, 7]
    forward = net_score(3)
    together = toy(cls, opt=opt, noise=0.02)(toy_problem(forward, 3, seeds=seeds))
    chunked = toy(cls, opt=opt, noise=0.02)(toy_problem(forward, 3, seeds=seeds, batch=1))
    order = [2, 0, 1]
    turned = toy_problem(lambda p, r: forward(p, torch.tensor(order)[r]), 3, seeds=[seeds[i] for i in order])
    swapped = toy(cls, opt=opt, noise=0.02)(turned)
    for i in range(3):
        assert torch.allclose(together[i].masks.double(), chunked[i].masks.double(), atol=1e-5)
        assert torch.allclose(together[order[i]].masks.double(), swapped[i].masks.double(), atol=1e-5)
    again = toy(cls, opt=opt, noise=0.02)(toy_problem(forward, 3, seeds=seeds))
    assert all(torch.equal(a.masks, b.masks) for a, b in zip(together, again, strict=True)), "bit-equal"


def test_semi_implicit_steps_stay_smooth_where_explicit_ones_turn_into_a_checkerboard() -> None:
    def roughness(form: str) -> float:
        method = toy(IGOS, form=form, size=28, alpha=300.0, L2=20.0, iterations=20, opt="NAG")
        (e,) = method(toy_problem(patch_score(slice(6, 12), slice(16, 24))))
        jump = e.masks[0].diff(dim=-1)
        return float((jump[:, 1:] * jump[:, :-1] < -0.01).float().mean())

    assert roughness("published") > 0.2
    assert roughness("default") == 0


def test_the_default_form_takes_the_same_step_at_every_mask_size() -> None:
    maps = []
    for size in (14, 28, 56):
        problem = toy_problem(patch_score(slice(12, 36), slice(16, 40)), size=(48, 64))
        (e,) = toy(IGOSPlus, size=size, iterations=3, opt="PG", alpha=30.0, form="default")(problem)
        maps.append(upscale(e.saliency, problem.size).ravel())
    assert np.corrcoef(torch.stack(maps).numpy()).min() > 0.93
    assert max(m.max() for m in maps) < 1.5 * min(m.max() for m in maps)


def test_settings_of_the_published_scale_warn_in_the_default_form() -> None:
    assert "--form published" in IGOS(alpha=1000, L2=20).warnings()[0]
    assert not IGOS(alpha=1000, L2=20, form="published").warnings() and not IGOS().warnings()


def test_statuses() -> None:  # defect 17
    def status(forward: object, **more: object) -> str:
        return toy(IGOS, **more)(toy_problem(forward))[0].status  # type: ignore[arg-type]

    flat = lambda p, r: p.mean(dim=(1, 2, 3)) * 0 + 0.5  # noqa: E731
    assert status(flat, L1=0.0) == "no-effect"
    assert status(flat, opt="LS", L1=0.0) == "stalled"
    assert status(lambda p, r: p.mean(dim=(1, 2, 3)) * 50, alpha=1e5, L1=0.0) == "saturated"
    assert status(lambda p, r: p.mean(dim=(1, 2, 3)) / 0) == "not-finite"
    for opt in OPTIMIZERS:
        (e,) = toy(IGOS, opt=opt)(toy_problem(lambda p, r: torch.sqrt(p.mean(dim=(1, 2, 3)) - 0.4)))
        assert e.status == "not-finite" and e.saliency.isfinite().all(), "a NaN never reaches the map"


@pytest.mark.parametrize("cls", MASK_METHODS)
def test_a_start_is_the_product_of_the_masks(cls: type[MaskMethod]) -> None:
    start = torch.ones(1, 8, 8, dtype=torch.float64)
    start[:, 2:4, 2:4] = 0.36
    masks = toy(cls)._start(toy_problem(net_score(), start=start))
    assert torch.allclose(masks.prod(dim=1), start)
    assert masks.shape[1] == cls.mask_count


def test_the_model_is_left_as_it_was() -> None:  # defect 13
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 1, 3), torch.nn.BatchNorm2d(1)).eval()
    before = {k: v.clone() for k, v in net.state_dict().items()}
    toy(IGOSPlusPlus)(toy_problem(lambda p, r: net(p).mean(dim=(1, 2, 3)), dtype=torch.float32))
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(v, before[k]) for k, v in net.state_dict().items())


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        dict(opt="SGD"), dict(form="new"), dict(reg="L3"), dict(iterations=0), dict(ig_iter=0), dict(size=1),
        dict(alpha=0.0), dict(alpha=float("nan")), dict(L1=-1.0), dict(L2=float("inf")),
    ):  # fmt: skip
        with pytest.raises(ConfigError):
            toy(IGOS, **wrong)


def test_names_are_the_field_s() -> None:
    assert {"I-GOS", "iGOS+", "iGOS++", "integrated_gradients", "rise"} <= set(METHODS)


def test_device_and_dtype_follow_the_input_and_seconds_are_of_the_whole_call() -> None:  # defects 11 and 15
    import time

    for dtype in (torch.float32, torch.float64):
        problem = toy_problem(
            net_score() if dtype is torch.float64 else patch_score(slice(0, 9), slice(0, 9)), dtype=dtype
        )
        objective = next(objectives(toy(IGOSPlusPlus), problem))
        masks = torch.ones(1, 2, 8, 8, dtype=dtype)
        value, g = objective.gradient(masks, torch.arange(1))
        assert value.dtype == g.dtype == dtype
    problem = toy_problem(lambda p, r: time.sleep(0.02) or p.mean(dim=(1, 2, 3)), 2, batch=100)  # type: ignore[func-returns-value]
    begin = time.perf_counter()
    made = explain_problem(problem, toy(IGOSPlusPlus))
    wall = time.perf_counter() - begin
    assert 0.8 * wall < sum(e.seconds for e in made) <= wall
