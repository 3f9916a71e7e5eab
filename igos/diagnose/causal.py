"""How much of a score is the object's, and how much its context's: both are hidden and shown, six pictures each.

    f(x)   the picture              f(ctx)  the context alone: the object is filled from outside of it
    f(0)   neither: mean colour     f(obj)  the object alone, on mean colour and on two other pictures: their mean

    object  = 1/2 [ (f(x) - f(ctx)) + (f(obj) - f(0)) ]
    context = 1/2 [ (f(x) - f(obj)) + (f(ctx) - f(0)) ]        which sum to f(x) - f(0)
    interaction = f(x) - f(obj) - f(ctx) + f(0)                < 0: either is enough, > 0: both are needed

are the Shapley values of a game of two players (Lundberg, Lee 2017, https://arxiv.org/abs/1705.07874).
object_drop = 1 - f(ctx)/f(x), context_drop = 1 - f(obj)/f(x), None where f(x) < 0.01. All of them are of the
probability at the pinned row or box, and `*_logodds` of its log-odds.

The object is its mask, else its box, grown by 10 % of sqrt(area), with a soft edge. It is filled by a normalised blur
of what lies outside. `range` is the largest difference of f(obj) between its three backgrounds.

f(x) of a detection is known. Where it keeps less than half of it alone, the sixth picture goes to another question:
`f_another`, the best score of its class by any candidate that covers the object, where that is alone on mean colour.
Where this is high, the detector still sees the object, and what was lost is that of the pinned candidate.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.baselines import baseline
from igos.base.boxes import pairwise_iou
from igos.base.geometry import Geometry
from igos.base.ops import gaussian_blur
from igos.data.expected import Every
from igos.data.truth import LEAST_IOU
from igos.metrics.ladder import hidden
from igos.types import Adapter, Image, Target

GROW = 0.1  # of sqrt(area)
LEAST = 0.01  # f(x) below which no share of it is told
DEPENDENT = 0.3  # the range above which a figure depends on what hides
IMAGES = 6
SOFT = (1.0, 2.0, 4.0, 8.0)  # px, of a matte's edge
COARSE = 4  # px of a cell on which a hole is filled


def causes(
    adapter: Adapter,
    image: Image,
    targets: Sequence[Target],
    masks: Sequence[np.ndarray | None],
    others: Tensor,
    batch: int | None = None,
) -> tuple[list[dict[str, Any]], float]:
    """The figures of targets with boxes in one picture, and the seconds inside the network: at most IMAGES pictures
    each. masks: of each its object's (H0,W0) bool in source pixels, None where that is not known; others (n,3,H,W):
    pictures to put the objects into.
    """
    if not targets:
        return [], 0.0
    x = image.pixels
    grey = baseline("mean", x[None])[0]
    alphas = [matte(t, m, image.geometry).to(x) for t, m in zip(targets, masks, strict=True)]

    def picture(k: int, which: int) -> Tensor:
        a = alphas[k]
        if which == 0:
            return x
        if which == 1:
            return x + a * (outside(x, a) - x)
        under = grey if which in (2, IMAGES - 1) else others[(2 * k + which - 3) % len(others)]
        return under if which == IMAGES - 1 else under + a * (x - under)

    scorer = adapter.scorer(targets, "logodds", batch)
    odds = torch.zeros(len(targets), IMAGES, dtype=torch.float64)
    own = [(t.own or {}).get("logodds") for t in targets]
    for k, known in enumerate(own):
        odds[k, 0] = known or 0.0
    jobs = [(k, n) for k in range(len(targets)) for n in range(IMAGES) if n or own[k] is None]
    rows, at = torch.tensor([k for k, _ in jobs], device=x.device), torch.tensor(jobs)
    for part, s, _ in scorer.stream(rows, lambda p: torch.stack([picture(*job) for job in jobs[p]])):
        odds[at[part, 0], at[part, 1]] = s.double().cpu()
    made, begin = [figures(v.sigmoid().numpy(), v.numpy()) for v in odds], time.perf_counter()
    for k, f in enumerate(made):
        if own[k] is not None and f["f"] is not None and f["f"] >= LEAST and f["f_object"] < f["f"] / 2:
            f["f_another"] = another(adapter, image, picture(k, 2), targets[k], masks[k])
    return made, scorer.seconds + time.perf_counter() - begin


def another(adapter: Adapter, image: Image, alone: Tensor, target: Target, mask: np.ndarray | None) -> float:
    """The best score of the target's class by any candidate whose box and its object's have IoU >= 0.5, where the
    picture shows this object alone (3,H,W); 0 without any.
    """
    box = target.box
    if mask is not None and mask.any():
        y, x = (np.flatnonzero(mask.any(axis=a)) for a in (1, 0))
        box = image.geometry.to_network(torch.tensor([x[0], y[0], x[-1] + 1, y[-1] + 1], dtype=torch.float32))
    every = Every(adapter, hidden(image, alone)).of(target.label)
    assert box is not None and every.boxes is not None
    near = pairwise_iou(box.to(every.boxes), every.boxes[0]) >= LEAST_IOU
    scores = every.scores()[0, :, target.label][near]
    return round(float(scores.max()), 5) if len(scores) else 0.0


def figures(p: np.ndarray, odds: np.ndarray) -> dict[str, Any]:
    """Of f(x), f(ctx), f(obj) on three backgrounds and f(0), as probabilities p (6,) and as log-odds (6,)."""
    x, ctx, alone, none = _four(p)
    known = bool(np.isfinite(p).all() and np.isfinite(odds).all())
    made = {**_shapley(x, ctx, alone, none), "object_drop": None, "context_drop": None}
    if known and x >= LEAST:
        made |= {"object_drop": 1 - ctx / x, "context_drop": 1 - alone / x}
    made |= {f"{k}_logodds": v for k, v in _shapley(*_four(odds)).items()}
    spread = float(p[2:5].max() - p[2:5].min())
    made |= {"f": x, "f_context": ctx, "f_object": alone, "f_neither": none, "range": spread}
    plain = {k: round(float(v), 5) if v is not None and math.isfinite(v) else None for k, v in made.items()}
    return {**plain, "substrate_dependent": spread > DEPENDENT, "f_another": None}


def _four(f: np.ndarray) -> tuple[float, float, float, float]:
    return float(f[0]), float(f[1]), float(f[2:5].mean()), float(f[5])


def _shapley(x: float, ctx: float, alone: float, none: float) -> dict[str, float]:
    return {
        "object": ((x - ctx) + (alone - none)) / 2,
        "context": ((x - alone) + (ctx - none)) / 2,
        "interaction": x - alone - ctx + none,
    }


def matte(target: Target, mask: np.ndarray | None, geometry: Geometry) -> Tensor:
    """(H,W) in [0,1], 1 on the object: its mask (H0,W0) bool, else that of the target, else the box; grown, soft."""
    if mask is not None:
        solid = on_network(mask, geometry)
    elif target.mask is not None:
        solid = target.mask.float().cpu()
    else:
        solid = torch.zeros(geometry.network)
    if not bool(solid.any()):
        assert target.box is not None
        box = target.box if target.wanted is None else target.wanted
        height, width = geometry.network
        x1, y1, x2, y2 = (round(v) for v in box.tolist())
        left, top = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
        solid = torch.zeros(geometry.network)
        solid[top : max(y2, top + 1), left : max(x2, left + 1)] = 1
    reach = max(round(GROW * math.sqrt(float(solid.sum()))), 1)
    wide, side = solid[None, None], 2 * reach + 1
    for kernel, pad in (((side, 1), (reach, 0)), ((1, side), (0, reach))):
        wide = F.max_pool2d(wide, kernel, stride=1, padding=pad)
    soft = SOFT[min(int(np.searchsorted(SOFT, reach / 2)), len(SOFT) - 1)]
    return gaussian_blur(wide[0, 0], 2 * round(2 * soft) + 1, soft).clamp(0, 1)


def on_network(mask: np.ndarray, g: Geometry) -> Tensor:
    """A mask (H0,W0) of source pixels at the centres of the network's pixels (H,W), 0 or 1."""
    places, inside = [], []
    for size, n0, scale, offset in zip(g.network, g.source, g.scale, g.offset, strict=True):
        place = np.floor((np.arange(size) + 0.5 - offset) / scale)
        places.append(place.clip(0, n0 - 1).astype(int))
        inside.append((place >= 0) & (place < n0))
    made = mask[np.ix_(*places)] & inside[0][:, None] & inside[1][None]
    return torch.from_numpy(made.astype(np.float32))


