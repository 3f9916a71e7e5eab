"""Do scores of what is there rise further than those of what is nowhere in the picture? Of diagnoses, no network runs.

    igos diagnose ... --output OUT && python benchmarks/nulls.py OUT [OUT2 ...]

real: objects that were missed and asked `why-not`; null: candidates of classes that are nowhere in their picture
(OUT/nulls), asked the same by the same method. `AUC`: how often a real one has the larger figure than a null one, ties
count half: of `raised`; the same where a pair counts by how alike its two scores are; `AUC leads`: against those null
ones alone whose class leads their row in the untouched picture; `before`: of f(x) less the best score of the row, which
is known before anything is hidden; `largest` and `mean`: of the largest and the mean rise above f(x), the latter up to
15 % of the picture; `AUC null`: of `null` turned round, the share of the other nulls whose `raised` is as large.
`covered`: the share with that verdict; a null one is measured against all other nulls, so its covered is a false one.
--write FILE puts the nulls of all the diagnoses, score, best and medians, into FILE, as configs/nulls.json has them.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import table  # noqa: E402
from igos.base.names import DETECTION_THRESHOLD  # noqa: E402
from igos.data.nulls import NEAR, Null, lift, row_of, share_alike  # noqa: E402
from igos.metrics.raised import LITTLE, verdict_of  # noqa: E402
from igos.results.read import each_row, read_arrays, read_run  # noqa: E402

WIDTHS = {"diagnosis": 20, "real": 5, "null": 5, "AUC raised": 10, "AUC alike": 9}
WIDTHS |= {"AUC leads": 9, "before": 6, "largest": 7, "mean": 6, "AUC null": 8}
WIDTHS |= {"crosses": 8, "null crosses": 13, "covered": 8, "falsely covered": 15}


@dataclass(frozen=True)
class Asked:
    """A candidate that was asked: its score and medians, the share at which they cross (nan: never), whether the model
    detects it there."""

    null: Null
    crosses: float
    detected: bool

    @property
    def raised(self) -> float:
        return lift(self.null, LITTLE)

    @property
    def before(self) -> float:
        return min(self.null.score - self.null.best, 0.0)

    @property
    def largest(self) -> float:
        return max(self.null.medians) - self.null.score

    @property
    def mean(self) -> float:
        return float(np.mean(self.null.medians[:LITTLE])) - self.null.score

    def control(self, known: Sequence[Null]) -> float:
        """The share of these nulls that rise as far with as little."""
        return share_alike(self.null, LITTLE, known) if known else math.nan

    def verdict(self, known: Sequence[Null]) -> str:
        return verdict_of(self.crosses, self.detected, self.control(known))


def asked(folder: Path) -> Iterator[Asked]:
    """What a run's folder holds of `why-not`, of scores below the threshold, each candidate once."""
    seen = set[Null]()
    least = float(read_run(folder).get("threshold") or DETECTION_THRESHOLD)
    for row in each_row(folder):
        if row.get("ask") != "why-not" or not row["folder"]:
            continue
        curve = read_arrays(folder, row, lambda name: name == "raised_curve").get("raised_curve")
        if curve is not None and row.get("raised_of") is not None and row["raised_of"] < least:
            null = Null(float(row["raised_of"]), tuple(map(float, curve[1])), float(row["raised_over"]))
            if null in seen:  # of several objects
                continue
            seen.add(null)
            crosses = math.nan if row.get("crosses") is None else float(row["crosses"])
            yield Asked(null, crosses, bool(row.get("detected")))


def auc(real: Sequence[float], null: Sequence[float]) -> float | None:
    if not real or not null:
        return None
    a, b = np.array(real)[:, None], np.array(null)[None]
    return float(((a > b) + 0.5 * (a == b)).mean())


def alike(real: Sequence[Asked], null: Sequence[Asked]) -> float | None:
    """auc of `raised` where a pair counts by how near its two scores are, in log-odds."""
    if not real or not null:
        return None
    a, b = (np.array([x.raised for x in rows]) for rows in (real, null))
    f, g = (np.array([math.log(x.null.score / (1 - x.null.score)) for x in rows]) for rows in (real, null))
    weight = np.exp(-(((f[:, None] - g[None]) / NEAR) ** 2) / 2)
    return float((weight * ((a[:, None] > b[None]) + 0.5 * (a[:, None] == b[None]))).sum() / weight.sum())


def told(name: str, real: Sequence[Asked], null: Sequence[Asked]) -> dict[str, object]:
    every = [n.null for n in null]
    others = [every[:i] + every[i + 1 :] for i in range(len(every))]
    return {
        "diagnosis": name,
        "real": len(real),
        "null": len(null),
        "AUC raised": auc([r.raised for r in real], [n.raised for n in null]),
        "AUC alike": alike(real, null),
        "AUC leads": auc([r.raised for r in real], [n.raised for n in null if n.before == 0]),
        "before": auc([r.before for r in real], [n.before for n in null]),
        "largest": auc([r.largest for r in real], [n.largest for n in null]),
        "mean": auc([r.mean for r in real], [n.mean for n in null]),
        "AUC null": auc(
            [-r.control(every) for r in real], [-n.control(o) for n, o in zip(null, others, strict=True)]
        ),
        "crosses": share([not math.isnan(r.crosses) for r in real]),
        "null crosses": share([not math.isnan(n.crosses) for n in null]),
        "covered": share([r.verdict(every) == "covered" for r in real]),
        "falsely covered": share([n.verdict(o) == "covered" for n, o in zip(null, others, strict=True)]),
    }  # fmt: skip


def share(values: Sequence[bool]) -> float | None:
    return float(np.mean(values)) if values else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of igos diagnose")
    parser.add_argument("--write", type=Path, help="a file for the null candidates")
    flags = parser.parse_args()
    print(table.line({k: k for k in WIDTHS}, WIDTHS))
    nulls = list[Asked]()
    for folder in flags.folders:
        real, null = list(asked(folder / "explained")), list(asked(folder / "nulls"))
        nulls += null
        print(table.line(told(folder.name, real, null), WIDTHS), flush=True)
    if flags.write:
        models = ", ".join(dict.fromkeys(Path(str(read_run(f).get("model_file"))).stem for f in flags.folders))
        about = (
            f"{len(nulls)} candidates of classes that are nowhere in their picture: {models} on photos of COCO; each "
        )
        about += "its score, the best score of its row, then its medians on the ladder (igos/metrics/ladder.py)"
        rows = [json.dumps(row_of(n.null, 4)) for n in nulls]
        lines = ",\n  ".join(rows)
        flags.write.write_text(f'{{"about": {json.dumps(about)},\n "nulls": [\n  {lines}\n]}}\n')


if __name__ == "__main__":
    main()
