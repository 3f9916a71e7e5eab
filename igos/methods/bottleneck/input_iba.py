"""Input IBA. Zhang, Khakzar, Li, Farshad, Kim, Navab: Fine-Grained Neural Network Explanation by Identifying Input
Features with Predictive Information, NeurIPS 2021. https://arxiv.org/abs/2110.01471

    1  Z = lambda R + (1 - lambda) eps at layer l                    iba.py
    2  M: pixels whose noise leaves such features                    iba_prior.py
    3  z = Lambda x + (1 - Lambda) e,   e ~ N(mu, sigma^2) pixels,   Lambda = sigmoid(alpha), smoothed
       min_alpha  -log y(z) + beta * mean KL[ P(z|x) || P(z|x, M) ]
    map = mean over colours of sigmoid(alpha)

Pixels that M lets through are free, so the bottleneck only judges what the features had let through. mu and sigma are those
of the pictures that the statistics were estimated on: in pixels, what N(0,1) is to normalised ones.

White noise, as published, takes the score of a network that never saw any while the evidence is in full view: the gates
then close together, and open around the object. With `grain` the noise of near pixels is alike, each pixel's mean and
spread as before. score_kept tells what of the score the noise leaves in the end: where it is lost, the map is the order in
which the gates shut, not what is enough. The presets' few generator steps leave M near its start, the sigmoid of the
features' bits.
"""  # noqa: E501

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor

