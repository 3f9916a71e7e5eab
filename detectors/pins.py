"""Choices that a network makes from the picture, noted and made again.

Networks of the DETR family with an encoder (RT-DETR, D-FINE, DEIM) take their queries from the picture: torch.topk
over the encoder's places. In a changed picture query 17 comes from elsewhere; its score then tells of another object.
`noting` keeps what was chosen in one picture, `choosing` makes the same choices in others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from igos.types import ConfigError

TOPK = (torch.topk, Tensor.topk)
Pins = tuple[Tensor, ...]  # indices (k,) of one picture, in the order in which the network chose


class _TopK(TorchFunctionMode):
    """Every topk over places, which are rows of numbers (N,L); one over a finer axis is no choice of queries."""

    def choose(self, scores: Tensor, k: int) -> Tensor:
        raise NotImplementedError

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        more = kwargs or {}
        scores: Any = args[0] if args else more.get("input")
        if func not in TOPK or scores.ndim != 2 or more.get("dim", args[2] if len(args) > 2 else -1) not in (1, -1):
            return func(*args, **more)
        indices = self.choose(scores, int(more.get("k", args[1] if len(args) > 1 else 0)))
        return torch.return_types.topk((scores.gather(1, indices), indices))


class noting(_TopK):
    """`with noting() as seen: network(picture (1,3,H,W))`; then seen.pins."""

    def __init__(self) -> None:
        super().__init__()
        self.pins: Pins = ()

    def choose(self, scores: Tensor, k: int) -> Tensor:
        indices = scores.topk(k, dim=1).indices
        self.pins = (*self.pins, indices[0].detach())
        return indices


class choosing(_TopK):
    """`with choosing([pins of picture 0, pins of picture 1, ...]): network(pictures (N,3,H,W))`."""

    def __init__(self, pins: Sequence[Pins]) -> None:
        super().__init__()
        self._pins, self._next = pins, 0

    def choose(self, scores: Tensor, k: int) -> Tensor:
        if any(len(p) <= self._next for p in self._pins):
            raise ConfigError("this network chooses its queries from the picture: take the target from detect(image)")
        indices = torch.stack([p[self._next] for p in self._pins]).to(scores.device)
        if indices.shape != (len(scores), k) or int(indices.max()) >= scores.shape[1]:
            raise ConfigError("the target's pins are not of this network and this size of pictures")
        self._next += 1
        return indices
