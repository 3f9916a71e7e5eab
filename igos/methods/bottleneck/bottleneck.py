"""What the two information bottlenecks share: the gates, the information that passes them, and how they are learned.

    z = lambda r + (1 - lambda) eps,    eps ~ N(mu, sigma^2),    lambda = sigmoid(alpha), perhaps smoothed
    min_alpha  -log y(z) + beta * mean L,    y the score in [0,1] of what is explained

    L = KL[ N(lambda r + (1 - lambda) mu, (1 - lambda)^2 sigma^2) || N(m lambda r + (1 - m lambda) mu, (1 - m lambda)^2 sigma^2) ]
      = -1/2 [ 1 + log v - v - d^2 ],   v = ((1 - lambda) / (1 - m lambda))^2,   d = lambda (1 - m) r~ / (1 - m lambda)

with r~ = (r - mu) / sigma, and m = 0 without a prior mask. 1 - lambda is sigmoid(-alpha): exact where lambda is
nearly 1, and so is its logarithm.
"""  # noqa: E501

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim.adam import adam

from igos.base.ops import gaussian_blur
from igos.methods.map_method import Range
from igos.types import ConfigError, Problem, Score

START = 5.0  # alpha at the start: lambda = 0.993, nearly everything passes
SHUT = 0.05  # no gate wider than this: nothing of the picture comes through
LAST = 5  # steps whose mean is the end: each has noise of its own
LEAST_KEPT = 1 / math.e  # of the score: a nat
TINY = 1e-30
ADAM: dict[str, Any] = {  # torch.optim.Adam's numbers; the class itself would import torch's compiler, two seconds
    "amsgrad": False, "beta1": 0.9, "beta2": 0.999, "weight_decay": 0.0, "eps": 1e-8, "maximize": False,
}  # fmt: skip
NATS_PER_BIT = math.log(2)


class Gates(NamedTuple):
    """lambda, 1 - lambda and log(1 - lambda), each of alpha's shape."""

    open: Tensor
    shut: Tensor
    log_shut: Tensor


def gates(alpha: Tensor, sigma: float = 0.0) -> Gates:
    """From alpha (..., h, w); sigma > 0 smooths lambda by a Gaussian of that many cells over a reflected border."""
    open, shut = torch.sigmoid(alpha), torch.sigmoid(-alpha)
    if sigma <= 0:
        return Gates(open, shut, F.logsigmoid(-alpha))
    kernel = 2 * round(2 * sigma) + 1
    open, shut = gaussian_blur(open, kernel, sigma), gaussian_blur(shut, kernel, sigma)
    return Gates(open, shut, shut.clamp(min=TINY).log())


def information(g: Gates, deviation: Tensor, passed: Tensor | float = 0.0) -> Tensor:
    """L in nats, of the gates' shape; deviation is r~, passed the prior's mask m in [0,1]."""
    shut = g.shut.clamp(min=TINY)
    prior = (1 - passed) + passed * shut  # 1 - m lambda
    log_v = 2 * (g.log_shut - prior.log())
    d = g.open * (1 - passed) * deviation / prior
    return -(1 + log_v - (shut / prior) ** 2 - d**2) / 2


class Course(NamedTuple):
    """What learning gave: alpha (K,...), and per step the task's loss and the mean information, (T,K)."""

    alpha: Tensor
    loss: Tensor
    information: Tensor


def learn(
    like: Tensor,
    steps: int,
    lr: float,
    beta: float | Tensor,
    opened: Callable[[Tensor], Gates],
    passing: Callable[[Gates], Tensor],
    task: Callable[[int, Tensor], tuple[Tensor, Tensor]],
) -> Course:
    """Adam on alpha (K,...), of the shape of `like`, from START; each of the K is learned by itself; beta may be one
    number for each, (K,).

    opened(alpha) -> gates; passing(gates) -> L; task(step, lambda) -> (-log y (K,), its gradient by lambda (K,...)).
    """
    alpha = torch.full_like(like, START, memory_format=torch.contiguous_format).requires_grad_(True)
    first, second, count = torch.zeros_like(alpha), torch.zeros_like(alpha), torch.tensor(0.0)
    losses, passed = [], []
    for step in range(steps):
        with torch.enable_grad():
            g = opened(alpha)
            mean = passing(g).flatten(1).mean(dim=1)
            loss, slope = task(step, g.open.detach())
            (slope,) = torch.autograd.grad((slope * g.open).sum() + (beta * mean).sum(), alpha)
        with torch.no_grad():
            adam([alpha], [slope], [first], [second], [], [count], lr=lr, **ADAM)
        losses.append(loss.detach())
        passed.append(mean.detach())
    return Course(alpha.detach(), torch.stack(losses), torch.stack(passed))


def kept(course: Course) -> list[tuple[Score, ...]]:
    """Per bottleneck `score_kept`, the score behind it at the end (a geometric mean), of the one it began with."""
    ends, begins = (part.mean(dim=0).neg().exp().tolist() for part in (course.loss[-LAST:], course.loss[:1]))
    pairs = zip(ends, begins, strict=True)
    return [(Score("score_kept", end, "higher", detail={"score_kept_of": begin}),) for end, begin in pairs]


def moved(course: Course) -> list[bool]:
    """Per bottleneck whether the score did, whatever was shut."""
    seen = Range(course.loss.shape[1])
    for loss in course.loss:
        seen.add(torch.arange(len(loss)), loss)
    return seen.moved()


def warned(course: Course, open: Tensor) -> list[tuple[str, ...]]:
    """Per bottleneck of lambda (K,...) a warning where its map only tells what was shut last."""
    widest = open.flatten(1).amax(dim=1).tolist()
    return [_warned(score, wide) for (score,), wide in zip(kept(course), widest, strict=True)]


def _warned(score: Score, widest: float) -> tuple[str, ...]:
    before = score.detail["score_kept_of"]
    if widest < SHUT:
        return (f"the bottleneck shut every gate (the widest lets {widest:.1%} pass); take a smaller beta",)
    if score.value < LEAST_KEPT * before:
        lost = f"behind the bottleneck {score.value:.2g} is left of the score {before:.2g}: "
        return (f"{lost}the map tells what was shut last, not what is enough; take a smaller beta",)
    return ()


def log_loss(y: Tensor) -> Tensor:
    """-log y (N,). Raises ConfigError for scores that are no probabilities."""
    if bool(((y < -1e-3) | (y > 1 + 1e-3)).any()):
        raise ConfigError("a bottleneck's loss is -log of a probability; leave out --score logit")
    return -y.clamp(TINY, 1).log()


def copies(problem: Problem, count: int) -> Tensor:
    """The explanation (K*count,) of every noisy copy."""
    return torch.arange(len(problem.x), device=problem.x.device).repeat_interleave(count)
