"""The Ray cluster that igos starts itself: of this machine, for this run, closed to everybody else.

Whoever reaches a Ray cluster runs code on it. Ray has no public option that keeps it from listening on all interfaces,
so it is told that loopback is the machine's address; and it gets a token of its own, without which it answers nobody.
Both need parts of Ray that are not public (2.60 has them) and are left out where a version lacks them.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any

import ray

LOOPBACK = "127.0.0.1"
MODE, TOKEN = "RAY_AUTH_MODE", "RAY_AUTH_TOKEN"
_given = list[str]()  # the variables that are not the user's


def start(**options: Any) -> None:
    """Start the cluster and join it; options are ray.init's. Raises what ray.init raises."""
    if MODE not in os.environ and _read_again():
        os.environ[MODE] = "token"
        _given.append(MODE)
        if not {TOKEN, f"{TOKEN}_PATH"} & os.environ.keys():
            os.environ[TOKEN] = _token()
            _given.append(TOKEN)
        _read_again()
    try:
        with _on_loopback() as more:
            ray.init(address="local", **more, **options)
    except BaseException:
        forget()
        raise


def forget() -> None:
    """Take the cluster's token out of the environment, when it has ended: other clusters have their own."""
    if _given:
        while _given:
            os.environ.pop(_given.pop(), None)
        _read_again()


def _read_again() -> bool:
    """Have Ray read its variables, which it did when it was imported; whether this version can."""
    try:
        raylet = import_module("ray._raylet")
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()
    except (ImportError, AttributeError):
        return False
    return True


@lru_cache(maxsize=1)
def _token() -> str:
    """One for the process: Ray reads it once."""
    return secrets.token_hex(32)


@contextmanager
def _on_loopback() -> Iterator[dict[str, Any]]:
    """What ray.init is told; while it starts, Ray takes the loopback address as it is given. {} where it cannot be."""
    name, patched = "resolve_ip_for_localhost", list[tuple[Any, Any]]()
    for place in ("ray._private.services", "ray._private.node"):
        try:
            module = import_module(place)
            patched.append((module, getattr(module, name)))
        except (ImportError, AttributeError):
            continue
    for module, _ in patched:
        setattr(module, name, lambda host: host)
    try:
        yield {"_node_ip_address": LOOPBACK} if patched else {}
    finally:
        for module, before in patched:
            setattr(module, name, before)
