"""defaults < preset < flags -> Plan, a whole run that can start. Every refusal names its key."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from igos.base.names import ASK_METRICS, DEFAULT_METRICS, EVIDENCE_METRICS, MARGIN
from igos.base.settings import COLORMAP, check_values, coerce, colormap_of, key_value, lookup, normalise, settings_of
from igos.data.annotations import tell_of_evidence
from igos.data.targets import PINNED, Selector
from igos.methods import ALIASES, ASKED, METHODS, build_method, default_score
from igos.methods.asked import answering, kind_of
from igos.methods.ingredients import INGREDIENTS, ingredients_of
from igos.metrics import METRICS, build_metrics, setting_names
from igos.run.given import check_asks
from igos.run.presets import pick_preset
from igos.run.settings import RUN_TYPES, Run, memory_size
from igos.types import ConfigError

METHOD_FLAGS = ("opt", "form", "size", "iterations", "ig_iter", "alpha", "L1", "L2", "layer")


@dataclass(frozen=True)
class Plan:
    """A Run that can start: the run as data; method, metrics and targets made from it; the score it explains."""

    run: Run
    method: Any
    metrics: tuple[Any, ...]
    selector: Selector

    @property
    def score(self) -> str:
        if kind_of(self.run.ask).startswith("versus"):
            return MARGIN
        pinned = self.run.ask == "why-not" or self.selector.kind in PINNED
        own = "logodds" if pinned and self.run.part == "class" else default_score(self.method, [self.run.part])
        return self.run.score or own

    @property
    def label(self) -> str:
        """The method's name, its optimiser's, and the question where the method does not tell it."""
        versus = "versus" if self.run.ask.startswith("versus") else None
        return " ".join(str(part) for part in (self.method.name, getattr(self.method, "opt", None), versus) if part)

    def as_preset(self) -> dict[str, Any]:
        """Plain data for run.yaml: as a preset it repeats this run."""
        values = {k: v for k, v in asdict(self.run).items() if v not in (None, [])}
        for key in (*METHOD_FLAGS, "config", "output"):
            values.pop(key, None)
        values["metrics"] = self.run.metrics or ["none"]
        return {**values, "methods": {self.method.name: asdict(self.method)}}


def resolve(flags: Mapping[str, Any], default_preset: str) -> Plan:
    """Flags given by the user -> a Plan, over the preset they name or the model's own.

    Raises ConfigError for anything unknown, of the wrong type, out of range, or of no use to the method.
    """
    plan = _resolve(flags, default_preset)
    _check_needs(flags, [plan])
    return plan


def _resolve(flags: Mapping[str, Any], default_preset: str) -> Plan:
    preset = pick_preset(flags.get("config"), default_preset, flags)
    values = {
        key: coerce(_name(key), value, RUN_TYPES[key])
        for source in (preset, flags)
        for key, value in source.items()
        if key in RUN_TYPES
    }
    asked = coerce("set", flags.get("set") or [], list[str])
    values["set"] = [*coerce("set", preset.get("set") or [], list[str]), *asked]
    _check(values)
    if values.get("dataset") and values.get("annotations") and not values.get("target"):
        values["target"] = "gt"
    name = lookup(values.get("method", "iGOS++"), METHODS, "method", ALIASES)
    kind = _named(lambda: kind_of(values.get("ask") or "why"))
    metric_names = [lookup(m, [*METRICS, "none"], "metric") for m in values.get("metrics") or _usual_metrics(values)]
    if "none" in metric_names and len(metric_names) > 1:
        raise ConfigError("--metrics none stands alone")
    answer = _named(lambda: answering(name, values.get("ask") or "why"))
    own = settings_of({**METHODS, **ASKED}[answer])
    given = {k: values[k] for k in METHOD_FLAGS if values.get(k) is not None and (k in flags or k in own)}
    given.update((k, v) for k, v in (key_value(s) for s in values["set"]) if k in own)
    method = build_method(answer, given, preset, _name)
    values["set"] += _grid(values.get("size"), metric_names, values["set"])
    metrics, used = build_metrics([m for m in metric_names if m != "none"], values["set"])
    _named(lambda: check_asks(kind, metrics))
    _check_judge(flags, values, metrics)
    for item in asked:
        key = item.split("=")[0]
        if key not in own and key not in used and key != COLORMAP:
            allowed = ", ".join([*own, *sorted(setting_names(metrics)), COLORMAP])
            raise ConfigError(f"--set {item}: neither {name} nor its metrics have {key!r}; settings: {allowed}")
    _check_diverse(values, method)
    if colormap_of(values["set"]):
        from igos.drawing.figures import use_colours

        use_colours(colormap_of(values["set"]))
    values.update(method=name, metrics=[m for m in metric_names if m != "none"])
    values["set"] = [s for s in values["set"] if s.split("=")[0] in {*used, COLORMAP}]
    if values.get("diverse_k"):
        values["init_val"] = 0.9 if values.get("init_val") is None else values["init_val"]
        values["init_posi"] = values.get("init_posi") or ["all"]
    return Plan(Run(**values), method, metrics, Selector.parse(values["target"] if values.get("target") else None))


def resolve_each(methods: Sequence[str], flags: Mapping[str, Any], default_preset: str) -> list[Plan]:
    """A Plan for each method, NAME or NAME/OPT, over the same flags; a setting goes to the methods that have it, and
    `set` takes NAME.KEY=VALUE for one of them. Raises ConfigError as resolve, and for what no method has.
    """
    asked = [name.partition("/") for name in methods]
    names = [lookup(name, METHODS, "method", ALIASES) for name, _, _ in asked]
    own = {name: settings_of(METHODS[name]) for name in names}
    for key in (k for k in METHOD_FLAGS if flags.get(k) is not None):
        if not any(key in known for known in own.values()):
            raise ConfigError(f"--{key}: none of {', '.join(names)} has it")
    plans = []
    for name, (_, slash, opt) in zip(names, asked, strict=True):
        given = {k: v for k, v in flags.items() if k not in METHOD_FLAGS or k in own[name]}
        given["set"] = [s for item in flags.get("set") or [] for s in _addressed(item, name, own, flags)]
        plans.append(_resolve({**given, "method": name, **({"opt": opt} if slash else {})}, default_preset))
    if len({p.label for p in plans}) < len(plans):
        raise ConfigError(f"--methods: {' '.join(methods)} names a method twice")
    _check_needs(flags, plans)
    return plans


def _addressed(item: str, name: str, own: Mapping[str, Any], flags: Mapping[str, Any]) -> list[str]:
    """The KEY=VALUE as it concerns the method `name`: [] where it is another's."""
    owner, _, bare = item.partition("=")[0].rpartition(".")
    methods = {normalise(a): m for a, m in {**{m: m for m in METHODS}, **ALIASES}.items()}
    if normalise(owner) in methods:
        method = methods[normalise(owner)]
        if method not in own or bare not in own[method]:
            raise ConfigError(f"--set {item}: {method} is not among --methods or has no setting {bare!r}")
        return [item[len(owner) + 1 :]] if method == name else []
    metrics = coerce("--metrics", flags.get("metrics") or list(_usual_metrics(flags)), list[str])
    shared = owner or any(bare in settings_of(METRICS[lookup(m, METRICS, "metric")]) for m in metrics if m != "none")
    others = any(bare in known for known in own.values())
    return [item] if shared or bare in own[name] or not others else []


