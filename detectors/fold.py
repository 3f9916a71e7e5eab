"""Batch norm folded into the convolution before it: the same function, without a pass over every map.

    norm(conv(x)) = (s*W) x + s*(b - mean) + beta,    s = gamma / sqrt(var + eps)

Which convolution is directly followed by which norm is seen in one pass; what holds in a second one stays.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.ops import FrozenBatchNorm2d

from detectors.shortcuts import alike, untouched


@torch.no_grad()
def fold(module: nn.Module, run: Callable[[], Any]) -> tuple[int, Any]:
    """Fold every norm of `module` (in eval mode) that run() shows to follow a convolution directly, in place.

    run passes a probe through the module and answers its output: a tensor, or tensors in dicts, lists or tuples.
    Where folding changes that, everything stays as it was. Answers how many norms were folded, and what run() answers
    now.
    """
    if not any(_foldable(m) for m in module.modules()):
        return 0, run()
    pairs, before = _pairs(module, run)
    names = {m: n for n, m in module.named_modules()}
    undo: list[Callable[[], None]] = []
    for conv, norm in pairs:
        undo.append(_merge(module, conv, norm, names[norm]))
    if alike(before, after := run()):
        return len(pairs), after
    for back in undo:
        back()
    return 0, before


def _pairs(module: nn.Module, run: Callable[[], Any]) -> tuple[list[tuple[nn.Conv2d, Any]], Any]:
    """Convolutions with the norm that takes their output at once, each run once; and run()'s output.

    Only exact types without hooks: a subclass may do more, and a hook may see or change what lies between the two.
    """
    runs: dict[nn.Module, int] = {}
    found: list[tuple[nn.Conv2d, Any]] = []
    last: list[Any] = [None, None]

    def after_conv(conv: nn.Module, _: Any, out: Tensor) -> None:
        last[:] = conv, out
        runs[conv] = runs.get(conv, 0) + 1

    def before_norm(norm: nn.Module, inputs: tuple[Any, ...]) -> None:
        runs[norm] = runs.get(norm, 0) + 1
        if inputs[0] is last[1]:
            found.append((last[0], norm))
        last[:] = None, None

    convolutions = [m for m in module.modules() if type(m) is nn.Conv2d and untouched(m)]
    norms = [m for m in module.modules() if _foldable(m)]
    handles = [m.register_forward_hook(after_conv) for m in convolutions]
    handles += [m.register_forward_pre_hook(before_norm) for m in norms]
    try:
        out = run()
    finally:
        for handle in handles:
            handle.remove()
    return [(conv, norm) for conv, norm in found if runs[conv] == runs[norm] == 1], out


def _foldable(norm: nn.Module) -> bool:
    if type(norm) is nn.BatchNorm2d:
        return norm.running_mean is not None and not norm.training and untouched(norm)
    return type(norm) is FrozenBatchNorm2d and untouched(norm)


def _merge(module: nn.Module, conv: nn.Conv2d, norm: Any, name: str) -> Callable[[], None]:
    """Put the norm into the convolution and nothing in its place; answers what undoes that."""
    weight, bias = conv.weight, conv.bias
    parent = module.get_submodule(name.rpartition(".")[0])
    leaf = name.rpartition(".")[2]
    values = [weight, bias, norm.running_mean, norm.running_var, norm.weight, norm.bias]
    w, b, mean, var, gamma, beta = (None if v is None else v.detach().cpu().double() for v in values)
    fused = fuse_conv_bn_weights(w, b, mean, var, norm.eps, gamma, beta)  # type: ignore[arg-type]
    conv.weight, conv.bias = (nn.Parameter(p.detach().to(weight), requires_grad=False) for p in fused)
    setattr(parent, leaf, nn.Identity())

    def back() -> None:
        conv.weight, conv.bias = weight, bias
        setattr(parent, leaf, norm)

    return back
