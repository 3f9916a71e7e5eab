"""D-RISE, for detectors as black boxes. Petsiuk et al.: Black-box Explanation of Object Detectors via Saliency Maps,
CVPR 2021. https://arxiv.org/abs/2006.03204

    S_t = sum_i w_i * M_i,    w_i = max_j s(d_t, d_j(I * M_i)),    s(d_t, d_j) = IoU(L_t, L_j) * cos(P_t, P_j) * O_j

d = (box L, class probabilities P, objectness O), over all that the detector sees in the masked picture. P_t is that
of the detection in the whole picture that fits the target best (largest IoU * P[label]); the target's class alone
where none overlaps it. The paper takes 5,000 masks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.methods.rise import RISE
from igos.types import ConfigError, Detections, Problem, Scorer


@dataclass(frozen=True)
class DRISE(RISE):
    """n_masks: network images; grid: s cells a side; p: chance that a cell is kept."""

    name: ClassVar[str] = "drise"
    paper: ClassVar[str] = "Petsiuk et al. 2021 (CVPR)"

    def _scorer(self, problem: Problem) -> Scorer:
        """w_i in place of the pinned score."""
        detect = problem.detect
        if detect is None or any(t.box is None for t in problem.targets):
            raise ConfigError(
                "drise matches detections: it needs a detector and targets with boxes; rise needs neither"
            )
        boxes = torch.stack([t.box.to(problem.x) for t in problem.targets if t.box is not None])
        labels = [t.label for t in problem.targets]
        shared = problem.x.stride(0) == 0
        whole = [d for x in (problem.x[:1] if shared else problem.x).split(1) for d in detect(x)]
        problem.score.forward_images += 1
        vectors = [_vector(boxes[k], labels[k], whole[0 if shared else k]) for k in range(len(boxes))]

        def forward(pictures: Tensor, rows: Tensor) -> Tensor:
            found = zip(detect(pictures), rows.tolist(), strict=True)
            return torch.stack([similarity(boxes[k], vectors[k], d) for d, k in found])

        return problem.score.scoring(forward)


def similarity(box: Tensor, vector: Tensor, found: Detections) -> Tensor:
    """max_j IoU * cos * O of a target (box (4,), class probabilities (C,)) among detections; 0 without any."""
    boxes, probs, objectness = found
    if not len(boxes):
        return box.new_zeros(())
    return (_iou(box, boxes) * F.cosine_similarity(vector[None], probs, dim=1) * objectness).max().to(box)


def _vector(box: Tensor, label: int, found: Detections) -> Tensor:
    boxes, probs, _ = found
    fit = _iou(box, boxes) * probs[:, label]
    if not len(boxes) or not bool(fit.max() > 0):
        return F.one_hot(torch.tensor(label, device=probs.device), probs.shape[1]).to(probs)
    return probs[fit.argmax()]


def _iou(box: Tensor, boxes: Tensor) -> Tensor:
    """IoU of a box (4,) with each of (n,4) -> (n,)."""
    box = box.to(boxes)
    both = (torch.minimum(boxes[:, 2:], box[2:]) - torch.maximum(boxes[:, :2], box[:2])).clamp(min=0).prod(dim=1)
    areas = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1) + (box[2:] - box[:2]).prod()
    return both / (areas - both).clamp(min=1e-9)
