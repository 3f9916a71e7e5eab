"""METRICS: figures about explanations. A metric is a frozen dataclass and a call on problem, explanations, context."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from igos.base.settings import check_values, coerce, key_value, lookup, settings_of
from igos.metrics.completeness import Completeness
from igos.metrics.complexity import Complexity
from igos.metrics.curves import Deletion, Insertion
from igos.metrics.degradation import Degradation, DegradationPGIG
from igos.metrics.ehr import EHREnergy, EHRUnweighted, EHRWeighted
from igos.metrics.energy import EnergyMask, EnergyPointing
from igos.metrics.evidence import EvidencePointing, EvidenceShare
from igos.metrics.infidelity import Infidelity
from igos.metrics.interactions import Interactions
from igos.metrics.ladder import Flips, Necessary, Sufficient
from igos.metrics.max_sensitivity import MaxSensitivity
from igos.metrics.metric import Metric
from igos.metrics.pointing import Pointing, PointingMask
from igos.metrics.protocols import DeletionIBA, DeletionIGOS, DeletionRISE, InsertionIBA, InsertionIGOS, InsertionRISE
from igos.metrics.raised import Raised
from igos.metrics.ranking import EvidenceAP, Leak, MaskAP, PrecisionAtArea
from igos.metrics.road import ROAD
from igos.metrics.sanity import Sanity
from igos.metrics.sensitivity_n import SensitivityN
from igos.metrics.sparseness import Sparseness
from igos.metrics.transfer import Transfer

METRICS: dict[str, type[Metric]] = {
    "deletion": Deletion,
    "insertion": Insertion,
    "deletion_igos": DeletionIGOS,
    "insertion_igos": InsertionIGOS,
    "deletion_rise": DeletionRISE,
    "insertion_rise": InsertionRISE,
    "deletion_iba": DeletionIBA,
    "insertion_iba": InsertionIBA,
    "transfer": Transfer,
    "degradation": Degradation,
    "degradation_pgig": DegradationPGIG,
    "road": ROAD,
    "sensitivity_n": SensitivityN,
    "infidelity": Infidelity,
    "completeness": Completeness,
    "pointing": Pointing,
    "pointing_mask": PointingMask,
    "energy_pointing": EnergyPointing,
    "energy_mask": EnergyMask,
    "ehr_weighted": EHRWeighted,
    "ehr_unweighted": EHRUnweighted,
    "ehr_energy": EHREnergy,
    "evidence_share": EvidenceShare,
    "evidence_pointing": EvidencePointing,
    "evidence_ap": EvidenceAP,
    "mask_ap": MaskAP,
    "precision_at_area": PrecisionAtArea,
    "leak": Leak,
    "sufficient": Sufficient,
    "necessary": Necessary,
    "interactions": Interactions,
    "raised": Raised,
    "flips": Flips,
    "sanity": Sanity,
    "max_sensitivity": MaxSensitivity,
    "sparseness": Sparseness,
    "complexity": Complexity,
}
COLUMNS = ("name", "better", "range", "needs", "network images", "paper")


def table() -> list[tuple[str, ...]]:
    """A row of COLUMNS per metric, as its defaults have it."""
    made = [make() for make in METRICS.values()]
    return [(m.name, m.better, m.range, ", ".join(m.needs) or "-", m.cost, m.paper) for m in made]


def setting_names(metrics: Sequence[Any]) -> set[str]:
    return {key for m in metrics for key in settings_of(type(m))}


def build_metrics(names: Sequence[str], items: Sequence[str] = ()) -> tuple[tuple[Any, ...], set[str]]:
    """The metrics with their --set settings, and which keys of --set they took."""
    made, used = [], set()
    for name in (lookup(n, METRICS, "metric") for n in names):
        make = METRICS[name]
        known, settings, named = settings_of(make), {}, {}
        for key, value in (key_value(s) for s in items):
            owner, _, bare = key.rpartition(".")
            if bare in known and owner in ("", name):
                named[bare] = f"--set {key}"
                settings[bare] = coerce(named[bare], value, known[bare])
                used.add(key)
        check_values(make, settings, named.__getitem__)
        made.append(make(**settings))
    return tuple(made), used
