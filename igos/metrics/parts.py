"""What the metrics share: scores of many pictures, seeds, maps on pixels, tiles, and values that are not known."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from igos.context import Context
from igos.ops import upscale
from igos.truth import Truth
from igos.types import ConfigError, Explanation, Problem, Score

NAN = float("nan")
NEEDS = {
    "box": "the target has no box, and its object's truth is not known",
    "attribution": "the method gives no attribution",
    "truth": "the object's truth is not known",
    "evidence": "the evidence for the object is not known",
    "explain": "nothing to explain again with (Context.explain)",
    "other": "no other network sees the object (Context.other)",
    "randomised": "no randomised network (Context.randomised and layers)",
}
CONSTANT = "the map is constant"
NO_HEAT = "the map has no positive value"


class Metric(Protocol):
    """What is asked of a metric; range is where its values lie, needs are keys of NEEDS, cost its network images."""

    @property
    def name(self) -> str: ...
    @property
    def better(self) -> str: ...
    @property
    def range(self) -> str: ...
    @property
    def needs(self) -> tuple[str, ...]: ...
    @property
    def cost(self) -> str: ...
    @property
    def paper(self) -> str: ...

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]: ...


def score(
    metric: Metric,
    value: float,
    why: str = "a score of the network is not finite",
    curve: np.ndarray | None = None,
    **detail: Any,
) -> Score:
    """The metric's figure; detail keys get its name in front, and NaN the reason why."""
    named = {f"{metric.name}_{key}": v for key, v in detail.items()}
    if math.isnan(value):
        named[f"{metric.name}_reason"] = why
    return Score(metric.name, float(value), metric.better, curve, named)


def truths(context: Context | None, count: int) -> Sequence[Truth | None]:
    return context.truth if context is not None and context.truth else [None] * count


def check_positive(metric: Any, *keys: str) -> None:
    """Raises ConfigError for a setting that is not a finite number above 0."""
    for key in keys:
        if not 0 < getattr(metric, key) < math.inf:
            raise ConfigError(f"{key} must be a finite number above 0, got {getattr(metric, key)}")


def check_choice(metric: Any, key: str, allowed: Any) -> None:
    if getattr(metric, key) not in allowed:
        raise ConfigError(f"{key} {getattr(metric, key)!r} is not one of {', '.join(allowed)}")


def seeded(problem: Problem, row: int, salt: str) -> torch.Generator:
    """A generator that depends on the row's seed and the salt alone; the problem's own is not touched."""
    key = f"{problem.generators[row].initial_seed()}|{salt}"
    return torch.Generator().manual_seed(int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") >> 1)


def afresh(problem: Problem, seeds: Problem, shift: int = 0, **changes: Any) -> Problem:
    """The problem with generators as those of `seeds` were at first (or `shift` seeds further on)."""
    generators = [torch.Generator(g.device).manual_seed((g.initial_seed() + shift) % 2**63) for g in seeds.generators]
    return replace(problem, generators=generators, **changes)


def scores(problem: Problem, rows: Tensor, pictures: Callable[[slice], Tensor]) -> np.ndarray:
    """Scores (N,) float64 of N pictures made chunk by chunk, rows (N,) their targets."""
    out = torch.zeros(len(rows), dtype=torch.float64)
    for part, s, _ in problem.score.stream(rows, pictures):
        out[part] = s.double().cpu()
    return out.numpy()


def asked_once(metric: Metric, problem: Problem, context: Context | None, ask: Callable[[], np.ndarray]) -> np.ndarray:
    """ask(), scores of pictures that follow from the metric's settings and the targets' seeds alone, or what it
    answered before, where the context keeps answers.
    """
    if context is None or context.answers is None:
        return ask()
    key = metric, *(g.initial_seed() for g in problem.generators)
    if key not in context.answers:
        context.answers[key] = ask()
    return context.answers[key]


def pixels(e: Explanation, size: tuple[int, int]) -> Tensor:
    """The map on the network's pixels (H,W) float64, as the masks are spread."""
    return upscale(e.saliency.double().cpu(), size)


def contributions(e: Explanation, size: tuple[int, int]) -> Tensor:
    """What each pixel adds (H,W) float64: the attribution summed over channels, where there is none the map."""
    a = e.attribution
    return a.double().cpu().sum(dim=0) if a is not None and tuple(a.shape[1:]) == size else pixels(e, size)


def tiles(size: tuple[int, int], sides: tuple[int, int]) -> Tensor:
    """The tile (H,W) int64 that each pixel lies in, rows x columns of sides (h,w) px; the last take the rest."""
    y, x = ((torch.arange(n) // side).clamp(max=max(n // side, 1) - 1) for n, side in zip(size, sides, strict=True))
    return y[:, None] * (int(x[-1]) + 1) + x[None, :]


def tile_sums(values: Tensor, tile: Tensor) -> Tensor:
    """Sums (..., n) of values (..., H, W) over each of n tiles."""
    flat = values.flatten(-2)
    out = flat.new_zeros(*flat.shape[:-1], int(tile.max()) + 1)
    return out.index_add_(-1, tile.flatten().to(flat.device), flat)


def box_pixels(e: Explanation, truth: Truth | None) -> np.ndarray | None:
    """The source pixels (H0,W0) bool whose centres lie in the target's box, or for a class, which has none, in the
    box of its objects, if that is known; else None.
    """
    box = e.box_on_source()
    if box is None:
        if truth is None:
            return None
        box = truth.box
    height, width = e.geometry.source
    y, x = np.arange(height)[:, None] + 0.5, np.arange(width)[None] + 0.5
    return (x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3])


def trapezoid(y: np.ndarray, x: np.ndarray) -> float:
    return float(((y[1:] + y[:-1]) / 2 * np.diff(x)).sum())


def pearson(a: np.ndarray, b: np.ndarray) -> float:
    """Correlation of two series; NaN where one of them is constant."""
    rest = [v - v.mean() for v in (a, b)]
    if any(not np.abs(r).max() > 1e-10 * np.abs(v).max() for r, v in zip(rest, (a, b), strict=True)):
        return NAN
    a, b = (r / np.linalg.norm(r) for r in rest)
    return float(np.clip(a @ b, -1, 1))


def ranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 of a flat series, ties at their mean."""
    _, place, count = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(count)
    return (last - (count - 1) / 2)[place]


def spearman(a: np.ndarray, b: np.ndarray) -> float:
    return pearson(ranks(a.ravel()), ranks(b.ravel()))
