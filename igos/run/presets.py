"""The flags of a run, and the presets that hold them. Every refusal names its key.

A preset is a YAML file whose keys are the flags of the command, and `methods`: settings per method, and under
an optimiser's name those that hold for it alone. `<output>/run.yaml` is one too, and repeats its run.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from igos.base import resources
from igos.base.reading import read_text
from igos.base.settings import lookup, near_names, normalise, settings_of
from igos.base.untrusted import load_yaml
from igos.methods import ALIASES, ASKED, METHODS
from igos.methods.mask.optim import OPTIMIZERS
from igos.run.settings import RUN_TYPES
from igos.types import ConfigError


def read_preset(name: str) -> dict[str, Any]:
    """A preset by its name in configs/ or its path. Raises ConfigError: missing, broken or unknown keys."""
    path = Path(name)
    if not path.is_file():
        known = {p.stem: p for p in sorted(resources.folder("configs").glob("*.yaml"))}
        stem = path.stem if path.suffix in (".yaml", ".yml") else str(name)
        if path.parent != Path() and path.parent.name != "configs":
            raise ConfigError(f"--config {name}: no such file")
        path = known[lookup(Path(stem).name, known, "preset")]
    try:
        values = copy.deepcopy(_parsed(read_text(path)))
    except (ValueError, OSError) as error:
        raise ConfigError(f"--config {path}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict):
        raise ConfigError(f"--config {path}: expected keys and values, got {type(values).__name__}")
    for key in values:
        if key == "config" or (
            key not in RUN_TYPES and key not in ("methods", "published", "record", "results", "weights")
        ):
            near = near_names(str(key), RUN_TYPES, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(RUN_TYPES)}, methods"
            raise ConfigError(f"--config {path}: unknown key {key!r}; {hint}")
    methods = values.get("methods") or {}
    if not isinstance(methods, dict):
        raise ConfigError(f"--config {path}: methods must map a method's name to its settings")
    values["methods"] = {}
    for name, block in methods.items():
        method = str(name) if name in ASKED else lookup(str(name), METHODS, f"method in {path}", ALIASES)
        values["methods"][method] = _checked(block, method, f"--config {path}: {method}")
    return values


@lru_cache(maxsize=64)
def _parsed(text: str) -> Any:
    """What a preset's text holds. Python's YAML takes longer than a small explanation."""
    return load_yaml(text)


def _checked(block: Any, method: str, where: str) -> dict[str, Any]:
    """A method's block of a preset, its keys known and its optimisers in the table's spelling."""
    known = settings_of({**METHODS, **ASKED}[method])
    if not isinstance(block, dict):
        raise ConfigError(f"{where} needs settings by name, got {block!r}")
    made: dict[str, Any] = {}
    for key, value in block.items():
        if key in known:
            made[key] = value
        elif "opt" in known and normalise(str(key)) in map(normalise, OPTIMIZERS):
            made[lookup(key, OPTIMIZERS, "optimiser")] = _checked(value, method, f"{where} under {key}")
        else:
            raise ConfigError(f"{where} has no setting {key!r}; its settings: {', '.join(known)}")
    return made


def pick_preset(config: str | None, usual: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """The preset named, else the usual one; under `form: published` the one it names for that (and for the size).

    Raises ConfigError where published numbers are asked for and the preset holds none.
    """
    preset = read_preset(str(config or usual))
    if given.get("form") != "published" or preset.get("form") == "published":
        return preset
    if any(block.get("form") == "published" for block in preset["methods"].values()):
        return preset
    published = preset.get("published")
    if isinstance(published, dict):
        published = published.get(given.get("size"), next(iter(published.values())))
    if published is None:
        raise ConfigError(
            f"--form published with --config {config}: that preset holds numbers of the default form; "
            "take --config published-detect, published-classify-28 or published-classify-224"
        )
    return {**preset, **read_preset(str(published))}