def _named(check: Callable[[], Any]) -> Any:
    """What a check answers; its refusals name the command's flags."""
    try:
        return check()
    except ConfigError as error:
        raise ConfigError(
            str(error).replace("ask ", "--ask ", 1) if str(error).startswith("ask ") else str(error)
        ) from None


def _name(key: str) -> str:
    return f"--{key}" if key in RUN_TYPES else key


def _check(values: Mapping[str, Any]) -> None:
    check_values(Run, values, _name)
    start, end = values.get("start_index") or 1, values.get("end")
    if end is not None and end <= start:
        raise ConfigError(f"--end {end} ends before --start_index {start}: the picture of that number is not taken")
    memory_size(values.get("max_memory"))
    part = re.fullmatch(r"([0-9]{1,9})/([0-9]{1,9})", values.get("shard") or "1/1")
    if part is None or not 1 <= int(part[1]) <= int(part[2]):
        raise ConfigError(f"--shard {values['shard']}: i/n is needed with 1 <= i <= n, such as 3/8")
    for key in ("num_cpus", "num_gpus"):
        if values.get(key) is not None and values.get("engine") != "ray":
            raise ConfigError(f"--{key} needs --engine ray")


def _check_needs(flags: Mapping[str, Any], plans: Sequence[Plan]) -> None:
    """What methods need beside the problem is given only where one of them does."""
    for name, one in INGREDIENTS.items():
        if flags.get(one.flag) and not any(name in ingredients_of(p.method) for p in plans):
            raise ConfigError(f"--{one.flag}: none of {', '.join(p.method.name for p in plans)} {one.use}")


