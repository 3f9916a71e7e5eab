"""The detail map: what the walk of a mask leaves on pixels, against what must hold for it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

import igos
from igos.base.ops import upscale, upscale_adjoint
from igos.methods import build_method
from igos.methods.mask.detail import Walk
from igos.methods.mask.i_gos import IGOS
from igos.methods.mask.igos_plus import IGOSPlus
from igos.methods.mask.igos_pp import IGOSPlusPlus
from igos.methods.mask.loop import MaskMethod, MaskObjective
from igos.methods.mask.optim import OPTIMIZERS
from igos.methods.mask.path import Draw, Term, path_scores
from igos.run.presets import read_preset
from igos.run.problem import make_problem
from igos.types import Problem
from tests.conftest import net_score, patch_score, toy_problem

MASK_METHODS = (IGOS, IGOSPlus, IGOSPlusPlus)
TOY = dict(size=8, iterations=6, ig_iter=2, alpha=20.0, L1=0.05, L2=0.2, sure=False)
ALL = torch.arange(1)


def linear(seed: int = 0) -> tuple[Callable[[Tensor, Tensor], Tensor], Tensor]:
    """A score that is linear in the pixels, and its weights (3,24,32)."""
    w = torch.randn(3, 24, 32, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) / 100
    return (lambda pictures, rows: (pictures * w).sum(dim=(1, 2, 3))), w


def walked(method: MaskMethod, problem: Problem, kept: list[Walk] | None = None) -> tuple[Walk, Tensor, Tensor]:
    """The walk of the method, kept from its beginning, and the masks (K,n,h,w), ones and the answer."""
    kept = [] if kept is None else kept

    class Kept(Walk):
        def __init__(self, *given: object, **named: object) -> None:
            super().__init__(*given, **named)  # type: ignore[arg-type]
            kept.append(self)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.methods.mask.loop.Walk", Kept)
        made = method(problem)
    ends = torch.stack([e.masks for e in made if e.masks is not None]).to(problem.x)
    return kept[0], torch.ones_like(ends), ends


def data(method: MaskMethod, problem: Problem, masks: Tensor) -> Tensor:
    """The data terms P (K,) on the fixed path."""
    draw = Draw.sample(problem, method.ig_iter, jitter=False, noise=0.0)
    return path_scores(problem, method.terms, masks, draw, torch.arange(len(masks)), gradient=False)[0]


def fixed(cls: type[MaskMethod], **more: object) -> MaskMethod:
    """The method on the fixed path, with a detail."""
    return cls(**{**TOY, "form": "published", "detail": True, "alpha": 3.0, **more})  # type: ignore[arg-type]


@pytest.mark.parametrize("start", [False, True])
@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_for_a_linear_score_the_line_integral_sums_to_what_the_walk_lowered(
    cls: type[MaskMethod], opt: str, start: bool
) -> None:
    method = fixed(cls, opt=opt, ig_iter=3, alpha=300.0)
    begun = torch.rand(2, 8, 8, dtype=torch.float64) if start else None
    problem = toy_problem(linear()[0], 2, start=begun)
    walk, ones, ends = walked(method, problem)
    assert (ends < 0.9).any() and walk.line is not None
    fell = data(method, problem, ones) - data(method, problem, ends)
    assert fell.abs().min() > 1e-3
    assert torch.allclose(walk.line.sum(dim=(1, 2)), fell, atol=1e-5)


def test_steps_that_the_line_search_refuses_add_nothing_to_the_line_integral() -> None:
    method = fixed(IGOSPlusPlus, opt="LS", alpha=300.0, noise=1e-9, iterations=9)  # noise: it goes on after a refusal
    forward, _ = linear()
    problem = toy_problem(forward)
    verdicts: dict[int, tuple[Draw, bool]] = {}
    refused = iter([True, False, True, True, False, True, False, True, True])
    plain = MaskObjective.value

    def stubborn(self: MaskObjective, masks: Tensor, rows: Tensor) -> Tensor:
        verdict = verdicts.get(id(self.draw)) or (self.draw, next(refused))
        verdicts[id(self.draw)] = verdict
        return plain(self, masks, rows) + 1e6 * verdict[1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MaskObjective, "value", stubborn)
        walk, ones, ends = walked(method, problem)
    assert [v for _, v in verdicts.values()].count(True) >= 5 and (ends < 1).any()
    fell = data(method, problem, ones) - data(method, problem, ends)
    assert walk.line is not None and torch.allclose(walk.line.sum(dim=(1, 2)), fell, atol=1e-5)


@pytest.mark.parametrize("cls", MASK_METHODS)
def test_for_a_linear_score_the_slope_is_the_weight_times_what_the_blur_changes(cls: type[MaskMethod]) -> None:
    forward, w = linear()
    problem = toy_problem(forward)
    walk, _, _ = walked(fixed(cls, ig_iter=3), problem)
    assert walk.slope is not None and walk.steepness is not None
    expected = (w * (problem.x - problem.x0)[0]).sum(dim=0)
    ratio = walk.slope[0] / expected
    assert torch.allclose(ratio, ratio[0, 0].expand_as(ratio), rtol=1e-9) and ratio[0, 0] > 0
    assert torch.allclose(walk.steepness[0] / w.abs().sum(dim=0), torch.tensor(6.0 * 3 * len(cls.terms)).double())


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", [IGOS, IGOSPlus])
def test_folded_onto_the_cells_the_slope_of_one_mask_is_its_summed_gradient(cls: type[MaskMethod], opt: str) -> None:
    walk, _, _ = walked(cls(**TOY, opt=opt), toy_problem(net_score(3), 3, batch=5))  # type: ignore[arg-type]
    assert walk.slope is not None and walk.pull.abs().max() > 0
    assert torch.allclose(upscale_adjoint(walk.slope, (8, 8)), walk.pull[:, 0], atol=1e-12)


def test_two_masks_with_the_product_of_one_have_its_line_integral() -> None:
    problem = toy_problem(net_score())
    draw = Draw.sample(problem, 3, jitter=False, noise=0.0)
    y = torch.full((1, 1, 8, 8), 0.6, dtype=torch.float64)  # even masks: the upsampled roots' product is the mask
    x = y - 1e-4

    def line(terms: list[Term], masks: tuple[Tensor, Tensor]) -> Tensor:
        walk = Walk(masks[0], problem.size, pixels=True)
        walk.reached(masks[0], ALL)
        _, slopes = path_scores(problem, terms, masks[0], draw, ALL, gradient=True, pixels=True)
        assert slopes is not None and walk.line is not None
        walk.add(masks[0], ALL, slopes)
        first = walk.line.clone()
        walk.reached(masks[1], ALL)
        return walk.line - first

    one = line([Term(1.0)], (y, x))
    halves = tuple(torch.cat([torch.ones_like(m), m], dim=1) for m in (y, x))
    assert torch.allclose(one, line([Term(1.0, (0, 1))], halves), atol=1e-12)  # type: ignore[arg-type]
    even = tuple(m.sqrt().expand(1, 2, 8, 8) for m in (y, x))
    split = line([Term(1.0, (0, 1))], even)  # type: ignore[arg-type]
    assert one.abs().max() > 0
    assert torch.allclose(one, split, rtol=1e-3, atol=1e-3 * float(one.abs().max()))


def test_on_a_bundled_network_small_steps_make_the_line_integral_complete() -> None:
    adapter = igos.load("emblem-vgg")
    image = adapter.read(sorted(Path("samples/singles").glob("*.png"))[0])
    problem = make_problem(adapter, image, adapter.detect(image)[:1])
    preset = build_method("I-GOS", {"opt": "PG"}, read_preset("emblem"))
    settings = {"form": "published", "reg": "TV", "ig_iter": 2, "iterations": 100, "detail": True, "sure": False}
    method = replace(preset, alpha=preset.alpha / 10, **settings)
    walk, ones, last = walked(method, problem)
    assert walk.line is not None
    fell = data(method, problem, ones) - data(method, problem, last)
    assert fell > 0.1 and torch.allclose(walk.line.sum(dim=(1, 2)), fell, rtol=0.1)


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_a_score_that_looks_at_one_patch_has_detail_there_alone(cls: type[MaskMethod], opt: str) -> None:
    problem = toy_problem(patch_score(slice(6, 12), slice(16, 24)))
    (e,) = cls(**{**TOY, "alpha": 60.0, "iterations": 10, "opt": opt})(problem)  # type: ignore[arg-type]
    assert e.detail is not None and e.detail.shape == (24, 32)
    near = torch.zeros(24, 32, dtype=torch.bool)
    near[4:14, 14:26] = True
    assert e.detail.max() == 1 and e.detail[6:12, 16:24].min() > 0.05
    assert e.detail[~near].max() < 0.01, "no mask cell is that sharp"
    assert upscale(e.saliency, (24, 32))[~near].max() > 0.05


@pytest.mark.parametrize("opt", OPTIMIZERS)
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_chunks_and_order_change_no_detail(cls: type[MaskMethod], opt: str) -> None:
    forward, method = net_score(3), cls(**TOY, opt=opt, noise=0.02)  # type: ignore[arg-type]
    together = method(toy_problem(forward, 3, seeds=[5, 6, 7]))
    chunked = method(toy_problem(forward, 3, seeds=[5, 6, 7], batch=1))
    order = [2, 0, 1]
    turned = method(toy_problem(lambda p, r: forward(p, torch.tensor(order)[r]), 3, seeds=[7, 5, 6]))
    for i in range(3):
        assert together[i].detail is not None
        assert torch.allclose(together[i].detail, chunked[i].detail, atol=1e-5)
        assert torch.allclose(together[order[i]].detail, turned[i].detail, atol=1e-5)


def test_a_batch_that_had_to_be_halved_changes_no_detail() -> None:
    forward = net_score(3)
    whole = IGOSPlusPlus(**TOY)(toy_problem(forward, 3, batch=100))  # type: ignore[arg-type]

    def tight(pictures: Tensor, rows: Tensor) -> Tensor:
        if len(pictures) > 5:
            raise RuntimeError("DefaultCPUAllocator: not enough memory")
        return forward(pictures, rows)

    problem = toy_problem(tight, 3, batch=100)
    halved = IGOSPlusPlus(**TOY)(problem)  # type: ignore[arg-type]
    assert problem.score.batch <= 5
    for a, b in zip(whole, halved, strict=True):
        assert a.detail is not None and b.detail is not None and torch.allclose(a.detail, b.detail, atol=1e-6)


def test_bfloat16_gives_the_detail_nearly() -> None:
    adapter = igos.load("emblem-vgg")
    image = adapter.read(sorted(Path("samples/singles").glob("*.png"))[0])
    maps = []
    for precision in ("float32", "bfloat16"):
        problem = make_problem(adapter, image, adapter.detect(image)[:1], precision=precision)
        (e,) = build_method("iGOS++", {"iterations": 2, "sure": False}, read_preset("emblem"))(problem)
        assert e.detail is not None and e.detail.dtype == torch.float32
        maps.append(e.detail.flatten())
    assert float(torch.corrcoef(torch.stack(maps))[0, 1]) > 0.97


def test_without_detail_nothing_is_kept_and_on_the_fixed_path_keeping_it_changes_no_bit() -> None:
    for cls in MASK_METHODS:
        (plain,) = cls(**TOY, detail=False)(toy_problem(net_score()))  # type: ignore[arg-type]
        assert plain.detail is None and plain.heat is plain.saliency
        masks = [fixed(cls, detail=d)(toy_problem(net_score()))[0].masks for d in (False, True)]
        assert torch.equal(masks[0], masks[1])  # type: ignore[arg-type]
    published = IGOS(form="published")
    assert published.detail is False and IGOS(form="published", detail=True).detail is True


@pytest.mark.parametrize("points", [1, 3])
@pytest.mark.parametrize("cls", MASK_METHODS)
def test_the_first_step_looks_at_pictures_that_lie_evenly_between_baseline_and_picture(
    cls: type[MaskMethod], points: int
) -> None:
    seen: list[Tensor] = []
    x, x0 = (toy_problem(net_score()).x[0], toy_problem(net_score()).x0[0])

    def place(pictures: Tensor, rows: Tensor) -> Tensor:
        seen.append((((pictures - x0) * (x - x0)).sum(dim=(1, 2, 3)) / ((x - x0) ** 2).sum()).detach())
        return net_score()(pictures, rows)

    settings = {**TOY, "iterations": 1, "ig_iter": points}
    places = {}
    for detail in (False, True):
        seen.clear()
        cls(**settings, detail=detail)(toy_problem(place))  # type: ignore[arg-type]
        places[detail] = torch.cat(seen).sort().values
    count = len(cls.terms) * points
    assert len(places[True]) == len(places[False]) == count
    gaps = places[True].view(points, -1).diff(dim=1)  # of each interval
    assert torch.allclose(gaps, torch.full_like(gaps, 1 / count), atol=1e-9)
    if cls is IGOSPlusPlus:  # the product of two masks of ones shows what one of them shows
        assert len(places[False].unique()) < count or float(places[False].diff().min()) < 1e-9


def test_points_of_the_terms_lie_in_their_intervals_whatever_is_drawn() -> None:
    u = torch.rand(50, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    t = (torch.arange(3) + u) / 3
    for terms in (IGOS.terms, IGOSPlus.terms, IGOSPlusPlus.terms):
        told = Draw(t, spread=True).points(terms)
        assert told.shape == (50, len(terms), 3) and told.min() >= 0 and told.max() <= 1
        assert torch.equal((told * 3).floor().sort(dim=2).values, torch.arange(3).expand_as(told).double())
        assert torch.equal(Draw(t).points(terms), t[:, None].expand_as(told))


@pytest.mark.parametrize("cls", MASK_METHODS)
def test_the_walk_keeps_three_arrays_while_the_network_works(cls: type[MaskMethod]) -> None:
    walks: list[Walk] = []
    most = []

    def counted(pictures: Tensor, rows: Tensor) -> Tensor:
        pixels = [t for t in vars(walks[0]).values() if isinstance(t, Tensor)] + list(walks[0]._pending.values())
        most.append(sum(t.numel() for t in pixels if t.shape[-2:] == (24, 32)) / (24 * 32))
        return net_score()(pictures, rows)

    walked(cls(**{**TOY, "iterations": 3}), toy_problem(counted), walks)  # type: ignore[arg-type]
    assert max(most) == 3 <= cls.mask_count + 2


def test_a_gradient_that_is_not_finite_leaves_no_trace() -> None:
    problem = toy_problem(lambda p, r: torch.sqrt(p.mean(dim=(1, 2, 3)) - 0.4))
    (e,) = IGOSPlus(**TOY)(problem)  # type: ignore[arg-type]
    assert e.status == "not-finite" and e.detail is not None and e.detail.isfinite().all()
    assert replace(e, detail=None).heat is e.saliency
