"""A network cut in two at one of its layers, without touching the network: hooks that are gone afterwards.

    score(picture) = upper(lower(picture)),    lower stops at the layer, upper takes that layer's output

This holds where the layer cuts the network: where every way from the picture to the score leads through it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from igos.base.errors import ConfigError
from igos.base.settings import near_names
from igos.types.locks import lock_of, locked

Forward = Callable[[Tensor, Tensor], Tensor]
ROUND = 1e-6  # the share of the gradient that may go round a layer that cuts: rounding


class Layer(NamedTuple):
    """One layer of one pass: its name, the shape (N,c,h,w) of its map, and whether it cuts the network."""

    name: str
    shape: tuple[int, ...]
    cuts: bool


class _Stop(BaseException):
    """Ends a pass at the layer; no `except Exception` of a network's catches it."""

    def __init__(self, output: Any) -> None:
        self.output = output


def find(module: nn.Module, name: str) -> str:
    """The full name of a layer given by that or by its last parts ("17": module_list.17). Raises ConfigError."""
    known = [n for n, _ in module.named_modules() if n]
    ending = [n for n in known if n.endswith(f".{name}")]
    if name in known or len(ending) == 1:
        return name if name in known else ending[0]
    if len(ending) > 1:
        raise ConfigError(f"layer {name!r} could be any of {', '.join(ending[:5])}; give the full name")
    near = near_names(name, known) or [n for n, _ in module.named_children()][:5]
    raise ConfigError(f"layer {name!r}: {type(module).__name__} has none of that name; near: {', '.join(near)}")


