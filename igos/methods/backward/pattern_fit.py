"""Patterns: what of a layer's input its outputs respond to. Kindermans et al.: Learning how to explain neural networks,
ICLR 2018, https://arxiv.org/abs/1705.05598, equations 6 and 7.

For one output y = w.x + b of a layer, over all samples x (of a convolution: every patch of every picture):

    c = E_m[x y] - E_m[x] E[y],    a = c / (w . c),    so that w . a = 1

E_m is the mean over the samples with m = 1. linear: every sample, a = Cov(x, y) / Var(y). positive: m = 1[y > 0], where
the output feeds an activation alone. E[y] is always over all samples. The bias b changes neither, but for the mask m.

One pass: sums in float64. Those of m x and m x y over a convolution's patches are its weight's gradient under m and
m y, so that no patch is ever cut out. A unit without samples, or with |w . c| <= LEAST |w| |c|, is dead and has a = 0;
so is one with w . c < 0, unless `negative` is "keep": the authors' estimator divides by any w . c but 0.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

from igos.methods.backward.rules import OTHERS, RELUS
from igos.methods.backward.substitute import Call, Convolution, Matrix, Substitute, call_of, substitutable, tensors
from igos.types import Adapter, ConfigError, Image, passing

LEAST = 1e-6  # of |w| |c|
ESTIMATORS = ("linear", "positive")
NEGATIVE = ("zero", "keep")  # what becomes of units with w . c < 0; the first is the default (benchmarks/patterns.py)
ACTIVATIONS = RELUS | OTHERS
PASSED_ON = {F.dropout, F.dropout2d}  # in eval mode they are not there


@dataclass(frozen=True, eq=False)
class Pattern:
    """values: the weight's shape, float64; by which of ESTIMATORS, from how many samples; units by their sign:
    unused (no sample with m = 1) and flat (w . c about 0), which are dead, and negative (w . c below), dead or kept.
    """

    values: Tensor
    estimator: str
    samples: int
    unused: int
    flat: int
    negative: int


class Sums:
    """The running sums of one layer: m and y (O,), m x and m x y of its weight's shape, and the number of samples."""

    def __init__(self, weight: Tensor, estimator: str) -> None:
        self.weight, self.estimator, self.samples = weight, estimator, 0
        self.m, self.y = (torch.zeros(len(weight), dtype=torch.float64, device=weight.device) for _ in range(2))
        self.x, self.xy = (torch.zeros_like(weight, dtype=torch.float64) for _ in range(2))

    def add(self, kind: Convolution | Matrix, x: Tensor, y: Tensor) -> None:
        """Samples: the layer's input x and its output y, (N,C,H,W) and (N,O,h,w) or (...,D) and (...,O)."""
        x, y = x.double(), y.double()
        m = (y > 0).double() if self.estimator == "positive" else torch.ones_like(y)
        every = (0, 2, 3) if isinstance(kind, Convolution) else tuple(range(y.ndim - 1))
        self.samples += y.numel() // len(self.m)
        self.m += m.sum(every)
        self.y += y.sum(every)
        self.x += kind.to_weight(x, self.weight.shape, m)
        self.xy += kind.to_weight(x, self.weight.shape, m * y)

    def pattern(self, negative: str = NEGATIVE[0]) -> Pattern:
        """The layer's; negative: one of NEGATIVE."""
        w, n = self.weight.double().flatten(1), self.m.clamp(min=1)[:, None]
        c = self.xy.flatten(1) / n - self.x.flatten(1) / n * (self.y / max(self.samples, 1))[:, None]
        gain, least = (w * c).sum(1), LEAST * w.norm(dim=1) * c.norm(dim=1)
        used = self.m > 0
        live = used & ((gain.abs() if negative == "keep" else gain) > least)
        a = torch.where(live[:, None], c / torch.where(live, gain, torch.ones_like(gain))[:, None], 0.0)
        counts = (~used, used & (gain.abs() <= least), used & (gain < -least))
        return Pattern(a.view_as(self.weight), self.estimator, self.samples, *(int(v.sum()) for v in counts))


class Estimator(TorchFunctionMode):
    """While open, sums up what goes through the convolutions and linear layers of a network.

    Which estimator suits a layer is seen in the pass that first reaches it: its samples are kept until `end_pass`.
    """

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.weights = weights
        self.names = {id(w): n for n, w in weights.items()}
        self.sums: dict[str, Sums] = {}
        self._new: dict[str, list[tuple[Convolution | Matrix, Tensor, Tensor]]] = {}
        self._activated: dict[str, set[bool]] = {}  # of each new layer, by what takes its output
        self._outputs: dict[int, tuple[str, Tensor]] = {}

    def __torch_function__(
        self, func: Callable[..., Any], types: Collection[Any], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        taken = {self._outputs[id(t)][0] for t in tensors((args, kwargs)) if id(t) in self._outputs}
        call = call_of(func, args, kwargs)
        out = func(*args, **kwargs)
        for name in taken if any(True for _ in tensors(out)) else ():
            if func in PASSED_ON:
                self._outputs[id(out)] = name, out
            else:
                self._activated[name].add(func in ACTIVATIONS)
        if func in ACTIVATIONS:
            self._outputs.pop(id(out), None)  # what was activated in place
        if call is not None and id(call.weight) in self.names:
            self._take(self.names[id(call.weight)], call, out)
        return out

    def _take(self, name: str, call: Call, out: Tensor) -> None:
        if name in self.sums:
            return self.sums[name].add(call.kind, call.x, out)
        self._new.setdefault(name, []).append((call.kind, call.x.clone(), out.clone()))
        self._activated.setdefault(name, set())
        self._outputs[id(out)] = name, out

    def end_pass(self) -> None:
        self._outputs.clear()
        for name, samples in self._new.items():
            alone = self._activated[name] == {True}
            self.sums[name] = Sums(self.weights[name], "positive" if alone else "linear")
            for kind, x, y in samples:
                self.sums[name].add(kind, x, y)
        self._new.clear()


@torch.no_grad()
def fit(adapter: Adapter, images: Iterable[Image], negative: str = NEGATIVE[0]) -> dict[str, Pattern]:
    """The pattern of every Conv2d and Linear that seeing the images reaches, by the layer's name. negative: one of
    NEGATIVE, what becomes of units with w . c < 0.

    Raises ConfigError for a network without such layers, for no images, and where the score passes another layer
    with parameters.
    """
    if negative not in NEGATIVE:
        raise ConfigError(f"negative {negative!r} is not one of {', '.join(NEGATIVE)}")
    weights: dict[str, Tensor] = {n: m.weight for n, m in substitutable(adapter.module).items()}
    if not weights:
        raise ConfigError(f"{adapter.name} has no Conv2d and no Linear layer that could have patterns")
    estimator, checked, whole = Estimator(weights), False, passing(adapter)
    for image in images:
        with estimator:
            targets = whole.detect(image)
        estimator.end_pass()
        if not checked and (targets := targets or adapter.detect(image, 0.0)):
            with Substitute(adapter.module, weights):
                adapter.scorer(targets[:1])(image.pixels[None, None])
            checked = True
    if not estimator.sums:
        raise ConfigError(f"no pictures: the patterns of {adapter.name} need some")
    return {name: estimator.sums[name].pattern(negative) for name in weights if name in estimator.sums}
