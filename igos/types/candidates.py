"""All that a model answers of a picture before thresholds and suppression, and the score of each row and class.

    log p = a * log objectness + b * log class       of logits, so that nothing is lost near 0 and 1
    prob = p,   logit = logodds = log p - log(1 - p)

class is the sigmoid or the softmax of the row's class logits, objectness the sigmoid of its own logit or 1. The
log-odds of a softmax are z_c - logsumexp of the other z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.errors import ConfigError
from igos.base.names import MARGIN

KINDS = ("sigmoid", "softmax")  # what makes probabilities of logits
LEAST = 1e-6  # a probability that was given as such is taken to lie in [LEAST, 1 - LEAST]


@dataclass(frozen=True, eq=False)
class Candidates:
    """A rows (anchors, cells, queries, proposals) in each of N pictures, differentiable.

    boxes (N,A,4) xyxy network px, or None (a classifier, whose one row is the picture); logits (N,A,C) of the classes;
    objectness (N,A) logits, or None where there is none; activation of the classes: sigmoid or softmax; none: the
    column that stands for no object (of softmax; -1 is the last), or None; powers (a,b): score = obj^a * class^b.
    proposals (N,A,4): the boxes that the rows' boxes were made of, where a network proposes first (R-CNN), else None.
    pins: as Target has them, of the one picture.
    """

    boxes: Tensor | None
    logits: Tensor
    objectness: Tensor | None = None
    activation: str = "sigmoid"
    none: int | None = None
    powers: tuple[float, float] = (1.0, 1.0)
    proposals: Tensor | None = None
    pins: tuple[Tensor, ...] = ()

    def __post_init__(self) -> None:
        n, a = self.logits.shape[:2]
        if self.logits.ndim != 3 or (self.boxes is not None and tuple(self.boxes.shape) != (n, a, 4)):
            boxes = None if self.boxes is None else tuple(self.boxes.shape)
            raise ConfigError(
                f"candidates need boxes (N,A,4) and logits (N,A,C), got {boxes}, {tuple(self.logits.shape)}"
            )
        if self.objectness is not None and tuple(self.objectness.shape) != (n, a):
            raise ConfigError(
                f"candidates need objectness (N,A), got {tuple(self.objectness.shape)} beside {n} x {a} rows"
            )
        if self.activation not in KINDS:
            raise ConfigError(f"activation {self.activation!r} is not one of {', '.join(KINDS)}")

    @property
    def background(self) -> int | None:
        """The number of the column that stands for no object."""
        return None if self.none is None else self.none % self.logits.shape[2]

    def at(self, rows: Tensor) -> Candidates:
        """Of picture n the row rows[n] alone, A = 1; or, rows (N,k), k rows of each."""
        each = torch.arange(len(self.logits), device=self.logits.device)[:, None]
        rows = rows.view(len(rows), -1)
        boxes = None if self.boxes is None else self.boxes[each, rows]
        objectness = None if self.objectness is None else self.objectness[each, rows]
        logits = self.logits[each, rows]
        return replace(self, boxes=boxes, logits=logits, objectness=objectness, proposals=None)

    def classes(self) -> Tensor:
        """Class probabilities (N,A,C)."""
        return self._log_classes().exp()

    def scores(self, score: str = "prob") -> Tensor:
        """(N,A,C) of every row and class: score prob in [0,1]; logit and logodds, its log-odds; or margin, of which two
        classes of one row are the difference: the log-probability of a softmax, the logit of a sigmoid.
        """
        sigmoid, (a, b) = self.activation == "sigmoid", self.powers
        if score == MARGIN:
            return self.logits if sigmoid else F.log_softmax(self.logits, dim=2)
        if score == "prob":
            log_p = b * self._log_classes()
        else:
            odds = self.logits if sigmoid else odds_of(self.logits)
            if self.objectness is None and b == 1:
                return odds
            log_p = b * F.logsigmoid(odds)
        if self.objectness is not None:
            log_p = log_p + a * F.logsigmoid(self.objectness)[..., None]
        if score == "prob":
            return log_p.exp()
        return log_p - (-torch.expm1(log_p.clamp(max=-1e-30))).log()

    def margin(self, labels: Tensor, rivals: Tensor, same: Tensor) -> Tensor:
        """(N,) of two rows (A = 2), a target's of class labels (N,) and its rival's of class rivals (N,): where they
        are the same row (N,) the difference of log-probabilities (softmax) or logits (sigmoid), else of log-odds.
        """
        within, between = (
            made[:, 0].gather(1, labels[:, None])[:, 0] - made[:, 1].gather(1, rivals[:, None])[:, 0]
            for made in (self.scores(MARGIN), self.scores("logodds"))
        )
        return torch.where(same, within, between)

    def certainty(self) -> Tensor:
        """How sure each row is of an object, (N,A) in [0,1]: its objectness, else its best class."""
        if self.objectness is not None:
            return self.objectness.sigmoid()
        return self.without_none(self.classes()).amax(dim=2)

    def without_none(self, scores: Tensor, fill: float = 0.0) -> Tensor:
        """Scores (N,A,C) with the column that stands for no object filled."""
        if self.background is None:
            return scores
        column = torch.arange(scores.shape[2], device=scores.device) == self.background
        return scores.masked_fill(column, fill)

    def _log_classes(self) -> Tensor:
        return F.logsigmoid(self.logits) if self.activation == "sigmoid" else F.log_softmax(self.logits, dim=2)


def odds_of(logits: Tensor) -> Tensor:
    """The log-odds (..., C) of each class of a softmax: z_c - logsumexp of the other z, exact near 0 and 1."""
    best = logits.argmax(dim=-1, keepdim=True)
    whole = logits.logsumexp(dim=-1, keepdim=True)
    others = logits.scatter(-1, best, -torch.inf).logsumexp(dim=-1, keepdim=True)  # of the best class
    share = (logits - whole).exp().scatter(-1, best, 0.0)  # at most a half
    rest = (whole + torch.log1p(-share)).scatter(-1, best, others)
    return logits - rest


def logits_of(probabilities: Tensor) -> Tensor:
    """Probabilities -> their log-odds, taken to lie in [1e-6, 1 - 1e-6]; the gradient ends there."""
    return probabilities.clamp(LEAST, 1 - LEAST).logit()


def one_hot(labels: Sequence[int] | Tensor, scores: Tensor, classes: int) -> Tensor:
    """Logits (n,C) of rows of which only the class labels (n,) and its score (n,) are known."""
    labels = torch.as_tensor(labels, device=scores.device).long()
    return logits_of(F.one_hot(labels, classes).to(scores) * scores[:, None])
