"""What the server of `tests.commands` has done before it forks: the imports of a run, and its presets and settings
read, which a process does once. No network has run, and no thread been started.
"""

from __future__ import annotations

from contextlib import suppress
from importlib import import_module

from tests.faults import plan

plan(".")
with suppress(ImportError):
    import_module("pyarrow.parquet")
