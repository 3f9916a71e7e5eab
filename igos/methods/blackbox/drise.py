"""D-RISE, for detectors as black boxes. Petsiuk et al.: Black-box Explanation of Object Detectors via Saliency Maps,
CVPR 2021. https://arxiv.org/abs/2006.03204

    S_t = sum_i w_i * M_i,    w_i = max_j s(d_t, d_j(I * M_i)),    s(d_t, d_j) = IoU(L_t, L_j) * cos(P_t, P_j) * O_j

d = (box L, class probabilities P, objectness O), over all that the detector sees in the masked picture. P_t is that
of the detection in the whole picture that fits the target best (largest IoU * P[label]); the target's class alone
where none overlaps it. The paper takes 5,000 masks; here all objects of a picture share them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.boxes import pairwise_iou
from igos.methods.blackbox.rise import RISE
from igos.methods.map_method import Range
from igos.types import ConfigError, Detections, Explanation, Problem


@dataclass(frozen=True)
class DRISE(RISE):
    """n_masks: network images; grid: s cells a side; p: chance that a cell is kept."""

    name: ClassVar[str] = "drise"
    paper: ClassVar[str] = "Petsiuk et al. 2021 (CVPR)"

    @property
    def cost(self) -> str:
        return f"{self.n_masks} + 1 forward"

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; those of one picture share the masks, and so the passes: each counts them all."""
        x, n = problem.x, self.n_masks
        if problem.detect is None or any(t.box is None for t in problem.targets):
            raise ConfigError(
                "drise matches detections: it needs a detector and targets with boxes; rise needs neither"
            )
        total, range_ = x.new_zeros(len(x), *problem.size), Range(len(x))
        every, seeds = list(range(len(x))), problem.picture_seeds or [0] * len(x)
        for rows in [every] if x.stride(0) == 0 or len(x) == 1 else [[k] for k in every]:
            made: dict[int, Tensor] = {}

            def pictures(part: slice, row: int = rows[0], made: dict[int, Tensor] = made) -> Tensor:
                each = range(seeds[row] + part.start, seeds[row] + part.stop)
                made[part.start] = self._masks(problem, list(each))
                return x[row : row + 1] * made[part.start][:, None]

            seen = problem.score.scoring(self._weights(problem, problem.detect, rows))
            for part, w, _ in seen.stream(torch.full((n,), rows[0], device=x.device), pictures):
                range_.add(torch.tensor(rows).repeat(len(w)), w.flatten())
                total[rows] += torch.einsum("nk,nhw->khw", w.to(x), made.pop(part.start))
                problem.tell(rows[0] * n + part.stop, n * (1 if len(rows) == len(x) else len(x)))
            problem.score.forward_images[rows] += 1
            problem.score.forward_images[rows[1:]] += n
        return self.explain(problem, total / (n * self.p), moved=range_.moved())

    def _weights(
        self, problem: Problem, detect: Callable[[Tensor], list[Detections]], rows: list[int]
    ) -> Callable[[Tensor, Tensor], Tensor]:
        """Masked pictures (n,3,H,W) -> w_i (n,R) for the targets of these rows, which are of one picture."""
        (whole,) = detect(problem.x[rows[:1]])
        boxes = [t.box.to(problem.x) for t in problem.targets if t.box is not None]
        vectors = {k: _vector(boxes[k], problem.targets[k].label, whole) for k in rows}

        def forward(pictures: Tensor, _: Tensor) -> Tensor:
            found = [[similarity(boxes[k], vectors[k], d) for k in rows] for d in detect(pictures)]
            return torch.stack([torch.stack(w) for w in found])

        return forward


def similarity(box: Tensor, vector: Tensor, detections: Detections) -> Tensor:
    """max_j IoU * cos * O of a target (box (4,), class probabilities (C,)) among detections; 0 without any."""
    boxes, probs, objectness = detections
    if not len(boxes):
        return box.new_zeros(())
    return (pairwise_iou(box, boxes) * F.cosine_similarity(vector[None], probs, dim=1) * objectness).max().to(box)


def _vector(box: Tensor, label: int, detections: Detections) -> Tensor:
    boxes, probs, _ = detections
    fit = pairwise_iou(box, boxes) * probs[:, label]
    if not len(boxes) or not bool(fit.max() > 0):
        return F.one_hot(torch.tensor(label, device=probs.device), probs.shape[1]).to(probs)
    return probs[fit.argmax()]
