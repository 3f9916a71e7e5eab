"""How much of the map is enough, how much is needed, how much turns one class into another: read on a fixed ladder.

The ladder is 16 shares of the picture, from 0.1 % to 32 %, in equal ratios, taken in the order of the map's importance.
Scores rise and fall along it, so nothing is bisected:

    sufficient   the smallest share from which showing that share or any larger one alone keeps >= 90 % of f(x)
    necessary    the smallest share from which hiding that share or any larger one leaves < half of f(x); of a
                 classifier: its class is no longer the first
    flips        the smallest share whose hiding lets the other class lead, with at least the threshold

f is the probability. These figures judge the order of the map as much as they judge the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.names import DETECTION_THRESHOLD
from igos.base.ops import Blend, rank, upscale
from igos.metrics.curves import on_cells
from igos.metrics.metric import Context, Metric, score, scores
from igos.metrics.statistics import NAN
from igos.types import Explanation, Image, Problem, Score

RUNGS = 16
SHARES = np.geomspace(0.001, 0.32, RUNGS)  # of the picture
FINEST = 28  # cells a side on which maps are ranked
KEPT, LEFT = 0.9, 0.5  # of f(x)
NEVER = "at no share of the ladder"


def rungs(e: Explanation, size: tuple[int, int]) -> Tensor:
    """(16,H,W) in [0,1] float32: 1 where the map's first cells lie, as many as each share of the ladder holds."""
    map_ = on_cells(e.saliency, FINEST)
    order, cells = rank(map_)[0], map_.numel()
    first = torch.zeros(RUNGS, cells, dtype=torch.float32)
    for n, share in enumerate(SHARES):
        first[n, torch.from_numpy(order[: max(round(share * cells), 1)].copy())] = 1
    return upscale(first.view(RUNGS, *map_.shape), size)


def climbed(problem: Problem, row: int, under: Tensor, shown: Tensor, scorer: Any = None) -> np.ndarray:
    """Scores (n,) of the picture of a row where `under` (3,H,W) lies in its place, as far as shown (n,H,W) lets it."""
    asked = problem if scorer is None else replace(problem, score=scorer)
    x = problem.x[row : row + 1]
    blend = Blend(under[None], x)
    return scores(
        asked,
        torch.full((len(shown),), row, device=x.device),
        lambda part: blend(torch.zeros(len(shown[part]), dtype=torch.long), shown[part].to(x)),
    )


def leading(problem: Problem, row: int, under: Tensor, shown: Tensor, context: Context) -> list[bool] | None:
    """Of a classifier: whether the target's class is the first in those pictures; None of a detector."""
    adapter, image, x = context.adapter, problem.images[row], problem.x[row]
    if adapter is None or adapter.default_target != "top1":
        return None
    made = []
    for v in shown.to(x):
        seen = replace(image, pixels=(under + v * (x - under)).clamp(0, 1))
        made.append(int(adapter.candidates(seen).scores("logit")[0, 0].argmax()) == problem.targets[row].label)
    return made


def always_from(holds: Sequence[bool] | np.ndarray) -> float:
    """The smallest share from which it holds at all larger ones too; NaN where at the largest it does not."""
    held = np.asarray(holds, dtype=bool)
    last = int(np.flatnonzero(~held).max(initial=-1))
    return float(SHARES[last + 1]) if last + 1 < RUNGS else NAN


def whole(problem: Problem, row: int, e: Explanation) -> float:
    """f(x), asked where it is not known."""
    own = problem.targets[row].own
    if own is not None and "prob" in own and problem.targets[row].part == "class":
        return float(own["prob"])
    if e.explained == "prob" and e.score_original is not None:
        return e.score_original
    return float(climbed(problem, row, problem.x[row], torch.ones(1, *problem.size))[0])


@dataclass(frozen=True)
class Ladder(Metric):
    """A figure read on the ladder, one row at a time."""

    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0.001, 0.32]"
    paper: ClassVar[str] = "igos"
    in_table: ClassVar[bool] = True

    @property
    def name(self) -> str:
        return self.label

    label: ClassVar[str]

    @property
    def cost(self) -> str:
        return str(RUNGS)

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        raise NotImplementedError

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        asked = context or Context()
        return [self.read(problem, row, e, asked) for row, e in enumerate(explanations)]


