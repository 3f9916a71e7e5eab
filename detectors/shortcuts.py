"""Faster forms of a network that give the same scores, taken on a copy; the network itself stays as it was given.

An adapter takes them on `module` and keeps `plain`, the same adapter without any: it detects, and it is what every
score is held against (igos/run/faithful.py). What is taken: batch norms folded into convolutions (fold.py),
channels_last memory, and per family what a target does not read (windows of a pyramid, heads of other rows).
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CLOSE = 1e-4  # how much the outputs of a probe may change, relative to the largest
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def frozen(module: Any, device: torch.device) -> Any:
    """The module in eval mode on the device, its parameters without gradients; a ScriptModule, too."""
    for p in module.parameters():
        _ = p.requires_grad_(False) if p.is_leaf else p.detach_()
    return module.eval().to(device)


def untouched(module: nn.Module) -> bool:
    """No hook on the module, and no function of its own (as `forward`) in place of one of its class."""
    replaced = any(callable(own) and callable(getattr(type(module), name, None)) for name, own in vars(module).items())
    return not replaced and not any(getattr(module, name, None) for name in _HOOKS)


def replaced(steps: Sequence[tuple[str, Any, type[nn.Module], Sequence[str]]]) -> str | None:
    """The first part of a network whose work an adapter does itself and that does more than the known class, as
    another class, by hooks or by functions put on it, in words; None where there is none.

    steps: what the part is called, the part, the known class, the functions whose work the adapter does.
    """
    for what, part, known, names in steps:
        kind = type(part).__name__
        if not isinstance(part, known) or any(getattr(type(part), n) is not getattr(known, n) for n in names):
            return f"{what} ({kind}) works otherwise than torchvision's {known.__name__}"
        if not untouched(part):
            return f"{what} ({kind}) has hooks or functions of its own"
    return None


def sharing(module: nn.Module) -> nn.Module | None:
    """A copy of the structure that holds the module's own parameters; None where it cannot be copied."""
    if isinstance(module, torch.jit.ScriptModule):
        return None
    known: dict[int, Any] = {id(p): p for p in module.parameters()}
    for m in module.modules():  # a module's many tables of hooks, nearly always empty, are most of the work of deepcopy
        known.update(
            (id(table), OrderedDict()) for table in vars(m).values() if type(table) is OrderedDict and not table
        )
    try:
        return copy.deepcopy(module, known)
    except Exception:  # whatever a user keeps in a module may refuse to be copied
        return None


def probe(side: int, device: torch.device) -> Tensor:
    """Soft random blobs (1,3,side,side) in [0,1], the same every time: closer to a picture than noise, which some
    networks blow up until nothing but rounding is left.
    """
    noise = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float32)
    return F.interpolate(noise, (side, side), mode="bicubic").clamp(0, 1).to(device)


@torch.no_grad()
def channels_last(module: nn.Module, run: Callable[[torch.memory_format], Any], before: Any) -> torch.memory_format:
    """The memory format that the module takes: channels_last, with its weights in new tensors of it, where a probe
    shows that it gives the same; else the contiguous one, with everything as it was.

    run passes a probe of that format through the module and answers its output, as in `fold`; before: its output in
    the contiguous one.
    """
    made: dict[nn.Parameter, nn.Parameter] = {}
    undo: list[tuple[nn.Module, str, nn.Parameter]] = []
    for m in module.modules():
        for name, p in list(m._parameters.items()):
            if p is not None and p.ndim == 4:
                if p not in made:
                    made[p] = nn.Parameter(p.detach().to(memory_format=torch.channels_last), requires_grad=False)
                undo.append((m, name, p))
                m._parameters[name] = made[p]
    try:
        same = alike(before, run(torch.channels_last))
    except RuntimeError:  # a view that does not fit the strides
        same = False
    if same:
        return torch.channels_last
    for m, name, p in undo:
        m._parameters[name] = p
    return torch.contiguous_format


def alike(before: Any, after: Any) -> bool:
    """Whether two outputs (a tensor, or tensors in dicts, lists or tuples) agree but for rounding."""
    one, other = list(tensors(before)), list(tensors(after))
    return len(one) == len(other) and all(
        a.shape == b.shape and bool((a - b).abs().max() <= CLOSE * max(1.0, float(a.abs().max())))
        for a, b in zip(one, other, strict=True)
        if a.numel()
    )


def tensors(out: Any) -> Iterator[Tensor]:
    """Every tensor of an output."""
    if isinstance(out, Tensor):
        yield out
    elif isinstance(out, (dict, list, tuple)):
        for part in out.values() if isinstance(out, dict) else out:
            yield from tensors(part)
