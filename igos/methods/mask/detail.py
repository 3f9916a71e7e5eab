"""What the walk of a mask leaves on pixels. A mask step asks the network how its score changes with every pixel that it
blends, and folds the answer onto the mask's cells; here it is kept before it is folded. It costs no network images.

For the walk y_0 = ones (or the start), y_1, ..., y_T through the points where gradients were taken, y_T the answer, and
V the products of upsampled masks that the terms of P hide by:

    L(p) = sum_i sum_V dP/dV(y_i)(p) * (V(y_i) - V(y_{i+1}))(p)     the line integral: how much the walk lowered P at p
    D(p) = sum_i sum_V dP/dV(y_i)(p)                                > 0 where hiding the pixel lowers P
    E(p) = sum_i sum_k sum_channels |df/d(blended picture)|(p)      how much the network looks there at all

    F = G|L| * G|D| * G E * (0.3 + max(G D, 0)),   detail = F^(2/3)

each factor, and F, over its own maximum; G a Gaussian of sigma = long side / 40. The absolute values find evidence of
either sign within an object; the last factor prefers what hiding lowers. The power changes no ranking.

A step that was refused adds 0 to L. A start that is not ones adds the way from ones to it, with the first gradient. For
small steps the sum of L is P(y_0) - P(y_T); for a score that is linear in the pixels it is so for steps of any size.

Memory: L, D and E, and between a gradient and the step after it one array for each V.
"""

from __future__ import annotations

import torch
from torch import Tensor

from igos.base.ops import gaussian_blur, to_grid, upscale
from igos.methods.mask.path import Slopes, product_of

FINENESS = 40  # the Gaussian's sigma is the long side over this
UNSIGNED = 0.3  # what a pixel keeps that hiding does not lower
POWER = 2 / 3


class Walk:
    """The walk of K explanations' masks (K,n,h,w): where they are, and what their gradients summed up to.

    active (K) says which go on; pull (K,n,h,w) sums up dP/dM. line, slope and steepness are L, D and E (K,H,W), or
    None without `pixels`.
    """

    def __init__(self, masks: Tensor, size: tuple[int, int], pixels: bool) -> None:
        self.size = size
        self.active = torch.ones(len(masks), dtype=torch.bool, device=masks.device)
        self.pull = torch.zeros_like(masks)
        self.line = self.slope = self.steepness = None
        if pixels:
            self.line, self.slope, self.steepness = (masks.new_zeros(len(masks), *size) for _ in range(3))
        self._at = torch.ones_like(masks)
        self._fresh = torch.ones(len(masks), dtype=torch.bool, device=masks.device)
        self._pending: dict[tuple[int, ...], Tensor] = {}
        self._rows = torch.zeros(0, dtype=torch.long, device=masks.device)

    def reached(self, masks: Tensor, rows: Tensor) -> None:
        """The explanations `rows` (R,) stand at masks (R,n,h,w): their last step goes into L."""
        if self.line is None or not len(rows):
            return
        place = (self._rows[:, None] == rows).int()  # (pending, R)
        done, at = place.any(dim=1), place.argmax(dim=1)
        if not bool(done.any()):
            return
        keep = torch.nonzero(~done)[:, 0]
        now = torch.nonzero(done)[:, 0] if len(keep) else slice(None)
        which = self._rows[now]
        here, there = upscale(self._at[which], self.size), upscale(masks[at[now]], self.size)
        for product, slope in self._pending.items():
            way = product_of(here, product) - product_of(there, product)
            self.line.index_add_(0, which, way.mul_(slope[now]))
        self._pending = {p: s[keep] for p, s in self._pending.items()} if len(keep) else {}
        self._rows = self._rows[keep]

    def stop(self, masks: Tensor, rows: Tensor) -> None:
        """The explanations `rows` (R,) end at masks (R,n,h,w)."""
        self.reached(masks, rows)
        self.active[rows] = False

    def add(self, masks: Tensor, rows: Tensor, slopes: Slopes) -> None:
        """The gradients that were taken at masks (R,n,h,w) of the explanations `rows` (R,)."""
        self.pull[rows] += slopes.masks
        if self.line is None:
            return
        assert self.slope is not None and self.steepness is not None and slopes.steepness is not None
        finite = slopes.masks.flatten(1).isfinite().all(dim=1)
        if not bool(finite.all()):  # such a step is refused
            rows, masks = rows[finite], masks[finite]
            products, steepness = {p: s[finite] for p, s in slopes.products.items()}, slopes.steepness[finite]
        else:
            products, steepness = slopes.products, slopes.steepness
        first = self._fresh[rows]
        for slope in products.values():
            self.slope.index_add_(0, rows, slope)
        if bool((masks[first] < 1).any()):
            u = upscale(masks[first], self.size)
            for product, slope in products.items():
                self.line.index_add_(0, rows[first], slope[first] * (1 - product_of(u, product)))
        self.steepness.index_add_(0, rows, steepness)
        self._fresh[rows] = False
        self._at[rows] = masks
        self._pending = {p: torch.cat([self._pending[p], s]) if p in self._pending else s for p, s in products.items()}
        self._rows = torch.cat([self._rows, rows])

    def evidence(self, rows: Tensor, size: tuple[int, int]) -> Tensor | None:
        """Q = max(G D, 0) on the mask's cells, over its maximum: (R,h,w) in [0,1]; None without pixels."""
        if self.slope is None:
            return None
        return _unit(to_grid(near(self.slope[rows]).clamp(min=0)[:, None], size)[:, 0])

    def detail(self, rows: Tensor) -> Tensor | None:
        """The detail (R,H,W) in [0,1] of the explanations `rows` (R,), or None without pixels."""
        if self.line is None:
            return None
        assert self.slope is not None and self.steepness is not None
        line, slope, steepness = self.line[rows], self.slope[rows], self.steepness[rows]
        parts = near(line.abs()), near(slope.abs()), near(steepness)
        for_it = UNSIGNED + _unit(near(slope).clamp(min=0))
        return _unit(torch.stack([_unit(p) for p in parts]).prod(dim=0) * for_it) ** POWER


def on_cells(detail: Tensor, size: tuple[int, int]) -> Tensor:
    """A detail (R,H,W) on the mask's cells, over its maximum: (R,h,w) in [0,1]."""
    return _unit(to_grid(detail[:, None], size)[:, 0])


def near(x: Tensor) -> Tensor:
    """G x: (K,H,W) blurred by a Gaussian of the long side / FINENESS."""
    sigma = max(x.shape[-2:]) / FINENESS
    return gaussian_blur(x, 2 * round(3 * sigma) + 1, sigma)


def _unit(x: Tensor) -> Tensor:
    return x / x.amax(dim=(-2, -1), keepdim=True).clamp(min=1e-30)
