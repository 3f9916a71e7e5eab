"""What some methods need beside the problem: pictures to compare with, patterns of the layers, statistics of one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from igos.data.references import Source, source
from igos.methods.backward import pattern_files
from igos.methods.bottleneck.estimation import statistics_for
from igos.types import Adapter, Statistics


@dataclass(frozen=True, eq=False)
class Extras:
    """references: image -> pictures (R,3,H,W) in [0,1]; patterns: by layer; statistics: of one layer. None: no need."""

    references: Source | None = None
    patterns: Mapping[str, Tensor] | None = None
    statistics: Statistics | None = None


NOTHING = Extras()


def extras(
    methods: Sequence[Any],
    adapter: Adapter,
    *,
    data: Sequence[str] = (),
    references: Tensor | str | None = None,
    patterns: Mapping[str, Tensor] | str | Path | None = None,
    stats: Statistics | str | Path | None = None,
) -> list[Extras]:
    """What each of the methods needs, and no more: as it is given, else from the folder or files named, else what
    goes with the model; references also from data. What methods share is read once.

    Raises ConfigError or WeightsError where something needed is not there or does not fit the model.
    """
    compare: Source | None = None
    if any(needs_references(m) for m in methods):
        compare = _given(references) if isinstance(references, Tensor) else source(adapter, references, data)[0]
    if any(needs_patterns(m) for m in methods) and not isinstance(patterns, Mapping):
        patterns = pattern_files.load(adapter, patterns)
    return [
        Extras(
            compare if needs_references(m) else None,
            patterns if needs_patterns(m) and isinstance(patterns, Mapping) else None,
            _statistics(m, adapter, stats) if needs_statistics(m) else None,
        )
        for m in methods
    ]


def _given(references: Tensor) -> Source:
    return lambda _: references


def _statistics(method: Any, adapter: Adapter, stats: Statistics | str | Path | None) -> Statistics:
    return stats if isinstance(stats, Statistics) else statistics_for(adapter, stats, method.layer)


def needs_references(method: Any) -> bool:
    return bool(getattr(method, "references", False))


def needs_patterns(method: Any) -> bool:
    return bool(getattr(method, "patterns", False))


def needs_statistics(method: Any) -> bool:
    return bool(getattr(method, "statistics", False))
