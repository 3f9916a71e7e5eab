"""A model file: once and for all how a model is loaded and fed, for `--model my.yaml` and igos.load("my.yaml").

kind: a name of --list; weights, cfg and names: files beside it (with `pretrained: true` the weights of kind hf are a
name of the hub); every other key is an option of the kind's loader. Weights whose file says of itself what they are
(ALONE, and a folder of Hugging Face) stand for the model file that names them and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from pathlib import Path
from typing import Any

from igos.base.reading import is_file_name, read_text
from igos.base.settings import near_names
from igos.base.untrusted import load_yaml
from igos.types import ConfigError

ENDS = (".yaml", ".yml")  # what a model file's name ends in
FILES = ("weights", "cfg", "names")  # whose paths are relative to the model file
OWN = ("kind", "weights", "threshold")
ALONE = {".onnx": "onnx", ".pt": "ultralytics", ".weights": "darknet"}  # kinds, by how a file of weights ends
INPUT = ("size", "fit", "pad", "color", "range", "mean", "std", "interpolation")
DECODE = ("strides", "offset", "shift", "sides", "variances", "background")


def says_its_model(name: str) -> bool:
    """Whether a name is that of a model file, or of weights that say of themselves what they are."""
    return Path(name).suffix in ENDS or _kind_of(Path(name)) is not None


def read_model_file(path: str | Path) -> dict[str, Any]:
    """Its keys and values, files with their whole paths, lists of numbers as tuples. Raises ConfigError."""
    where, kind = f"--model {path}", _kind_of(Path(path))
    if not Path(path).exists():
        raise ConfigError(f"{where}: no such file")
    if kind is not None:
        return {"kind": kind, "weights": str(path), **(_beside(Path(path)) if kind == "darknet" else {})}
    try:
        values = load_yaml(read_text(path))
    except (ValueError, OSError) as error:
        raise ConfigError(f"{where}: not readable as YAML ({' '.join(str(error).split())})") from None
    if not isinstance(values, dict) or not isinstance(values.get("kind"), str):
        raise ConfigError(f"{where}: it needs kind: NAME, a model of --list such as onnx")
    for key in FILES:
        if isinstance(values.get(key), (str, int, float)) and not (key == "weights" and hub_name(values)):
            if not is_file_name(str(values[key])):
                raise ConfigError(f"{where}: {key}: not the name of a file")
            values[key] = str(Path(path).parent / str(values[key]))
    for key, known in (("input", INPUT), ("decode", DECODE)):
        if key in values:
            values[key] = _block(values[key], known, f"{where}: {key}")
    if "names" in values:
        values["names"] = _names(values["names"], where)
    for key in ("threshold", "nms"):
        if key in values and not _between(values[key]):
            raise ConfigError(f"{where}: {key} must lie in [0,1], got {values[key]!r}")
    return values


def _kind_of(path: Path) -> str | None:
    """The kind of model that a file or a folder of weights is by itself."""
    folder = path.is_dir() and (path / "config.json").is_file()
    return "hf" if folder else ALONE.get(path.suffix.lower())


def _beside(weights: Path) -> dict[str, Any]:
    """The network's description and its names, where they lie beside the weights under the same name."""
    found = {"cfg": weights.with_suffix(".cfg"), "names": weights.with_suffix(".names")}
    return {key: str(path) for key, path in found.items() if path.is_file()}


def hub_name(values: dict[str, Any]) -> bool:
    """Whether its weights are a name of the hub, not a file."""
    return values["kind"] == "hf" and values.get("pretrained") is True


def check_keys(values: dict[str, Any], known: Collection[str], path: str | Path) -> None:
    """Refuse a key that the kind's loader does not take. Raises ConfigError."""
    for key in values:
        if key not in known and key not in OWN:
            near = near_names(str(key), [*OWN, *known], 1)
            hint = f"did you mean {near[0]}?" if near else f"kind {values['kind']} takes: {', '.join([*OWN, *known])}"
            raise ConfigError(f"--model {path}: unknown key {key!r}; {hint}")


def _block(block: Any, known: Collection[str], where: str) -> dict[str, Any]:
    """A block of plain numbers and words. Raises ConfigError."""
    if not isinstance(block, dict):
        raise ConfigError(f"{where} needs keys and values, got {block!r}")
    made = {}
    for key, value in block.items():
        if key not in known:
            near = near_names(str(key), known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(known)}"
            raise ConfigError(f"{where}: unknown key {key!r}; {hint}")
        made[key] = _value(str(key), value, where)
    return made


def _value(key: str, value: Any, where: str) -> Any:
    """One value as its kind. Raises ConfigError."""
    if key in ("fit", "color", "interpolation"):
        if not isinstance(value, str):
            raise ConfigError(f"{where}: {key} must be a word, got {value!r}")
        return value
    if key == "background":
        if value in (None, "none"):
            return None
        if value == "last":
            return -1
        if not isinstance(value, int) or isinstance(value, bool) or value < -1:
            raise ConfigError(f"{where}: background must be none, last or the number of a column, got {value!r}")
        return value
    if key == "size":
        sides = value if isinstance(value, list) else [value, value]
        if len(sides) != 2 or not all(isinstance(s, int) and not isinstance(s, bool) and 0 < s <= 8192 for s in sides):
            raise ConfigError(f"{where}: size must be one side or [height, width] in px, got {value!r}")
        return tuple(sides)
    if key == "sides":
        good = isinstance(value, list) and all(isinstance(level, list) and level for level in value)
        if not good or not all(_positive(s) for level in value for side in level for s in _listed(side)):
            raise ConfigError(f"{where}: sides must be, per stride, a list of sides in px or of [w, h]")
        return value
    many = {"mean": 3, "std": 3, "variances": 2, "strides": None}
    if key in many:
        numbers = value if isinstance(value, list) else [value] * (many[key] or 1)
        if not numbers or not all(_number(v) for v in numbers) or many[key] not in (None, len(numbers)):
            raise ConfigError(f"{where}: {key} must be {many[key] or 'a list of'} numbers, got {value!r}")
        if key == "strides" and not all(isinstance(v, int) and 0 < v <= 512 for v in numbers):
            raise ConfigError(f"{where}: strides must be whole numbers of px, got {value!r}")
        return list(numbers) if key == "strides" else tuple(float(v) for v in numbers)
    if not _number(value):
        raise ConfigError(f"{where}: {key} must be a number, got {value!r}")
    return value if key == "pad" else float(value)


def _names(names: Any, where: str) -> Any:
    if isinstance(names, str):
        return names
    if not isinstance(names, list) or not names or not all(isinstance(n, (str, int, float)) for n in names):
        raise ConfigError(f"{where}: names must be a file or a list of words")
    return [str(n) for n in names]


def _listed(side: Any) -> list[Any]:
    return side if isinstance(side, list) and len(side) == 2 else [side]


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _positive(value: Any) -> bool:
    return _number(value) and value > 0


def _between(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1
