"""The notebooks in samples/ run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FIGURES = {  # what a notebook prints of the papers' own figures
    "integrated_gradients": (),
    "patterns": ("[1.01835493, 0.01835493]", "0.2106", "0.0034", "1.634 6.366", "2.092 5.908"),
}
EXECUTE = """
import sys, nbformat, nbclient
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=120, kernel_name="python3").execute()
nbformat.write(book, sys.argv[2])
"""


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.ipynb")), ids=lambda p: p.stem)
def test_a_notebook_runs(path: Path, tmp_path: Path) -> None:
    """In a process of its own: the kernel's sockets do not live with what other tests do to file descriptors."""
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells), "committed with outputs"
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    words = [sys.executable, "-c", EXECUTE, str(path), str(tmp_path / "run.ipynb")]
    done = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    outputs = [o for cell in nbformat.read(tmp_path / "run.ipynb", as_version=4).cells for o in cell.get("outputs", ())]
    printed = "".join(o.get("text", "") for o in outputs)
    assert all(figure in printed for figure in FIGURES[path.stem]), printed
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs), [o.get("text") for o in outputs]
