"""Does hiding what the map names raise the score, and does that mean anything? The figures of --ask why-not.

The map's first cells are hidden by three substrates (a blur, the mean colour, a light blur) on the ladder of shares
(ladder.py), and the median of the three scores is read at each share:

    raised     how far the median lies above the best score that the target's row had in the untouched picture, of any
               class, in the mean over the shares up to 15 %, in probability: below that the row only takes another
               name, and no more is seen (of a classifier, whose one row is the picture: above f(x))
    crosses    the smallest share at which the median reaches the threshold (a classifier: at which its class leads)
    detected   whether the model's own detect then gives the class, IoU >= 0.5, for two of the three substrates
    null       the share of candidates of classes that are nowhere in their picture whose `raised` is as large
    other      the change of another network's score by the same hiding, where one is given

The null candidates (igos/data/nulls.py) count alike, or the more the nearer their score is to this one, in log-odds,
none more than a tenth: the larger share is told. The verdict:

    covered    the median crosses, with at most 15 % of the picture, the model detects it, and null <= 0.1
    sensitive  it crosses, but one of these fails: the score can be pushed, no cause is shown
    missing    it does not cross

A score that is over the threshold as it is crosses at no share: there is no verdict, and crosses is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import baseline
from igos.base.boxes import pairwise_iou
from igos.base.ops import upscale
from igos.data.nulls import Null, lift, share_alike
from igos.data.truth import LEAST_IOU, same_class
from igos.metrics.ladder import (
    FINEST,
    RUNGS,
    SHARES,
    Ladder,
    climbed,
    hidden,
    leading,
    percent,
    rungs,
    short,
    threshold_of,
    whole,
)  # fmt: skip
from igos.metrics.metric import Context, score
from igos.metrics.statistics import NAN
from igos.metrics.transfer import carried
from igos.types import Explanation, Problem, Score, Target

SUBSTRATES_ASKED = ("blur", "mean", "light_blur")
MOST_SHARE, MOST_NULL = 0.15, 0.1
LITTLE = int((SHARES <= MOST_SHARE).sum())  # rungs of the ladder
ALREADY = "the score is over the threshold already"
PUSHED = "the score can be pushed, no cause is shown"


@dataclass(frozen=True)
class Raised(Ladder):
    """See above; needs the model's detect (Context.adapter) and null candidates (Context.nulls) for its verdict."""

    label: ClassVar[str] = "raised"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[0, 1]"
    asks: ClassVar[tuple[str, ...]] = ("why-not",)
    bare_details: ClassVar[tuple[str, ...]] = ("crosses", "detected", "null", "other")

    @property
    def cost(self) -> str:
        return f"{len(SUBSTRATES_ASKED) * RUNGS} + 5"

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        target, adapter = problem.targets[row], context.adapter
        f, tops = whole(problem, row, e), rungs(e, problem.size)
        least = threshold_of(context, adapter)
        if _over(problem, row, context, f, least):
            made = score(self, NAN, ALREADY, of=f)
            made.detail.update(crosses=0.0, verdict=None, sentence=already(target, f, least))
            return made
        under = [baseline(name, problem.x[row : row + 1])[0] for name in SUBSTRATES_ASKED]
        each = np.stack([climbed(problem, row, u, 1 - tops) for u in under])
        median = np.median(each, axis=0)
        if not np.isfinite(median).all():
            return score(self, NAN)
        firsts = [leading(problem, row, u, 1 - tops, context) for u in under]
        known = [first for first in firsts if first is not None]
        over = np.sum(known, axis=0) >= 2 if known else median >= least
        crosses = float(SHARES[int(np.argmax(over))]) if over.any() else NAN
        at = int(np.argmax(over)) if over.any() else int(median.argmax())
        seen = self._detected(problem, row, context, under, tops[at], least) if over.any() else None
        best, first = row_best(problem, row, context) or (0.0, None)
        asked = Null(f, tuple(median), best)
        nulls = [n if first else n._replace(best=0.0) for n in context.nulls or ()]
        null = share_alike(asked, LITTLE, nulls) if nulls else NAN
        facts = {
            "crosses": crosses,
            "detected": NAN if seen is None else float(seen),
            "null": null,
            "other": _other(problem, row, e, context, tops[at]),
        }
        verdict = verdict_of(crosses, seen, null)
        side = where(tops[at], target)
        to = float(median[at])
        had = f"{short(best)} as {first}" if first and best >= to else ""
        told = sentence(target.name, f, to, float(SHARES[at]), side, least, verdict, null, had)
        made = score(self, lift(asked, LITTLE), curve=np.stack([SHARES, median]), of=f, to=to, over=max(f, best))
        made.detail.update(facts, verdict=verdict, sentence=told)
        return made

    def _detected(
        self, problem: Problem, row: int, context: Context, under: Sequence[Tensor], top: Tensor, least: float
    ) -> bool | None:
        """Whether the model sees the class where it was expected, for two of the three substrates."""
        target, adapter = problem.targets[row], context.adapter
        if adapter is None:
            return None
        if adapter.default_target == "top1":  # which leads, as was asked
            return True
        place = target.box if target.wanted is None else target.wanted
        x, found = problem.x[row], 0
        for u in under:
            image = hidden(problem.images[row], x + top.to(x) * (u - x))
            boxes = [t.box for t in adapter.detect(image, least) if same_class(t.name, target.name)]
            found += any(_iou(place, box) >= LEAST_IOU for box in boxes)
        return found >= 2


