"""A question of the page as flags of the command, and an answer as the command and the Python that give it again."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import fields
from typing import Any

from igos.base.names import DEFAULT_METRICS
from igos.base.settings import key_value, lookup
from igos.base.settings import settings_of as fields_of
from igos.methods import ALIASES, METHODS
from igos.methods.mask.loop import MaskMethod
from igos.metrics import METRICS, build_metrics
from igos.run.plan import METHOD_FLAGS
from igos.run.settings import MODEL_OPTIONS, RUN_TYPES
from igos.types import ConfigError

PRESETS = ("quick", "default", "thorough")
QUESTIONS = {"why": "why: what speaks for it"}
LEFT_OUT = ("data", "output")  # of the flags, which are of the server
PLACED = ("score", "batch", "max_memory", "precision", "config", "references", "patterns", "stats")  # in Python, too


def methods() -> tuple[list[str], list[str]]:
    """The names of the mask methods, the default first, and of all others."""
    masks = sorted((n for n, m in METHODS.items() if issubclass(m, MaskMethod)), key=lambda n: n != "iGOS++")
    return masks, [n for n in METHODS if n not in masks]


def method_of(flags: Mapping[str, Any]) -> str:
    """The method that the command names, or the default. Raises ConfigError for an unknown one."""
    return lookup(str(flags.get("method", "iGOS++")), METHODS, "method", ALIASES)


def settings_of(flags: Mapping[str, Any], asked: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The flags of a run that answers what is asked: {method, preset}, by default what the command's flags say.

    Settings of the command's method go to the methods that have them. Raises ConfigError for an unknown name.
    """
    made = {k: v for k, v in flags.items() if k not in LEFT_OUT}
    if asked is None:
        return made
    method, preset = lookup(str(asked["method"]), METHODS, "method", ALIASES), str(asked["preset"])
    if preset not in PRESETS:
        raise ConfigError(f"unknown preset {preset!r}: known: {', '.join(PRESETS)}")
    if str(asked.get("question", "why")) not in QUESTIONS:
        raise ConfigError(f"unknown question {asked['question']!r}: known: {', '.join(QUESTIONS)}")
    own = fields_of(METHODS[method])
    made = {k: v for k, v in made.items() if k not in METHOD_FLAGS or k in own}
    if "set" in made:
        names = made.get("metrics") or []
        known = {k for n in names if n in METRICS for k in fields_of(METRICS[n])}
        made["set"] = [s for s in made["set"] if "." in key_value(s)[0] or key_value(s)[0] in {*own, *known}]
    if preset != "default":
        made["config"] = preset
    return {**made, "method": method}


def command(flags: Mapping[str, Any], path: str, target: str, least: float) -> str:
    """The command that gives an answer again. flags: of settings_of."""
    words = ["igos"]
    for key, value in {**flags, "data": [path], "target": target, "threshold": least}.items():
        if key not in RUN_TYPES or value in (None, False, []):
            continue
        words.append(f"--{key}")
        words += [] if value is True else [str(v) for v in value] if isinstance(value, list) else [str(value)]
    return shlex.join(words)


class Code(str):
    """Text that stands in Python as it is."""

    def __repr__(self) -> str:
        return str(self)


def python(flags: Mapping[str, Any], path: str, target: str, least: float, device: str) -> str:
    """The Python that gives an answer again; device: where the model ran."""
    model = {"weights": flags.get("model_file"), "device": None if device == "cpu" else device}
    model |= {k.removeprefix("model_"): flags.get(k) for k in MODEL_OPTIONS}
    load = [repr(str(flags["model"])), *(f"{k}={v!r}" for k, v in model.items() if v not in (None, False))]
    more: dict[str, Any] = {"method": flags["method"], "threshold": least}
    more |= {k: flags[k] for k in (*METHOD_FLAGS, *PLACED) if flags.get(k) is not None}
    own, items = fields_of(METHODS[flags["method"]]), flags.get("set") or []
    more |= {k: v for k, v in map(key_value, items) if k in own}
    names = flags.get("metrics") or list(DEFAULT_METRICS)
    if any(key_value(i)[0] not in own for i in items):
        made, _ = build_metrics(names, items)
        more["metrics"] = Code(f"[{', '.join(_metric(m) for m in made)}]")
    elif flags.get("metrics"):
        more["metrics"] = "none" if names == ["none"] else list(names)
    if flags.get("manual_seed"):
        more["seed"] = flags["manual_seed"]
    lines = ["import igos", "", f"model = igos.load({', '.join(load)})"]
    picture, wish = repr(path), repr(target)
    if flags.get("part", "class") != "class":  # a wish in words is about the class
        lines[1:2] = ["from dataclasses import replace", ""]
        kind, _, value = target.partition(":")
        name, _, box = value.rpartition("@")
        seen = f"igos.expect(model, image, {name!r}, [{box}], {least!r})" if kind == "expect" else None
        lines += [f"image = model.read({picture})", f"target = {seen or f'model.detect(image, {least!r})[{value}]'}"]
        picture, wish = "image", f"replace(target, part={flags['part']!r})"
        del more["threshold"]
    words = ", ".join(f"{k}={v!r}" for k, v in more.items())
    return "\n".join([*lines, f"es = igos.explain(model, {picture}, {wish}, {words})", "print(es)"]) + "\n"


def _metric(metric: Any) -> str:
    usual = type(metric)()
    changed = {f.name: getattr(metric, f.name) for f in fields(metric)}
    words = ", ".join(f"{k}={v!r}" for k, v in changed.items() if v != getattr(usual, k))
    return f"igos.METRICS[{metric.name!r}]({words})"
