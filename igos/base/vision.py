"""torchvision, imported without torch's compiler.

It asks the compiler one question, whether a device has it, and only where its own kernels are missing; but imports it
at once, a thousand modules that take as long as torch itself. Here the compiler is imported when it is asked.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo.utils"


def _asked(name: str) -> Any:
    """What the compiler's module has of that name."""
    if name.startswith("__"):  # the import asks so whether a module is a package
        raise AttributeError(name)
    if sys.modules.get(COMPILER) is _later:
        del sys.modules[COMPILER]
    return getattr(import_module(COMPILER), name)


_later = ModuleType(COMPILER)
vars(_later).update(__getattr__=_asked, is_compile_supported=lambda device: _asked("is_compile_supported")(device))
sys.modules.setdefault(COMPILER, _later)
try:
    import torchvision as torchvision
finally:
    if sys.modules.get(COMPILER) is _later:
        del sys.modules[COMPILER]
