"""The tutorials run from top to bottom: on the real networks and photos where these are beside the checkout, else, by
one switch, on the bundled ones. Few steps stand for many.
"""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from igos.run import presets
from tests.conftest import DATA

ROOT = Path(__file__).resolve().parents[2]
NAMES = sorted(p.stem for p in (ROOT / "docs" / "tutorials").glob("*.md"))
REAL = all((DATA / name).is_dir() for name in ("yolo-fastest", "squeezenet", "photos"))


@pytest.fixture(scope="module")
def tutorials() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tutorials", ROOT / "samples" / "tutorials.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def few(settings: dict[str, Any]) -> dict[str, Any]:
    """A method's settings, or those of its optimisers, with few steps, not asked whether they were enough."""
    if "iterations" in settings:
        return {**settings, "iterations": 1, "early": None, "sure": False}
    return {k: few(v) if isinstance(v, dict) else v for k, v in settings.items()}


def hurried(name: str, read: Any = presets.read_preset) -> dict[str, Any]:
    preset = read(name)
    methods = {**{k: few(v) for k, v in preset["methods"].items()}, "integrated_gradients": {"n_steps": 4}}
    return {**preset, "set": [*preset.get("set", ()), "deletion.steps=2", "insertion.steps=2"], "methods": methods}


def first_line(text: str) -> str:
    return " ".join(re.sub(r"[\d.]+", "", text.lstrip("\n").partition("\n")[0]).split())


@pytest.mark.parametrize("name", NAMES)
def test_a_tutorial_runs_from_top_to_bottom(
    name: str, tutorials: ModuleType, monkeypatch: pytest.MonkeyPatch, short_curves: None
) -> None:
    monkeypatch.setattr(presets, "read_preset", hurried)
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
    with tutorials.place(("darknet_person",)) as here:
        outputs = list(tutorials.run(name, bundled=not REAL))
        drawn = {p.stem for p in here.glob("*.png")}
    assert drawn == set(re.findall(rf"pictures/tutorial-{name}-(\w+)\.jpg", page)), "the page shows what the code draws"
    said = [printed for _, printed in outputs if printed]
    shown = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert len(shown) == len(said) and all(shown), "python samples/tutorials.py writes what is printed"
    if REAL:
        assert first_line(shown[0]) == first_line(said[0])


@pytest.mark.parametrize("name", NAMES)
def test_what_stands_for_the_real_model_is_bundled(name: str, tutorials: ModuleType) -> None:
    page = (ROOT / "docs" / "tutorials" / f"{name}.md").read_text()
    code = "".join(block.code for block in tutorials.blocks(page, True))
    assert not [file for file in (*tutorials.FILES, "PHOTOS") if re.search(rf"\b{re.escape(file)}\b", code)]


def test_of_two_blocks_the_one_that_is_asked_for_is_taken(tutorials: ModuleType) -> None:
    page = '```python\na\n```\n\n    ```python title="bundled"\n    b\n    ```\n\n```text\n?\n```\n```sh\nc\n```\n'
    assert [b.code for b in tutorials.blocks(page, False)] == ["a\n", "c\n"]
    assert [b.code for b in tutorials.blocks(page, True)] == ["b\n", "c\n"]
    told = tutorials.told(page, [(b, f"said {b.code}") for b in tutorials.blocks(page, False)])
    assert told == page.replace("?", "said a")
