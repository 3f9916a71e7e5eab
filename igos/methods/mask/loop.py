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
from dataclasses import asdict, dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.ops import LARGEST_GRID, bilateral_tv, break_ties, pool, smooth, tv
from igos.base.settings import check_settings, setting
from igos.methods.mask.optim import OPTIMIZERS
from igos.methods.mask.path import Draw, Term, path_scores
from igos.types import Explanation, Problem

FORMS = ("default", "published")
SMOOTHNESS = ("TV", "BTV")
REFERENCE_CELLS = 28 * 28
OVER_SMOOTH = 100  # alpha * L2: ten times the default's; the papers' numbers are of 200 (detectors) and more
FLAT, FULL = 1e-3, 0.02  # a map that rises less than FLAT shows nothing; a mean mask below FULL hides all


@dataclass(frozen=True)
class MaskMethod:
    """The settings that the mask methods share; a subclass names its loss terms.

    opt {LS, NAG, PG} or a callable of optim.py's form; form {default, published}; size: N x N mask cells;
    iterations: mask steps T; ig_iter: path points S per step; alpha: step; L1, L2: weights of sparsity and
    smoothness, in the form's units; reg {TV, BTV}: by default the paper's in the published form, TV in the other;
    noise: standard deviation in [0,1] pixels, added to every blended picture; decay: alpha falls linearly to 0
    over the iterations. Cost: len(terms) * S * T network images forward and backward; LS adds len(terms) * S
    forwards per trial.
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

    name: ClassVar[str]
    terms: ClassVar[tuple[Term, ...]]
    mask_count: ClassVar[int] = 1
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

    @property
    def cost(self) -> str:
        return f"{len(self.terms)}*S*T = {len(self.terms) * self.ig_iter * self.iterations}"

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
        k = len(problem.x)
        masks = self._start(problem)
        first = masks.prod(dim=1)
        optimizer = OPTIMIZERS[self.opt] if isinstance(self.opt, str) else self.opt
        pull = torch.zeros_like(masks)
        steps = []
        for step in optimizer(self._objectives(problem, pull), masks):
            steps.append(step)
            problem.tell(len(steps), self.iterations, step.masks.prod(dim=1))
        masks = steps[-1].masks
        accepted = torch.stack([s.accepted for s in steps]).any(dim=0)
        finite = torch.stack([s.finite for s in steps]).all(dim=0)
        product = masks.prod(dim=1)
        saliency = 1 - product
        if self.form == "default":
            one_step = pull.new_tensor(math.prod(self.effective().values()))
            saliency = break_ties(saliency, smooth(pull.sum(dim=1), one_step))
        moved = (product - first).abs().flatten(1).amax(dim=1)
        keep = product.flatten(1).mean(dim=1)
        return [
            Explanation(
                saliency=saliency[i].float().cpu(),
                target=problem.targets[i],
                image=problem.images[i],
                method=self.name,
                status=_status(bool(finite[i]), bool(accepted[i]), float(moved[i]), float(keep[i])),
                masks=masks[i].float().cpu(),
                trace={
                    "objective": np.array([float(s.value[i]) for s in steps]),
                    "mask_min": np.array([float(s.masks[i].min()) for s in steps]),
                    "mask_max": np.array([float(s.masks[i].max()) for s in steps]),
                },
                settings={**asdict(self), **self.effective()},
                opt=self.opt if isinstance(self.opt, str) else getattr(self.opt, "__name__", "custom"),
                form=self.form,
            )
            for i in range(k)
        ]

    def _start(self, problem: Problem) -> Tensor:
        """Masks (K,n,h,w) whose product is the problem's start, or ones."""
        ones = problem.x.new_ones(len(problem.x), self.mask_count, self.size, self.size)
        if problem.start is None:
            return ones
        return ones * problem.start.to(ones)[:, None] ** (1 / self.mask_count)

    def _objectives(self, problem: Problem, pull: Tensor) -> Iterator[MaskObjective]:
        published = self.form == "published"
        guide = pool(problem.x, (self.size, self.size)) if self.reg == "BTV" else None
        effective = self.effective()
        for i in range(self.iterations):
            draw = Draw.sample(problem, self.ig_iter, jitter=not published, noise=self.noise)
            yield MaskObjective(
                problem=problem,
                terms=self.terms,
                draw=draw,
                guide=guide,
                alpha=effective["alpha_eff"] * (1 - i / self.iterations if self.decay else 1),
                l1=self.L1,
                l2=effective["L2_eff"],
                implicit=not published,
                fresh=not published or self.noise > 0,
                pull=pull,
            )


@dataclass(frozen=True, eq=False)
class MaskObjective:
    """F with one draw of path points and noise: value, gradient and line search read the same numbers.

    pull (K,n,h,w) sums up the gradients of the data terms over the iterations.
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
    pull: Tensor

    def value(self, masks: Tensor, rows: Tensor) -> Tensor:
        data, _ = path_scores(self.problem, self.terms, masks, self.draw, rows, gradient=False)
        return data + self.regulariser(masks, rows)

    def gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        data, g = path_scores(self.problem, self.terms, masks, self.draw, rows, gradient=True)
        assert g is not None
        self.pull[rows] += g
        with torch.enable_grad():
            m = masks.detach().requires_grad_(True)
            reg = self.regulariser(m, rows)
            (g_reg,) = torch.autograd.grad(reg.sum(), m)
        return data + reg.detach(), g + g_reg

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


def _status(finite: bool, accepted: bool, moved: float, keep: float) -> str:
    if not finite:
        return "not-finite"
    if not accepted:
        return "stalled"
    if moved < FLAT:
        return "no-effect"
    return "saturated" if keep < FULL else "ok"
