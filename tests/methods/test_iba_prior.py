"""The prior of Input IBA: what its mask learns, from what, and from which noise."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from igos.methods.bottleneck.iba_prior import Prior


def prior(**more: Any) -> Prior:
    usual: dict[str, Any] = {
        "gan_steps": 4, "gan_batch": 4, "critic_iter": 2, "clip": 0.5, "lr_critic": 5e-5, "lr_mask": 0.05,
        "real_mask": "lambda", "features": "pre", "critic_channels": 4, "critic_size": 4,
    }  # fmt: skip
    return Prior(**{**usual, **more})


def learned(settings: Prior, lower: Any, seed: int = 0, **other: Any) -> tuple[Tensor, int]:
    mask = torch.zeros(1, 2, 8, 8)
    mask[..., :4] = 1
    usual: dict[str, Any] = {
        "x": torch.linspace(0, 1, 768).view(1, 3, 16, 16), "start": torch.zeros(16, 16),
        "r": lower(torch.full((1, 3, 16, 16), 0.8)).detach(), "mask": mask, "noises": numbers(2), "pixels": numbers(3),
    }  # fmt: skip
    return settings.learn(lower, **{**usual, **other}, seed=torch.tensor(seed))


def numbers(channels: int, mean: float = 0.5, spread: float = 0.2) -> tuple[Tensor, Tensor]:
    return torch.full((channels, 1, 1), mean), torch.full((channels, 1, 1), spread)


def lower(pictures: Tensor) -> Tensor:
    return nn.functional.avg_pool2d(pictures, 2)[:, :2]


def test_the_mask_learns_from_the_critic_by_its_seed_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first, taught = learned(prior(), lower)
    assert torch.equal(torch.get_rng_state(), before), "nobody else's random numbers are drawn"
    assert first.shape == (1, 3, 16, 16) and first.min() > 0 and first.max() < 1 and taught == 8
    assert (first[:, :2] != 0.5).any() and (first[:, 2] == 0.5).all(), "the third colour reaches no feature"
    assert torch.equal(first, learned(prior(), lower)[0])
    assert not torch.equal(first, learned(prior(), lower, seed=5)[0])


def test_each_setting_changes_the_mask() -> None:
    usual = learned(prior(), lower)[0]
    for change in (
        {"real_mask": "capacity"}, {"critic_channels": None}, {"clip": 0.1},
        {"critic_size": None}, {"critic_iter": 1}, {"lr_mask": 0.1}, {"gan_steps": 5}, {"gan_batch": 3},
    ):  # fmt: skip
        assert not torch.equal(usual, learned(prior(**change), lower)[0]), change


class Brightness(nn.Module):
    """A critic that knows brightness alone, and has to learn whether much of it is real."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        return self.weight * features.mean(dim=(1, 2, 3))


@pytest.mark.parametrize(("passes", "opens"), [(1.0, True), (0.0, False)])
def test_pixels_open_where_the_features_that_pass_are_theirs(
    monkeypatch: pytest.MonkeyPatch, passes: float, opens: bool
) -> None:
    """White picture, black noise: where all features pass, real ones are white and M lets through more, else less."""
    monkeypatch.setattr(Prior, "_critic", lambda *_: Brightness())
    white = torch.ones(1, 3, 16, 16)
    same = {"x": white, "r": lower(white), "mask": torch.full((1, 2, 8, 8), passes)}
    made, _ = learned(prior(gan_steps=8), lower, noises=numbers(2, 0.0, 0.01), pixels=numbers(3, 0.0, 0.01), **same)
    moved = made[:, :2] - 0.5
    assert (moved > 0.05).all() if opens else (moved < -0.05).all()


def test_the_mask_starts_from_the_bits() -> None:
    start = torch.rand(16, 16, generator=torch.Generator().manual_seed(0))
    made, _ = learned(prior(lr_mask=0.0), lower, start=start)
    assert torch.equal(made, torch.sigmoid(start).expand(1, 3, 16, 16))


def test_post_is_after_a_relu_and_pre_before_it() -> None:
    """Of features with a sign; where they and their noise are positive there is nothing to tell."""

    def signed(pictures: Tensor) -> Tensor:
        return lower(pictures) - 0.5

    bright = {"noises": numbers(2, 0.5, 1e-3)}
    pre, post = (learned(prior(features=f, lr_critic=0.01), signed, **bright)[0] for f in ("pre", "post"))
    assert not torch.equal(pre, post)
    assert torch.equal(post, learned(prior(lr_critic=0.01), lambda p: signed(p).relu(), **bright)[0])
    same = [learned(prior(features=f, lr_critic=0.01), lower, **bright)[0] for f in ("pre", "post")]
    assert torch.equal(*same)


def test_noise_of_capacity_has_a_mean_and_a_scale_of_its_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten groups: means in (-2,2), scales in (0,5); with no capacity the real samples are that noise alone."""
    seen: list[Tensor] = []

    class Watched(nn.Linear):
        def forward(self, features: Tensor) -> Tensor:
            seen.append(features.detach().flatten(1))
            return super().forward(features.flatten(1)[:, :1])

    monkeypatch.setattr(Prior, "_critic", lambda *_: Watched(1, 1))
    learned(prior(real_mask="capacity", gan_steps=2, gan_batch=40), lower, mask=torch.zeros(1, 2, 8, 8))
    real = torch.cat([seen[1], seen[4]])  # the critic sees fakes, real ones, and where the generator learns fakes again
    spread, mean = real.std(dim=1), real.mean(dim=1)
    by_group = spread.view(-1, 10)
    assert (by_group.std(dim=0) < 0.25 * by_group.mean(dim=0)).all(), "one scale in a group"
    assert spread.max() < 6 and spread.std() > 0.5 and mean.abs().max() < 3 and mean.std() > 0.3


def test_each_step_runs_the_lower_half_once_and_with_gradients_only_for_the_generator() -> None:
    calls: list[bool] = []

    def watched(pictures: Tensor) -> Tensor:
        calls.append(pictures.requires_grad)
        return lower(pictures)

    learned(prior(gan_steps=5, critic_iter=3), watched)
    assert calls[1:] == [True, False, False, True, False]  # the first is that of R
