"""A network whose layers, from the top down, are drawn anew: on a copy, never on the network itself.

Each parameter becomes Gaussian noise of its own mean and spread, so that signals neither vanish nor blow up where
batch norm is folded or frozen. A layer is drawn alike at every depth.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from igos.base.hashing import seed_of
from igos.types import Adapter, ConfigError, Problem, lock_of


def layers(module: nn.Module, run: Callable[[], Any]) -> list[str]:
    """Names of the layers with parameters that run() calls, the last called first; each at its first call."""
    called: list[str] = []
    handles = []
    with lock_of(module):
        for name, layer in module.named_modules():
            if any(True for _ in layer.parameters(recurse=False)):
                note = lambda *_, name=name: called.append(name)  # noqa: E731
                handles.append(layer.register_forward_hook(note))
        try:
            run()
        finally:
            for handle in handles:
                handle.remove()
    return list(dict.fromkeys(called))[::-1]


def randomise(module: nn.Module, names: Sequence[str], seed: int = 0) -> nn.Module:
    """A copy whose layers of these names are drawn anew. Raises ConfigError for a name that it does not hold."""
    with lock_of(module):
        made = copy.deepcopy(module)
    known = dict(made.named_modules())
    for name in names:
        if name not in known:
            raise ConfigError(f"layer {name!r} is not one of the network's: {', '.join(n for n in known if n)}")
        generator = torch.Generator().manual_seed(seed_of(f"{seed}|{name}"))
        for p in known[name].parameters(recurse=False):
            noise = torch.randn(p.shape, generator=generator, dtype=torch.float64)
            spread = p.detach().double().std(correction=0).cpu()
            p.data = (p.detach().double().mean().cpu() + spread * noise).to(p)
    return made


def cascade(
    adapter: Adapter, problem: Problem, score: str = "prob", seed: int = 0
) -> tuple[list[str], Callable[[int], Problem]]:
    """What Context.layers and Context.randomised take: the layers that score the problem, from the top down, and
    the problem for a copy of the network with the first `depth` of them drawn anew.
    """

    @torch.no_grad()
    def run() -> None:
        problem.score.forward(problem.x[:1], torch.zeros(1, dtype=torch.long, device=problem.x.device))

    names = layers(adapter.module, run)

    def randomised(depth: int) -> Problem:
        other: Any = copy.copy(adapter)
        other.module = randomise(adapter.module, names[:depth], seed)
        scorer = other.scorer(problem.targets, score, problem.score.batch)
        probability = other.scorer(problem.targets, "prob", problem.score.batch) if problem.probability else None
        return replace(problem, score=scorer, detect=other.detections, probability=probability)

    return names, randomised
