"""OPTIMIZERS: how a mask walks downhill inside [0,1]. All share one move:

    move(M, g, a) = clip(M - a * D_a g, 0, 1)

D_a is the identity (published, explicit form) or (I + a*l2*H)^-1 (default, semi-implicit form: the quadratic
smoothness H is solved for, so it puts no bound on a). An optimiser is a generator: it takes one objective per
iteration (one draw of the path and noise each) and yields the masks after each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

ARMIJO, DECAY, SMALLEST_STEP = 1e-4, 0.2, 1e-5


class Objective(Protocol):
    """F over masks (R,n,h,w) of the explanations `rows` (R,), with one draw of path points and noise."""

    @property
    def alpha(self) -> float: ...

    @property
    def fresh(self) -> bool:
        """The next iteration draws anew, so a step refused now may be accepted then."""
        ...

    def value(self, masks: Tensor, rows: Tensor) -> Tensor: ...

    def gradient(self, masks: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]: ...

    def move(self, masks: Tensor, g: Tensor, alpha: float) -> Tensor: ...


@dataclass(frozen=True)
class Step:
    """masks (K,n,h,w) after the step; value (K,) of the objective before it; accepted and finite (K,) bool."""

    masks: Tensor
    value: Tensor
    accepted: Tensor
    finite: Tensor


Optimizer = Callable[[Iterable[Objective], Tensor], Iterator[Step]]


def projected_gradient(objectives: Iterable[Objective], x: Tensor) -> Iterator[Step]:
    """PG: x <- move(x, g(x), alpha)."""
    rows = torch.arange(len(x), device=x.device)
    for f in objectives:
        value, g = f.gradient(x, rows)
        finite = _finite(value, g)
        x = _where(finite, f.move(x, g, f.alpha), x)
        yield Step(x, value, finite, finite)


def nesterov(objectives: Iterable[Objective], x: Tensor) -> Iterator[Step]:
    """NAG: x_{i+1} = move(y_i, g(y_i), alpha); y_{i+1} = clip(x_{i+1} + i/(i+3) (x_{i+1} - x_i)). Answers x."""
    rows = torch.arange(len(x), device=x.device)
    y = x
    for i, f in enumerate(objectives):
        value, g = f.gradient(y, rows)
        finite = _finite(value, g)
        x, last = _where(finite, f.move(y, g, f.alpha), x), x
        y = (x + i / (i + 3) * (x - last)).clamp(0, 1)
        yield Step(x, value, finite, finite)


def line_search(objectives: Iterable[Objective], x: Tensor) -> Iterator[Step]:
    """LS: the first a of alpha, alpha*0.2, ... >= 1e-5 with <g, M - M(a)> > 0 and

        F(M(a)) <= F(M) - 1e-4 * <g, M - M(a)>,   M(a) = move(M, g, a)        (projected Armijo)

    Value, gradient and every trial read the same draw. Each explanation has its own a; one without an
    acceptable step stays, and on a fixed path it is done.
    """
    active = torch.arange(len(x), device=x.device)
    value = x.new_zeros(len(x))
    for f in objectives:
        if not len(active):
            return
        x, value = x.clone(), value.clone()
        value[active], g = f.gradient(x[active], active)
        accepted = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        finite = ~accepted
        finite[active] = _finite(value[active], g)
        pending = torch.nonzero(finite[active])[:, 0]
        a = f.alpha
        while len(pending) and a >= SMALLEST_STEP:
            rows = active[pending]
            trial = f.move(x[rows], g[pending], a)
            gain = (g[pending] * (x[rows] - trial)).sum(dim=(1, 2, 3))
            good = (gain > 0) & (f.value(trial, rows) <= value[rows] - ARMIJO * gain)
            x[rows[good]] = trial[good]
            accepted[rows[good]] = True
            pending, a = pending[~good], a * DECAY
        yield Step(x, value, accepted, finite)
        if not f.fresh:
            active = active[accepted[active]]


def _finite(value: Tensor, g: Tensor) -> Tensor:
    return value.isfinite() & g.flatten(1).isfinite().all(dim=1)


def _where(condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
    return torch.where(condition[:, None, None, None], a, b)


OPTIMIZERS: dict[str, Optimizer] = {"LS": line_search, "NAG": nesterov, "PG": projected_gradient}
