"""The one loop of I-GOS, iGOS+ and iGOS++: minimise F over masks in [0,1] by integrated-gradient steps.

    F(M) = sum_j weight_j * P_j(M) + l1 * L1(prod M) + l2 * smoothness,    L1(M) = mean(1 - M)

form "default":   smoothness = sum_n TV(M_n) (or BTV), solved for implicitly; path points jittered afresh in
                  each iteration; alpha and l2 hold at the reference grid of 28 x 28 and scale with h*w/784.
form "published": smoothness of the product of the masks, explicit step, fixed path, the papers' own numbers.

A low mask means important; the explanation reports 1 - prod M, turned round here and nowhere else. Cells that the
bounds of [0,1] made equal are told apart, in the default form, by the sum of the gradients of the P_j over the steps:
how much each cell mattered on the way (within 1e-3 of the map's range).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import baseline
from igos.base.ops import LARGEST_GRID, bilateral_tv, break_ties, pool, smooth, tv
from igos.base.settings import check_settings, setting
from igos.methods.mask.detail import Walk, on_cells
from igos.methods.mask.optim import OPTIMIZERS, Step
from igos.methods.mask.path import Draw, Term, path_scores
from igos.methods.mask.sure import QUESTION, holds
from igos.types import Explanation, Problem

FORMS = ("default", "published")
SMOOTHNESS = ("TV", "BTV")
REFERENCE_CELLS = 28 * 28
UNSURE = "{}: unsure after {} steps: its cells hidden leave the score, or shown alone they do not bring it back"
OVER_SMOOTH = 100  # alpha * L2: ten times the default's; the papers' numbers are of 200 (detectors) and more
FLAT, FULL = 1e-3, 0.02  # a map that rises less than FLAT shows nothing; a mean mask below FULL hides all


@dataclass(frozen=True)
class MaskMethod:
    """The settings that the mask methods share; a subclass names its loss terms.

    opt {LS, NAG, PG} or a callable of optim.py's form; form {default, published}; size: N x N mask cells;
    iterations: mask steps T; ig_iter: path points S per step; alpha: step; L1, L2: weights of sparsity and
    smoothness, in the form's units; reg {TV, BTV}: by default the paper's in the published form, TV in the other;
    noise: standard deviation in [0,1] pixels, added to every blended picture; decay: alpha falls linearly to 0
    over the iterations; detail: keep what the network looks at on pixels (detail.py), which also ranks the cells, and
    spread the path points over the terms (path.py); by default in the default form; sure: ask whether the map does
    what it claims (sure.py), by default where there is a detail, after `early` steps (by default all T), after T, and
    at the end: a map that does ends there, others go on,
    by steps `longer` times as long, to at most twice the cost. Cost: len(terms) * S * T network images forward and
    backward; LS adds len(terms) * S forwards per trial.
    """

    opt: str = setting("NAG", choices=OPTIMIZERS, objects=True)
    form: str = setting("default", choices=FORMS)
    size: int = setting(28, least=2, most=LARGEST_GRID)
    iterations: int = setting(12, least=1)
    ig_iter: int = setting(1, least=1)
    alpha: float = setting(20.0, above=0)
    L1: float = setting(0.0, least=0)
    L2: float = setting(0.5, least=0)
    reg: str | None = setting(None, choices=SMOOTHNESS)
    noise: float = setting(0.0, least=0)
    decay: bool = False
    detail: bool | None = None
    sure: bool | None = None
    early: int | None = setting(None, least=1)
    longer: float = setting(1.0, least=1)

    name: ClassVar[str]
    terms: ClassVar[tuple[Term, ...]]
    mask_count: ClassVar[int] = 1
    span: ClassVar[tuple[float, float]] = (0.0, 1.0)  # of the path points
    turns: ClassVar[tuple[str, ...]] = ()  # baselines that take turns by step, in place of the problem's
    still: ClassVar[str | None] = None  # the status of a mask that does not move, where that is an answer
    paper_reg: ClassVar[str] = "BTV"
    paper: ClassVar[str]
    needs: ClassVar[str] = "gradients"
    complete: ClassVar[str] = "-"
    score: ClassVar[str] = "prob"
    diverse: ClassVar[bool] = True

    def __post_init__(self) -> None:
        check_settings(self)
        if self.reg is None:
            object.__setattr__(self, "reg", self.paper_reg if self.form == "published" else "TV")
        if self.detail is None:
            object.__setattr__(self, "detail", self.form == "default")
        if self.sure is None:
            object.__setattr__(self, "sure", self.detail)

    @property
    def cost(self) -> str:
        each = len(self.terms) * self.ig_iter
        steps = each * self.iterations
        first = f", {each * self.early} where it is sure then" if self.early and self.early < self.iterations else ""
        asked = f" + {QUESTION} that ask whether it is sure{first}; at most {2 * steps}" if self.sure else ""
        return f"{len(self.terms)}*S*T = {steps}{asked}"

    def effective(self) -> dict[str, float]:
        """alpha and L2 as the step uses them on this mask grid."""
        scale = self.size**2 / REFERENCE_CELLS if self.form == "default" else 1.0
        return {"alpha_eff": self.alpha * scale, "L2_eff": self.L2 * scale}

    def warnings(self) -> list[str]:
        if self.form == "default" and self.alpha * self.L2 > OVER_SMOOTH:
            return [
                f"alpha {self.alpha:g} with L2 {self.L2:g} is of the published scale and over-smooths here: "
                "use --form published for the papers' own numbers"
            ]
        return []

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; saliency (size, size) in [0,1], masks (n, size, size), 1 = keep."""
        start = self._start(problem)
        if self.sure and problem.ends is None:
            problem = replace(problem, ends=problem.score_ends())
        walk = Walk(start, problem.size, pixels=bool(self.detail))
        course = self._course(problem, walk, start)
        masks, made = course.masks, []
        everyone = torch.arange(len(masks), device=masks.device)
        detail, product = walk.detail(everyone), masks.prod(dim=1)
        saliency = self._maps(masks, walk, everyone, detail)
        moved = (product - start.prod(dim=1)).abs().flatten(1).amax(dim=1)
        keep = product.flatten(1).mean(dim=1)
        for i, length in enumerate(course.length.tolist()):
            steps = course.steps[:length]
            accepted, finite = any(bool(s.accepted[i]) for s in steps), all(bool(s.finite[i]) for s in steps)
            status = _status(finite, accepted, float(moved[i]), float(keep[i]), bool(course.sure[i]))
            status = self.still or status if status in ("no-effect", "stalled") else status
            made.append(
                Explanation(
                    saliency=saliency[i].float().cpu(),
                    target=problem.targets[i],
                    image=problem.images[i],
                    method=self.name,
                    status=status,
                    masks=masks[i].float().cpu(),
                    detail=None if detail is None else detail[i].half().float().cpu(),  # as files keep it
                    trace={
                        "objective": np.array([float(s.value[i]) for s in steps]),
                        "mask_min": np.array([float(s.masks[i].min()) for s in steps]),
                        "mask_max": np.array([float(s.masks[i].max()) for s in steps]),
                    },
                    settings={**asdict(self), **self.effective()},
                    opt=self.opt if isinstance(self.opt, str) else getattr(self.opt, "__name__", "custom"),
                    form=self.form,
                    warnings=(UNSURE.format(self.name, length),) if status == "unsure" else (),
                )
            )
        return made

    def _course(self, problem: Problem, walk: Walk, start: Tensor) -> Course:
        """The steps: each explanation ends when its map is sure, or with its budget."""
        optimizer = OPTIMIZERS[self.opt] if isinstance(self.opt, str) else self.opt
        asked = self._asked()
        most = asked[-1] if asked else self.iterations
        c = Course(start.clone(), walk.active.int(), torch.ones_like(walk.active), [])
        for i, step in enumerate(optimizer(self._objectives(problem, walk, most), start), 1):
            c.steps.append(step)
            rows = torch.nonzero(walk.active)[:, 0]
            c.masks[rows], c.length[rows] = step.masks[rows], i
            problem.tell(i, most if i > self.iterations else self.iterations, c.masks.prod(dim=1))
            if i in asked:
                c.sure[rows] = self._holds(problem, walk, start, c, rows)
                rows = rows[c.sure[rows]]
                walk.stop(c.masks[rows], rows)
                if not bool(walk.active.any()):
                    break
        rows = torch.nonzero(walk.active)[:, 0]
        if asked and len(rows) and len(c.steps) not in asked:  # the optimiser had no further step to take
            c.sure[rows] = self._holds(problem, walk, start, c, rows)
        walk.stop(c.masks[rows], rows)
        return c

    def _holds(self, problem: Problem, walk: Walk, start: Tensor, c: Course, rows: Tensor) -> Tensor:
        """Whether the masks of `rows` (R,) have moved, and their maps do what they claim: (R,) bool."""
        maps = self._maps(c.masks[rows], walk, rows)
        moved = (c.masks[rows].prod(dim=1) - start[rows].prod(dim=1)).abs().flatten(1).amax(dim=1) >= FLAT
        return holds(problem, maps, rows) & moved

    def _asked(self) -> list[int]:
        """The steps after which it is asked whether the map is sure; all of them cost at most twice the budget."""
        if not self.sure:
            return []
        early = sorted({min(self.early or self.iterations, self.iterations), self.iterations})
        each = len(self.terms) * self.ig_iter
        most = (2 * self.iterations * each - QUESTION * (len(early) + 1)) // each
        return early + [most] * (most > self.iterations)

    def _weight(self, walk: Walk, rows: Tensor, detail: Tensor | None = None) -> Tensor | None:
        """What the cells of the masks are weighed by in the maps: (R,h,w) in [0,1], the detail on them."""
        detail = walk.detail(rows) if detail is None else detail
        return None if detail is None else on_cells(detail, (self.size, self.size))

    def _maps(self, masks: Tensor, walk: Walk, rows: Tensor, detail: Tensor | None = None) -> Tensor:
        """The maps (R,h,w) of masks (R,n,h,w): S = 1 - prod M, or S times the detail on the cells.

        Few steps leave masks that have barely moved, and where the network looked ranks better than they do. Cells that
        the bounds emptied stay in the order of their pull, which says what each was worth: in an order of what is near,
        maps of random weights are like those of the trained ones, and on photos .08 of insertion less deletion is lost.
        """
        saliency = 1 - masks.prod(dim=1)
        weight = self._weight(walk, rows, detail)
        if weight is not None:
            saliency = saliency * weight
        if self.form == "default":
            one_step = masks.new_tensor(math.prod(self.effective().values()))
            saliency = break_ties(saliency, smooth(walk.pull[rows].sum(dim=1), one_step))
        return saliency

    def _start(self, problem: Problem) -> Tensor:
        """Masks (K,n,h,w) whose product is the problem's start, or ones."""
        ones = problem.x.new_ones(len(problem.x), self.mask_count, self.size, self.size)
        if problem.start is None:
            return ones
        return ones * problem.start.to(ones)[:, None] ** (1 / self.mask_count)

    def _objectives(self, problem: Problem, walk: Walk, most: int) -> Iterator[MaskObjective]:
        published = self.form == "published"
        guide = pool(problem.x, (self.size, self.size)) if self.reg == "BTV" else None
        effective, asked = self.effective(), self._asked()
        turns = [replace(problem, x0=baseline(name, problem.x)) for name in self.turns[:most]] or [problem]
        for i in range(most):
            active, noise = walk.active.tolist(), self.noise
            draw = Draw.sample(problem, self.ig_iter, not published, noise, active, self.span, bool(self.detail))
            yield MaskObjective(
                problem=turns[i % len(turns)],
                terms=self.terms,
                draw=draw,
                guide=guide,
                alpha=effective["alpha_eff"]
                * (1 - i % self.iterations / self.iterations if self.decay else 1)
                * (self.longer if asked and i >= asked[0] else 1),
                l1=self.L1,
                l2=effective["L2_eff"],
                implicit=not published,
                fresh=not published or self.noise > 0,
                walk=walk,
            )


