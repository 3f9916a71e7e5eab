"""The notebooks in samples/ run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FIGURES = {  # what a notebook prints of the papers' own figures
    "integrated_gradients": (),
    "patterns": ("[1.01835493, 0.01835493]", "0.2106", "0.0034", "1.634 6.366", "2.092 5.908"),
}
PATHS = sorted(SAMPLES.glob("*.ipynb"))
EXECUTE = """
import sys, nbformat, nbclient
book = nbformat.read(sys.argv[1], as_version=4)
nbclient.NotebookClient(book, timeout=300, kernel_name="python3").execute()
nbformat.write(book, sys.argv[1])
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Any]]:
    """The cells of each notebook, run from top to bottom: one kernel, which imports torch once and forgets all names
    between two notebooks, in a process of its own, for its sockets do not live with what other tests do to file
    descriptors.
    """
    books = {p.stem: nbformat.read(p, as_version=4) for p in PATHS}
    whole, *_ = books.values()
    cells = {name: list(book.cells) for name, book in books.items()}
    whole.cells = [c for own in cells.values() for c in (*own, nbformat.v4.new_code_cell("%reset -f"))]
    file = tmp_path_factory.mktemp("notebooks") / "run.ipynb"
    nbformat.write(whole, file)
    environment = {**os.environ, "PYTHONPATH": str(SAMPLES.parent)}
    words = [sys.executable, "-c", EXECUTE, str(file)]
    done = subprocess.run(words, cwd=file.parent, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr
    made = iter(nbformat.read(file, as_version=4).cells)
    return {name: [next(made) for _ in (*own, "reset")][:-1] for name, own in cells.items()}


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


@pytest.mark.parametrize("name", [p.stem for p in PATHS])
def test_a_notebook_runs(name: str, run: dict[str, list[Any]]) -> None:
    assert all(cell.execution_count for cell in run[name] if cell.cell_type == "code"), "every cell has run"
    outputs = [o for cell in run[name] for o in cell.get("outputs", ())]
    printed = "".join(o.get("text", "") for o in outputs)
    assert all(figure in printed for figure in FIGURES[name]), printed
    assert any("image/png" in o.get("data", {}) for o in outputs)
    assert not any(o.get("name") == "stderr" for o in outputs), [o.get("text") for o in outputs]
