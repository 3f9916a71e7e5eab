"""igos: why a detector saw what it saw, by mask optimisation.

>>> import igos
>>> es = igos.explain("emblem-m-rcnn", "samples/scene-04.png", "star", metrics="none")
>>> es[0].target.name, es[0].status
('star', 'ok')

es shows itself in a notebook; es.save("out") and es.report("out.html") write it.

All that has a name stands in a dict:

>>> {"iGOS++", "integrated_gradients", "rise"} <= igos.METHODS.keys() and "deletion" in igos.METRICS
True
>>> sorted(igos.OPTIMIZERS), "blur" in igos.BASELINES
(['LS', 'NAG', 'PG'], True)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from igos.base.names import VERSION as __version__

if TYPE_CHECKING:
    from igos.base.baselines import BASELINES
    from igos.base.errors import ConfigError, IgosError, ImageError, NetworkError, WeightsError
    from igos.base.geometry import Geometry
    from igos.methods import METHODS
    from igos.methods.bottleneck.estimation import estimate
    from igos.methods.mask.optim import OPTIMIZERS
    from igos.metrics import METRICS
    from igos.results.explanations import Explanations
    from igos.results.opened import open_run
    from igos.run.door import expect, explain
    from igos.run.models import adapt, load
    from igos.types import Adapter, Explanation, Image, Problem, Score, Scorer, Target

__all__ = [
    "BASELINES", "METHODS", "METRICS", "OPTIMIZERS", "Adapter", "ConfigError", "Explanation", "Explanations",
    "Geometry", "IgosError", "Image", "ImageError", "NetworkError", "Problem", "Score", "Scorer", "Target",
    "WeightsError", "__version__", "adapt", "estimate", "expect", "explain", "load", "open_run",
]  # fmt: skip
_HOMES = {  # a name -> the module that it is handed on from, at its first use
    "BASELINES": "igos.base.baselines",
    "METHODS": "igos.methods",
    "METRICS": "igos.metrics",
    "OPTIMIZERS": "igos.methods.mask.optim",
    "Geometry": "igos.base.geometry",
    "adapt": "igos.run.models",
    "estimate": "igos.methods.bottleneck.estimation",
    "Explanations": "igos.results.explanations",
    "expect": "igos.run.door",
    "explain": "igos.run.door",
    "load": "igos.run.models",
    "open_run": "igos.results.opened",
    **dict.fromkeys(["Adapter", "Explanation", "Image", "Problem", "Score", "Scorer", "Target"], "igos.types"),
    **dict.fromkeys(["ConfigError", "IgosError", "ImageError", "NetworkError", "WeightsError"], "igos.base.errors"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'igos' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOMES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
