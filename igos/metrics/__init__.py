"""METRICS: figures about explanations. A metric is a frozen dataclass and a call on (problem, explanations)."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from igos.metrics.curves import Deletion, Insertion
from igos.metrics.evidence import EvidencePointing, EvidenceShare
from igos.metrics.pointing import Pointing

METRICS: dict[str, Callable[..., Any]] = {
    "deletion": Deletion,
    "insertion": Insertion,
    "deletion_object": partial(Deletion, budget="object"),
    "insertion_object": partial(Insertion, budget="object"),
    "pointing": Pointing,
    "evidence_share": EvidenceShare,
    "evidence_pointing": EvidencePointing,
}
DEFAULT_METRICS = ("deletion", "insertion", "pointing", "evidence_share", "evidence_pointing")