class Split:
    """The two halves of `forward(pictures (N,3,H,W), rows (N,)) -> (N,)` at a layer of `module`."""

    def __init__(self, forward: Forward, module: nn.Module, layer: str) -> None:
        self.forward, self.module, self.name = forward, module, find(module, layer)
        self.layer = module.get_submodule(self.name)
        self._below: dict[torch.Size, tuple[int, torch.Size, list[tuple[nn.Module, torch.Size]]]] = {}

    @locked
    def lower(self, pictures: Tensor, rows: Tensor) -> Tensor:
        """Pictures (N,3,H,W) -> the layer's output (N,c,h,w). Raises ConfigError where that is no map.

        rows (N,) matter to networks that run only what a target needs.
        """
        done: list[tuple[nn.Module, torch.Size]] = []
        begun: list[int] = []

        def before(module: nn.Module, _: Any) -> None:
            begun.append(len(done))

        def after(module: nn.Module, _: Any, out: Any) -> None:
            start = begun.pop()
            if module is self.layer:
                raise _Stop(out)
            if isinstance(out, Tensor):
                done[start:] = [(module, out.shape)]

        with _hooks(self.module, before, after):
            try:
                self.forward(pictures, rows)
            except _Stop as stop:
                out = stop.output
            else:
                raise ConfigError(f"layer {self.name} takes no part in this score")
        if not isinstance(out, Tensor) or out.ndim != 4:
            what = f"shape {tuple(out.shape)}" if isinstance(out, Tensor) else type(out).__name__
            raise ConfigError(f"layer {self.name} gives no map (N,c,h,w) but {what}")
        self._below[out.shape[1:]] = (len(pictures), pictures.shape[1:], done)
        return out

    @locked
    def upper(self, features: Tensor, rows: Tensor) -> Tensor:
        """Features (N,c,h,w) as `lower` gave them -> scores (N,), differentiable; what lies below is not run."""
        if features.shape[1:] not in self._below:
            raise ConfigError(f"layer {self.name}: features of shape {tuple(features.shape[1:])} came from no picture")
        count, picture, done = self._below[features.shape[1:]]
        queue, reached = list(done), False

        def stand_in(module: nn.Module, run: Callable[..., Any]) -> Callable[..., Any]:
            def forward(*args: Any, **more: Any) -> Any:
                nonlocal reached
                if module is self.layer:
                    if reached:
                        raise ConfigError(f"layer {self.name} runs more than once in a pass; take one that runs once")
                    reached = True
                    return features.clone()  # layers that work in place must not write into the caller's
                if reached or not queue or queue[0][0] is not module:
                    return run(*args, **more)
                _, shape = queue.pop(0)
                return features.new_zeros(shape[0] * len(features) // count, *shape[1:])

            return forward

        with _replaced({self.layer, *(module for module, _ in done)}, stand_in):
            return self.forward(features.new_zeros(1, *picture).expand(len(features), -1, -1, -1), rows)

    @locked
    def share_round(self, pictures: Tensor, rows: Tensor) -> float:
        """The share in [0,1] of d score / d pictures that does not pass the layer; 0 where it cuts."""
        whole = _pull(self.forward, pictures, rows)
        handle = self.layer.register_forward_hook(lambda _, __, out: out.detach() if isinstance(out, Tensor) else out)
        try:
            past = _pull(self.forward, pictures, rows)
        finally:
            handle.remove()
        return min(float(past.abs().sum() / whole.abs().sum().clamp(min=1e-30)), 1.0)


def layers(forward: Forward, module: nn.Module, pictures: Tensor, rows: Tensor) -> list[Layer]:
    """Every layer with a map (N,c,h,w) in the order in which they end, read from the graph of one pass."""
    names = {m: n for n, m in module.named_modules() if n}
    made: list[tuple[str, tuple[int, ...], Any]] = []

    def after(layer: nn.Module, _: Any, out: Any) -> None:
        if isinstance(out, Tensor) and out.ndim == 4 and layer in names:
            made.append((names[layer], tuple(out.shape), out.grad_fn))

    with lock_of(module), torch.enable_grad(), _hooks(module, None, after):
        x = pictures.detach().requires_grad_(True)
        end = forward(x, rows).sum().grad_fn
    edges, stack = {}, [end]
    while stack:
        node = stack.pop()
        if node is not None and node not in edges:
            edges[node] = [n for n, _ in node.next_functions if n is not None]
            stack += edges[node]
    entries = {n for n in edges if getattr(n, "variable", None) is x}
    once = {n for n, _, _ in made if [m for m, _, _ in made].count(n) == 1}
    return [Layer(n, s, f in edges and not _reaches(edges, end, entries, f)) for n, s, f in made if n in once]


def _reaches(edges: dict[Any, list[Any]], start: Any, ends: set[Any], without: Any) -> bool:
    stack, seen = [start], {without}
    while stack:
        node = stack.pop()
        if node in ends:
            return True
        if node not in seen:
            seen.add(node)
            stack += edges[node]
    return False


def _pull(forward: Forward, pictures: Tensor, rows: Tensor) -> Tensor:
    with torch.enable_grad():
        x = pictures.detach().requires_grad_(True)
        scores = forward(x, rows)
        if not scores.requires_grad:
            return torch.zeros_like(pictures)
        (g,) = torch.autograd.grad(scores.sum(), x, allow_unused=True)
    return torch.zeros_like(pictures) if g is None else g


@contextmanager
def _hooks(module: nn.Module, before: Any, after: Any) -> Iterator[None]:
    """before(module, inputs) and after(module, inputs, output) around every layer, while this lasts, in this thread."""
    handles = []
    before, after = _here(before), _here(after)
    try:
        for layer in module.modules():
            handles += [layer.register_forward_pre_hook(before)] if before else []
            handles += [layer.register_forward_hook(after)]
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def _replaced(modules: set[nn.Module], stand_in: Callable[[nn.Module, Any], Any]) -> Iterator[None]:
    """stand_in(module, forward) in place of every module's forward, while this lasts, in this thread."""
    own = {m: m.__dict__.get("forward") for m in modules}
    try:
        for m in modules:
            m.__dict__["forward"] = _here(stand_in(m, m.forward), m.forward)
        yield
    finally:
        for m, forward in own.items():
            m.__dict__.pop("forward", None)
            if forward is not None:
                m.__dict__["forward"] = forward


def _here(work: Callable[..., Any] | None, elsewhere: Callable[..., Any] = lambda *_: None) -> Any:
    """work in this thread, and elsewhere in others, which may pass pictures through the network by themselves."""
    own = threading.get_ident()
    return work and (lambda *args, **more: (work if threading.get_ident() == own else elsewhere)(*args, **more))
