"""Backward rules: while a Rules block is open, activations and max-pools pass only positive gradients back.

G is the gradient that arrives at a unit's output, J^T G what the chain rule makes of it at the unit's input, and R
what is passed on. The forward pass stays as it is.

    activation              R = max(0, J^T G)                 guided backprop: Springenberg et al. 2015,
                                                              https://arxiv.org/abs/1412.6806
    max-pool, "clamp"       R = J^T max(0, G)                 guided non-linearity: Kwon, Koo, Cho, ICPR 2020,
    max-pool, "reference"   R = (J^T G) * up(1[G > 0])        https://aurora.ajou.ac.kr/handle/2018.oak/36581
    max-pool, "none"        R = J^T G

up is nearest-neighbour: input cell i reads output cell floor(i * n_out / n_in). The two differ where windows overlap.
One mode sees modules, functions and methods alike, in place or not; the model itself is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode

POOL_RULES = ("clamp", "reference", "none")
ACTIVATIONS = ("relu", "all")
RELUS = {F.relu, F.relu6, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_}
OTHERS = {
    F.leaky_relu, F.leaky_relu_, F.rrelu, torch.rrelu, F.rrelu_, F.prelu, Tensor.prelu, F.elu, F.elu_, F.selu,
    torch.selu, F.selu_, F.celu, torch.celu, F.celu_, F.gelu, F.silu, F.mish, F.hardswish, F.hardtanh, F.hardtanh_,
    F.softplus,
}  # fmt: skip
IN_PLACE = {torch.relu_, Tensor.relu_, F.leaky_relu_, F.rrelu_, F.elu_, F.selu_, F.celu_, F.hardtanh_}
POOLS = {F.max_pool2d, F.max_pool2d_with_indices, torch.max_pool2d}


class Rules(TorchFunctionMode):
    """`with Rules(...) as rules:` around the network's forward; the backward may follow outside.

    activations: relu (ReLU and ReLU6) or all (also leaky, SiLU, Mish, GELU and their like); pool_rule: one of
    POOL_RULES. `guided` says whether a rule met activations, `pools` whether it met max-pools; `unguided` names the
    activations that were left alone.
    """

    def __init__(self, activations: str = "relu", pool_rule: str = "none") -> None:
        super().__init__()
        self.activations, self.pool_rule = activations, pool_rule
        self.guided = self.pools = False
        self.unguided: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Collection[Any], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in RELUS or func in OTHERS:
            if self.activations == "all" or func in RELUS or _is_relu6(func, args, kwargs):
                self.guided = True
                return _guide(func, *args, **kwargs)
            self.unguided.add(func.__name__.rstrip("_"))
        elif func in POOLS and self.pool_rule != "none":
            self.pools = True
            return _pool(func, self.pool_rule, *args, **kwargs)
        return func(*args, **kwargs)

    def warnings(self, method: str) -> tuple[str, ...]:
        """A line where the network holds activations that were left alone, or none to guide."""
        kind = "ReLU" if self.activations == "relu" else "activation"
        left = ", ".join(sorted(self.unguided))
        if self.guided and not left:
            return ()
        done = [*([f"{kind}s"] if self.guided else []), *(["max-pools"] if self.pools else [])]
        rest = f"not its {left} (--set activations=all does)" if left else f"it has no {kind}"
        if done:
            return (f"{method}: guides this network's {' and '.join(done)} only, {rest}",)
        hint = f"; --set activations=all guides its {left}" if left else ""
        return (f"{method}: this network has no {kind} to guide, so its gradients stay as they are{hint}",)


def _is_relu6(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> bool:
    low = args[1] if len(args) > 1 else kwargs.get("min_val", -1.0)
    return func in (F.hardtanh, F.hardtanh_) and low == 0


def _guide(func: Callable[..., Any], input: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """func, with the gradient at this call's own input clamped."""
    if not (input.requires_grad and torch.is_grad_enabled()):
        return func(input, *args, **kwargs)
    in_place = func in IN_PLACE or kwargs.get("inplace")
    own = input.clone() if in_place else input.view_as(input)
    own.register_hook(_positive)
    out = func(own, *args, **kwargs)
    return input.copy_(out) if in_place else out


def _pool(func: Callable[..., Any], rule: str, input: Tensor, *args: Any, **kwargs: Any) -> Any:
    if not (input.requires_grad and torch.is_grad_enabled()):
        return func(input, *args, **kwargs)
    own = input.view_as(input)
    made = func(own, *args, **kwargs)
    out = made[0] if isinstance(made, tuple) else made
    if rule == "clamp":
        out.register_hook(_positive)
        return made
    passed: list[Tensor] = []
    out.register_hook(lambda g: passed.append(g > 0))
    own.register_hook(lambda r: r * _nearest(passed.pop(), r.shape))
    return made


def _positive(g: Tensor) -> Tensor:
    return g.clamp(min=0)


def _nearest(mask: Tensor, shape: torch.Size) -> Tensor:
    """(...,h,w) -> (...,H,W)."""
    y, x = (torch.arange(n, device=mask.device) * m // n for n, m in zip(shape[-2:], mask.shape[-2:], strict=True))
    return mask[..., y[:, None], x]
