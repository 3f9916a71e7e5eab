"""Who may import whom: downward only; read from the source."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DRAWING = {"matplotlib", "PIL", "cv2", "jinja2"}
LEVELS = [
    {"errors", "tally", "resources", "processes", "untrusted", "checks"},
    {"files"},
    {"layers", "statistics"},
    {"scorer"},
    {"types", "glyphs"},
    {"ops", "emblems"},
    {"path", "baselines", "optim", "data", "truth", "arrays"},
    {"context", "randomise", "voc", "manifest"},
    {"annotations", "reader"},
    {"methods", "metrics", "diverse", "targets", "references", "estimation"},
    {"presets", "patterns", "shards", "rows"},
    {"pattern_files"},
    {"extras", "text", "saved"},
    {"results", "report", "config"},
    {"problem", "album"},
    {"jobs", "tables", "exports", "merge"},
    {"work"},
    {"engines"},
    {"ray_engine"},
    {"run"},
    {"evaluate"},
    {"commands", "interop"},
    {"cli"},
    {"__init__", "__main__"},
]
LAZY = {("types", "report"), ("types", "arrays"), ("__init__", "commands"), ("__init__", "presets")}


def imports(path: Path) -> set[tuple[str, bool]]:
    """(module, inside a function) of every import."""
    tree = ast.parse(path.read_text())
    inner = {n for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) for n in ast.walk(f)}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {(a.name, node in inner) for a in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module in ("igos", "detectors"):
            found |= {(f"{node.module}.{a.name}", node in inner) for a in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "", node in inner))
    return found


def level(part: str) -> int:
    return next(i for i, parts in enumerate(LEVELS) if part in parts)


@pytest.mark.parametrize("path", sorted((ROOT / "igos").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_downward(path: Path) -> None:
    part = path.relative_to(ROOT / "igos").parts[0].removesuffix(".py")
    for module, inside in imports(path):
        top = module.split(".")[0]
        if top in DRAWING:
            assert part == "report", f"{path.name} draws with {module}; only report/ does"
        if top == "detectors":
            assert part == "commands" and inside, f"{path.name} imports {module}"
        if top != "igos" or module == "igos" or module == "igos.__version__":
            continue
        other = module.split(".")[1]
        if inside and (part, other) in LAZY:
            continue
        assert other == part or level(other) < level(part), f"{path.name} ({part}) imports {module}"


@pytest.mark.parametrize("kind", ["methods", "metrics"])
def test_methods_and_metrics_do_not_know_detectors_config_report_or_each_other(kind: str) -> None:
    for path in (ROOT / "igos" / kind).glob("*.py"):
        for module, _ in imports(path):
            other = "metrics" if kind == "methods" else "methods"
            assert not module.startswith((f"igos.{other}", "igos.config", "igos.report", "detectors")), path.name


def test_detectors_import_only_types_resources_emblem_names_and_the_reader_of_arrays_of_igos() -> None:
    for path in (ROOT / "detectors").glob("*.py"):
        for module, _ in imports(path):
            if module.split(".")[0] == "igos":
                known = ("igos.types", "igos.resources", "igos.emblems", "igos.untrusted")
                assert module in known, f"{path.name} imports {module}"


def test_types_need_torch_and_numpy_only() -> None:
    allowed = {"torch", "numpy", "igos", "__future__", "time", "collections", "dataclasses", "typing", "pathlib"}
    assert {m.split(".")[0] for m, _ in imports(ROOT / "igos" / "types.py")} <= allowed


def test_no_device_is_named_below_the_command() -> None:
    for path in [*(ROOT / "igos").rglob("*.py"), *(ROOT / "detectors").glob("*.py")]:
        if path.parent.name != "commands":
            assert "cuda" not in path.read_text().replace("cuda, cuda:1", "").replace("cpu, ", ""), path.name


def test_no_file_grows_far_beyond_three_hundred_lines() -> None:
    for path in [*(ROOT / "igos").rglob("*.py"), *(ROOT / "detectors").glob("*.py")]:
        assert len(path.read_text().splitlines()) <= 345, path.name
