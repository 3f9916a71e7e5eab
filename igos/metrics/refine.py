"""Where a curve is scored next, when fewer points than all are to give its area.

Between two scored points a curve that only rises or only falls lies within their rectangle, so that the straight line
between them misses at most half of it: width * |change of the score| / 2. Where the curve changes much beside a part,
half of that change is taken to be possible in it as well. Parts are halved until the sum of all is small enough. A
curve may rise and fall between two points that are alike: nothing tells of that, and then the area is off by more.
"""

from __future__ import annotations

import numpy as np

PARTS = 5  # of equal widths, at the start
BESIDE = 0.5  # of the change in the parts beside it, that a part may hold


def first(points: int) -> np.ndarray:
    """The points that are scored at the start, of 0 to points - 1; both ends among them."""
    return np.unique(np.linspace(0, points - 1, min(points, PARTS + 1)).round().astype(int))


def following(x: np.ndarray, y: np.ndarray, known: np.ndarray, within: float) -> np.ndarray:
    """The points to score after the known ones (m,): the middles of the parts whose error may be more than their share
    of `within`; none where all errors together are at most that, or where a score is not a number. x (n,): where all
    points lie; y (n,): the scores of the known ones.
    """
    change = np.abs(np.diff(y[known]))
    beside = np.maximum(np.append(0, change[:-1]), np.append(change[1:], 0))
    open_ = np.diff(known) > 1
    error = np.where(open_, np.diff(x[known]) * np.maximum(change, BESIDE * beside) / 2, 0)
    if not error.sum() > within:
        return known[:0]
    split = error > within / open_.sum()
    return (known[:-1][split] + known[1:][split]) // 2
