"""Other ways to ask a network what speaks for a score and what holds it down, beside the project's own methods.

Each is a method: Problem -> one map of 28 x 28 cells per target. sign 1: what lowers the score where it is hidden; -1:
what raises it. Hidden is what the problem's baseline shows in its place.

    occlusion   windows of 20 px every 10 px; a cell has the mean of what its windows change (225 network images)
    greedy      a grid of 7 x 7 parts, six picked one after another. 1: each pick makes f(picked alone) + f(x) -
                f(x without the picked) largest, the two terms of Chen et al., https://arxiv.org/abs/2411.16198; -1:
                f(x without the picked) alone (294 network images, twice that for 1)
    gradient    the gradient times (x - baseline), one image forward and back
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.ops import Blend, to_grid
from igos.types import Explanation, Problem

CELLS, WINDOW, STEP = 28, 20, 10  # px
PARTS, PICKS = 7, 6


def scores(problem: Problem, row: int, masks: Tensor) -> Tensor:
    """Of target `row`, the scores (n,) of its picture where masks (n,H,W) are 1 and of its baseline where 0."""
    blend, found = Blend(problem.x0, problem.x), problem.x.new_zeros(len(masks))
    rows = torch.full((len(masks),), row, device=problem.x.device)
    for part, s, _ in problem.score.stream(rows, lambda p: blend(rows[p], masks[p])):
        found[part] = s
    return found


def occlusion(problem: Problem, row: int, sign: int) -> Tensor:
    (h, w), windows = problem.size, []
    for y in range(0, h - STEP, STEP):
        for x in range(0, w - STEP, STEP):
            mask = torch.ones(h, w)
            mask[y : y + WINDOW, x : x + WINDOW] = 0
            windows.append(mask)
    masks = torch.stack([torch.ones(h, w), *windows]).to(problem.x)
    f = scores(problem, row, masks)
    hidden = 1 - masks[1:]
    return torch.einsum("n,nhw->hw", sign * (f[0] - f[1:]), hidden) / hidden.sum(0)


def greedy(problem: Problem, row: int, sign: int) -> Tensor:
    h, w = problem.size
    y, x = (torch.arange(n) * PARTS // n for n in (h, w))
    part = (y[:, None] * PARTS + x[None]).to(problem.x.device)
    picked: list[int] = []
    order = torch.zeros(PARTS**2, device=problem.x.device)
    for n in range(PICKS):
        left = [i for i in range(PARTS**2) if i not in picked]
        shown = torch.stack([torch.isin(part, torch.tensor([*picked, i], device=part.device)) for i in left])
        gain = -sign * scores(problem, row, 1 - shown.to(problem.x))
        if sign > 0:
            gain = gain + scores(problem, row, shown.to(problem.x))
        picked.append(left[int(gain.argmax())])
        order[picked[-1]] = PICKS - n
    return order[part]


def gradient(problem: Problem, row: int, sign: int) -> Tensor:
    x, x0 = problem.x[row], problem.x0[row]
    ((_, _, g),) = problem.score.stream(torch.tensor([row], device=x.device), lambda p: x[None], gradient=True)
    assert g is not None
    return sign * (g[0] * (x - x0)).sum(dim=0)


WAYS: dict[str, Callable[[Problem, int, int], Tensor]] = {
    "occlusion": occlusion,
    "greedy": greedy,
    "gradient": gradient,
}


@dataclass(frozen=True)
class Peer:
    """One of WAYS in a method's place; sign: 1 for what speaks for the score, -1 for what holds it down."""

    name: str
    sign: int = 1

    diverse: ClassVar[bool] = False

    def __call__(self, problem: Problem) -> list[Explanation]:
        made = []
        for i, (target, image) in enumerate(zip(problem.targets, problem.images, strict=True)):
            pixels = WAYS[self.name](problem, i, self.sign)
            cells = to_grid(pixels[None, None].float(), (CELLS, CELLS))[0, 0].cpu()
            made.append(Explanation(cells, target, image, self.name))
        return made