from igos.base.ops import grained
from igos.base.settings import setting
from igos.methods.bottleneck.bottleneck import (
    TINY,
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
from igos.methods.bottleneck.iba import IBA, MIN_STD, Passed, statistics_of
from igos.methods.bottleneck.iba_prior import FEATURES, REAL, Prior
from igos.methods.map_method import MapMethod, noise, seeds
from igos.types import Explanation, Problem

OVER = ("picture", "box")


@dataclass(frozen=True)
class InputIBA(MapMethod):
    """layer: by default that of the statistics.

    feat_beta, feat_steps, feat_sigma, beta, opt_steps, sigma: the two bottlenecks' weight of information, Adam's steps,
    smoothing; copies: noisy ones per step, and lr, of both. over {picture, box}: what beta's mean is taken over, the
    box of a detection being all that the price of its pixels depends on. grain: the noise of pixels so near is alike,
    their mean and spread stay; 0: each has its own. gan_steps: of the critic, on gan_batch pictures each; every
    critic_iter-th is also the generator's. clip: bound of the critic's weights; lr_critic, lr_mask: RMSprop's.
    real_mask {lambda, capacity}: what passes R in the real samples: lambda, with the layer's own noise, or L in nats,
    with noise of random mean and scale. features {pre, post}: the critic sees them as the layer gives them, or
    after a ReLU. critic_channels, critic_size: its widest layer and most cells a side; None: the published 4c, all.

    Cost: feat_steps * copies passes above the layer, gan_steps * gan_batch below it, opt_steps * copies whole ones.
    """

    layer: str | None = None
    feat_beta: float = setting(20.0, least=0)
    feat_steps: int = setting(10, least=1)
    feat_sigma: float = setting(0.0, least=0)
    beta: float = setting(20.0, least=0)
    opt_steps: int = setting(60, least=1)
    sigma: float = setting(1.0, least=0)
    grain: float = setting(0.0, least=0)
    over: str = setting("picture", choices=OVER)
    copies: int = setting(10, least=1)
    lr: float = setting(1.0, least=0)
    gan_steps: int = setting(140, least=1)
    gan_batch: int = setting(32, least=2)
    critic_iter: int = setting(5, least=1)
    clip: float = setting(0.01, least=0)
    lr_critic: float = setting(5e-5, least=0)
    lr_mask: float = setting(0.003, least=0)
    real_mask: str = setting("lambda", choices=REAL)
    features: str = setting("pre", choices=FEATURES)
    critic_channels: int | None = setting(64, least=4)
    critic_size: int | None = setting(14, least=4)

    name: ClassVar[str] = "input_iba"
    paper: ClassVar[str] = "Zhang et al. 2021 (NeurIPS)"
    needs: ClassVar[str] = "layers"
    ingredients: ClassVar[tuple[str, ...]] = ("statistics",)

    @property
    def cost(self) -> str:
        return f"{self.feat_steps * self.copies}+{self.gan_steps * self.gan_batch}+{self.opt_steps * self.copies}"

    def __call__(self, problem: Problem) -> list[Explanation]:
        """K explanations; input_mask (H,W) in [0,1], the map; feat_mask (H,W), the features' bits per pixel;
        prior_mask (H,W) in [0,1], what of a pixel is free.
        """
        feature = IBA(self.size, self.layer, self.feat_beta, self.feat_steps, self.copies, self.lr, self.feat_sigma)
        passed = feature.learn(problem)
        bits = passed.bits(problem.size)
        prior = self._prior(problem, passed, bits)
        made = self._input(problem, prior)
        maps = torch.sigmoid(made.alpha).mean(dim=1)
        both = zip(warned(passed.course, passed.open), warned(made, torch.sigmoid(made.alpha)), strict=True)
        warnings = [a or b for a, b in both]
        explained = self.explain(problem, maps, scores=kept(made), warnings=warnings, moved=moved(made))
        return [
            replace(
                e,
                arrays={
                    "input_mask": maps[i].float().cpu().numpy(),
                    "feat_mask": bits[i].float().cpu().numpy(),
                    "prior_mask": prior[i].mean(dim=0).float().cpu().numpy(),
                },
                trace={
                    "feat_loss": passed.course.loss[:, i].cpu().numpy(),
                    "loss": made.loss[:, i].cpu().numpy(),
                },
                settings={**e.settings, "layer": passed.layer},
            )
            for i, e in enumerate(explained)
        ]

    def _prior(self, problem: Problem, passed: Passed, bits: Tensor) -> Tensor:
        """M (K,3,H,W): one WGAN per explanation."""
        lower, _ = problem.score.split(passed.layer)
        settings = Prior(**{f.name: getattr(self, f.name) for f in fields(Prior)})
        seed, made = seeds(problem), []
        for k in range(len(problem.x)):
            row = torch.full((self.gan_batch,), k, device=problem.x.device)
            mask = passed.open if self.real_mask == "lambda" else passed.nats
            m, taught = settings.learn(
                partial(lower, rows=row),
                problem.x[k : k + 1],
                bits[k],
                passed.r[k : k + 1],
                mask[k : k + 1],
                (passed.mu, passed.sigma),
                pixels_of(problem),
                seed[k],
            )
            problem.score.count(row[:1].expand(self.gan_steps * self.gan_batch - taught), gradient=False)
            problem.score.count(row[:1].expand(taught), gradient=True)
            made.append(m)
        return torch.cat(made)

    def _input(self, problem: Problem, prior: Tensor) -> Course:
        """The bottleneck on the picture, (K,3,H,W)."""
        x = problem.x
        mu, sigma = pixels_of(problem)
        deviation = (x - mu) / sigma
        seed, row = seeds(problem), copies(problem, self.copies)
        copy = torch.arange(len(row), device=x.device) % self.copies

        def task(step: int, open: Tensor) -> tuple[Tensor, Tensor]:
            loss, slope = x.new_zeros(len(x)), torch.zeros_like(open)
            made: dict[int, Tensor] = {}

            def pictures(part: slice) -> Tensor:
                white = noise(seed[row[part]] + step * self.copies + copy[part], x)
                e = made[part.start] = mu + sigma * grained(white, self.grain)
                return x[row[part]] * open[row[part]] + (1 - open[row[part]]) * e

            for part, y, g in problem.score.stream(row, pictures, gradient=True):
                assert g is not None
                loss.index_add_(0, row[part], log_loss(y).to(loss) / self.copies)
                by_pixel = -g / y.clamp(min=TINY).view(-1, 1, 1, 1) * (x[row[part]] - made.pop(part.start))
                slope.index_add_(0, row[part], by_pixel.to(slope) / self.copies)
            problem.tell(step + 1, self.opt_steps)
            return loss, slope

        return learn(
            x,
            self.opt_steps,
            self.lr,
            self.beta / shares(problem) if self.over == "box" else self.beta,
            lambda alpha: gates(alpha, self.sigma),
            lambda g: information(g, deviation, prior),
            task,
        )


def pixels_of(problem: Problem) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (3,1,1) of pixels, like the picture."""
    known = statistics_of(problem)
    return known.pixel_mean.to(problem.x), known.pixel_std.to(problem.x).clamp(min=MIN_STD)


def shares(problem: Problem) -> Tensor:
    """The part (K,) of the picture that each target's box covers; 1 where it has none."""
    height, width = problem.size
    whole = torch.tensor([0, 0, width, height], dtype=torch.float32)
    boxes = torch.stack([whole if t.box is None else t.box.to(whole) for t in problem.targets])
    sides = torch.minimum(boxes[:, 2:], whole[2:]) - boxes[:, :2].clamp(min=0)
    return (sides.clamp(min=1).prod(dim=1) / (height * width)).to(problem.x)
