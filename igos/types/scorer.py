"""The score of K pinned targets as a differentiable function of pictures, in chunks that fit the memory."""

from __future__ import annotations

import copy
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from igos.base.errors import ConfigError
from igos.base.names import PRECISIONS
from igos.types.locks import lock_of
from igos.types.split import ROUND, Layer, Split, layers

log = logging.getLogger("igos")
DTYPES = {name: getattr(torch, name) for name in PRECISIONS}

_asked: ContextVar[Callable[[], Any] | None] = ContextVar("asked", default=None)


@contextmanager
def asking(ask: Callable[[], Any]) -> Iterator[None]:
    """Within it `ask()` is called before every chunk that a Scorer passes through its network, and may stop the work by
    raising.
    """
    token = _asked.set(ask)
    try:
        yield
    finally:
        _asked.reset(token)


class Scorer:
    """K pinned targets as a differentiable function of pictures: (K,S,3,H,W) in [0,1] -> (K,S).

    `forward(pictures (N,3,H,W), rows (N,)) -> (N,)` is what an adapter gives: picture n is scored for target
    rows[n], normalisation inside. The scorer cuts the work into chunks of `batch` pictures, counts the
    pictures that every target pushed, and takes the time spent inside the network. module is the network that
    forward runs, where there is one to cut (`split`); layers(pictures (K,3,H,W)) names, per target, the layer whose map
    suits it; whole is the same score with all of every map, where forward leaves out what the score does not read.

    >>> model = igos.load("emblem-vgg")
    >>> image = model.read("samples/scene-04.png")
    >>> model.scorer(model.detect(image)[:1])(image.pixels[None, None]).shape  # (targets, pictures)
    torch.Size([1, 1])
    """

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor], Tensor],
        targets: int,
        batch: int = 8,
        *,
        module: nn.Module | None = None,
        layers: Callable[[Tensor], Sequence[str]] | None = None,
        whole: Callable[[Tensor, Tensor], Tensor] | None = None,
    ) -> None:
        self.forward = forward
        self.whole = whole or forward
        self.targets = targets
        self.batch = batch
        self.module = module
        self.forward_images = np.zeros(targets, dtype=np.int64)
        self.backward_images = np.zeros(targets, dtype=np.int64)
        self.precision = torch.float32
        self._clock = np.zeros(1)
        self._layers = layers

    def __call__(self, pictures: Tensor) -> Tensor:
        k, s = pictures.shape[:2]
        rows = torch.arange(k, device=pictures.device).repeat_interleave(s)
        return self._in_chunks(self.forward, pictures.flatten(0, 1), rows).view(k, s)

    def stream(
        self, rows: Tensor, pictures: Callable[[slice], Tensor], gradient: bool = False
    ) -> Iterator[tuple[slice, Tensor, Tensor | None]]:
        """Score N pictures made chunk by chunk, so that no more than a chunk of them ever exists.

        rows (N,) names each picture's target; pictures(slice) makes those pictures (n,3,H,W). Yields
        (slice, scores (n,), d scores / d pictures (n,3,H,W) or None). A chunk that does not fit the memory is
        halved, and so are those after it. Raises ConfigError where not even one picture fits.
        """
        start = 0
        while start < len(rows):
            part = slice(start, min(start + self.batch, len(rows)))
            try:
                scores, g = self._timed(self._with_gradient if gradient else self._plain, pictures(part), rows[part])
                fits = True
            except RuntimeError as error:
                if not out_of_memory(error):
                    raise
                fits = False
            if not fits:  # outside of the handler, whose traceback would keep the chunk alive
                self._halve(part.stop - start)
                continue
            self.count(rows[part], gradient)
            yield part, scores, g
            start = part.stop

    def count(self, rows: Tensor, gradient: bool) -> None:
        """Count pictures pushed for the targets rows (N,); stream and upper do so by themselves, lower does not."""
        hits = np.bincount(rows.cpu().numpy(), minlength=self.targets)
        self.forward_images += hits
        self.backward_images += hits * gradient

    def fit(self, picture: Tensor, limit: float, most: int) -> None:
        """Let a chunk hold as many pictures as keep `limit` bytes for their gradient, and `most` at most.

        picture (1,3,H,W) is passed once, uncounted. Raises ConfigError where one does not fit.
        """
        kept: dict[int, int] = {}

        def keep(x: Tensor) -> Tensor:
            kept[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        own = {p.untyped_storage().data_ptr() for p in self.module.parameters()} if self.module else set()
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
            self._with_gradient(picture, torch.zeros(1, dtype=torch.long, device=picture.device))
        each = sum(n for place, n in kept.items() if place not in own)
        if each > limit:
            raise ConfigError(
                f"--max_memory: one picture takes {each / 2**20:.0f} MB, more than {limit / 2**20:.0f} MB; "
                "take a smaller --input_size"
            )
        self.batch = int(min(limit // max(each, 1), most))

    @property
    def seconds(self) -> float:
        """The time spent inside the network."""
        return float(self._clock[0])

    def scoring(self, forward: Callable[[Tensor, Tensor], Tensor]) -> Scorer:
        """Another score of the same targets, on the same counters and clock."""
        made = copy.copy(self)
        made.forward = made.whole = forward
        return made

    def feature_layers(self, pictures: Tensor) -> list[str]:
        """Per target the layer whose map suits it in its picture (K,3,H,W): it cuts the network there."""
        self._network()
        if self._layers is None:
            raise ConfigError("this model names no layer of its own; give one with --set layer=NAME")
        return list(self._layers(pictures))

    def split(self, layer: str) -> tuple[Callable[..., Tensor], Callable[[Tensor, Tensor], Tensor]]:
        """(lower, upper): lower(pictures (N,3,H,W), rows (N,)) -> (N,c,h,w) stops at the layer, upper(features,
        rows) -> (N,) takes its output, differentiable. upper takes features of pictures that lower has seen, or
        like them; rows of lower (default: 0) matter where targets lie in different heads or levels. Both work in
        chunks. Raises ConfigError for an unknown layer.
        """
        halves = self._split(layer)

        def lower(pictures: Tensor, rows: Tensor | None = None) -> Tensor:
            if rows is None:
                rows = torch.zeros(len(pictures), dtype=torch.long, device=pictures.device)
            return self._in_chunks(halves.lower, pictures, rows)

        def upper(features: Tensor, rows: Tensor) -> Tensor:
            self.count(rows, features.requires_grad)
            return self._in_chunks(halves.upper, features, rows)

        return lower, upper

    def cuts(self, layer: str, pictures: Tensor, rows: Tensor) -> None:
        """Refuse a layer that scores of these pictures (N,3,H,W) can go round, by two passes. Raises ConfigError."""
        halves = self._split(layer)
        halves.lower(pictures[:1], rows[:1])
        share = max(halves.share_round(x, r) for x, r in self._chunks(pictures, rows))
        self.count(rows.repeat(2), gradient=True)
        if share > ROUND:
            every = self.layers(pictures[:1], rows[:1])
            place = next((i for i, layer in enumerate(every) if layer.name == halves.name), len(every))
            near = sorted(range(len(every)), key=lambda i: abs(i - place))
            names = [every[i].name for i in near if every[i].cuts and min(every[i].shape[2:]) > 1][:5]
            hint = f"these cut it: {', '.join(names)}" if names else "no layer of it does"
            raise ConfigError(f"layer {halves.name}: {share:.0%} of the gradient goes round it; {hint}")

    def layers(self, pictures: Tensor, rows: Tensor) -> list[Layer]:
        """Every layer with a map, in the order in which a pass ends them. Raises ConfigError without a network."""
        return layers(self.whole, self._network(), pictures, rows)

    def _split(self, layer: str) -> Split:
        return Split(partial(self._cast, forward=self.whole), self._network(), layer)

    def _network(self) -> nn.Module:
        if self.module is None:
            raise ConfigError("this model is a black box: it has no layers")
        if isinstance(self.module, torch.jit.ScriptModule):
            raise ConfigError("a TorchScript network has no layers to look into; give the network that it was made of")
        return self.module

    def _chunks(self, x: Tensor, rows: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        return zip(x.split(self.batch), rows.split(self.batch), strict=True)

    def _in_chunks(self, work: Callable[[Tensor, Tensor], Tensor], x: Tensor, rows: Tensor) -> Tensor:
        return torch.cat([self._timed(work, part, r).to(x) for part, r in self._chunks(x, rows)])

    @torch.no_grad()
    def _plain(self, x: Tensor, rows: Tensor) -> tuple[Tensor, None]:
        return self._cast(x, rows), None

    def _with_gradient(self, x: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            x = x.detach().requires_grad_(True)
            scores = self._cast(x, rows)
            g = pulled(scores.sum(), x)
        return scores.detach(), g

    def _cast(self, x: Tensor, rows: Tensor, forward: Callable[[Tensor, Tensor], Tensor] | None = None) -> Tensor:
        with (
            lock_of(self.module),
            torch.autocast(x.device.type, self.precision, enabled=self.precision != torch.float32),
        ):
            return (forward or self.forward)(x, rows)

    def _halve(self, tried: int) -> None:
        if tried == 1:
            raise ConfigError("out of memory with a single picture; take a smaller --input_size or --device cpu")
        self.batch = (tried + 1) // 2
        log.warning("out of memory with %d pictures at once: going on with %d", tried, self.batch)

    def _timed(self, work: Callable[[Tensor, Tensor], Any], pictures: Tensor, rows: Tensor) -> Any:
        ask = _asked.get()
        if ask is not None:
            ask()
        start = time.perf_counter()
        out = work(pictures, rows)
        if pictures.device.type != "cpu":
            torch.accelerator.synchronize()
        self._clock += time.perf_counter() - start
        return out


def pulled(score: Tensor, x: Tensor) -> Tensor:
    """d score / d x of a score (). Raises ConfigError where the network cuts the gradient off."""
    (g,) = torch.autograd.grad(score, x, allow_unused=True) if score.requires_grad else (None,)
    if g is None:
        raise ConfigError(
            "the network passes no gradient back to its picture (it runs under no_grad or inference_mode, or is "
            "quantised); give the float network without them, or take --method rise"
        )
    return g


def out_of_memory(error: BaseException) -> bool:
    """The CPU's allocator raises no OutOfMemoryError of its own."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "DefaultCPUAllocator" in str(error)
