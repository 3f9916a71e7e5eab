"""Files of patterns: safetensors with one tensor per layer, or the published VGG16 `.npz` (arrays A_0 .. A_15).

A file says in its metadata of which model it is, by which estimator each layer's patterns came, how many units are
dead, and a digest of each layer's weights: other weights are refused. What was rounded to half precision has w . a = 1
restored when it is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from igos.base import files
from igos.base.untrusted import load_json, load_npz
from igos.methods.backward.pattern import FIT
from igos.methods.backward.pattern_fit import Pattern
from igos.methods.backward.substitute import substitutable
from igos.types import Adapter, ConfigError, WeightsError

FORMAT = "igos-patterns-1"
OFF = 0.05  # how far the middle unit's w . a may lie from 1 before it is restored


def write(path: str | Path, adapter: Adapter, patterns: Mapping[str, Pattern], pictures: int, half: bool) -> None:
    """All of the file or nothing of it; half: float16. Raises OSError."""
    kind = torch.float16 if half else torch.float32
    layers = substitutable(adapter.module)
    facts = {n: {**asdict(p), "weights": digest(layers[n])} for n, p in patterns.items()}
    for fact in facts.values():
        fact.pop("values")
    metadata = {"format": FORMAT, "model": adapter.name, "pictures": str(pictures), "layers": json.dumps(facts)}
    state = {n: p.values.to(kind).contiguous().cpu() for n, p in patterns.items()}
    files.write_bytes(Path(path), save(state, metadata))


def load(adapter: Adapter, path: str | Path | None = None) -> dict[str, Tensor]:
    """The patterns (float32, on the adapter's device) of its layers by name: from the file, else its own bundled ones.

    Raises ConfigError where there are none, WeightsError for a file that is damaged or of another network.
    """
    if not substitutable(adapter.module):
        raise ConfigError(f"{adapter.name} has no Conv2d and no Linear layer that could have patterns")
    path = adapter.patterns if path is None else path
    if path is None:
        raise ConfigError(f"{adapter.name} has no patterns; fit them: {FIT}")
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    return _published(adapter, path) if Path(path).suffix == ".npz" else _own(adapter, path)


def digest(layer: torch.nn.Conv2d | torch.nn.Linear) -> str:
    """Of a layer's weight and bias, as they are after batch norm was folded into them."""
    made = hashlib.sha256()
    for p in (layer.weight, layer.bias):
        if p is not None:
            made.update(p.detach().float().cpu().contiguous(memory_format=torch.contiguous_format).numpy().tobytes())
    return made.hexdigest()[:16]


def _own(adapter: Adapter, path: str | Path) -> dict[str, Tensor]:
    try:
        with safe_open(str(path), framework="pt") as f:
            metadata = f.metadata() or {}
            found = {n: f.get_tensor(n) for n in f.keys()}  # noqa: SIM118
        facts: Any = load_json(metadata["layers"]) if metadata.get("format") == FORMAT else {}
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise WeightsError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    sound = isinstance(facts, dict) and all(isinstance(fact, dict) for fact in facts.values())
    if not facts or not sound or facts.keys() != found.keys():
        raise WeightsError(f"{path}: not a file of patterns; make one: {FIT}")
    layers, of = substitutable(adapter.module), metadata.get("model", "another model")
    shared = [n for n in found if n in layers]
    if not shared:
        first = next(iter(found))
        raise WeightsError(f"{path}: patterns of {of}; {adapter.name} has no layer {first}")
    for name in shared:
        _fits(path, of, adapter, name, found[name])
        if facts[name].get("weights") != digest(layers[name]):
            raise WeightsError(
                f"{path}: patterns of {of} with other weights: {name} of {adapter.name} differs; fit its own: {FIT}"
            )
    return {n: _restored(path, adapter, n, found[n]) for n in shared}


def _published(adapter: Adapter, path: str | Path) -> dict[str, Tensor]:
    """A_i of the i-th layer; those of dense layers are (inputs, outputs)."""
    try:
        found = load_npz(path, lambda name: bool(re.fullmatch(r"A_\d+", name)))
        arrays = {name: torch.from_numpy(a) for name, a in found.items()}
    except (OSError, ValueError, TypeError) as error:
        raise WeightsError(f"{path}: damaged ({' '.join(str(error).split())})") from None
    layers = substitutable(adapter.module)
    if set(arrays) != {f"A_{i}" for i in range(len(layers))}:
        raise WeightsError(
            f"{path}: {len(arrays)} patterns A_0, A_1, ... but {adapter.name} has {len(layers)} layers: not a pair"
        )
    made = {}
    for i, name in enumerate(layers):
        a = arrays[f"A_{i}"]
        a = a.T if a.ndim == 2 else a
        _fits(path, f"A_{i}", adapter, name, a)
        made[name] = _restored(path, adapter, name, a)
    return made


def _fits(path: str | Path, of: str, adapter: Adapter, name: str, a: Tensor) -> None:
    wanted = tuple(substitutable(adapter.module)[name].weight.shape)
    if tuple(a.shape) != wanted or not a.is_floating_point() or not a.isfinite().all():
        what = f"{tuple(a.shape)} {str(a.dtype).removeprefix('torch.')}"
        raise WeightsError(
            f"{path}: the patterns of {of} do not fit {adapter.name}: layer {name} needs finite numbers of shape "
            f"{wanted}, the file holds {what}"
        )


def _restored(path: str | Path, adapter: Adapter, name: str, a: Tensor) -> Tensor:
    """The patterns with w . a = 1 again, dead units still 0. Raises WeightsError where they were not fitted for w."""
    w, a = substitutable(adapter.module)[name].weight.detach().double().cpu().flatten(1), a.double()
    gain = (w * a.flatten(1)).sum(1)
    live = a.flatten(1).any(1)
    if live.any() and abs(float(gain[live].median()) - 1) > OFF:
        raise WeightsError(
            f"{path}: not fitted for these weights of {adapter.name}: in layer {name} w . a is "
            f"{float(gain[live].median()):.3g} in the middle, not 1; fit its own: {FIT}"
        )
    live &= gain > OFF
    a = a.flatten(1) * (live / torch.where(live, gain, torch.ones_like(gain)))[:, None]
    return a.view(substitutable(adapter.module)[name].weight.shape).float().to(adapter.device)
