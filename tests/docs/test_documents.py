"""What the documents show is true: code samples run, and named flags, presets and files exist."""

from __future__ import annotations

import re
import sys
import types
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from igos.base import resources
from igos.run.settings import Run
from igos.types import STATUSES, Explanation
from tests.conftest import net_score, toy_problem

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()


def test_the_method_in_contributing_works(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)
    module = types.ModuleType("sample")
    monkeypatch.setitem(sys.modules, "sample", module)
    exec(compile(code, "CONTRIBUTING.md", "exec"), module.__dict__)
    problem = toy_problem(net_score(2), 2)
    made: list[Explanation] = module.GradientXInput()(problem)
    x = problem.x.clone().requires_grad_(True)
    (g,) = torch.autograd.grad(problem.score(x[:, None]).sum(), x)
    assert made[1].attribution is not None
    assert torch.allclose(made[1].attribution.double(), (g * x)[1], atol=1e-6)
    assert made[0].saliency.shape == (28, 28)


def test_flags_presets_and_statuses_in_the_readme_exist() -> None:
    known = {f"--{f.name}" for f in fields(Run)} | {
        "--list",
        "--help",
        "--real",
        "--models",
        "--pictures",
        "--split",
        "--presets",
        "--steps",
        "--json",
        "--seeds",
        "--only",
        "--minutes",
        "--scenes",
        "--threads",
        "--per_class",
        "--methods",
        "--results",
        "--n_patches",
        "--write",
        "--out",
        "--page",
        "--cases",
        "--seconds",
        "--format",
        "--resume",
        "--retry",
    }
    assert set(re.findall(r"(?<![\w-])--[A-Za-z]\w+", README)) <= known
    presets = {p.stem for p in resources.folder("configs").glob("*.yaml")}
    row = next(line for line in README.splitlines() if line.startswith("| `--config`"))
    assert set(re.findall(r"`([a-z]+)`", row)) <= presets
    assert all(f"| `{status}` |" in README for status in STATUSES)


@pytest.mark.parametrize("place", sorted(set(re.findall(r"`((?:igos|benchmarks|configs|detectors)/[\w./]*)`", README))))
def test_places_named_in_the_readme_exist(place: str) -> None:
    assert (ROOT / place).exists()
