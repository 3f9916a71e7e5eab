"""Transfer: a map's insertion minus its deletion, judged by another network that sees the same object. A map of the
object serves both; one that only fools its own network does not.

    value = insertion - deletion     of the same ranking, both on the other network (igos.metrics.curves)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F

from igos.base.baselines import SUBSTRATES
from igos.base.ops import to_grid
from igos.base.settings import setting
from igos.metrics.curves import Deletion, Insertion
from igos.metrics.metric import NEEDS, Context, Metric, score
from igos.metrics.statistics import NAN
from igos.types import Explanation, Image, Problem, Score


@dataclass(frozen=True)
class Transfer(Metric):
    """substrate, steps: of both curves. NaN where the other network does not see the object.

    The pictures are the other network's: they do not count as the explained one's.
    """

    substrate: str = setting("blur", choices=SUBSTRATES)
    steps: int = setting(50, least=1)

    name: ClassVar[str] = "transfer"
    better: ClassVar[str] = "higher"
    range: ClassVar[str] = "[-1, 1]"
    needs: ClassVar[tuple[str, ...]] = ("other",)
    paper: ClassVar[str] = "igos"

    @property
    def cost(self) -> str:
        return f"{2 * (self.steps + 1)} of the other network"

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        others = context.other if context is not None and context.other else [None] * len(explanations)
        return [self._score(e, o) for e, o in zip(explanations, others, strict=True)]

    def _curves(self) -> tuple[Deletion, Insertion]:
        return Deletion(self.substrate, self.steps), Insertion(self.substrate, self.steps)

    def _score(self, e: Explanation, other: Problem | None) -> Score:
        if other is None:
            return score(self, NAN, NEEDS["other"], deletion=NAN, insertion=NAN)
        there = other.images[0]
        shown = replace(e, saliency=carried(e, there), detail=None, image=there, target=other.targets[0])
        (deleted,), (inserted,) = (curve(other, [shown]) for curve in self._curves())
        value = inserted.value - deleted.value
        return score(self, value, deletion=deleted.value, insertion=inserted.value)


def carried(e: Explanation, image: Image) -> torch.Tensor:
    """The saliency (h,w) as it lies on another network's picture of the same source; 0 where it shows nothing."""
    old, new = e.geometry, image.geometry
    if old == new:
        return e.saliency
    axes = []
    for n, n0, scale, offset in zip(new.network, new.source, new.scale, new.offset, strict=True):
        place = (torch.arange(n, dtype=torch.float64) + 0.5 - offset) / scale
        axes.append(2 * place / n0 - 1)
    grid = torch.stack(torch.meshgrid(axes[1], axes[0], indexing="xy"), dim=-1)[None]
    source = old.map_to_source(e.saliency.float().cpu()).double()[None, None]
    out = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
    height, width = e.saliency.shape
    return to_grid(out, (min(height, out.shape[1]), min(width, out.shape[2])))[0].float()
