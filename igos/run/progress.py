"""How far a method is: a bar, or the user's own function."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from torch import Tensor
from tqdm import tqdm

from igos.types import ConfigError, Explanation, Problem

Tell = Callable[[int, int, Tensor | None], Any]  # (step from 1, total, mask (K,h,w), 1 = keep, or None)
Progress = bool | Tell


@contextmanager
def watching(progress: Progress | None) -> Iterator[Tell | None]:
    """What a method is to call: nothing, a bar's step, or the user's function. Raises ConfigError for anything else."""
    if callable(progress):
        yield progress
        return
    if progress not in (None, True, False):
        raise ConfigError(f"progress: True, False or a callable(step, total, mask) is needed, got {progress!r}")
    if not progress:
        yield None
        return
    with tqdm(unit="step", leave=False) as bar:

        def tell(step: int, total: int, mask: Tensor | None) -> None:
            bar.total, bar.n = total, step
            bar.refresh()

        yield tell


class Watched:
    """A method that tells how far it is; `unwatched` is the method itself, for metrics that explain again."""

    def __init__(self, method: Any, tell: Tell) -> None:
        self.unwatched, self._tell = method, tell

    def __getattr__(self, name: str) -> Any:
        return getattr(self.unwatched, name)

    def __call__(self, problem: Problem) -> list[Explanation]:
        answer: list[Explanation] = self.unwatched(replace(problem, progress=self._tell))
        return answer
