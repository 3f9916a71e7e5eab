"""What the methods that read one layer share: its map A, the gradient of the score there, and where the map lies."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.methods.map_method import MapMethod
from igos.types import Explanation, Problem, pulled


@dataclass(frozen=True)
class LayerMethod(MapMethod):
    """layer: a layer's name, or the end of it; by default the model says which suits each target."""

    layer: str | None = None

    needs: ClassVar[str] = "layers"

    @property
    def cost(self) -> str:
        return "1" if self.layer is None else "3"

    def combine(self, a: Tensor, g: Tensor) -> Tensor:
        """A and dy/dA (n,c,h,w) -> maps (n,h,w)."""
        raise NotImplementedError

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; every target's map is taken from its layer and laid over the picture."""
        score, x = problem.score, problem.x
        every = torch.arange(len(x), device=x.device)
        if self.layer is not None:
            score.cuts(self.layer, x, every)
        names = score.feature_layers(x) if self.layer is None else [self.layer] * len(x)
        maps = x.new_zeros(len(x), *problem.size)
        for name in dict.fromkeys(names):
            lower, upper = score.split(name)
            rows = every[[n == name for n in names]]
            for part in rows.split(score.batch):
                with torch.no_grad():
                    shared = x.stride(0) == 0
                    a = lower(x[:1], part[:1]).expand(len(part), -1, -1, -1) if shared else lower(x[part], part)
                with torch.enable_grad():
                    a = a.detach().requires_grad_(True)
                    g = pulled(upper(a, part).sum(), a)
                maps[part] = over_picture(self.combine(a.detach(), g), problem.size).to(maps)
        return self.explain(problem, maps)


def over_picture(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (n,h,w) of a layer -> (n,H,W), bilinear.

    A layer's stride is the power of two next to H/h, if the map then covers the picture (what reaches beyond it
    lies on padding and is cut off); else the map is stretched.
    """
    cells = maps.shape[-2:]
    strides = [2.0 ** round(math.log2(side / n)) for side, n in zip(size, cells, strict=True)]
    full = [
        round(n * stride) if n * stride >= side else side for n, stride, side in zip(cells, strides, size, strict=True)
    ]
    return F.interpolate(maps[:, None], size=full, mode="bilinear", align_corners=False)[:, 0, : size[0], : size[1]]
