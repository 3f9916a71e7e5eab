"""Counts and means over rows that come one by one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any


class Tally:
    """How many rows there are of each status, and the means of their figures."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.rows = self.explanations = 0
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self.statuses[row["status"]] += 1
        if not row["folder"]:
            return
        self.explanations += 1
        for key, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                known = self._sums[key]
                known[0] += value
                known[1] += 1

    def mean(self, key: str) -> float | None:
        """Over the explanations that have the figure; None without any."""
        total, count = self._sums.get(key, (0.0, 0))
        return total / count if count else None

    def known(self, key: str) -> bool:
        return key in self._sums
