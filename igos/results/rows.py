"""An explanation as one row of a run, and back. Rows are checked where they are read: a folder may come from anyone."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
import torch

from igos.base.inside import check_name
from igos.base.ops import upscale
from igos.metrics import METRICS
from igos.results.arrays import FIXED
from igos.types import Explanation, Image, Score, Target

FILES, KEEP = "files", "keep"
NO_MAPS = "holds no maps: the run kept the rows alone (--keep rows)"
OF_METHODS = {"completeness_error": "lower", "score_kept": "higher"}  # figures of methods; which way is better


def _text(value: Any) -> bool:
    return isinstance(value, str) and "\0" not in value


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def _number(value: Any) -> bool:
    """A number of a size that float takes."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300 and value == value


def _box(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 4 and all(map(_number, value))


KINDS: dict[str, Callable[[Any], bool]] = {
    "a text": _text, "a whole number": _whole, "a finite number": _number, "four numbers": _box,
}  # fmt: skip


def _column(kind: str, *, needed: bool = False, restored: bool = False) -> Any:
    """A column of one of KINDS; needed: known wherever there is an explanation; restored: a field of Explanation that
    is read back under the same name.
    """
    return field(default=None, metadata={"kind": kind, "needed": needed, "restored": restored})


@dataclass(frozen=True)
class Row:
    """A row of a run: an explanation, or the picture or object that has none, with `status` and `error` saying why.

    box: (4,) xyxy in source pixels; folder: of the explanation, within the run's; item: of what has none, the folder it
    would have, or the picture's name; id: a hash of all that decides the result; crc32: of explanation.npz. figures:
    further columns, of metrics that are not computed by default, and details. A row in a folder has FILES too: the
    sizes in bytes of the explanation's pictures, by their path in the run's folder; and, where its arrays were never
    kept, KEEP: "rows".
    """

    image: str | None = _column("a text")
    label: str | None = _column("a text")
    name: str | None = _column("a text", needed=True)
    label_index: int | None = _column("a whole number", needed=True)
    part: str | None = _column("a text")
    score: float | None = _column("a finite number", needed=True)
    score_original: float | None = _column("a finite number", restored=True)
    score_blurred: float | None = _column("a finite number", restored=True)
    box: list[float] | None = _column("four numbers")
    method: str | None = _column("a text", needed=True, restored=True)
    opt: str | None = _column("a text", restored=True)
    form: str | None = _column("a text", restored=True)
    start: int | None = _column("a whole number", restored=True)
    deletion: float | None = _column("a finite number")
    insertion: float | None = _column("a finite number")
    deletion_normalised: float | None = _column("a finite number")
    insertion_normalised: float | None = _column("a finite number")
    pointing: float | None = _column("a finite number")
    evidence_share: float | None = _column("a finite number")
    evidence_lift: float | None = _column("a finite number")
    evidence_pointing: float | None = _column("a finite number")
    tie_fraction: float | None = _column("a finite number")
    status: str | None = _column("a text", needed=True, restored=True)
    error: str | None = _column("a text")
    warning: str | None = _column("a text")
    seconds: float | None = _column("a finite number", restored=True)
    metric_seconds: float | None = _column("a finite number", restored=True)
    network_images: int | None = _column("a whole number", restored=True)
    backward_images: int | None = _column("a whole number", restored=True)
    shortcut: str | None = _column("a text", restored=True)
    ask: str | None = _column("a text", restored=True)
    explained: str | None = _column("a text", restored=True)
    reason: str | None = _column("a text")
    seed: int | None = _column("a whole number", restored=True)
    folder: str | None = _column("a text")
    item: str | None = _column("a text")
    id: str | None = _column("a text")
    crc32: int | None = _column("a whole number")
    figures: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, e: Explanation, folder: str, id: str | None = None) -> Row:
        """The row of an explanation."""
        box = e.box_on_source()
        details = {name: value for s in reversed(e.scores) for name, value in s.detail.items()}
        figures = {**{s.name: s.value for s in e.scores}, **details}
        return cls(
            image=e.image.path,
            label=e.target.name,
            name=e.target.name,
            label_index=e.target.label,
            part=e.target.part,
            score=e.target.score,
            box=None if box is None else [round(float(v), 2) for v in box],
            warning="; ".join(e.warnings) or None,
            reason=e.target.reason,
            folder=folder,
            id=id,
            **{k: getattr(e, k) for k in RESTORED},
            **{k: v for k, v in figures.items() if k in COLUMNS},
            figures={k: v for k, v in figures.items() if k not in COLUMNS},
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain data, a value for each column; numbers that are not finite become None."""
        return full_row({**{k: getattr(self, k) for k in COLUMNS}, **self.figures})


FIELDS = tuple(f for f in fields(Row) if f.name != "figures")
COLUMNS = tuple(f.name for f in FIELDS)
RESTORED = tuple(f.name for f in FIELDS if f.metadata["restored"])


def full_row(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row with all COLUMNS first, None where it has none, as JSON takes it."""
    return {key: plain(row.get(key)) for key in (*COLUMNS, *(k for k in row if k not in COLUMNS))}


def checked(row: Any, whole: bool = True) -> dict[str, Any]:
    """A row as it was read, with all COLUMNS. Raises ValueError for one that no run writes, Outside for one that names
    folders elsewhere.

    whole: an explanation's row must say what it explains.
    """
    if not isinstance(row, dict):
        raise ValueError("not keys and values")
    every = {**dict.fromkeys(COLUMNS), **row}
    if not isinstance(every["image"], str):
        raise ValueError(f"image is {_shown(every['image'])}, not a path")
    for f in FIELDS:
        value, kind = every[f.name], f.metadata["kind"]
        if value is not None and not KINDS[kind](value):
            raise ValueError(f"{f.name} is {_shown(value)}, not {kind}")
        if whole and every["folder"] and value is None and f.metadata["needed"]:
            raise ValueError(f"{f.name} is not known")
    files = every.get(FILES, {})
    if not isinstance(files, dict) or not all(map(_whole, files.values())):
        raise ValueError(f"{FILES} is {_shown(files)}, not sizes by name")
    if every.get(KEEP) not in (None, "rows"):
        raise ValueError(f"{KEEP} is {_shown(every[KEEP])}, not rows")
    for path in (every["folder"], every["item"], *files):
        if path:
            check_name(path)
    return every


def place_of(row: Mapping[str, Any]) -> str | None:
    """What a row settles: the folder of its explanation; of what has none, the folder that it would have, or the
    picture's name.
    """
    return row["folder"] or row["item"]


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or math.log2(abs(value) + 1) < 200 else "a huge number"
    return text if len(text) <= 60 else text[:60] + "..."


def restored(
    row: Mapping[str, Any],
    arrays: Mapping[str, np.ndarray],
    target: Target,
    image: Image,
    metrics: Sequence[Any] = (),
) -> Explanation:
    """The explanation that a row and its arrays were written from, for the same target and image as they were. metrics:
    those of the run, with their settings.

    Its scores are those of METRICS and of the methods themselves (OF_METHODS), with their curves; their details stay
    in the row, and the method's settings in run.yaml.
    """
    of_metrics = {name: (metric.better, metric.plot) for name, metric in METRICS.items()}
    figures = {**{name: (better, None) for name, better in OF_METHODS.items()}, **of_metrics}
    hides = {m.name: getattr(m, "hides", None) for m in metrics}
    scores = [
        Score(
            n,
            math.nan if row.get(n) is None else row[n],
            better,
            arrays.get(f"{n}_curve"),
            plot=plot,
            hides=hides.get(n),
        )
        for n, (better, plot) in figures.items()
        if row.get(n) is not None or f"{n}_reason" in row
    ]
    rest = {k: a for k, a in arrays.items() if k not in FIXED and not k.endswith("_curve")}
    attribution, masks = (
        torch.from_numpy(arrays[k].astype(np.float32)) if k in arrays else None for k in ("attribution", "masks")
    )
    detail = torch.from_numpy(arrays["detail"].astype(np.float32)) if "detail" in arrays else None
    if detail is not None and detail.shape != image.pixels.shape[1:]:  # of --keep maps
        detail = upscale(detail, (image.pixels.shape[1], image.pixels.shape[2]))
    return Explanation(
        saliency=torch.from_numpy(arrays["saliency"]),
        target=target,
        image=image,
        attribution=attribution,
        masks=masks,
        detail=detail,
        trace={k.removeprefix("trace_"): a for k, a in rest.items() if k.startswith("trace_")},
        arrays={k: a for k, a in rest.items() if not k.startswith("trace_")},
        scores=tuple(scores),
        warnings=warnings_in(row),
        **{k: row[k] for k in RESTORED},
    )


def plain(value: Any) -> Any:
    """For JSON: numbers that are not finite become null."""
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value


def warnings_in(row: Mapping[str, Any]) -> tuple[str, ...]:
    """The warnings of a row, which its column joins."""
    return tuple(w for w in (row.get("warning") or "").split("; ") if w)


class Tally:
    """How many rows there are of each status, the means of their figures, and their warnings, each once."""

    def __init__(self) -> None:
        self.statuses: Counter[str] = Counter()
        self.rows = self.explanations = 0
        self.warnings: dict[str, None] = {}
        self._sums: dict[str, list[float]] = defaultdict(lambda: [0.0, 0])

    def add(self, row: Mapping[str, Any]) -> None:
        self.rows += 1
        self.statuses[row["status"]] += 1
        self.warnings |= dict.fromkeys(warnings_in(row))
        if not row["folder"]:
            return
        self.explanations += 1
        for key, value in row.items():
            if isinstance(value, (int, float)) and not isinstance(value, bool):
                total = self._sums[key]
                total[0] += value
                total[1] += 1

    def mean(self, key: str) -> float | None:
        """Over the explanations that have the figure; None without any."""
        total, count = self._sums.get(key, (0.0, 0))
        return total / count if count else None

    def share(self, key: str, other: str) -> float | None:
        """Of the sum of two figures what the first is; None where there is nothing of either."""
        whole = sum(self._sums[k][0] for k in (key, other) if k in self._sums)
        return self._sums[key][0] / whole if key in self._sums and whole > 0 else None

    def has(self, key: str) -> bool:
        """Whether any explanation has the figure."""
        return key in self._sums
