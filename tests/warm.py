"""What a process that forks has done before: the imports of a run, and its presets and settings read, which a process
does once; and what tests import as they are collected. No network has run, and no thread been started.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from tests.faults import plan

LIBRARIES = ("pyarrow.parquet", "pytest", "onnx2torch", "onnxruntime", "nbformat")

plan(".")
for library in LIBRARIES:
    with suppress(ImportError):
        import_module(library)
