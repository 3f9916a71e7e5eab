"""Cells: the ways in which a run explains each target, and where each explanation lies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from igos.base.files import safe_name
from igos.methods.mask.starts import positions
from igos.run.plan import Plan


@dataclass(frozen=True, eq=False)
class Cell:
    """By which plan and from which start cell a target is explained; folder: the name of the explanation's folder in
    that of the target, "" for the target's own.
    """

    plan: Plan
    start: int | None = None
    folder: str = ""

    def within(self, target_folder: str) -> str:
        """The folder of the explanation."""
        return f"{target_folder}/{self.folder}" if self.folder else target_folder


def cells_of(plan: Plan) -> list[Cell]:
    """Of a run: once, or from each start cell."""
    starts = start_cells(plan.run.diverse_k, plan.run.init_posi)
    return [Cell(plan)] if starts is None else [Cell(plan, start, f"start-{start}") for start in starts]


def cells_by_method(plans: Sequence[Plan]) -> list[Cell]:
    """Of `igos evaluate`: by each of the plans, which differ in their method alone."""
    return [Cell(plan, folder=method_folder(plan.label)) for plan in plans]


def start_cells(diverse_k: int | None, init_posi: Sequence[str] | None) -> list[int] | None:
    """The cells from which each target is explained, or None: from ones, once."""
    return None if diverse_k is None else positions(diverse_k, init_posi or ["all"])


def method_folder(label: str) -> str:
    """The folder of a method's explanation in that of its target."""
    return safe_name(label.replace(" ", "-"))


def folders_of_run(values: Mapping[str, Any]) -> list[str]:
    """The folders of a target's explanations within its own, by the settings of a run's run.yaml."""
    labels = labels_of_run(values)
    if labels:
        return [method_folder(label) for label in labels]
    starts = start_cells(values.get("diverse_k"), values.get("init_posi"))
    return [""] if starts is None else [f"start-{start}" for start in starts]


def labels_of_run(values: Mapping[str, Any]) -> list[str]:
    """The labels of the methods, each name with its optimisers, of a run.yaml of `igos evaluate`; [] of another one."""
    methods, labels = values.get("methods"), list[str]()
    if "method" in values or not isinstance(methods, dict):
        return []
    for name, block in methods.items():
        settings = block if isinstance(block, dict) else {}
        by_opt = [opt for opt, own in settings.items() if isinstance(own, dict) and "opt" in own]
        labels += [f"{name} {opt}" for opt in by_opt] or [name]
    return labels
