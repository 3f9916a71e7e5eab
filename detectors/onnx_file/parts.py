"""What the layouts are made of: a graph's outputs, parts of them as rows, what makes logits of their scores, cells."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from igos.types import logits_of

STRIDES = (8, 16, 32)
YOLO_SIZES = ((8, 16, 32), (8, 16, 32, 64), (4, 8, 16, 32), (16, 32))


@dataclass(frozen=True)
class Outputs:
    """The graph's outputs for N pictures of a size, and each before the activation that ends it, if one does."""

    made: Sequence[Tensor]
    before: Sequence[Tensor]
    size: tuple[int, int]


@dataclass(frozen=True)
class Part:
    """Rows (N,A,columns) of one output, of its columns first:end. at: which output, (N,A,columns) or (N,A,1,columns);
    turned: it is (N,columns,A).
    """

    at: int
    turned: bool = False
    first: int = 0
    end: int | None = None

    def __call__(self, outs: Sequence[Tensor]) -> Tensor:
        out = outs[self.at]
        out = out.flatten(1, 2) if out.ndim == 4 else out
        return (out.mT if self.turned else out)[..., self.first : self.end]


@dataclass(frozen=True)
class Scores:
    """How numbers of the graph become logits. kind: sigmoid or softmax (the graph applies it, and the tensor before it
    is at hand), logits (the graph applies none) or probabilities (it applies something that cannot be taken off).
    """

    kind: str = "logits"
    activation: str = "sigmoid"

    def told(self) -> str:
        """For the notes."""
        how = {
            "logits": f"logits, of which {self.activation} makes probabilities",
            "probabilities": f"probabilities by {self.activation}",
        }
        return f"scores: {how.get(self.kind, f'{self.activation} by the graph; the logits before it are read')}"

    def logits(self, made: Tensor, before: Tensor) -> Tensor:
        """(N,A,C) as answered, and before the activation."""
        if self.kind == "probabilities":
            return logits_of(made) if self.activation == "sigmoid" else made.clamp(min=1e-6).log()
        return made if self.kind == "logits" else before


def recognise_scores(made: Tensor, before: Tensor, activation: str | None, usual: str = "sigmoid") -> Scores:
    """Of scores (N,A,C) of a probe: which activation the graph applies; activation: what the user says; usual: of
    logits about which nobody says anything.
    """
    if torch.allclose(made, before.sigmoid(), atol=1e-5) and not torch.allclose(made, before, atol=1e-5):
        return Scores("sigmoid", "sigmoid")
    if torch.allclose(made, before.softmax(-1), atol=1e-5) and made.shape[-1] > 1:
        return Scores("softmax", "softmax")
    if float(made.min()) >= 0 and float(made.max()) <= 1:
        sums = made.shape[-1] > 1 and torch.allclose(made.sum(-1), torch.ones(()), atol=1e-3)
        return Scores("probabilities", activation or ("softmax" if sums else "sigmoid"))
    return Scores("logits", activation or usual)


def centres(size: tuple[int, int], strides: Sequence[int], like: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows (A,2) of the cells, level by level and row by row, and each one's stride (A,1)."""
    cells, scale = [], []
    for s in strides:
        y, x = torch.meshgrid(torch.arange(-(-size[0] // s)), torch.arange(-(-size[1] // s)), indexing="ij")
        cells.append(torch.stack([x, y], -1).view(-1, 2))
        scale.append(torch.full((len(cells[-1]), 1), s))
    return torch.cat(cells).to(like), torch.cat(scale).to(like)


def count(size: tuple[int, int], strides: Sequence[int]) -> int:
    """How many cells there are."""
    return sum(-(-size[0] // s) * -(-size[1] // s) for s in strides)


def corners(box: Tensor) -> Tensor:
    """(...,4) cx, cy, w, h -> xyxy."""
    return torch.cat([box[..., :2] - box[..., 2:] / 2, box[..., :2] + box[..., 2:] / 2], -1)


def whole(size: tuple[int, int], like: Tensor) -> Tensor:
    """Width, height, width, height (4,): what makes px of 0..1."""
    return like.new_tensor([size[1], size[0]] * 2)


def is_unit(boxes: Tensor) -> bool:
    """Whether boxes of a probe lie in 0..1, and not in px: none reaches two."""
    return bool(((boxes >= -1) & (boxes < 2)).all())
