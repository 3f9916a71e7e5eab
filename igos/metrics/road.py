"""ROAD, remove and debias. Rong et al.: A Consistent and Efficient Evaluation Strategy for Attribution Methods,
ICML 2022, https://arxiv.org/abs/2202.00449

    value = mean over p of (f(x without its p least relevant) - f(x without its p most relevant)) / 2

Removed pixels become the weighted mean of their eight neighbours (1/6 straight, 1/12 diagonal; beyond the border
there is none, the rest counts in full), plus noise: noisy linear imputation. With W_i the sum of a pixel's weights,
W_i u_i - sum_j w_ij u_j = 0 over the removed ones is symmetric and positive definite: conjugate gradients.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.ops import rank
from igos.base.settings import setting
from igos.metrics.metric import Metric, score, scores, seeded
from igos.metrics.regions import pixels
from igos.types import Explanation, Problem, Score


@dataclass(frozen=True)
class ROAD(Metric):
    """levels: how many p, evenly from 0.1 to 0.9 of the pixels; spread: of the noise, in units of the picture [0,1].

    Random maps score about 0. Curve: p over that half difference.
    """

    levels: int = setting(5, least=1)
    spread: float = setting(0.01, least=0)

    name: ClassVar[str] = "road"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-0.5, 0.5]"
    paper: ClassVar[str] = "Rong et al. 2022"

    @property
    def cost(self) -> str:
        return str(2 * self.levels)

    def __call__(self, problem: Problem, explanations: Sequence[Explanation], context: Any = None) -> list[Score]:
        x, n = problem.x, problem.size[0] * problem.size[1]
        share = np.linspace(0.1, 0.9, self.levels) if self.levels > 1 else np.array([0.5])
        count = np.clip(np.rint(share * n).astype(int), 1, n - 1)
        orders = [rank(pixels(e, problem.size))[0] for e in explanations]
        job = torch.arange(len(explanations) * 2 * self.levels)
        row, least, level = job // (2 * self.levels), job // self.levels % 2, job % self.levels

        def pictures(part: slice) -> Tensor:
            keep = np.ones((len(job[part]), n), dtype=bool)
            noise = torch.zeros(len(keep), *x.shape[1:], dtype=torch.float32)
            jobs = zip(row[part].tolist(), least[part].tolist(), level[part].tolist(), strict=True)
            for j, (r, last, p) in enumerate(jobs):
                order = orders[r][::-1] if last else orders[r]
                keep[j, order[: count[p]]] = False
                noise[j].normal_(generator=seeded(problem, r, f"{self.name}|{p}"))
            kept = torch.from_numpy(keep.reshape(-1, *problem.size)).to(x.device)
            filled = impute(x[row[part].to(x.device)], kept)
            return torch.where(kept[:, None], filled, (filled + self.spread * noise.to(filled)).clamp(0, 1))

        y = scores(problem, row.to(x.device), pictures).reshape(-1, 2, self.levels)
        made = []
        for most, last in y:
            half = (last - most) / 2
            curve = np.stack([share, half])
            made.append(score(self, half.mean(), curve=curve, morf=float(most.mean()), lerf=float(last.mean())))
        return made


def impute(x: Tensor, keep: Tensor, tolerance: float = 1e-5, most: int = 5000) -> Tensor:
    """x (N,C,H,W) with the pixels not in keep (N,H,W) bool filled in from those that are; at least one is.

    tolerance: of the residual, in units of the picture.
    """
    known = keep[:, None].to(x)
    hole = 1 - known
    weight = _neighbours(torch.ones_like(known[:1]))
    total, tiny = (-2, -1), torch.finfo(x.dtype).tiny

    def apply(u: Tensor) -> Tensor:
        return hole * (weight * u - _neighbours(u))

    mean = (x * known).sum(total, keepdim=True) / known.sum(total, keepdim=True)
    u = hole * mean
    r = hole * _neighbours(x * known) - apply(u)
    p = z = r / weight
    rz = (r * z).sum(total, keepdim=True)
    for _ in range(most):
        running = r.abs().amax(total, keepdim=True) > tolerance  # each on its own: batch mates change nothing
        if not running.any():
            break
        q = apply(p)
        step = running * rz / (p * q).sum(total, keepdim=True).clamp(min=tiny)
        u, r = u + step * p, r - step * q
        z = r / weight
        before, rz = rz, (r * z).sum(total, keepdim=True)
        p = z + rz / before.clamp(min=tiny) * p
    return torch.where(keep[:, None], x, u)


def _neighbours(u: Tensor) -> Tensor:
    """The weighted sum of each pixel's eight neighbours, zeros beyond the border."""
    v = F.pad(u, (1, 1, 1, 1))
    v = v[..., :-2] + 2 * v[..., 1:-1] + v[..., 2:]
    v = v[..., :-2, :] + 2 * v[..., 1:-1, :] + v[..., 2:, :]
    return (v - 4 * u) / 12
