"""A run on many machines, simulated: what the driver's single process can do, and where it becomes the limit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Costs:
    """Seconds of the driver: per event without content; per look at so many actors; per line of the manifest; to
    receive and to store an explanation of a layout.
    """

    event: float
    look: Mapping[int, float]
    line: float
    received: Mapping[str, float]
    stored: Mapping[str, float]

    def looks(self, actors: int) -> float:
        return float(np.interp(actors, list(self.look), list(self.look.values())))


def simulate(actors: int, seconds: float, costs: Costs, layout: str, per_actor: int = 12) -> dict[str, Any]:
    """The rate of so many actors that take `seconds` for a picture (give or take a third), and the driver's time."""
    rng, due = np.random.default_rng(0), actors * per_actor
    at, phase = rng.uniform(0, seconds, actors), np.full(actors, 2)
    spent = {"events": 0.0, "looks": 0.0, "manifest": 0.0, "storage": 0.0}
    prices = {0: ("manifest", costs.line), 2: ("storage", costs.stored[layout])}
    now, done, moments = 0.0, 0, []
    while done < due:
        now = max(now, float(at.min())) + costs.looks(actors)
        spent["looks"] += costs.looks(actors)
        for n in np.flatnonzero(at <= now - costs.looks(actors)):
            heard = costs.received[layout] if phase[n] == 2 else costs.event
            now += heard
            spent["events"] += heard
            if phase[n] in prices:
                what, price = prices[phase[n]]
                now += price
                spent[what] += price
            if phase[n] == 2:
                done += 1
                moments.append(now)
            at[n] = now + (rng.uniform(2 / 3, 4 / 3) * seconds if phase[n] == 1 else 0)
            phase[n] = (phase[n] + 1) % 4  # found, began, done, end
    first, last = due // 5, due * 9 // 10
    per_hour = 3600 * (last - first) / (moments[last] - moments[first])
    return {
        "layout": layout, "seconds": seconds, "actors": actors, "per_hour": per_hour,
        "share": per_hour * seconds / 3600 / actors, "busy": min(sum(spent.values()) / now, 1.0),
        "most": max(spent, key=spent.__getitem__),
    }  # fmt: skip
