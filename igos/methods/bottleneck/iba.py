"""IBA, the per-sample bottleneck. Schulz, Sixt, Tombari, Landgraf: Restricting the Flow: Information Bottlenecks for
Attribution, ICLR 2020. https://arxiv.org/abs/2001.00396

    Z = lambda R + (1 - lambda) eps,   R = f_l(x),   eps ~ N(mu_R, sigma_R^2),   lambda = sigmoid(alpha)
    min_alpha  -log y(Z) + beta * mean_{c,h,w} L_I,    L_I = KL[ P(Z|R) || N(mu_R, sigma_R^2) ]
    map_{h,w} = sum_c L_I / log 2    bits

Neurons that are never active are shut. y is the score of the fixed detection or class, so that a detection's bottleneck
sits on its backbone. mu_R and sigma_R are those of the trained network, also where a metric asks for the map of a
randomised one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from igos.base.settings import setting
from igos.methods.bottleneck.bottleneck import (
    NATS_PER_BIT,
    Course,
    copies,
    gates,
    information,
    kept,
    learn,
    log_loss,
    moved,
    warned,
)
from igos.methods.layer.layer import over_picture
from igos.methods.map_method import MapMethod, noise, seeds
from igos.types import ConfigError, Explanation, Problem, Statistics, pulled

MIN_STD = 0.01  # features that hardly vary count as varying so much


class Passed(NamedTuple):
    """A learned bottleneck: R (K,c,h,w), lambda, L in nats, mu and sigma of the noise, the layer and the course."""

    layer: str
    r: Tensor
    open: Tensor
    nats: Tensor
    mu: Tensor
    sigma: Tensor
    course: Course

    def bits(self, size: tuple[int, int]) -> Tensor:
        """Bits per pixel of the picture, (K,H,W)."""
        h, w = self.nats.shape[-2:]
        share = h * w / (size[0] * size[1])
        return over_picture(self.nats.sum(dim=1) / NATS_PER_BIT * share, size)


@dataclass(frozen=True)
class IBA(MapMethod):
    """layer: by default that of the statistics; beta weighs the mean information; copies: noisy ones per step.

    sigma: lambda is smoothed by so many cells of the layer (0: not). Cost: opt_steps * copies passes above the
    layer, and 2 whole ones to see that it cuts.
    """

    layer: str | None = None
    beta: float = setting(20.0, least=0)
    opt_steps: int = setting(10, least=1)
    copies: int = setting(10, least=1)
    lr: float = setting(1.0, least=0)
    sigma: float = setting(0.0, least=0)

    name: ClassVar[str] = "iba"
    paper: ClassVar[str] = "Schulz et al. 2020 (ICLR)"
    needs: ClassVar[str] = "layers"
    ingredients: ClassVar[tuple[str, ...]] = ("statistics",)

    @property
    def cost(self) -> str:
        return f"{self.opt_steps * self.copies}"

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; saliency is the information that passes; feat_mask (H,W) in bits per pixel; score_kept."""
        passed = self.learn(problem)
        maps = passed.bits(problem.size)
        course = passed.course
        warnings = warned(course, passed.open)
        made = self.explain(problem, maps, scores=kept(course), warnings=warnings, moved=moved(course))
        return [
            replace(
                e,
                arrays={"feat_mask": maps[i].float().cpu().numpy()},
                trace={"feat_loss": course.loss[:, i].cpu().numpy()},
                settings={**e.settings, "layer": passed.layer},
            )
            for i, e in enumerate(made)
        ]

    def learn(self, problem: Problem) -> Passed:
        """The bottleneck of each of K explanations. Raises ConfigError where the layer does not cut the network."""
        x, score = problem.x, problem.score
        known = statistics_of(problem)
        layer = self.layer or known.layer
        every = torch.arange(len(x), device=x.device)
        score.cuts(layer, x, every)
        lower, upper = score.split(layer)
        with torch.no_grad():
            r = lower(x[:1], every[:1]).expand(len(x), -1, -1, -1) if x.stride(0) == 0 else lower(x, every)
        mu, sigma, active = fitted(known, r)
        deviation = (r - mu) / sigma
        seed, row = seeds(problem), copies(problem, self.copies)
        copy = torch.arange(len(row), device=x.device) % self.copies

        def task(step: int, open: Tensor) -> tuple[Tensor, Tensor]:
            loss, slope = x.new_zeros(len(x)), torch.zeros_like(open)
            for part, c in zip(row.split(score.batch), copy.split(score.batch), strict=True):
                eps = mu + sigma * noise(seed[part] + step * self.copies + c, r)
                z = ((r[part] * open[part] + (1 - open[part]) * eps) * active).detach().requires_grad_(True)
                lost = log_loss(upper(z, part))
                g = pulled(lost.sum(), z)
                loss.index_add_(0, part, lost.detach().to(loss) / self.copies)
                slope.index_add_(0, part, g * active * (r[part] - eps) / self.copies)
            problem.tell(step + 1, self.opt_steps)
            return loss, slope

        course = learn(
            r,
            self.opt_steps,
            self.lr,
            self.beta,
            lambda alpha: gates(alpha, self.sigma),
            lambda g: information(g, deviation) * active,
            task,
        )
        g = gates(course.alpha, self.sigma)
        return Passed(layer, r, g.open, information(g, deviation) * active, mu, sigma, course)


def statistics_of(problem: Problem) -> Statistics:
    statistics = problem.ingredients.get("statistics")
    if statistics is None:
        raise ConfigError("a bottleneck needs the statistics of a layer: Problem.ingredients, or --stats FILE")
    return statistics


def fitted(statistics: Statistics, r: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """mu, sigma and active as numbers like features r (K,c,h,w). Raises ConfigError where the shapes do not fit."""
    own, shape = statistics.mean.shape, r.shape[1:]
    if own[0] != shape[0] or (statistics.per == "neuron" and own != shape):
        wanted, got = (" x ".join(map(str, s)) for s in (own, shape))
        raise ConfigError(
            f"statistics of layer {statistics.layer}: of {wanted} features per {statistics.per}, this picture gives "
            f"{got}; "
            "estimate them anew, with --per channel for pictures of several sizes"
        )
    return statistics.mean.to(r), statistics.std.to(r).clamp(min=MIN_STD), statistics.active.to(r)
