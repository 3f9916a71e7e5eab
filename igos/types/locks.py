"""One lock for each network: what patches or hooks it, and what passes a picture through it, holds the lock meanwhile.

So threads may share an adapter: a pass never meets what another thread has put into the network.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from torch import nn

F = TypeVar("F", bound=Callable[..., Any])
_locks: WeakKeyDictionary[nn.Module, AbstractContextManager[Any]] = WeakKeyDictionary()
_making = threading.Lock()


def lock_of(module: nn.Module | None) -> AbstractContextManager[Any]:
    """The network's lock, which the thread that holds it may take again; without a network nothing is locked."""
    if module is None:
        return nullcontext()
    with _making:
        return _locks.setdefault(module, threading.RLock())


def locked(method: F) -> F:
    """A method of what has a `module`, run while that one's lock is held."""

    @functools.wraps(method)
    def alone(self: Any, *args: Any, **more: Any) -> Any:
        with lock_of(self.module):
            return method(self, *args, **more)

    return alone  # type: ignore[return-value]
