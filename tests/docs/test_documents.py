"""What CONTRIBUTING shows is true: its method works. The citation is of the newest release."""

from __future__ import annotations

import re
import sys
import types
from pathlib import Path

import pytest
import torch
import yaml

import igos
from igos.types import Explanation
from tests.conftest import net_score, toy_problem

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = (ROOT / "pyproject.toml").read_text()


def test_the_method_and_the_metric_in_contributing_work(monkeypatch: pytest.MonkeyPatch) -> None:
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    module = types.ModuleType("sample")
    monkeypatch.setitem(sys.modules, "sample", module)
    for code in blocks:
        exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    problem = toy_problem(net_score(2), 2)
    made: list[Explanation] = module.GradientXInput()(problem)
    x = problem.x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(problem.score(x[:, None]).sum(), x)
    assert made[1].attribution is not None
    assert torch.allclose(made[1].attribution.double(), (g * x)[1], atol=1e-6)
    assert made[0].saliency.shape == (28, 28)
    scores = module.Peak()(problem, made)
    assert [s.value for s in scores] == [float(e.saliency.max()) for e in made] and scores[0].name == "peak"


def test_the_citation_is_of_the_newest_release() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    sections = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    newest = next(section for section in sections if section != "Unreleased")
    assert newest == f"{citation['version']} - {citation['date-released']}"
    assert all(entry["title"] and entry["authors"] and entry["year"] for entry in citation["references"])
    assert citation["repository-code"] in PYPROJECT and f'version = "{igos.__version__}"' in PYPROJECT
