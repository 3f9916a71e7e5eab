"""samples/patterns.ipynb runs, and prints the figures that it is shown with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]


def printed(notebook: Any) -> list[str]:
    return [o.text for c in notebook.cells for o in c.get("outputs", []) if o.output_type == "stream"]


def test_the_notebook_of_the_patterns_runs_and_prints_what_it_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    import nbformat
    from nbclient import NotebookClient

    shown = nbformat.read(ROOT / "samples" / "patterns.ipynb", as_version=4)
    run = nbformat.from_dict(shown)
    for cell in run.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    NotebookClient(run, timeout=120, kernel_name="python3", resources={"metadata": {"path": str(ROOT)}}).execute()
    assert printed(run) == printed(shown)
    pictures = [o for c in run.cells for o in c.get("outputs", []) if "image/png" in o.get("data", {})]
    assert len(pictures) == 3
    (pattern, saturated, twice) = printed(run)
    assert "[1.01835493, 0.01835493]" in pattern
    assert "0.2106" in saturated and "0.0034" in saturated
    assert "1.634 6.366" in twice and "2.092 5.908" in twice
