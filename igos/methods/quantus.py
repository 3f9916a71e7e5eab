"""Our methods for users of Quantus, https://github.com/understandable-machine-intelligence-lab/Quantus

    metric(model, x_batch, y_batch, explain_func=as_explain_func("iGOS++", mean=MEAN, std=STD))
    metric(model, x_batch, y_batch, a_batch=to_quantus(explanations))

Nothing here imports Quantus; igos's own metrics do not use this file.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from igos.base.baselines import baseline
from igos.base.geometry import Geometry
from igos.base.names import SCORES
from igos.base.ops import upscale
from igos.methods import build_method
from igos.types import ConfigError, Explanation, Image, Problem, Scorer, Target
from igos.types.head import recognise


def to_quantus(explanations: Sequence[Explanation]) -> np.ndarray:
    """Maps as Quantus takes them, (N,1,H,W) float32 on the network's pixels; all of one picture size."""
    sizes = {e.geometry.network for e in explanations}
    if len(sizes) != 1:
        raise ConfigError(f"Quantus takes maps of one picture size, got {sorted(sizes)}")
    return np.stack([upscale(e.saliency.float().cpu(), next(iter(sizes))).numpy()[None] for e in explanations])


def as_explain_func(
    method: Any = "iGOS++",
    *,
    mean: Sequence[float] = (0.0, 0.0, 0.0),
    std: Sequence[float] = (1.0, 1.0, 1.0),
    score: str = "prob",
    seed: int = 0,
    batch: int = 8,
    activation: str | None = None,
    **settings: Any,
) -> Callable[..., np.ndarray]:
    """explain_func(model, inputs (N,3,H,W), targets (N,)) -> (N,1,H,W) float32 for a classifier's module.

    method: a name of METHODS with its settings, or a callable Problem -> [Explanation]. mean, std: how the inputs
    were normalised; undone they lie in [0,1], and what is a little outside is cut. Every call uses the same seed.
    activation {softmax, sigmoid, none}: what makes probabilities of the module's answers, by default as they show it;
    of a module with one column target 1 is that column's class, and 0 the other.
    """
    if score not in SCORES:
        raise ConfigError(f"score {score!r} is not one of {', '.join(SCORES)}")
    call = build_method(method, settings, {}) if isinstance(method, str) else method

    def explain_func(model: nn.Module, inputs: Any, targets: Any, **_: Any) -> np.ndarray:
        device = next((p.device for p in model.parameters()), torch.device("cpu"))
        x = torch.as_tensor(inputs, dtype=torch.float32).to(device)
        if x.ndim != 4 or x.shape[1] != 3:
            raise ConfigError(f"inputs must be (N,3,H,W), got {tuple(x.shape)}")
        m, s = (x.new_tensor(v)[:, None, None] for v in (mean, std))
        labels = torch.as_tensor(targets, device=device).long().flatten()
        head = recognise(model, torch.cat([x[:1], x[-1:]]), activation, type(model).__name__)

        def scores(pictures: Tensor, rows: Tensor) -> Tensor:
            return head(model, (pictures - m) / s, score).gather(1, labels[rows, None])[:, 0]

        return to_quantus(call(_problem(scores, x * s + m, labels, seed, batch)))

    return explain_func


def _problem(scores: Callable[[Tensor, Tensor], Tensor], x: Tensor, labels: Tensor, seed: int, batch: int) -> Problem:
    if not (x.min() > -0.5 and x.max() < 1.5):  # perturbed inputs may leave [0,1] a little
        found = f"{float(x.min()):.3g} to {float(x.max()):.3g}"
        raise ConfigError(f"inputs * std + mean must lie in [0,1], got {found}; mean and std are those of the inputs")
    x, size = x.clamp(0, 1), (x.shape[2], x.shape[3])
    source = (x.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()
    return Problem(
        x=x,
        x0=baseline("blur", x),
        score=Scorer(scores, len(x), batch),
        targets=[Target(int(label), str(int(label)), 1.0) for label in labels],
        generators=[torch.Generator().manual_seed(seed) for _ in range(len(x))],
        images=[Image(p, Geometry(size, size), rgb) for p, rgb in zip(x, source, strict=True)],
    )