def outside(x: Tensor, alpha: Tensor) -> Tensor:
    """(3,H,W): each pixel the mean of the nearest pixels that are not the object's, alpha (H,W): a normalised blur of
    the least width that reaches them.
    """
    size, keep = (x.shape[-2], x.shape[-1]), (1 - alpha).clamp(0, 1)
    if float(keep.max()) < 1e-3:
        return baseline("mean", x[None])[0]
    cells = (max(size[0] // COARSE, 1), max(size[1] // COARSE, 1))
    known, colour = (F.adaptive_avg_pool2d(v[None], cells)[0] for v in (keep[None], x * keep))
    made, open_ = torch.zeros_like(colour), torch.ones_like(known, dtype=torch.bool)
    sigma, side = 1.0, float(max(cells))
    while bool(open_.any()) and sigma < 4 * side:
        kernel = 2 * round(2.5 * sigma) + 1
        weight, sums = gaussian_blur(known, kernel, sigma), gaussian_blur(colour, kernel, sigma)
        now = open_ & (weight > 0.02)
        made = torch.where(now, sums / weight.clamp(min=1e-6), made)
        open_ &= ~now
        sigma *= 2
    mean = (x * keep).sum(dim=(1, 2)) / keep.sum()
    made = torch.where(open_, mean[:, None, None], made)
    return F.interpolate(made[None], size, mode="bilinear", align_corners=False)[0].clamp(0, 1)
