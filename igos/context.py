"""What some metrics need beside the problem. A metric names its needs; without them its value is NaN with a reason."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from igos.truth import Truth
from igos.types import Explanation, Problem


@dataclass(frozen=True)
class Context:
    """Everything here is optional.

    truth: what is known of each explanation's object, None where nothing is. explain: the method, to explain again.
    other: for each explanation a problem of one row, another network's view of the same object, None where it does
    not see it. randomised(depth): the same problem for a copy of the network whose first `depth` of `layers` (named
    from the top down) are drawn anew; igos.randomise.cascade makes both. answers: the network's scores of pictures that
    do not depend on the map, kept for further methods on the same targets, picture and score.
    """

    truth: Sequence[Truth | None] = ()
    explain: Callable[[Problem], Sequence[Explanation]] | None = None
    other: Sequence[Problem | None] = ()
    layers: Sequence[str] = ()
    randomised: Callable[[int], Problem] | None = None
    answers: dict[Any, np.ndarray] | None = None