@dataclass(frozen=True, eq=False)
class MaskObjective:
    """F with one draw of path points and noise: value, gradient and line search read the same numbers.

    The walk is told of every gradient. Explanations that it has stopped cost nothing: 0 and no gradient.
    """

    problem: Problem
    terms: Sequence[Term]
    draw: Draw
    guide: Tensor | None
    alpha: float
    l1: float
    l2: float
    implicit: bool
    fresh: bool
    walk: Walk

    def value(self, masks: Tensor, rows: Tensor) -> Tensor:
        on = self.walk.active[rows]
        if not bool(on.all()):
            value = masks.new_zeros(len(rows))
            value[on] = self.value(masks[on], rows[on]) if bool(on.any()) else value[on]
            return value
        data, _ = path_scores(self.problem, self.terms, masks, self.draw, rows, gradient=False)
        return data + self.regulariser(masks, rows)

    def gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        on = self.walk.active[rows]
        if not bool(on.all()):
            value, g = masks.new_zeros(len(rows)), torch.zeros_like(masks)
            if bool(on.any()):
                value[on], g[on] = self.gradient(masks[on], rows[on])
            return value, g
        self.walk.reached(masks, rows)
        pixels = self.walk.line is not None
        data, slopes = path_scores(self.problem, self.terms, masks, self.draw, rows, gradient=True, pixels=pixels)
        assert slopes is not None
        self.walk.add(masks, rows, slopes)
        with torch.enable_grad():
            m = masks.detach().requires_grad_(True)
            reg = self.regulariser(m, rows)
            (g_reg,) = torch.autograd.grad(reg.sum(), m)
        return data + reg.detach(), slopes.masks + g_reg

    def regulariser(self, masks: Tensor, rows: Tensor) -> Tensor:
        """l1 * mean(1 - prod M) + l2 * smoothness (R,); of each mask (default) or of the product (published)."""
        product = masks.prod(dim=1, keepdim=True)
        smoothed = masks if self.implicit else product
        rough = tv(smoothed) if self.guide is None else bilateral_tv(self.guide[rows][:, None], smoothed)
        return self.l1 * (1 - product).mean(dim=(1, 2, 3)) + self.l2 * rough.sum(dim=1)

    def move(self, masks: Tensor, g: Tensor, alpha: float) -> Tensor:
        """clip(M - a*g), or semi-implicit clip(M - a*(I + a*l2*H)^-1 g).

        The second equals clip((I + a*l2*H)^-1 (M - a*(g - l2*H M))), the implicit step in the quadratic part.
        """
        if self.implicit:
            g = smooth(g, g.new_tensor(alpha * self.l2))
        return (masks - alpha * g).clamp(0, 1)


@dataclass(frozen=True, eq=False)
class Course:
    """What the steps led to: masks (K,n,h,w), after `length` (K,) steps; sure (K,): nobody asked, or the map holds."""

    masks: Tensor
    length: Tensor
    sure: Tensor
    steps: list[Step]


def _status(finite: bool, accepted: bool, moved: float, keep: float, sure: bool) -> str:
    if not finite:
        return "not-finite"
    if not accepted:
        return "stalled"
    if moved < FLAT:
        return "no-effect"
    if keep < FULL:
        return "saturated"
    return "ok" if sure else "unsure"
