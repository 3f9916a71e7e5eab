"""Infidelity. Yeh et al.: On the (In)fidelity and Sensitivity of Explanations, NeurIPS 2019,
https://arxiv.org/abs/1901.09392

    INFD = E_I [ (I . a - (f(x) - f(x - I)))^2 ]

Maps have no common scale, so the figure is that of the best one, over the change itself:

    value = min_beta E[(beta I . a - df)^2] / E[df^2]    `_raw`: INFD, `_scaled`: with the best beta, not divided

square: I removes a random square, and I . a is the sum of the contributions on it (for maps that include the
input: Integrated Gradients and its kin). noise: I is Gaussian, for maps that are gradients. Judge it on logits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from igos.base.baselines import SUBSTRATES, baseline
from igos.base.settings import setting
from igos.metrics.metric import Context, Metric, asked_once, score, scores, seeded
from igos.metrics.regions import pixels
from igos.metrics.statistics import NAN
from igos.types import Explanation, Problem, Score

KINDS = ("square", "noise")


@dataclass(frozen=True)
class Infidelity(Metric):
    """kind: one of KINDS; samples: perturbations; square: its side, as a share of the picture's shorter side;
    spread: of the noise, in units of the picture [0,1]; substrate: one of SUBSTRATES, what squares show.

    0: the map says how the score changes, 1: it says nothing. NaN for a map of zeros or a score that stays.
    """

    kind: str = setting("square", choices=KINDS)
    samples: int = setting(100, least=1)
    square: float = setting(0.25, above=0, below=1)
    spread: float = setting(0.2, above=0)
    substrate: str = setting("zero", choices=SUBSTRATES)

    name: ClassVar[str] = "infidelity"
    better: ClassVar[str] = "lower"
    range: ClassVar[str] = "[0, 1]"
    paper: ClassVar[str] = "Yeh et al. 2019"

    @property
    def cost(self) -> str:
        return str(self.samples + 1)

    def __call__(
        self, problem: Problem, explanations: Sequence[Explanation], context: Context | None = None
    ) -> list[Score]:
        x, points = problem.x, self.samples + 1
        hidden = baseline(self.substrate, x)
        job = torch.arange(len(explanations) * points)

        def pictures(part: slice) -> Tensor:
            made = []
            for r, j in zip((job[part] // points).tolist(), (job[part] % points).tolist(), strict=True):
                change = (self.perturbation(problem, r, j) if j else torch.zeros(1, 1, 1)).to(x)
                made.append(x[r] - change * (x[r] - hidden[r] if self.kind == "square" else 1))
            return torch.stack(made)

        def ask() -> np.ndarray:
            return scores(problem, (job // points).to(x.device), pictures).reshape(-1, points)

        y = asked_once(self, problem, context, ask)
        return [
            self._score(self._said(problem, i, e), s[0] - s[1:])
            for i, (e, s) in enumerate(zip(explanations, y, strict=True))
        ]

    def _said(self, problem: Problem, row: int, e: Explanation) -> np.ndarray:
        """I . a (samples,) of each perturbation."""
        a = attribution(e, problem.size)
        return np.array([float((self.perturbation(problem, row, j) * a).sum()) for j in range(1, self.samples + 1)])

    def _score(self, said: np.ndarray, change: np.ndarray) -> Score:
        moved, claimed = float((change**2).mean()), float((said**2).mean())
        raw = float(((said - change) ** 2).mean())
        if not (moved > 0 and claimed > 0):
            why = "the map is zero where it was probed" if moved > 0 else "no perturbation changes the score"
            return score(self, NAN, why, raw=raw, scaled=NAN)
        beta = float((said * change).mean()) / claimed
        scaled = float(((beta * said - change) ** 2).mean())
        return score(self, scaled / moved, raw=raw, scaled=scaled)

    def perturbation(self, problem: Problem, row: int, sample: int) -> Tensor:
        """I: (1,H,W), 1 on a random square, or (3,H,W) noise."""
        generator = seeded(problem, row, f"{self.name}|{sample}")
        height, width = problem.size
        if self.kind == "noise":
            return self.spread * torch.randn(3, height, width, generator=generator, dtype=torch.float64)
        side = max(round(self.square * min(height, width)), 1)
        y, x = (int(torch.randint(n - side + 1, (), generator=generator)) for n in (height, width))
        square = torch.zeros(1, height, width, dtype=torch.float64)
        square[:, y : y + side, x : x + side] = 1
        return square


def attribution(e: Explanation, size: tuple[int, int]) -> Tensor:
    """(3,H,W) float64; a map without channels is spread over them."""
    a = e.attribution
    if a is not None and tuple(a.shape[1:]) == size:
        return a.double().cpu().expand(3, -1, -1)
    return pixels(e, size).expand(3, -1, -1) / 3
