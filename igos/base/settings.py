"""Settings from YAML, the command line or Python: names looked up with near names, values brought to their type."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from typing import Any, get_args, get_type_hints

from igos.base.errors import ConfigError
from igos.base.untrusted import is_file_name, load_yaml


def setting(default: Any, **bounds: Any) -> Any:
    """A dataclass field with its bounds: least, most, above, below (numbers) or choices; check_settings holds them."""
    many = isinstance(default, (list, tuple))
    value = {"default_factory": lambda: list(default)} if many else {"default": default}
    return field(**value, metadata=bounds)


def check_settings(settings: Any, named: Callable[[str], str] = str) -> None:
    """Refuse a dataclass's values that lie outside of the bounds of its fields. named: a key as the user knows it.

    Raises ConfigError.
    """
    for f in fields(settings):
        check_value(named(f.name), getattr(settings, f.name), f.metadata)


def check_value(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Refuse a value outside of its bounds; None stands for what is not set. Raises ConfigError."""
    if value is None:
        return
    choices = bounds.get("choices")
    if choices is not None:
        if not callable(value) and value not in choices:
            raise ConfigError(f"{name} {value!r} is not one of {', '.join(choices)}")
        return
    least, most, above, below = (bounds.get(key) for key in ("least", "most", "above", "below"))
    if least is None and most is None and above is None and below is None:
        return
    text = f"{value:g}" if isinstance(value, float) else value
    if least == 0 and most == 1 and not 0 <= value <= 1:
        raise ConfigError(f"{name} must lie in [0,1], got {text}")
    if above is not None and below is not None and not above < value < below:
        raise ConfigError(f"{name} must lie between {above:g} and {below:g}, got {text}")
    if above is not None and most is not None and not above < value <= most:
        raise ConfigError(f"{name} must lie in ({above:g},{most:g}], got {text}")
    if least is not None and not least <= value < math.inf:
        raise ConfigError(f"{name} must be at least {least:g}, got {text}")
    if most is not None and not value <= most:
        raise ConfigError(f"{name} must be at most {most}, got {text}")
    if above is not None and not above < value < math.inf:
        finite = "" if math.isfinite(value) else "a finite number "
        raise ConfigError(f"{name} must be {finite}above {above:g}, got {text}")


def key_value(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {item!r}: expected KEY=VALUE")
    try:
        return key, load_yaml(text)
    except ValueError:
        raise ConfigError(f"--set {item!r}: the value cannot be read") from None


def normalise(name: str) -> str:
    return name.lower().replace("-", "_")


def near_names(name: str, names: Iterable[str], count: int = 3) -> list[str]:
    """Of the names those that look like this one, the nearest first."""
    return difflib.get_close_matches(name, list(names), n=count)


def lookup(name: str, table: Iterable[str], what: str, aliases: Mapping[str, str] | None = None) -> str:
    """The table's own spelling of a name; case is ignored and - equals _. Raises ConfigError with near names."""
    own = {normalise(t): t for t in table}
    known = {**{normalise(a): t for a, t in (aliases or {}).items()}, **own}
    if normalise(str(name)) in known:
        return known[normalise(str(name))]
    near = near_names(normalise(str(name)), known)
    allowed = sorted(own.values()) if len(own) <= 12 else []
    hint = f"did you mean {' or '.join(known[n] for n in near)}? " if near else ""
    raise ConfigError(f"unknown {what} {name!r}: {hint}{'known: ' + ', '.join(allowed) if allowed else 'see --list'}")


def coerce(key: str, value: Any, hint: Any) -> Any:
    """A value from YAML or the command line as the field's type; refuses other types, nan and inf."""
    kinds = get_args(hint) if type(None) in get_args(hint) else (hint,)
    if value is None and type(None) in kinds:
        return None
    kind = next(k for k in kinds if k is not type(None))
    try:
        if kind is bool and isinstance(value, bool):
            return value
        if kind is int and not isinstance(value, (bool, float)):
            return int(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
        if kind is float and not isinstance(value, bool) and math.isfinite(float(value)):
            return float(value)
        plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
        if kind is str and plain and is_file_name(str(value)):
            return str(value)
        if getattr(kind, "__origin__", None) is list:
            items = value if isinstance(value, (list, tuple)) else [value]
            parts = [str(item) for item in items]
            if not all(map(is_file_name, parts)):
                raise ValueError
            if key.removeprefix("--") not in ("data", "set"):
                parts = [p for part in parts for p in part.replace(",", " ").split()]
            return parts
    except (TypeError, ValueError, OverflowError):
        pass
    words = {bool: "true or false", int: "a whole number", float: "a finite number", str: "a word"}
    raise ConfigError(f"{key} must be {words.get(kind, 'a list')}, got {value!r}")


def settings_of(make: Any) -> dict[str, Any]:
    """Field names and types of a method's or a metric's dataclass."""
    cls = getattr(make, "func", make)
    hints = get_type_hints(cls)
    return {f.name: hints[f.name] for f in fields(cls)}
