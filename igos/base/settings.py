"""Settings from YAML, the command line or Python: names looked up with near names, values brought to their type."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from igos.base.errors import ConfigError
from igos.base.untrusted import is_file_name, load_yaml


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


def lookup(name: str, table: Iterable[str], what: str, aliases: Mapping[str, str] | None = None) -> str:
    """The table's own spelling of a name; case is ignored and - equals _. Raises ConfigError with near names."""
    own = {normalise(t): t for t in table}
    known = {**{normalise(a): t for a, t in (aliases or {}).items()}, **own}
    if normalise(str(name)) in known:
        return known[normalise(str(name))]
    near = difflib.get_close_matches(normalise(str(name)), known, n=3)
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
            if key not in ("data", "set"):
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
