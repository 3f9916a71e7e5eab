"""The prior of Input IBA: which pixels' noise leaves the features that the feature bottleneck lets through.

Zhang et al. 2021 (Input-IBA, https://arxiv.org/abs/2110.01471), a WGAN at layer l (Arjovsky, Chintala, Bottou 2017,
https://arxiv.org/abs/1701.07875):

    real   lambda R + (1 - lambda) eps,    eps ~ N(mu_R, sigma_R^2)
    fake   G(z) = f_l( M x + (1 - M) (s z + m) ),   z ~ N(0, 1),   learned: M = sigmoid(P), m, s per colour
    critic min_D  mean D(fake) - mean D(real),  |weights| <= clip;    generator min_G -mean D(fake)

A fake that the generator learns from is the critic's of that step: f_l runs once per step. It stops at the layer, with
gradients only where the generator learns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from igos.methods.map_method import noise

REAL = ("lambda", "capacity")
FEATURES = ("pre", "post")
HIDDEN = (512, 256)
LR_MEAN, LR_SCALE = 0.1, 0.05  # of the noise's mean and scale
SLOPE = 0.2
GROUPS, SPREAD, SHIFT = 10, 5.0, 2.0  # noise of real_mask "capacity": per group a scale U(0,5) and a mean U(-2,2)
SMALLEST = 4  # cells a side that the critic's two strides leave something of


@dataclass(frozen=True)
class Prior:
    """How the mask is learned; InputIBA has these settings by the same names and says what they are."""

    gan_steps: int
    gan_batch: int
    critic_iter: int
    clip: float
    lr_critic: float
    lr_mask: float
    real_mask: str
    features: str
    critic_channels: int | None
    critic_size: int | None

    def learn(
        self,
        lower: Callable[[Tensor], Tensor],
        x: Tensor,
        start: Tensor,
        r: Tensor,
        mask: Tensor,
        noises: tuple[Tensor, Tensor],
        pixels: tuple[Tensor, Tensor],
        seed: Tensor,
    ) -> tuple[Tensor, int]:
        """M (1,3,H,W) in (0,1), and how many pictures learned with gradients.

        lower: pictures (N,3,H,W) -> features; x (1,3,H,W); start (H,W), what P starts from; r, mask (1,c,h,w): R and
        lambda, or the capacity in nats; noises, pixels: mean and spread of the layer's noise and of the picture's.
        """
        p = start.expand(1, 3, -1, -1).clone().requires_grad_(True)
        m, s = x.new_zeros(1, 3, 1, 1).requires_grad_(True), x.new_ones(1, 3, 1, 1).requires_grad_(True)
        r, act = (r, _same) if self.features == "pre" else (r.relu(), torch.relu)
        critic = self._critic(r, int(seed))
        judge = torch.optim.RMSprop(critic.parameters(), lr=self.lr_critic)
        forge = torch.optim.RMSprop(
            [{"params": [p], "lr": self.lr_mask}, {"params": [m], "lr": LR_MEAN}, {"params": [s], "lr": LR_SCALE}]
        )
        each = torch.arange(self.gan_batch, device=x.device)
        groups = _uniform(seed, x.new_zeros(2, GROUPS))
        taught = 0
        for step in range(self.gan_steps):
            forging = step % self.critic_iter == 0
            place = seed + 1 + 3 * step * self.gan_batch + each
            z, eps = noise(place, x), noise(place + self.gan_batch, r)
            if self.real_mask == "lambda":
                eps = noises[0] + noises[1] * eps
            else:
                own = groups[:, (place + 2 * self.gan_batch) % GROUPS][..., None, None, None]
                eps = SPREAD * own[0] * eps + SHIFT * (2 * own[1] - 1)
            real = act(mask * r + (1 - mask) * eps)
            with torch.set_grad_enabled(forging):
                shown = torch.sigmoid(p)
                fake = act(lower(shown * x + (1 - shown) * (pixels[0] + pixels[1] * (s * z + m))))
            with torch.enable_grad():
                _step(judge, critic(fake.detach()).mean() - critic(real).mean(), critic.parameters())
            with torch.no_grad():
                for w in critic.parameters():
                    w.clamp_(-self.clip, self.clip)
            if forging:
                taught += self.gan_batch
                with torch.enable_grad():
                    _step(forge, -critic(fake).mean(), (p, m, s))
        return torch.sigmoid(p).detach(), taught

    def _critic(self, r: Tensor, seed: int) -> nn.Module:
        """Features (N,c,h,w) -> (N,1), drawn from the seed, with batch norms that see the batch."""
        c, *cells = r.shape[1:]
        most = self.critic_channels or 4 * c
        a, b, d = (min(n, most) for n in (2 * c, 4 * c, c))
        h, w = (max(min(n, self.critic_size or n), SMALLEST) for n in cells)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed % 2**63)
            critic = nn.Sequential(
                nn.AdaptiveAvgPool2d((h, w)) if [h, w] != cells else nn.Identity(),
                *_block(c, a, 4, 2),
                *_block(a, b, 4, 2),
                *_block(b, d, 3, 1),
                nn.Flatten(),
                nn.Linear(d * (h // 4) * (w // 4), HIDDEN[0]),
                nn.LeakyReLU(SLOPE),
                nn.Linear(HIDDEN[0], HIDDEN[1]),
                nn.LeakyReLU(SLOPE),
                nn.Linear(HIDDEN[1], 1),
            )
        return critic.to(r).train()


def _block(a: int, b: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(a, b, kernel, stride, padding=1), nn.BatchNorm2d(b), nn.LeakyReLU(SLOPE)]


def _step(optimizer: torch.optim.Optimizer, loss: Tensor, parameters: Iterable[Tensor]) -> None:
    own = list(parameters)
    for w, g in zip(own, torch.autograd.grad(loss, own), strict=True):
        w.grad = g
    optimizer.step()


def _same(features: Tensor) -> Tensor:
    return features


def _uniform(seed: Tensor, like: Tensor) -> Tensor:
    generator = torch.Generator().manual_seed(int(seed))
    return torch.rand(like.shape, generator=generator, dtype=torch.float32).to(like)
