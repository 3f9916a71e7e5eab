"""Settings from YAML, the command line or Python: names looked up with near names, values brought to their type."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields
from functools import cache
from typing import Any, get_args, get_type_hints

from igos.base.errors import ConfigError
from igos.base.reading import is_file_name
from igos.base.untrusted import load_yaml


def setting(default: Any, **bounds: Any) -> Any:
    """A dataclass field with its bounds: least, most, above, below (numbers), or choices (names; with objects=True an
    object may stand in the place of a name). A subclass that gives the field another default keeps them.
    """
    many = isinstance(default, (list, tuple))
    value = {"default_factory": lambda: list(default)} if many else {"default": default}
    return field(**value, metadata=bounds)


def bounds_of(cls: type, key: str) -> dict[str, Any]:
    """The bounds of a dataclass's field: its own over those of the classes that it is derived from."""
    bounds: dict[str, Any] = {}
    for base in reversed(cls.__mro__):
        own = vars(base).get("__dataclass_fields__", {}).get(key)
        bounds |= own.metadata if own is not None else {}
    return bounds


def check_settings(settings: Any) -> None:
    """Refuse a dataclass's values that lie outside of the bounds of its fields. Raises ConfigError."""
    check_values(type(settings), {f.name: getattr(settings, f.name) for f in fields(settings)})


def check_values(make: Any, values: Mapping[str, Any], named: Callable[[str], str] = str) -> None:
    """As check_settings, of values by field, before a dataclass is made of them. named: a key as the user knows it."""
    cls = getattr(make, "func", make)
    for key, value in values.items():
        check_value(named(key), value, bounds_of(cls, key))


def check_value(name: str, value: Any, bounds: Mapping[str, Any]) -> None:
    """Refuse a value outside of its bounds, and numbers that are not finite; None stands for what is not set.

    Raises ConfigError.
    """
    choices = bounds.get("choices")
    if value is None or (bounds.get("objects") and callable(value)):
        return
    if choices is not None:
        if value not in choices:
            raise ConfigError(f"{name} {value!r} is not one of {', '.join(choices)}")
        return
    try:
        must = _broken(value, bounds)
    except TypeError:
        must = "be a number"
    if must:
        raise ConfigError(f"{name} must {must}, got {_short(value)}")


def _broken(value: Any, bounds: Mapping[str, Any]) -> str:
    """What a number must do and does not; "" for one inside of its bounds, and for what is no number and has none."""
    least, most, above, below = (bounds.get(key) for key in ("least", "most", "above", "below"))
    if least is None and most is None and above is None and below is None and not isinstance(value, float):
        return ""
    low = value >= least if least is not None else value > (-math.inf if above is None else above)
    high = value <= most if most is not None else value < (math.inf if below is None else below)
    if low and high:
        return ""
    if least == 0 and most == 1:
        return "lie in [0,1]"
    if above is not None and most is not None:
        return f"lie in ({_short(above)},{_short(most)}]"
    if above is not None and below is not None:
        return f"lie between {_short(above)} and {_short(below)}"
    if value != value or abs(value) == math.inf:
        return "be a finite number"
    if low:
        return f"be at most {_short(most)}" if most is not None else f"be below {_short(below)}"
    return f"be at least {_short(least)}" if least is not None else f"be above {_short(above)}"


def _short(value: Any) -> str:
    if isinstance(value, int) and value.bit_length() > 200:
        return "a huge number"
    return f"{value:g}" if isinstance(value, float) else repr(value)


def key_value(item: str) -> tuple[str, Any]:
    key, equals, text = item.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {item!r}: expected KEY=VALUE")
    try:
        return key, load_yaml(text)
    except ValueError:
        raise ConfigError(f"--set {item!r}: the value cannot be read") from None


COLORMAP = "colormap"  # the key of --set that is of the pictures: a colour map of matplotlib


def colormap_of(items: Iterable[str]) -> str | None:
    """The colour map that items KEY=VALUE name, or None."""
    named = [value for key, _, value in (item.partition("=") for item in items) if key == COLORMAP]
    return named[-1] if named else None


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
    return dict(_settings(getattr(make, "func", make)))


@cache
def _settings(cls: Any) -> dict[str, Any]:
    hints = get_type_hints(cls)  # it compiles each annotation again
    return {f.name: hints[f.name] for f in fields(cls)}
