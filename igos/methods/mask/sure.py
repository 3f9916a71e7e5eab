"""Is a map sure? It claims that a few of its cells carry the score; two network images of each explanation tell.

    hiding its top 12 % leaves at most 0.15 of the score, and showing its top 20 % alone brings at least 0.85 of it back

What an emblem decides lies in the first few per cent, and nearly every map has it there. Maps fail by what comes after:
cells in an order of chance bring the score back when they are hidden, or take it away when they are shown. So the
questions reach beyond the evidence.

Shares of the score are between its ends, the picture (1) and its blur (0). A large object needs more: a quarter of
its box is hidden and half of it shown, where that is more. Where the ends are alike there is nothing to tell.
"""

from __future__ import annotations

import torch
from torch import Tensor

from igos.base.ops import rank, upscale
from igos.types import Problem

HIDE, SHOW = 0.12, 0.2  # of the cells
OF_BOX = 0.25, 0.5
LEFT, BACK = 0.15, 0.85  # of the score
ALIKE = 0.05  # of the score: ends nearer than that tell nothing
QUESTION = 2  # network images of one explanation


def holds(problem: Problem, maps: Tensor, rows: Tensor) -> Tensor:
    """Whether the maps (R,h,w) of the explanations `rows` (R,) do what they claim: (R,) bool."""
    ends = problem.score_ends()[rows].to(maps)
    cells = maps[0].numel()
    orders = [rank(m)[0] for m in maps]
    changed = torch.zeros(len(rows), 2, cells)
    for i, (row, order) in enumerate(zip(rows.tolist(), orders, strict=True)):
        for j, count in enumerate(_counts(problem, row, cells)):
            changed[i, j, torch.from_numpy(order[:count].copy())] = 1
    changed[:, 0] = 1 - changed[:, 0]
    keep = upscale(changed.view(-1, *maps.shape[-2:]).to(problem.x), problem.size)
    each = rows.repeat_interleave(2)
    scores = maps.new_zeros(len(each))
    for part, s, _ in problem.score.stream(each, lambda p: problem.blend(each[p], keep[p])):
        scores[part] = s.to(scores)
    whole, blurred = ends.unbind(1)
    left, back = ((scores.view(-1, 2) - blurred[:, None]) / (whole - blurred)[:, None]).unbind(1)
    telling = ((whole - blurred).abs() > ALIKE * whole.abs()) & ends.isfinite().all(dim=1)
    return ~telling | ((left <= LEFT) & (back >= BACK))


def _counts(problem: Problem, row: int, cells: int) -> tuple[int, int]:
    """How many cells are hidden, and shown."""
    box, (height, width) = problem.targets[row].box, problem.size
    area = 0.0
    if box is not None:
        x1, y1, x2, y2 = box.tolist()
        area = max((min(x2, width) - max(x1, 0)) * (min(y2, height) - max(y1, 0)), 0) / (height * width)
    shares = (max(least, part * area) for least, part in zip((HIDE, SHOW), OF_BOX, strict=True))
    hide, show = (max(round(share * cells), 1) for share in shares)
    return hide, show