@dataclass(frozen=True)
class Sufficient(Ladder):
    """The rest is blurred, as the problem's baseline is."""

    label: ClassVar[str] = "sufficient"

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        f = whole(problem, row, e)
        kept = climbed(problem, row, problem.x0[row], rungs(e, problem.size))
        return score(self, always_from(kept >= KEPT * f), NEVER, curve=np.stack([SHARES, kept]))


@dataclass(frozen=True)
class Necessary(Ladder):
    """What is hidden is blurred, as the problem's baseline is."""

    label: ClassVar[str] = "necessary"

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        f, shown = whole(problem, row, e), 1 - rungs(e, problem.size)
        left = climbed(problem, row, problem.x0[row], shown)
        first = leading(problem, row, problem.x0[row], shown, context)
        gone = left < LEFT * f if first is None else ~np.array(first)
        return score(self, always_from(gone), NEVER, curve=np.stack([SHARES, left]))


@dataclass(frozen=True)
class Flips(Ladder):
    """0 where the other class leads already."""

    range: ClassVar[str] = "[0, 0.32]"
    label: ClassVar[str] = "flips"
    asks: ClassVar[tuple[str, ...]] = ("versus",)

    @property
    def cost(self) -> str:
        return str(2 * (RUNGS + 1))

    def read(self, problem: Problem, row: int, e: Explanation, context: Context) -> Score:
        adapter, target = context.adapter, problem.targets[row]
        if adapter is None or target.rival is None or target.rival.label == target.label:
            return score(self, NAN, "no class to compare with")
        others = [t.rival or t for t in problem.targets]
        scorer = adapter.scorer(others, "prob", problem.score.batch)
        shown = torch.cat([torch.ones(1, *problem.size), 1 - rungs(e, problem.size)])
        own, other = (climbed(problem, row, problem.x0[row], shown, s) for s in (problem.score, scorer))
        turned = (other > own) & (other >= threshold_of(context, adapter))
        at = int(np.argmax(turned))
        shares = np.append(0.0, SHARES)
        value = float(shares[at]) if turned.any() else NAN
        at = at if turned.any() else int((other - own).argmax())
        made = score(self, value, NEVER, curve=np.stack([shares, other - own]), to=float(other[at]), own=float(own[at]))
        told = turning(target.rival.name, value if turned.any() else None, float(other[at]))
        made.detail["sentence"] = f"{told} (it compares the two, and proves no cause)"
        return made


def turning(name: str, share: float | None, to: float | None) -> str:
    """What `flips` says in words: at which share the class `name` leads, None: at none; to: its score then."""
    if share == 0 and to is not None:
        return f"the same candidate has {short(to)} as {name} already: it has two names"
    if share is not None and to is not None:
        return f"blurring {percent(share)} of the picture turns it into {name} {short(to)}"
    tail = f" ({name} has {short(to)} then)" if to is not None else ""
    return f"no blurring of up to 32 % of the picture turns it into {name}{tail}"


def short(value: float) -> str:
    """.12 of 0.12."""
    return f"{value:.2f}".removeprefix("0") if 0 <= value < 0.995 else f"{value:.2f}"


def percent(share: float) -> str:
    """5 % of 0.05, and 0.2 % of 0.002."""
    return f"{share * 100:.0f} %" if share >= 0.01 else f"{share * 100:.1f} %"


def threshold_of(context: Context, adapter: Any) -> float:
    """The least score of a detection; of a classifier, whose first class is its answer, none."""
    if adapter is not None and adapter.default_target == "top1":
        return 0.0
    if context.threshold is not None:
        return context.threshold
    return DETECTION_THRESHOLD if adapter is None else float(adapter.threshold)


def hidden(image: Image, pixels: Tensor) -> Image:
    """The picture as the network sees it, with other pixels (3,H,W)."""
    return replace(image, pixels=pixels.clamp(0, 1))