def _over(problem: Problem, row: int, context: Context, f: float, least: float) -> bool:
    """Whether the score of the picture as it is passes already: of a classifier, whether its class leads."""
    leads = leading(problem, row, problem.x[row], torch.ones(1, *problem.size), context)
    return f >= least if leads is None else leads[0]


def row_best(problem: Problem, row: int, context: Context) -> tuple[float, str] | None:
    """The best score of the target's row in the untouched picture, 0 where it is the target's own, and its class; None
    where no row of several classes is asked: of a classifier, of a box.
    """
    target, adapter = problem.targets[row], context.adapter
    if adapter is None or adapter.default_target == "top1" or target.index is None or target.part != "class":
        return None
    every = adapter.candidates(problem.images[row], target.label)
    best, label = every.without_none(every.scores())[0, target.index].max(dim=0)
    return 0.0 if int(label) == target.label else float(best), adapter.labels[int(label)]


def already(target: Target, f: float, least: float) -> str:
    """What is said of a score that needs not be raised."""
    if least <= 0:
        return f"{target.name} is the first class already, with {short(f)}"
    told = f"{target.name} has {short(f)} already, the threshold is {short(least)}"
    if target.reason in (None, "found"):
        return f"{told}: it is not missed"
    wrong = "it belongs to another object" if target.reason == "shared" else "its box does not cover the object"
    return f"{told}: what is wrong is not its score, but that {wrong}"


def _iou(a: Tensor | None, b: Tensor | None) -> float:
    return 1.0 if a is None or b is None else float(pairwise_iou(a, b[None].to(a)))


def verdict_of(crosses: float, detected: bool | None, null: float) -> str:
    """covered, sensitive or missing; what is not known fails."""
    if math.isnan(crosses):
        return "missing"
    return "covered" if crosses <= MOST_SHARE and detected and null <= MOST_NULL else "sensitive"


def sentence(
    name: str,
    before: float,
    after: float,
    share: float,
    side: str,
    least: float,
    verdict: str,
    null: float,
    had: str = "",
) -> str:
    """What the figures say, with their control. had: a score and class of the untouched picture that is not passed."""
    control = "no null known" if math.isnan(null) else f"null {null * 100:.0f} %"
    if verdict == "missing":
        over = f" over {short(least)}" if least > 0 else " to the first place"
        told = f"no blurring of up to 32 % of the picture raises {name} from {short(before)}{over}"
        return f"{told} (at most {short(after)}): what it looks for is missing ({control})"
    told = f"blurring {percent(share)} of the picture, {side}, "
    told += (
        f"raises {name} from {short(before)} to" if least > 0 else f"puts {name} first: it had {short(before)} and has"
    )
    why = f"the same candidate had {had} already, its name alone changes" if had else PUSHED
    return f"{told} {short(after)} ({control})" + (f": {why}" if verdict == "sensitive" else "")


def where(top: Tensor, target: Target) -> str:
    """On which side of the target's box the hidden area (H,W) lies mostly, in words."""
    weight = top / top.sum().clamp(min=1e-9)
    height, width = top.shape
    y = float((weight.sum(dim=1) * torch.arange(height)).sum())
    x = float((weight.sum(dim=0) * torch.arange(width)).sum())
    place = target.box if target.wanted is None else target.wanted
    if place is None:
        inner = abs(y / height - 0.5) < 0.2 and abs(x / width - 0.5) < 0.2
        return "in its middle" if inner else "off its middle"
    x1, y1, x2, y2 = place.tolist()
    across, down = (x - (x1 + x2) / 2) / max(x2 - x1, 1), (y - (y1 + y2) / 2) / max(y2 - y1, 1)
    if max(abs(across), abs(down)) <= 0.17:
        return "in its middle"
    words = ("to its left", "to its right", "above it", "below it")
    if max(abs(across), abs(down)) <= 0.5:
        words = ("at its left", "at its right", "at its top", "at its bottom")
    return words[int(across > 0)] if abs(across) >= abs(down) else words[2 + int(down > 0)]


def _other(problem: Problem, row: int, e: Explanation, context: Context, top: Tensor) -> float:
    """The change of another network's score where the same area is blurred; NaN where it sees no such object."""
    other = context.other[row] if context.other else None
    if other is None:
        return NAN
    small = torch.nn.functional.adaptive_avg_pool2d(top[None, None], (FINEST, FINEST))[0, 0]
    area = carried(replace(e, saliency=small, detail=None), other.images[0]).clamp(0, 1)
    shown = 1 - upscale(area, other.size)
    values = climbed(other, 0, other.x0[0], torch.stack([torch.ones_like(shown), shown]))
    return float(values[1] - values[0])
