"""What the features of a layer are like over a set of pictures: mean, spread, which of them are ever active; in a file.

Welford 1962, by batches (Chan, Golub, LeVeque 1983), for a batch b of n_b values beside the n seen so far:

    d = mean_b - mean;   mean += d * n_b / (n + n_b);   M2 += M2_b + d^2 * n * n_b / (n + n_b);   std^2 = M2 / (n - 1)

per neuron (c,h,w): every place of the layer has its own; per channel (c,1,1): every place is another value, which
suits pictures of any size.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor, nn

from igos.base.files import write_bytes
from igos.base.names import PER
from igos.types import ConfigError, Statistics

ACTIVE = 0.01  # the share of pictures in which an active neuron is not 0
SAME = 1e-3  # relative: weights that differ by less are the same, folded and rounded on another machine
TENSORS = ("mean", "std", "active", "pixel_mean", "pixel_std", "weights")
WORDS = ("model", "layer", "per", "n")


class Running:
    """Mean, standard deviation and share of values other than 0 over batches, in one pass and in any order."""

    def __init__(self, per: str = "neuron") -> None:
        if per not in PER:
            raise ConfigError(f"per {per!r} is not one of {', '.join(PER)}")
        self.per, self.n = per, 0
        self._mean, self._m2, self._other = (torch.zeros(()) for _ in range(3))

    def add(self, features: Tensor) -> None:
        """Features (N,c,h,w)."""
        x = features.detach().double().cpu()
        if self.per == "channel":
            x = x.transpose(0, 1).flatten(1).mT[..., None, None]
        count, mean, total = len(x), x.mean(dim=0), self.n + len(x)
        d = mean - self._mean
        self._mean = self._mean + d * (count / total)
        self._m2 = self._m2 + ((x - mean) ** 2).sum(dim=0) + d**2 * (self.n * count / total)
        self._other = self._other + (x != 0).sum(dim=0)
        self.n = total

    @property
    def mean(self) -> Tensor:
        return self._mean.float()

    @property
    def std(self) -> Tensor:
        """With n - 1, and 0 for a single value."""
        return (self._m2 / max(self.n - 1, 1)).sqrt().float()

    @property
    def active(self) -> Tensor:
        return self._other > ACTIVE * self.n


def fingerprint(module: nn.Module) -> Tensor:
    """The root mean square (T,) of each of the network's tensors: the same on every machine up to rounding."""
    values = [v.detach().double().square().mean().sqrt() for v in module.state_dict().values() if v.numel()]
    return torch.stack(values).float().cpu() if values else torch.zeros(0)


def same_weights(a: Tensor, b: Tensor) -> bool:
    """Whether two fingerprints are of the same weights."""
    return a.shape == b.shape and torch.allclose(a, b, rtol=SAME, atol=1e-9)


def write_statistics(path: str | Path, statistics: Statistics) -> None:
    """A .safetensors file, whole or not there."""
    tensors = {name: getattr(statistics, name).contiguous() for name in TENSORS}
    write_bytes(Path(path), save(tensors, {name: str(getattr(statistics, name)) for name in WORDS}))


def read_statistics(path: str | Path) -> Statistics:
    """Raises ConfigError for a file that is missing, damaged or of another kind."""
    if not Path(path).is_file():
        raise ConfigError(f"--stats {path}: no such file")
    try:
        with safe_open(path, framework="pt", device="cpu") as file:
            words: Mapping[str, str] = file.metadata() or {}
            found = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
    except Exception as error:  # a damaged file can make the reader raise nearly anything
        raise ConfigError(f"--stats {path}: damaged or not .safetensors ({type(error).__name__})") from None
    lacking = [n for n in TENSORS if n not in found] + [n for n in WORDS if n not in words]
    if lacking:
        raise ConfigError(f"--stats {path}: not a file of `igos estimate` (it lacks {', '.join(lacking)})")
    tensors = {name: found[name] for name in TENSORS}
    shapes = {tensors[name].shape for name in ("mean", "std", "active")}
    numbers = all(t.is_floating_point() and t.isfinite().all() for n, t in tensors.items() if n != "active")
    sound = len(shapes) == 1 and len(*shapes) == 3 and tensors["active"].dtype == torch.bool and numbers
    if not sound or words["per"] not in PER or not re.fullmatch("[0-9]{1,15}", words["n"]):
        raise ConfigError(f"--stats {path}: not a file of `igos estimate` (other shapes or numbers than it writes)")
    return Statistics(words["model"], words["layer"], words["per"], int(words["n"]), **tensors)
