"""`--list`: everything that can be named, from the dicts that hold it."""

from __future__ import annotations

from collections.abc import Sequence

from igos.base import resources
from igos.base.baselines import BASELINES
from igos.methods import ALIASES, METHODS
from igos.methods.mask.optim import OPTIMIZERS
from igos.metrics import COLUMNS
from igos.metrics import table as metric_table
from igos.run.models import adapters

METHOD_LINE = "{:43} {:14} {:22} {:12} {:7} {:5}  {}"


def listing() -> str:
    """Everything that can be named, from the dicts that hold it."""
    names = {v: k for k, v in ALIASES.items()}
    head = ("methods (--method)", "needs", "network images", "complete", "map", "score", "paper")
    lines = [METHOD_LINE.format(*head)]
    for name, method in METHODS.items():
        alias = f" (alias {names[name]})" if name in names else ""
        aggregate = getattr(method, "aggregate", "-")
        facts = (method.needs, method().cost, method.complete, aggregate, method.score, method.paper)
        lines.append(METHOD_LINE.format(f"  {name}{alias}", *facts))
    lines += ["", f"optimisers (--opt)    {', '.join(OPTIMIZERS)}"]
    lines += [f"baselines             {', '.join(BASELINES)}"]
    lines += ["", "metrics (--metrics; ranges are those of probabilities)"]
    lines += columns([COLUMNS, *metric_table()])
    presets = ", ".join(sorted(p.stem for p in resources.folder("configs").glob("*.yaml")))
    lines += ["", f"presets (--config)    {presets}", "", "models (--model)"]
    by_preset: dict[str, list[str]] = {}
    for model, family in adapters().ADAPTERS.items():
        by_preset.setdefault(family.preset, []).append(model)
    lines += [f"  {preset:12} {', '.join(models)}" for preset, models in by_preset.items()]
    return "\n".join(lines)


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Rows of words as lines with aligned columns."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return ["  " + "  ".join(v.ljust(w) for v, w in zip(row, widths, strict=True)).rstrip() for row in rows]
