"""torchvision without torch's compiler, which it may still ask."""

from __future__ import annotations

import subprocess
import sys

from tests.conftest import ROOT

ASKED = """
import sys
import detectors
from importlib import import_module
asks = import_module("torchvision.ops.roi_align").is_compile_supported
print(not {"torch._dynamo", "torch._dynamo.utils", "sympy"} & sys.modules.keys())
told = [asks(device) for device in ("cpu", "meta")]
compiler = sys.modules["torch._dynamo.utils"]
print(told == [compiler.is_compile_supported(device) for device in ("cpu", "meta")], compiler.__file__ is not None)
"""


def test_the_compiler_is_imported_when_it_is_asked() -> None:
    ran = subprocess.run([sys.executable, "-c", ASKED], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.split() == ["True"] * 3
