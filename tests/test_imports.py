"""Who may import whom: downward only; read from the source."""

from __future__ import annotations

import ast
import subprocess
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = [
    {"base"},
    {"drawing"},
    {"types"},
    {"data"},
    {"methods", "metrics", "detectors"},
    {"results"},
    {"run"},
    {"diagnose"},
    {"serve"},
    {"cli"},
]
FACE = {"igos", "igos.__main__"}  # hands on names of every room
DETECTORS_FOR = {"igos.run.models", "igos.cli.report"}  # what reaches the detectors, inside a function
FILES = {
    ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p
    for folder in ("igos", "detectors")
    for p in sorted((ROOT / folder).rglob("*.py"))
}


def room(module: str) -> str:
    """igos.data.truth -> data, detectors.yolov3 -> detectors."""
    parts = module.split(".")
    return parts[0] if parts[0] == "detectors" else parts[1] if len(parts) > 1 else "igos"


def floor(module: str) -> int:
    return next(i for i, rooms in enumerate(FLOORS) if room(module) in rooms)


@cache
def imports(path: Path) -> frozenset[tuple[str, bool]]:
    """(module, not at run time at the top: inside a function or for type checkers alone) of every import."""
    found = set()
    due: list[tuple[ast.AST, bool]] = [(ast.parse(path.read_text()), False)]
    while due:
        node, inner = due.pop()
        if isinstance(node, ast.Import):
            found |= {(a.name, inner) for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{a.name}" for a in node.names]
            found |= {(name if name in FILES else node.module or "", inner) for name in names}
        elif isinstance(node, ast.stmt | ast.ExceptHandler | ast.match_case | ast.Module):  # no expression imports
            checked = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
            inner |= checked or isinstance(node, ast.FunctionDef)
            due += [(child, inner) for child in ast.iter_child_nodes(node)]
    return frozenset(found)


def own(module: str) -> set[tuple[str, bool]]:
    """Of the project's modules those that a module imports."""
    return {(m, inside) for m, inside in imports(FILES[module]) if m in FILES and m != "igos"}


@pytest.mark.parametrize("module", sorted(FILES.keys() - FACE))
def test_imports_point_downward(module: str) -> None:
    assert any(room(module) in rooms for rooms in FLOORS), f"{module} stands in no room"
    for other, inside in own(module):
        same = room(other) == room(module)
        reached = room(other) == "detectors" and module in DETECTORS_FOR and inside
        assert same or reached or floor(other) < floor(module), f"{module} imports {other}"
        assert same or reached or room(other) != "detectors", f"{module} imports {other}"


def test_no_imports_go_round_in_a_circle() -> None:
    """Of modules, those inside functions too, but that a package's own file hands on what is in it."""
    graph = {m: {o for o, _ in own(m) if not m.startswith(f"{o}.")} for m in FILES.keys() - FACE}
    TopologicalSorter(graph).prepare()


def test_detectors_need_the_contract_and_what_lies_below_it() -> None:
    for module in FILES:
        if room(module) == "detectors":
            for other, _ in own(module):
                below = room(other) in ("detectors", "base", "types") or other == "igos.data.emblems"
                assert below, f"{module} imports {other}"


def test_only_drawing_and_the_page_draw() -> None:
    for module, path in FILES.items():
        tops = {m.split(".")[0] for m, _ in imports(path)}
        drawn = tops & {"matplotlib", "PIL", "cv2", "jinja2"}
        allowed = room(module) in ("drawing", "detectors") or module == "igos.results.page"
        assert not drawn or allowed, f"{module} draws with {drawn}"


HEAVY = {
    "matplotlib",
    "cv2",
    "skimage",
    "pycocotools",
    "ray",
    "torchvision",
    "torch._dynamo",
    "igos.run.workers.engines",
}


@pytest.mark.parametrize(
    ("code", "never"),
    [
        ("import igos; [getattr(igos, name) for name in igos.__all__]", HEAVY),
        ("import igos.cli.main, igos.cli.flags", {"torch"}),
        ("import igos.run.settings", {"torch"}),
        ("from igos.cli.main import COMMANDS, import_module; [import_module(m).parser() for m in COMMANDS.values()]",
         {"torch"}),
    ],
)  # fmt: skip
def test_what_a_light_import_never_loads(code: str, never: set[str]) -> None:
    script = f"{code}\nimport sys\nprint(*sorted({never!r} & sys.modules.keys()))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
    assert not ran.stdout.split(), ran.stdout


def test_the_face_shows_its_names_and_no_more() -> None:
    import igos

    assert dir(igos) == sorted(igos.__all__) and all(getattr(igos, name) is not None for name in igos.__all__)
    with pytest.raises(AttributeError, match="nothing"):
        _ = igos.nothing  # type: ignore[attr-defined]


def test_no_device_is_named_below_the_command() -> None:
    for module, path in FILES.items():
        text = path.read_text().replace("cuda, cuda:1", "").replace("cpu, ", "")
        assert "cuda" not in text or module in ("igos.run.models", "igos.run.engine"), module


def test_no_file_grows_far_beyond_three_hundred_lines() -> None:
    for module, path in FILES.items():
        assert len(path.read_text().splitlines()) <= 345, module
