"""Other weights on the way back: while a Substitute block is open, convolutions and linear layers pass to their input
what the weights named for them make of G, the gradient that arrives, in the place of their own:

    y = W x + b,    R = V^T G

The forward pass stays as it is. What has no parameters keeps its ordinary gradient; a layer with parameters that is
neither Conv2d nor Linear is refused by name. No hooks: the functions are seen, the model itself is never touched.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.grad import conv2d_input, conv2d_weight
from torch.overrides import TorchFunctionMode

from igos.types import ConfigError

CONVOLUTIONS = {F.conv2d, torch.conv2d}
Size = int | tuple[int, ...]


class Convolution(NamedTuple):
    """What a 2-d convolution does beside its weights."""

    stride: Size = 1
    padding: Size = 0
    dilation: Size = 1
    groups: int = 1

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.conv2d(x, weight, bias, *self)

    def to_input(self, shape: torch.Size, weight: Tensor, g: Tensor) -> Tensor:
        return conv2d_input(shape, weight, g, *self)

    def to_weight(self, x: Tensor, shape: torch.Size, g: Tensor) -> Tensor:
        """sum over pictures and places of g (N,O,h,w) times the patch of x (N,C,H,W) that made it; has `shape`."""
        return conv2d_weight(x, shape, g, *self)


class Matrix(NamedTuple):
    """A linear layer: x (...,D), g (...,O)."""

    def forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return F.linear(x, weight, bias)

    def to_input(self, shape: torch.Size, weight: Tensor, g: Tensor) -> Tensor:
        return g @ weight

    def to_weight(self, x: Tensor, shape: torch.Size, g: Tensor) -> Tensor:
        return g.flatten(0, -2).T @ x.flatten(0, -2)


class Call(NamedTuple):
    """One call of a convolution or a linear layer."""

    x: Tensor
    weight: Tensor
    bias: Tensor | None
    kind: Convolution | Matrix


def call_of(func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> Call | None:
    """What a function of torch is called with, where it is a convolution or a linear layer."""
    if func in CONVOLUTIONS:
        return _convolution(*args, **kwargs)
    return _matrix(*args, **kwargs) if func is F.linear else None


def substitutable(module: nn.Module) -> dict[str, nn.Conv2d | nn.Linear]:
    """The layers of a network that can pass back through other weights, by name."""
    return {n: m for n, m in module.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))}


class Substitute(TorchFunctionMode):
    """`with Substitute(module, weights):` around the network's forward; the backward may follow outside.

    weights: for each layer by name a tensor of its weight's shape. Raises ConfigError in the forward for a layer
    that takes part and has none, or has parameters of another kind.
    """

    def __init__(self, module: nn.Module, weights: Mapping[str, Tensor]) -> None:
        super().__init__()
        known = substitutable(module)
        self.names = {id(m.weight): n for n, m in known.items()}
        self.weights = {n: weights[n].to(m.weight) for n, m in known.items() if n in weights}
        self.others = {id(p): (n, m) for n, m in module.named_modules() if n not in known for p in _own(m)}

    def __torch_function__(
        self, func: Callable[..., Any], types: Collection[Any], args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        call = call_of(func, args, kwargs)
        name = self.names.get(id(call.weight)) if call else None
        if call is None or name is None:
            self._refuse_others(func, args, kwargs)
            return func(*args, **kwargs)
        if name not in self.weights:
            raise ConfigError(f"layer {name} has no pattern: no picture reached it when they were fitted")
        if not (call.x.requires_grad and torch.is_grad_enabled()):
            return func(*args, **kwargs)
        return _Substituted.apply(call.x, call, self.weights[name])

    def _refuse_others(self, func: Callable[..., Any], args: Any, kwargs: dict[str, Any]) -> None:
        if func.__name__ == "__get__":
            return
        for t in tensors((args, kwargs)):
            if id(t) in self.others:
                name, layer = self.others[id(t)]
                raise ConfigError(
                    f"layer {name or 'of the network itself'} ({type(layer).__name__}) has parameters and is neither "
                    "Conv2d nor Linear: pattern methods know only those, and batch norm that follows a Conv2d directly"
                )


class _Substituted(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, call: Call, weight: Tensor) -> Tensor:
        ctx.kind, ctx.shape = call.kind, x.shape
        ctx.save_for_backward(weight)
        return call.kind.forward(x, call.weight, call.bias)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Any:  # type: ignore[override]
        (weight,) = ctx.saved_tensors
        return ctx.kind.to_input(ctx.shape, weight.to(g.dtype), g), None, None  # g: half precision under autocast


def tensors(values: Any) -> Iterator[Tensor]:
    """Every tensor in nested tuples, lists and dicts."""
    if isinstance(values, Tensor):
        yield values
    elif isinstance(values, (tuple, list, dict)):
        for v in values.values() if isinstance(values, dict) else values:
            yield from tensors(v)


def _own(module: nn.Module) -> list[Tensor]:
    """The tensors that make a layer a parametric one."""
    from igos.base.vision import torchvision  # not needed for a method to be known

    norm = isinstance(module, (nn.modules.batchnorm._BatchNorm, torchvision.ops.FrozenBatchNorm2d))
    return [*module.parameters(recurse=False), *(module.buffers(recurse=False) if norm else ())]


def _convolution(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Call:
    if padding == "same":
        steps = (dilation, dilation) if isinstance(dilation, int) else tuple(dilation)
        total = [d * (k - 1) for d, k in zip(steps, weight.shape[2:], strict=True)]
        input = F.pad(input, [side for t in reversed(total) for side in (t // 2, t - t // 2)])
    padding = 0 if isinstance(padding, str) else padding
    return Call(input, weight, bias, Convolution(stride, padding, dilation, groups))


def _matrix(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Call:
    return Call(input, weight, bias, Matrix())
