"""Pictures read and blurred ahead of the network: in a thread, or in processes of their own."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Sequence
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import torch

from igos.base.addresses import is_address, once
from igos.base.baselines import baseline
from igos.base.hashing import digest, sha256_of
from igos.base.reading import MOST_FILE
from igos.run.workers.spawn import alone
from igos.types import Adapter, Image, ImageError

AHEAD = 4  # pictures that wait, per process


class Read(NamedTuple):
    """A picture, the hash of its file, and its blur (1,3,H,W)."""

    image: Image
    sha256: str
    blurred: torch.Tensor


class Reader:
    """Reads a model's pictures; `ahead` names those that will be asked for. processes: 0 for a thread beside the
    network. threads: those of torch in each process, as many as the network's, so that a blur has the same bits.
    """

    def __init__(self, adapter: Adapter, processes: int = 0) -> None:
        self._read: Callable[[str], Image] = adapter.reader
        self._device, self.room = adapter.device, AHEAD * max(processes, 1)
        self._pool: Executor | None = None
        self._processes = processes
        self._waiting: dict[str, Future[Any]] = {}

    def ahead(self, paths: Sequence[str]) -> None:
        """Begin with these pictures, as far as there is room, and forget others."""
        for path in set(self._waiting) - set(paths):
            forgotten = self._waiting.pop(path)
            if not self._processes:  # whose executor does not survive a cancelled one when a process dies
                forgotten.cancel()
        for path in paths:
            if path not in self._waiting and len(self._waiting) < self.room:
                self._waiting[path] = self._begun(path)

    def take(self, path: str) -> Read:
        """The picture. Raises ImageError."""
        known = self._waiting.pop(path, None)
        try:
            found = known.result() if known else _read(self._read, path)
        except BrokenExecutor:  # a reader died, of this picture or of another
            found = self._alone(path)
        made = _joined(found) if known and self._processes else found
        image = replace(made.image, pixels=made.image.pixels.to(self._device))
        return Read(image, made.sha256, made.blurred.to(self._device))

    def _begun(self, path: str) -> Future[Any]:
        work = _apart if self._processes else _read
        try:
            return self._started().submit(work, self._read, path)
        except BrokenExecutor:
            self._give_up()
            return self._started().submit(work, self._read, path)

    def _alone(self, path: str) -> Any:
        """A picture read by new processes that have nothing else to do."""
        self._give_up()
        try:
            return self._begun(path).result()
        except BrokenExecutor:
            raise ImageError(f"{path}: the process that reads it died twice") from None

    def _give_up(self) -> None:
        """Let go of broken processes, and of what they were to read."""
        if self._pool is not None:
            self._pool.shutdown()
        self._pool, self._waiting = None, {}

    def close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)

    def _started(self) -> Executor:
        if self._pool is None and self._processes:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._processes, spawn, alone, (torch.get_num_threads(),))
        elif self._pool is None:
            self._pool = ThreadPoolExecutor(1)
        return self._pool


def _read(read: Callable[[str], Image], path: str) -> Read:
    try:
        if is_address(path):
            with once(path, MOST_FILE) as data:
                image = replace(read(path), sha256=sha256_of(data))
            return Read(image, str(image.sha256), baseline("blur", image.pixels[None]))
        before, sha256 = os.stat(path), digest(path, MOST_FILE)
        image = replace(read(path), sha256=sha256)
        after = os.stat(path)
    except ValueError as error:  # no name of a file
        raise ImageError(f"{path}: {error}") from None
    except OSError as error:
        raise ImageError(f"{path}: {(error.strerror or str(error)).lower()}") from None
    if (before.st_mtime_ns, before.st_size) != (after.st_mtime_ns, after.st_size):
        raise ImageError(f"{path}: changed while it was read")
    return Read(image, sha256, baseline("blur", image.pixels[None]))


def _apart(read: Callable[[str], Image], path: str) -> tuple[Any, ...]:
    """_read as arrays: tensors would go to the other process through shared memory, which a container may lack."""
    image, sha256, blurred = _read(read, path)
    return image.pixels.cpu().numpy(), image.geometry, image.source, path, sha256, blurred.cpu().numpy()


def _joined(plain: tuple[Any, ...]) -> Read:
    pixels, geometry, source, path, sha256, blurred = plain
    return Read(Image(torch.from_numpy(pixels), geometry, source, path, sha256), sha256, torch.from_numpy(blurred))
