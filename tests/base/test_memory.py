"""What a process keeps of the memory that it frees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys

import pytest

from igos.base import memory

LINUX = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
PASSES = """
import ctypes, resource, sys
from igos.base.memory import keep_freed
assert keep_freed() == (sys.argv[1] == "keeps")
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
libc.memset.argtypes = ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t
def work():
    blocks = [libc.malloc(2**23) for _ in range(6)]
    for block in blocks: libc.memset(block, 1, 2**23)
    for block in blocks: libc.free(block)
work()
begin = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(3): work()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begin)
"""


@LINUX
def test_what_is_freed_is_kept_and_had_again() -> None:
    """Pages that the system makes while 48 MB are asked for and freed three times more."""
    bare = {k: v for k, v in os.environ.items() if not k.startswith(memory.OTHERS)}
    pages = {}
    for told, env in (("keeps", bare), ("not", {**bare, "MALLOC_ARENA_TEST": "8"})):
        done = subprocess.run([sys.executable, "-c", PASSES, told], env=env, capture_output=True, text=True, check=True)
        pages[told] = int(done.stdout)
    assert pages["keeps"] < 100 < 10000 < pages["not"]


@LINUX
@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_the_user_s_own_choice_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "1")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the allocator was touched"))
    assert not memory.keep_freed()