def _grid(size: int | None, metrics: Sequence[str], items: Sequence[str]) -> list[str]:
    """--set items by which curves rank on the run's own grid, where it is another than theirs."""
    own = {m: getattr(METRICS[m](), "resolution", None) for m in metrics if m != "none"}
    told = {key_value(item)[0] for item in items}
    return [
        f"{m}.resolution={size}"
        for m, usual in own.items()
        if size and usual and usual != size and not {"resolution", f"{m}.resolution"} & told
    ]


def _usual_metrics(values: Mapping[str, Any]) -> tuple[str, ...]:
    """Those that can be known: evidence where the annotations tell of it, transfer where there is a judge."""
    if asked := ASK_METRICS.get(kind_of(values.get("ask") or "why")):
        return asked
    told = tell_of_evidence(values.get("data") or (), values.get("annotations"))
    return (*DEFAULT_METRICS, *(EVIDENCE_METRICS if told else ()), *(("transfer",) if values.get("judge") else ()))


def _check_judge(flags: Mapping[str, Any], values: dict[str, Any], metrics: Sequence[Any]) -> None:
    """A judge where a metric asks one; that of a preset, without such a metric, is left out."""
    asking = [m.name for m in metrics if "other" in m.needs]
    if asking and not values.get("judge"):
        raise ConfigError(f"--metrics {asking[0]} needs another network: give --judge MODEL")
    for key in ("judge", "judge_file", "judge_cfg"):
        if flags.get(key) and not (asking and values.get("judge")):
            need = "--judge MODEL" if asking else "--metrics transfer"
            raise ConfigError(f"--{key} {flags[key]} needs {need}")
        if not asking:
            values.pop(key, None)


def _check_diverse(values: Mapping[str, Any], method: Any) -> None:
    k, posi = values.get("diverse_k"), values.get("init_posi") or ["all"]
    cells = [p for p in posi if p != "all"]
    for p in cells:
        if not re.fullmatch("[0-9]{1,9}", p) or (k and int(p) >= k * k):
            raise ConfigError(
                f"--init_posi {p}: all, or cells from 0 to {k * k - 1 if k else 'K*K-1 of --diverse_k K'}"
            )
    if not k:
        for key in ("init_posi", "init_val"):
            if values.get(key) is not None:
                raise ConfigError(f"--{key} needs --diverse_k K, the grid of starting cells")
    elif not method.diverse:
        raise ConfigError(f"--diverse_k: {method.name} has no mask to start from; a mask method has (see --list)")
    elif k > method.size:
        raise ConfigError(f"--diverse_k {k} is finer than the mask of {method.size} x {method.size} cells")
