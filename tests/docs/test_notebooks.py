"""The notebooks in samples/ run from top to bottom, and are committed without outputs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat
import pytest

from tests.commands import Command

SAMPLES = Path(__file__).resolve().parents[2] / "samples"
FIGURES = {  # what a notebook prints of the papers' own figures
    "integrated_gradients": (),
    "patterns": ("[1.01835493, 0.01835493]", "0.2106", "0.0034", "1.634 6.366", "2.092 5.908"),
}
PATHS = sorted(SAMPLES.glob("*.ipynb"))
EXECUTE = """
import json, pathlib, sys, nbformat
from IPython.core.interactiveshell import InteractiveShell
from IPython.utils.capture import capture_output
from matplotlib_inline.config import InlineBackend
InteractiveShell.enable_gui = lambda self, gui=None: None  # there is no loop of events to enter
shell = InteractiveShell.instance()
InlineBackend.instance(parent=shell).print_figure_kwargs = {"dpi": 24}
shell.run_line_magic("matplotlib", "inline")
made = {}
for path in map(pathlib.Path, sys.argv[1:]):
    cells = made[path.stem] = []
    for cell in nbformat.read(path, as_version=4).cells:
        if cell.cell_type == "code":
            with capture_output() as seen:
                done = shell.run_cell(cell.source, store_history=True)
            done.raise_error()
            kinds = [kind for output in seen.outputs for kind in output.data]
            cells.append({"stdout": seen.stdout, "stderr": seen.stderr, "kinds": kinds})
    shell.reset()
pathlib.Path("made.json").write_text(json.dumps(made))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """What each code cell of each notebook prints and shows, run from top to bottom: one IPython, as a kernel has it,
    which forgets all names between two notebooks, in a process of its own. Figures have few pixels.
    """
    folder = tmp_path_factory.mktemp("notebooks")
    (folder / "execute.py").write_text(EXECUTE)
    code, out, err = Command(str(folder / "execute.py"), *map(str, PATHS), cwd=folder).end(500)
    assert code == 0, out + err
    made: dict[str, list[dict[str, Any]]] = json.loads((folder / "made.json").read_text())
    return made


@pytest.mark.parametrize("path", PATHS, ids=lambda p: p.stem)
def test_a_notebook_is_committed_without_outputs(path: Path) -> None:
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)


@pytest.mark.parametrize("name", [p.stem for p in PATHS])
def test_a_notebook_runs(name: str, run: dict[str, list[dict[str, Any]]]) -> None:
    cells = nbformat.read(SAMPLES / f"{name}.ipynb", as_version=4).cells
    assert len(run[name]) == sum(cell.cell_type == "code" for cell in cells) > 0, "every cell has run"
    printed = "".join(cell["stdout"] for cell in run[name])
    assert all(figure in printed for figure in FIGURES[name]), printed
    assert any("image/png" in cell["kinds"] for cell in run[name])
    assert not any(cell["stderr"] for cell in run[name]), [cell["stderr"] for cell in run[name]]
