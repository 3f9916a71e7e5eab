"""Darknet's .cfg files: sections of keys and values, in the dialect of AlexeyAB/darknet."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from igos.base.reading import read_text
from igos.types import ConfigError

LARGEST = 2**24  # of any count
Section = dict[str, Any]


def parse_cfg(path: str | Path) -> list[Section]:
    """A .cfg as its sections in order, each with its kind under "type" and values as int, float, list or str.

    Of a key given twice the first counts, as in Darknet.
    Raises ConfigError for a missing file, text outside any section, or a value without a key.
    """
    try:
        text = read_text(path, encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--cfg {path}: cannot be read as text ({error})") from None
    sections: list[Section] = []
    for number, raw in enumerate(text.splitlines(), start=1):
        line = raw.split("#")[0].split(";")[0].strip()
        if line.startswith("[") and line.endswith("]"):
            sections.append({"type": line[1:-1].strip().lower()})
        elif line:
            key, equals, value = line.partition("=")
            if not equals or not key.strip() or not sections:
                raise ConfigError(f"--cfg {path}, line {number}: expected [section] or key=value, got {line[:60]!r}")
            sections[-1].setdefault(key.strip(), _value(value.strip()))
    if not sections or sections[0]["type"] not in ("net", "network"):
        raise ConfigError(f"--cfg {path}: a network description begins with [net]")
    return sections


def _value(text: str) -> Any:
    if "," in text:
        return [_value(t.strip()) for t in text.split(",") if t.strip()]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def count(layer: Section, key: str, default: int | None = None, least: int = 1) -> int:
    value = layer[key] if default is None else layer.get(key, default)
    if not isinstance(value, int) or not least <= value <= LARGEST:
        raise ValueError(f"{key}={str(value)[:40]} is not a whole number from {least} to {LARGEST}")
    return value


def as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]
