"""What decides a result, as a hash: by it the id of a row is made, and computed again where a folder is read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from igos.base.addresses import is_remote
from igos.base.hashing import digest, identity
from igos.data.pictures import find_pictures
from igos.methods.ingredients import INGREDIENTS
from igos.results.manifest import FILE, Way
from igos.results.read import written_by
from igos.run.cells import Cell, cells_by_method, cells_of, labels_of_run
from igos.run.plan import Plan, resolve
from igos.run.resume import another
from igos.types import ConfigError

DECISIVE = (
    "model", "input_size", "fit", "dataset", "score", "manual_seed", "precision", "diverse_k", "init_val", "metrics",
    "set", "judge",
)  # fmt: skip


def decisive(plan: Plan) -> dict[str, Any]:
    """Of the settings those that decide a result, and not where and in which batches it is made; of files the bytes."""
    run = {k: getattr(plan.run, k) for k in DECISIVE}
    run |= {"activation": plan.run.activation} if plan.run.activation else {}
    run |= {"ask": plan.run.ask} if plan.run.ask != "why" else {}
    files = {one.flag: _content(getattr(plan.run, one.flag)) for one in INGREDIENTS.values()}
    return {**run, **files, "method": plan.method.name, "settings": asdict(plan.method), "explained": plan.score}


def _content(path: str | None) -> list[str]:
    """The hashes of a file, or of the pictures in a folder."""
    if path is None or Path(path).is_file():
        return [] if path is None else [digest(path)]
    pictures = [] if is_remote(path) else [picture for picture, _ in find_pictures([path])]
    if is_remote(path) or any(map(is_remote, pictures)):  # a run's folder may come from anyone, and is only read
        raise ConfigError(f"{path}: pictures in a store are not taken here; give a folder of this machine")
    return [digest(picture) for picture in pictures]


def decided(plans: Sequence[Plan], weights: str) -> dict[str, str]:
    """The hash of each plan's decisive settings and of the model's bytes, by the plan's label."""
    return {plan.label: identity(weights, decisive(plan)) for plan in plans}


def ways_of(cells: Sequence[Cell], weights: str) -> dict[str, Way]:
    """How the cells explain a target, by the folder within the target's."""
    hashes = decided(list({cell.plan.label: cell.plan for cell in cells}.values()), weights)
    return {cell.folder: Way(cell.start, hashes[cell.plan.label]) for cell in cells}


def ways_of_run(folder: Path, values: Mapping[str, Any], damage: list[str]) -> dict[str, Way] | None:
    """ways_of for the settings in a run's run.yaml; None where the run has no manifest, is a diagnosis, or another
    igos made it.
    damage: takes why they cannot be known.
    """
    if not (folder / FILE).is_file() or not values.get("methods") or another(written_by(values)):
        return None
    if values.get("diagnose"):
        return None  # its rows are of pictures that were looked at
    config = {"config": str(folder / "run.yaml")}
    labels = [label.partition(" ") for label in labels_of_run(values)]
    try:
        if not labels:
            cells = cells_of(resolve(config, ""))
        else:
            each = ({**config, "method": name, **({"opt": opt} if opt else {})} for name, _, opt in labels)
            cells = cells_by_method([resolve(given, "") for given in each])
        return ways_of(cells, str(values.get("weights", "")))
    except (ConfigError, OSError) as error:
        damage.append(f"{folder}: whether its rows are of these settings cannot be told here ({error})")
        return None
