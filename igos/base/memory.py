"""Memory that a process keeps between two passes of a network."""

from __future__ import annotations

import ctypes
import os

TRIM, MAPPED = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc's malloc.h
KEPT = 2**30  # bytes at the end of the heap that may lie free before they are given back
LARGEST = 2**25  # bytes of the largest block that the heap holds: glibc takes no more
OTHERS = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")  # with these the user has chosen how memory is had


def keep_freed() -> bool:
    """Let this process keep what it frees, up to 1 GB, instead of giving it back to the system; whether it does.

    A network asks for the same memory in each pass. Where the heap's end is given back in between, the system has to
    make every page anew, which took up to a fifth of a pass on a CPU (docs/speed.md). It is so for Linux with glibc;
    elsewhere, and where the user's environment chooses, nothing is changed. Results do not depend on it.
    """
    try:
        glibc = "CS_GNU_LIBC_VERSION" in os.confstr_names and os.confstr("CS_GNU_LIBC_VERSION")
    except (AttributeError, OSError, ValueError):
        glibc = None
    if not glibc or any(name.startswith(OTHERS) for name in os.environ):
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(TRIM, KEPT) and mallopt(MAPPED, LARGEST))
