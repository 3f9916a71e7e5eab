"""Which layer suits a target: the last that cuts the network before its score and lies on more than its own cell.

One pass forward and one backward tell of every layer. A layer cuts the network if all that the picture says to the
score goes through it. The steps that autograd has noted are a graph from the score back to the picture; steps that hand
on a gradient of zero (to other rows, other levels) are left out. A layer cuts if every way through the graph leads
through it, which counting the ways tells.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from detectors.targets import like

CELLS = 9  # a layer suits a target if the gradient of its score reaches as many cells of the layer's map
Place = tuple[Any, int]  # a step of autograd's, and which of its outputs


def last_cut(module: nn.Module, score: Callable[[Tensor], Tensor], picture: Tensor) -> str | None:
    """The name of the layer in `module` that suits the score () of picture (3,H,W), or None. A layer runs once."""
    with torch.enable_grad():
        x = picture[None].detach().requires_grad_(True)
        value, maps = _maps(module, score, x)
        ways = Ways(value)
        try:
            pulls = torch.autograd.grad(value, [x, *maps.values()], allow_unused=True)[1:]
        finally:
            ways.close()
    for (name, out), g in reversed(list(zip(maps.items(), pulls, strict=True))):
        if g is None or int((g != 0).any(dim=1).sum()) < min(CELLS, out.shape[2] * out.shape[3]):
            continue
        if ways.all_through((out.grad_fn, out.output_nr)):
            return name
    return None


class Ways:
    """The ways from a score back to its picture, the one leaf, on which a backward hands on a gradient.

    Make it, run the backward, close it, then ask.
    """

    def __init__(self, value: Tensor) -> None:
        self._first: Place = (value.grad_fn, value.output_nr)
        self._alive: dict[Any, list[Place]] = {}  # a step -> where it hands a gradient on to
        self._hooks: list[Any] = []
        todo, seen = [value.grad_fn], {value.grad_fn}
        while todo:
            step: Any = todo.pop()
            self._hooks.append(step.register_hook(self._note(step)))
            for after, _ in step.next_functions:
                if after is not None and after not in seen:
                    seen.add(after)
                    todo.append(after)

    def close(self) -> None:
        """Take the hooks off and count the ways from the score to each place, and from each step to the picture."""
        for hook in self._hooks:
            hook.remove()
        order = self._ended()
        self._on: Counter[Any] = Counter()
        for step in order:
            ends = hasattr(step, "variable")  # the picture
            self._on[step] = 1 if ends else sum(self._on[after] for after, _ in self._alive.get(step, []))
        self._from: Counter[Place] = Counter({self._first: 1})
        reached: Counter[Any] = Counter({self._first[0]: 1})
        for step in reversed(order):
            for place in self._alive.get(step, []):
                self._from[place] += reached[step]
                reached[place[0]] += reached[step]

    def all_through(self, place: Place) -> bool:
        """Whether each way to the picture leads through this output of a step."""
        return self._from[place] * self._on[place[0]] == self._on[self._first[0]] > 0

    def _note(self, step: Any) -> Callable[[Any, Any], None]:
        def note(handed: tuple[Tensor | None, ...], _: Any) -> None:
            places = zip(handed, step.next_functions, strict=True)
            self._alive[step] = [p for g, p in places if p[0] is not None and g is not None and bool(g.any())]

        return note

    def _ended(self) -> list[Any]:
        """The steps that a gradient has reached, each after all that it hands one on to."""
        order, done, todo = [], set(), [(self._first[0], False)]
        while todo:
            step, left = todo.pop()
            if left:
                order.append(step)
            elif step not in done:
                done.add(step)
                todo += [(step, True), *((after, False) for after, _ in self._alive.get(step, []))]
        return order


def _maps(module: nn.Module, score: Callable[[Tensor], Tensor], x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """The score of x (1,3,H,W); by layer that runs once its map (1,c,h,w), in the order in which they end."""
    made, often = dict[str, Tensor](), set[str]()

    def note(name: str, out: Any) -> None:
        if name in made:
            often.add(name)
        if isinstance(out, Tensor) and out.ndim == 4 and out.requires_grad and like(out.shape, x.shape):
            made[name] = out

    handles = [
        m.register_forward_hook(lambda _, __, out, name=name: note(name, out))
        for name, m in module.named_modules()
        if name
    ]
    try:
        value = score(x)
    finally:
        for handle in handles:
            handle.remove()
    return value, {n: out for n, out in made.items() if n not in often}
