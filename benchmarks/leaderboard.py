"""Every method by every metric on scenes with planted evidence, in a time box.

    python benchmarks/leaderboard.py                      40 minutes; an object more as long as there is time
    python benchmarks/leaderboard.py --page docs/leaderboard.md
                                                          and put the tables between this page's marks
    python benchmarks/leaderboard.py --full               every cell, each metric with its own settings

Scenes: series 3 of igos.data.emblems, which no network was trained or tuned on; the best detection of each on --model,
the metric `transfer` judged by --judge. Every method is judged on the same objects, and so are maps that never ask the
network: random, centred on the picture, and the box prior, a blob over the detection's box. Metrics take fewer steps
than by themselves (SETTINGS; for RISE's curves the 28 steps of the authors' batch run). What explains again (sanity,
max_sensitivity) runs on the first 5 objects and for methods of at most 100 network images; what takes a picture for
every few pixels (the Input-IBA curves) runs with --full only: other cells read `not run (cost)`.
The run's folder (--output) is an ordinary one; the same command goes on with it. Intervals: 95 %, bootstrap.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import PIL.Image
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.floor import PRIORS, Prior  # noqa: E402
from igos.base.settings import settings_of  # noqa: E402
from igos.data.coco import write  # noqa: E402
from igos.data.emblems import CLASSES, scene  # noqa: E402
from igos.data.truth import FILE, scene_truth  # noqa: E402
from igos.drawing.charts import write_quality  # noqa: E402
from igos.methods import METHODS  # noqa: E402
from igos.metrics import METRICS  # noqa: E402
from igos.metrics.statistics import interval  # noqa: E402
from igos.results.folder import RunFolder  # noqa: E402
from igos.results.tables import COST, Figure, figures, label  # noqa: E402
from igos.run.evaluate import evaluate, settings  # noqa: E402
from igos.run.plan import Plan, resolve_each  # noqa: E402
from igos.types import Adapter  # noqa: E402

SERIES, PIXELS = 3, 160
FEW, CHEAP = 5, 100  # objects for the metrics that explain again, and the most network images of a method they take
NOT_RUN, NO_TIME = "not run (cost)", "not run (time)"
SETTINGS = {
    "deletion": "steps=25", "insertion": "steps=25", "deletion_igos": "steps=25", "insertion_igos": "steps=25",
    "transfer": "steps=25", "deletion_rise": "steps=28", "insertion_rise": "steps=28", "degradation": "steps=25",
    "degradation_pgig": "steps=50", "max_sensitivity": "samples=4",
}  # fmt: skip
MARK = "leaderboard"
GROUPS = {
    "Does the map show what decides the class?": (
        "evidence_share", "evidence_pointing", "pointing", "pointing_mask", "energy_pointing", "energy_mask",
        "evidence_ap", "mask_ap", "precision_at_area", "leak",
    ),
    "Is it what the network uses? Curves": (
        "deletion", "insertion", "transfer", "deletion_igos", "insertion_igos", "deletion_rise", "insertion_rise",
    ),
    "Curves by other protocols": ("deletion_iba", "insertion_iba", "degradation", "degradation_pgig", "road"),
    "Does it say how much? And is it stable?": (
        "sensitivity_n", "infidelity", "completeness", "sanity", "max_sensitivity",
    ),
    "How is the heat spread?": ("ehr_weighted", "ehr_unweighted", "ehr_energy", "sparseness", "complexity"),
}  # fmt: skip
OTHERS = ("raised", "flips", "sufficient", "necessary", "interactions")  # of other questions, or of the network too
SHORT = {
    "The short table": ("evidence_share", "evidence_pointing", "deletion", "insertion", "transfer", "sanity"),
}
EXPLAIN_AGAIN = tuple(name for name, make in METRICS.items() if "explain" in make().needs)
BY_PIXELS = tuple(name for name, make in METRICS.items() if "/" in make().cost)

Cells = Mapping[tuple[str, str], Figure]


def draw(folder: Path, count: int) -> list[tuple[str, str]]:
    """(path, name) of the scenes, drawn with their truth into folder."""
    folder.mkdir(parents=True, exist_ok=True)
    made = [(f"scene-{i:03}", scene(SERIES, i, PIXELS)) for i in range(count)]
    for name, s in made:
        PIL.Image.fromarray(s.picture()).save(folder / f"{name}.png")
    write(folder / FILE, CLASSES, [(f"{name}.png", scene_truth(s)) for name, s in made], PIXELS)
    return [(str(folder / f"{name}.png"), name) for name, _ in made]


def plans(flags: Any, preset: str, metrics: Sequence[str], methods: Sequence[str]) -> list[Plan]:
    given: dict[str, Any] = {
        "model": flags.model,
        "target": "top1",
        "metrics": list(metrics),
        "data": [str(flags.output / "scenes")],
    }
    given |= {"judge": flags.judge} if "transfer" in metrics else {}
    known = {key for made in (*(METRICS[m] for m in metrics), *METHODS.values()) for key in settings_of(made)}
    given["set"] = [] if flags.full else [f"{m}.{SETTINGS[m]}" for m in metrics if m in SETTINGS]
    given["set"] += [s for s in flags.set or [] if s.partition("=")[0].rpartition(".")[2] in known]
    asked = [m for m in methods if m not in PRIORS]
    made = resolve_each(asked or list(METHODS)[:1], given, preset)
    return [*(replace(made[0], method=Prior(m)) for m in methods if m in PRIORS), *(made if asked else [])]


class Box:
    """Time until the box is full, where the next piece may take as long as the longest so far."""

    def __init__(self, minutes: float) -> None:
        self.end, self.longest = time.monotonic() + 60 * minutes, 0.0

    def run(self, *work: Any, **more: Any) -> bool:
        """Whether there was time for it: evaluate(*work, **more)."""
        begin = time.monotonic()
        if begin + self.longest > self.end:
            return False
        evaluate(*work, **more)
        self.longest = max(self.longest, time.monotonic() - begin)
        return True


def measure(flags: Any, own: Adapter, judge: Adapter) -> tuple[list[dict[str, Any]], list[dict[str, Any]], list[Any]]:
    """Rows by the metrics on all objects, rows by those that explain again, and the metrics of both."""
    found = draw(flags.output / "scenes", flags.scenes)
    usual = [m for m in METRICS if m not in (*EXPLAIN_AGAIN, *OTHERS) and (flags.full or m not in BY_PIXELS)]
    methods, box = flags.only or [*PRIORS, *METHODS], Box(math.inf if flags.full else flags.minutes)
    first = plans(flags, own.preset, usual, methods)
    folder = RunFolder(flags.output / "all", settings(first))
    done = [picture for picture in found[:FEW] if box.run(first, own, folder, judge, pictures=[picture])]
    images = {(f.method, f.metric): f.mean for f in figures(folder.rows, ())}
    again = plans(flags, own.preset, EXPLAIN_AGAIN, methods)
    again = [p for p in again if flags.full or images.get((p.label, "network_images"), math.inf) <= CHEAP]
    few = RunFolder(flags.output / "again", settings(again)) if again else None
    box.longest = 0.0
    for picture in found if flags.full else done:
        if few is not None:
            box.run(again, own, few, pictures=[picture])
    box.longest = 0.0
    for picture in found[FEW:]:
        if not box.run(first, own, folder, judge, pictures=[picture]):
            break
    folder.finish()
    made = [*first[0].metrics, *(again[0].metrics if again else ())]
    return folder.rows, few.rows if few is not None else [], made


def markdown(objects: int, few: int, command: str, picture: str) -> str:
    """What the tables are of, the command that made them, the plot."""
    return "\n\n".join(
        [
            f"{objects} objects, the best detection of each scene; metrics that explain again use {few} of them. Means "
            "with 95 % bootstrap intervals; *s*: seconds of one core. If some values are unknown, known/all counts "
            f"them. `{NOT_RUN}`: the script says why.",
            f"    {command}",
            f"![Quality against network images]({picture})",
        ]
    )


def tables(cells: Cells, groups: Mapping[str, Sequence[str]]) -> str:
    """The tables of these metrics by title; methods with most evidence first."""
    made = []
    for title, metrics in groups.items():
        head = ["method", "images", "s", *(f"{m} ({METRICS[m]().better})" for m in metrics)]
        made += [f"**{title}**", table.markdown(head, lines(cells, metrics))]
    return "\n\n".join(made)


def lines(cells: Cells, metrics: Sequence[str]) -> Iterator[list[str]]:
    for method in sorted(dict.fromkeys(m for m, _ in cells), key=lambda m: -_evidence(cells, m)):
        images, seconds = (cells[method, cost].mean for cost in COST)
        cut = {m: NO_TIME if m in EXPLAIN_AGAIN and images <= CHEAP else NOT_RUN for m in metrics}
        told = [cell(cells.get((method, m)), cells.get((method, f"{m}_floor")), cut[m]) for m in metrics]
        yield [method, f"{images:.0f}", f"{seconds:.2f}", *told]


def _evidence(cells: Cells, method: str) -> float:
    share = cells.get((method, "evidence_share"))
    return share.mean if share is not None and share.n else -1.0


def cell(f: Figure | None, floor: Figure | None, missing: str) -> str:
    if f is None:
        return missing
    if not f.n:
        return f"- 0/{f.missing}"
    told = f"{f.mean:.3f}" + ("" if math.isnan(f.low) else f" [{f.low:.3f}, {f.high:.3f}]")
    told += f" {f.n}/{f.n + f.missing}" if f.missing else ""
    if f.metric == "max_sensitivity" and floor is not None and floor.mean > 0:
        told += f", seeds alone {floor.mean:.3f}"
    return told


def quality(rows: Sequence[Mapping[str, Any]], cells: Cells, path: Path) -> None:
    """Insertion - deletion, and evidence share, against network images."""
    points: dict[str, list[tuple[str, float, float, float, float]]] = {}
    for method in dict.fromkeys(label(r) for r in rows if r["folder"]):
        images, share = cells[method, "network_images"].mean, cells[method, "evidence_share"]
        own = [r for r in rows if r["folder"] and label(r) == method]
        values = [math.nan if None in (r["insertion"], r["deletion"]) else r["insertion"] - r["deletion"] for r in own]
        known = [v for v in values if not math.isnan(v)]
        low, high = interval(values, [r["image"] for r in own])
        if known:
            spread = (sum(known) / len(known), low, high)
            points.setdefault("insertion - deletion", []).append((method, images, *spread))
        if share.n:
            points.setdefault("evidence share", []).append((method, images, share.mean, share.low, share.high))
    write_quality(path, points)


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--model", default="emblem-m-rcnn", help="the bundled detector that is explained")
    parser.add_argument("--judge", default="emblem-yolov3spp", help="the network of the metric transfer")
    parser.add_argument("--scenes", type=int, default=50, help="at most so many objects (50)")
    parser.add_argument("--minutes", type=float, default=40.0, help="time box (40)")
    parser.add_argument("--full", action="store_true", help="every cell, without a time box")
    parser.add_argument("--only", nargs="+", help="only these methods")
    parser.add_argument("--set", nargs="+", help="settings as for igos evaluate")
    parser.add_argument("--output", type=Path, default=Path("Output/leaderboard"))
    parser.add_argument("--picture", type=Path, default=ROOT / "docs" / "leaderboard.png")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables between this file's marks")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    table.ready(MARK, flags.page)
    own, judge = igos.load(flags.model), igos.load(flags.judge)
    rows, again, metrics = measure(flags, own, judge)
    cells = {(f.method, f.metric): f for f in figures(again, metrics)}
    cells |= {(f.method, f.metric): f for f in figures(rows, [m for m in metrics if m.name not in EXPLAIN_AGAIN])}
    order = list(dict.fromkeys(label(r) for r in rows if r["folder"]))
    cells = dict(sorted(cells.items(), key=lambda item: order.index(item[0][0])))
    objects, few = (len({r["folder"].rpartition("/")[0] for r in some if r["folder"]}) for some in (rows, again))
    quality(rows, cells, flags.picture)
    beside = flags.page.parent if flags.page else Path()
    picture = Path(os.path.relpath(flags.picture.resolve(), beside.resolve())).as_posix()
    made = markdown(objects, few, table.header(0)["command"], picture) + f"\n\n{tables(cells, {**SHORT, **GROUPS})}"
    print(made)
    table.place(flags.page, MARK, made)
    head = {**table.header(0), "objects": len({r["image"] for r in rows if r["folder"]})}
    table.write_json(flags.json, head, [{"method": m, "metric": k, "mean": f.mean} for (m, k), f in cells.items()])


if __name__ == "__main__":
    main()
