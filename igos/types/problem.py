"""K explanations asked for at once."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from igos.base.errors import ConfigError
from igos.base.ops import Blend
from igos.types.image import Image
from igos.types.model import Detections, Target
from igos.types.scorer import Scorer


@dataclass(frozen=True, eq=False)
class Statistics:
    """mean, std, active of a layer's features, (c,h,w) per neuron or (c,1,1) per channel; active is bool.

    pixel_mean, pixel_std (3,1,1): of the n pictures that the network was shown, in [0,1]; model: its name; weights
    (T,): the root mean square of each of its tensors, by which its weights are known again.
    """

    model: str
    layer: str
    per: str
    n: int
    mean: Tensor
    std: Tensor
    active: Tensor
    pixel_mean: Tensor
    pixel_std: Tensor
    weights: Tensor


@dataclass(frozen=True, eq=False, repr=False)
class Problem:
    """K explanations asked for at once: x, x0 (K,3,H,W) in [0,1], the picture and its baseline.

    start (K,h,w) in [0,1] is the mask to start from, or None for ones, and starts (K) says which start cell that
    is. The generators make each explanation independent of its batch. `images` (K) carry geometry and the source
    picture. detect: pictures (N,3,H,W) -> what a detector sees in each, for methods that match detections.
    ingredients: what the method needs beside, by the names of igos/methods/ingredients.py (references (R,3,H,W) in
    [0,1]; patterns of the network's layers by name, each of its weight's shape; statistics of a layer). probability:
    the same targets', where score is another. picture_seeds (K): of what those of one picture share.
    ends (K,2): the scores of x and x0, where they are known. progress: see `tell`.

    >>> def own(problem: igos.Problem) -> list[igos.Explanation]:  # a method of one's own
    ...     maps = problem.x.mean(dim=1)
    ...     return [igos.Explanation(m, t, i, "own") for m, t, i in zip(maps, problem.targets, problem.images)]
    >>> igos.explain("emblem-vgg", "samples/scene-04.png", method=own, metrics="none")[0].method
    'own'
    """

    x: Tensor
    x0: Tensor
    score: Scorer
    targets: Sequence[Target]
    generators: Sequence[torch.Generator]
    images: Sequence[Image]
    start: Tensor | None = None
    starts: Sequence[int | None] | None = None
    detect: Callable[[Tensor], list[Detections]] | None = None
    ingredients: Mapping[str, Any] = field(default_factory=dict)
    probability: Scorer | None = None
    picture_seeds: Sequence[int] = ()
    ends: Tensor | None = None
    progress: Callable[[int, int, Tensor | None], Any] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim != 4 or self.x.shape[1] != 3 or self.x.shape != self.x0.shape:
            raise ConfigError(f"x and x0 must both be (K,3,H,W), got {tuple(self.x.shape)} and {tuple(self.x0.shape)}")
        k = len(self.x)
        if not (len(self.targets) == len(self.generators) == len(self.images) == self.score.targets == k):
            raise ConfigError(f"{k} pictures need {k} targets, generators, images and pinned scores")
        r = self.ingredients.get("references")
        if r is not None and (r.ndim != 4 or not len(r) or r.shape[1:] != self.x.shape[1:]):
            raise ConfigError(f"references must be (R,{', '.join(map(str, self.x.shape[1:]))}), got {tuple(r.shape)}")

    @property
    def size(self) -> tuple[int, int]:
        """(H, W) of the network's picture."""
        return self.x.shape[-2], self.x.shape[-1]

    @cached_property
    def blend(self) -> Blend:
        """Pictures between the baseline (weight 0) and the picture (1), by row."""
        return Blend(self.x0, self.x)

    def tell(self, step: int, total: int, mask: Tensor | None = None) -> None:
        """A method's word on how far it is: after step (from 1) of total, its masks (K,h,w), 1 = keep, where it has."""
        if self.progress is not None:
            self.progress(step, total, mask)

    def __repr__(self) -> str:
        names = ", ".join(t.name for t in self.targets[:3]) + (", ..." if len(self.targets) > 3 else "")
        return f"<Problem of {len(self.targets)} targets ({names}), {self.size[1]} x {self.size[0]} px>"

    def score_ends(self) -> Tensor:
        """Scores (K,2) float64 of the pictures and of their baselines: those known, or two network images each."""
        if self.ends is not None:
            return self.ends
        job = torch.arange(2 * len(self.x), device=self.x.device)
        row, shown = job // 2, (1 - job % 2).to(self.x)
        scores = self.x.new_zeros(len(job))
        for part, s, _ in self.score.stream(row, lambda p: self.blend(row[p], shown[p, None, None])):
            scores[part] = s.to(scores)
        return scores.view(-1, 2).double().cpu()
