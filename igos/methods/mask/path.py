"""The path score P of a mask, its gradient, and quadrature rules.

    Phi(I, B, M) = I*U(M) + B*(1 - U(M))                          M = 1 keeps the pixel
    P(I, B, M)   = (1/S) sum_k f(Phi(I, B, t_k*M) + eps_k)        deletion: how much score survives
    P(B, I, M)                                                    insertion: how much the hidden part scores
    dP/dU(M)     = (1/S) sum_k t_k * sum_channels g_k*(I - B),    g_k = df/d(blended picture)

The gradient needs no graph through the blend: the network is asked only for g_k, and one backward through
the linear U ends it. What is left on pixels on the way is kept where a map of them is wanted (detail.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce

import torch
from torch import Tensor

from igos.base.ops import channel_sum, upscale, upscale_adjoint
from igos.types import Problem


@dataclass(frozen=True)
class Term:
    """weight * P over the product of the masks named by index; insert swaps picture and baseline."""

    weight: float
    masks: tuple[int, ...] = (0,)
    insert: bool = False


@dataclass(frozen=True)
class Draw:
    """One sample of the path for every explanation: t (K,S) in [0,1]; noise_seed (K,) or None; its scale.

    spread: the terms do not ask at the same t, see `points`; a jittered path of the whole span alone.
    """

    t: Tensor
    noise: float = 0.0
    noise_seed: Tensor | None = None
    spread: bool = False

    @classmethod
    def sample(
        cls,
        problem: Problem,
        steps: int,
        jitter: bool,
        noise: float,
        active: Sequence[bool] | None = None,
        span: tuple[float, float] = (0.0, 1.0),
        spread: bool = False,
    ) -> Draw:
        """t_k = k/S for k = 1..S, or, jittered, (k + u_k)/S for k = 0..S-1, u from each own generator; brought from
        [0,1] into the span.

        Nothing is drawn for explanations that are not active (K).
        """
        k = torch.arange(steps, dtype=torch.float64)
        drawn = list(zip(problem.generators, active or [True] * len(problem.generators), strict=True))
        if jitter:
            none = torch.zeros(steps, dtype=torch.float64)
            u = [torch.rand(steps, generator=g, dtype=torch.float64) if on else none for g, on in drawn]
            t = (k + torch.stack(u)) / steps
        else:
            t = ((k + 1) / steps).expand(len(problem.x), steps)
        t = span[0] + (span[1] - span[0]) * t if span != (0.0, 1.0) else t
        zero = torch.zeros((), dtype=torch.long)
        seeds = [torch.randint(2**62, (), generator=g) if on else zero for g, on in drawn] if noise else None
        return cls(
            t.to(problem.x), noise, torch.stack(seeds) if seeds else None, spread and jitter and span == (0.0, 1.0)
        )

    def points(self, terms: Sequence[Term]) -> Tensor:
        """t (K,J,S) of each of the J terms.

        Where masks have barely moved, terms of one t see the same two pictures, at t and at 1 - t of the way from the
        baseline to the picture. Spread, term j sees it a j-th part of a point's interval further on, so that the J
        pictures of an interval lie evenly. Each t stays even over its interval.
        """
        if not self.spread:
            return self.t[:, None].expand(-1, len(terms), -1)
        count = self.t.shape[1]
        k = torch.arange(count).to(self.t)
        j = torch.arange(len(terms)).to(self.t)[:, None] / len(terms)
        v = (k + (self.t[:, None] * count - k + j) % 1) / count
        insert = torch.tensor([term.insert for term in terms], device=v.device)
        return torch.where(insert[:, None], 1 - v, v)


@dataclass(frozen=True, eq=False)
class Slopes:
    """The gradients of R values P: masks (R,n,h,w), dP/dM.

    On pixels, where asked for: products, for each product V of upsampled masks that a term hides by, named by the
    masks' numbers, dP/dV (R,H,W); steepness (R,H,W), the sum of |df/d(blended picture)| over channels, points, terms.
    """

    masks: Tensor
    products: dict[tuple[int, ...], Tensor]
    steepness: Tensor | None = None


def path_scores(
    problem: Problem,
    terms: Sequence[Term],
    masks: Tensor,
    draw: Draw,
    rows: Tensor,
    gradient: bool,
    pixels: bool = False,
) -> tuple[Tensor, Slopes | None]:
    """sum of the weighted terms for the explanations `rows` (R,), and its slopes, on pixels too where asked.

    masks (R,n,h,w) in [0,1] -> values (R,), Slopes or None.
    """
    size = problem.size
    u = upscale(masks, size)
    keep = torch.stack([product_of(u, term.masks) for term in terms], dim=1)
    r_count, t_count, s_count = len(rows), len(terms), draw.t.shape[1]
    job = torch.arange(r_count * t_count * s_count, device=masks.device)
    r, term, s = job // (t_count * s_count), job // s_count % t_count, job % s_count
    weight = masks.new_tensor([t.weight for t in terms])[term] / s_count
    # P(B,I,M) shows I*(1 - t*U) + B*t*U: both directions are x0 + v*(x - x0), v = t*U or 1 - t*U
    turned = masks.new_tensor([t.insert for t in terms])[term]
    slope = (1 - 2 * turned) * draw.points(terms)[rows][r, term, s]
    blend = problem.blend

    def pictures(part: slice) -> Tensor:
        v = keep[r[part], term[part]]
        torch.addcmul(turned[part, None, None], slope[part, None, None], v, out=v)
        k = rows[r[part]]
        return _add_noise(blend(k, v), draw, k, s[part])

    values = masks.new_zeros(r_count)
    d_keep = torch.zeros_like(keep)
    steepness = masks.new_zeros(r_count, *size) if pixels else None
    for part, scores, g in problem.score.stream(rows[r], pictures, gradient):
        values.index_add_(0, r[part], weight[part] * scores.to(values))
        if g is not None:
            g = g.contiguous()
            pull = channel_sum(g * blend.difference(rows[r[part]])).mul_((weight * slope)[part, None, None])
            d_keep.view(-1, *size).index_add_(0, r[part] * t_count + term[part], pull)
            if steepness is not None:
                steepness.index_add_(0, r[part], channel_sum(g.abs()).to(steepness))
    if not gradient:
        return values, None
    products: dict[tuple[int, ...], Tensor] = {}
    for i, term_ in enumerate(terms):
        known = products.get(term_.masks)
        products[term_.masks] = d_keep[:, i] if known is None else known + d_keep[:, i]
    d_u = torch.zeros_like(u)
    for hidden, slope_ in products.items():
        for n in hidden:
            others = [m for m in hidden if m != n]
            d_u[:, n] += slope_ * product_of(u, others) if others else slope_
    d_masks = upscale_adjoint(d_u, (masks.shape[-2], masks.shape[-1]))
    return values, Slopes(d_masks, products if pixels else {}, steepness)


def product_of(u: Tensor, masks: Sequence[int]) -> Tensor:
    """The product of the masks named by index: (R,n,H,W) -> (R,H,W)."""
    return reduce(torch.mul, (u[:, m] for m in masks))


def _add_noise(x: Tensor, draw: Draw, rows: Tensor, s: Tensor) -> Tensor:
    """The same noise for the same (explanation, path point), however the work is cut."""
    if draw.noise_seed is None:
        return x
    noise = [_normal(x.shape[1:], int(draw.noise_seed[k]) + int(i)) for k, i in zip(rows.cpu(), s.cpu(), strict=True)]
    return x + draw.noise * torch.stack(noise).to(x)


def _normal(shape: torch.Size, seed: int) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
