"""The maps of now beside those of igos 0.1.0, object by object: sure, fine and cheap.

    python benchmarks/finer.py                         scenes of series 3, emblem-m-rcnn, its preset
    python benchmarks/finer.py --series 4              scenes of the series that the presets were tuned on
    python benchmarks/finer.py --real --split held     COCO photos kept out of tuning, yolo-fastest-1.1, judged by -xl
    python benchmarks/finer.py --real --preset quick   another budget; --was says which of 0.1.0's it is paired with
    python benchmarks/finer.py --rows FILE --kinds was   measure these alone; what FILE holds is not measured again
    python benchmarks/finer.py --lean                  curves alone: who fails, at half the time
    python benchmarks/finer.py --real --kinds now RISE-500 D-RISE-500 IG-50 ODAM blur_ig IBA
                                                       the preset beside other methods, on the same objects

`was` is the same method as 0.1.0 had it: no detail, nobody asks, the numbers of WAS. `now` is the preset. Of `now` come
the controls, maps that need no gradient on pixels: S^2, and U(S) * G|I - B|. Figures: network images, insertion less
deletion on the network (own) and on another (other), average precision, precision at the truth's area and share of the
heat, on the evidence (scenes) or the instance mask (photos); `fail`: the part of objects with own < .85 (scenes; a
detection whose own score is below that can reach no more), `fail/f`: that with own < .85 of the score;
`p10`: the mean of the worst tenth; `seeds`: the standard deviation over seeds of an object's own, meaned. Each line of
differences is paired over objects and seeds, with a 95 % bootstrap interval over pictures.
"""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.quality import Case, cases, network, pictures  # noqa: E402
from igos.base.ops import upscale  # noqa: E402
from igos.base.settings import key_value  # noqa: E402
from igos.data.emblems import scene  # noqa: E402
from igos.data.truth import match, scene_truth  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.methods.ingredients import OfImage  # noqa: E402
from igos.methods.mask.detail import near  # noqa: E402
from igos.metrics.curves import Deletion, Insertion  # noqa: E402
from igos.metrics.energy import EnergyMask  # noqa: E402
from igos.metrics.evidence import EvidenceShare  # noqa: E402
from igos.metrics.metric import Context  # noqa: E402
from igos.metrics.ranking import EvidenceAP, MaskAP, PrecisionAtArea  # noqa: E402
from igos.run.explain import explain_problem  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Explanation, Problem  # noqa: E402

WAS: Mapping[str, Mapping[str, Mapping[str, Any]]] = {  # 0.1.0's numbers: budget -> method/optimiser -> settings
    "emblem": {
        "iGOS++/NAG": {"iterations": 5, "alpha": 3, "L1": 0, "L2": 0.5},
        "iGOS++/PG": {"iterations": 5, "alpha": 5, "L1": 0, "L2": 0.5},
        "iGOS++/LS": {"iterations": 2, "alpha": 4, "L1": 0, "L2": 0.5},
        "iGOS+/NAG": {"iterations": 10, "alpha": 2, "L1": 0, "L2": 0.5},
        "I-GOS/NAG": {"iterations": 20, "alpha": 2, "L1": 0.02, "L2": 0.5},
    },
    "quick": {
        "iGOS++/NAG": {"iterations": 5, "alpha": 20, "L1": 0.3, "L2": 0.5},
        "iGOS+/NAG": {"iterations": 10, "alpha": 20, "L1": 0.3, "L2": 0.5},
    },
    "detect-yolo": {
        "iGOS++/NAG": {"iterations": 12, "alpha": 20, "L1": 0.5, "L2": 0.5},
        "iGOS+/NAG": {"iterations": 12, "ig_iter": 2, "alpha": 20, "L1": 0.6, "L2": 0.5},
    },
    "thorough": {
        "iGOS++/NAG": {"iterations": 25, "ig_iter": 2, "alpha": 10, "L1": 0.5, "L2": 0.5},
        "iGOS+/NAG": {"iterations": 25, "ig_iter": 4, "alpha": 10, "L1": 0.6, "L2": 0.5},
    },
}
PEERS: Mapping[str, tuple[str, Mapping[str, Any]]] = {  # other methods: name -> method, settings
    "RISE-500": ("rise", {"grid": 8, "n_masks": 500}),
    "D-RISE-500": ("drise", {"grid": 8, "n_masks": 500}),
    "IG-50": ("IG", {"baseline": "blur", "aggregate": "sum_abs", "n_steps": 50}),
    "ODAM": ("odam", {}),
    "blur_ig": ("blur_ig", {}),
    "IBA": ("input_iba", {}),
}
CUT = "module_list.80"  # the last layer of yolo-fastest-1.1 that no score goes round
FIGURES = ("images", "own", "other", "ap", "area", "share", "score")
COLUMNS = {
    "map": 11,
    "images": 7,
    "own": 6,
    "other": 6,
    "ap": 6,
    "area": 6,
    "share": 6,
    "fail": 6,
    "fail/f": 6,
    "p10": 6,
    "seeds": 6,
}
DRAWS = 2000


def every_object(own: Adapter, count: int, series: int) -> Iterator[Case]:
    """Each object of the scenes that the network sees."""
    for index in range(count):
        s = scene(series, index)
        image, truths = own.read(s.picture()), scene_truth(s)
        seen = [(t, match(t, image, truths)) for t in own.detect(image)]
        known = [(t, truth) for t, truth in seen if truth is not None]
        if known:
            yield Case(image, [t for t, _ in known], [None] * len(known), [truth for _, truth in known])


def controls(problem: Problem, made: Sequence[Explanation]) -> dict[str, list[Explanation]]:
    """Maps of the same masks without a gradient on pixels."""
    s = torch.stack([1 - e.masks.prod(dim=0) for e in made if e.masks is not None]).to(problem.x)
    u = upscale(s, problem.size).clamp(min=0)
    change = near((problem.x - problem.x0).abs().sum(dim=1))
    maps = {"S^2": u**2, "U G|I-B|": u * change}
    return {name: [replace(e, detail=m[i].cpu()) for i, e in enumerate(made)] for name, m in maps.items()}


def figures(
    problem: Problem,
    made: Sequence[Explanation],
    case: Case,
    other: Adapter | None,
    curves: Sequence[Any],
    lean: bool = False,
) -> list[dict[str, float]]:
    """FIGURES of each explanation; without curves, those of places alone; lean: without those of places."""
    evidence = any(t is not None and t.evidence for t in case.truths)
    places = EvidenceAP() if evidence else MaskAP(), PrecisionAtArea(), EvidenceShare() if evidence else EnergyMask()
    context = Context(case.truths)
    own = other_ = whole = ap = area = share = [float("nan")] * len(made)
    if not lean:
        ap, area, share = ([s.value for s in m(problem, made, context)] for m in places)
    if curves:
        deleted, inserted = (m(problem, made) for m in curves)
        own = [i.value - d.value for d, i in zip(deleted, inserted, strict=True)]
        whole = [float(d.curve[1, 0]) for d in deleted]
    both = [i for i, t in enumerate(case.others) if t is not None] if curves and other is not None else []
    if both and other is not None:
        judge = make_problem(other, case.image, [case.others[i] for i in both])  # type: ignore[misc]
        deleted, inserted = (m(judge, [made[i] for i in both]) for m in curves)
        told = {i: n.value - d.value for i, d, n in zip(both, deleted, inserted, strict=True)}
        other_ = [told.get(i, float("nan")) for i in range(len(made))]
    columns = [float(e.network_images) for e in made], own, other_, ap, area, share, whole
    return [dict(zip(FIGURES, row, strict=True)) for row in zip(*columns, strict=True)]


def line(name: str, rows: Sequence[Mapping[str, Any]], real: bool) -> dict[str, Any]:
    means: dict[str, Any] = {k: mean([r[k] for r in rows]) for k in FIGURES}
    own = np.array([r["own"] for r in rows])
    if np.isfinite(own).all():
        worst = np.sort(own)[: max(round(0.1 * len(own)), 1)]
        objects = {(r["picture"], r["object"]) for r in rows}
        spread = [np.std([r["own"] for r in rows if (r["picture"], r["object"]) == o]) for o in objects]
        means |= {"p10": float(worst.mean()), "seeds": float(np.mean(spread))}
        if not real:
            low = own < 0.85 * np.array([r["score"] for r in rows])
            means |= {"fail": float((own < 0.85).mean()), "fail/f": float(low.mean())}
    return {"map": name, **means}


def read_lines(path: Path | None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path and path.exists() else []


def mean(values: Sequence[float]) -> float | None:
    known = [v for v in values if np.isfinite(v)]
    return float(np.mean(known)) if known else None


def paired(a: Sequence[Mapping[str, Any]], b: Sequence[Mapping[str, Any]], key: str) -> str:
    """Mean of a - b with its interval, over pictures drawn again."""
    groups: dict[int, list[float]] = {}
    for one, two in zip(a, b, strict=True):
        if np.isfinite(one[key] - two[key]):
            groups.setdefault(one["picture"], []).append(one[key] - two[key])
    if not groups:
        return f"{key} -"
    sums, counts = (np.array([f(g) for g in groups.values()], float) for f in (sum, len))
    pick = np.random.default_rng(0).integers(0, len(sums), (DRAWS, len(sums)))
    low, high = np.quantile(sums[pick].sum(axis=1) / counts[pick].sum(axis=1), (0.025, 0.975))
    return f"{key} {sums.sum() / counts.sum():+.3f} [{low:+.3f}, {high:+.3f}]"


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--real", action="store_true", help="on the real photos in ../shared/data")
    parser.add_argument("--split", choices=("nine", "tune", "held"), default="held")
    parser.add_argument("--model", default="emblem-m-rcnn")
    parser.add_argument("--series", type=int, default=3)
    parser.add_argument("--first", type=int, default=0, help="leave out so many pictures (0)")
    parser.add_argument("--count", type=int, default=60, help="scenes, or photos at most (60)")
    parser.add_argument("--method", default="iGOS++/NAG")
    parser.add_argument("--preset", help="of now (the model's own)")
    parser.add_argument("--was", help="budget of 0.1.0 (the preset's name)")
    parser.add_argument("--set", nargs="*", default=[], help="settings of now, KEY=VALUE")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--steps", type=int, help="points of the curves: 50 on photos, 25 on scenes")
    parser.add_argument("--kinds", nargs="+", choices=("was", "now", *PEERS), default=["was", "now"])
    parser.add_argument("--rows", type=Path, help="a file of figures: what it holds is not measured again")
    parser.add_argument("--lean", action="store_true", help="leave out the figures of places, and the controls")
    parser.add_argument("--minutes", type=float, default=30.0, help="time box (30)")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    own, other = (network(""), network("-xl")) if flags.real else (igos.load(flags.model), None)
    data = (
        list(every_object(own, flags.count, flags.series))
        if other is None
        else cases(own, other, pictures(flags.split))[: flags.count]
    )[flags.first :]
    preset = flags.preset or own.preset
    name, _, opt = flags.method.partition("/")
    was = build_method(name, {"opt": opt, "detail": False, **WAS[flags.was or preset][flags.method]}, {})
    extra = dict(map(key_value, flags.set))
    now = build_method(name, {"opt": opt, **extra}, read_preset(preset))
    steps = flags.steps or (50 if flags.real else 25)
    curves = [m(steps=steps) for m in (Deletion, Insertion)]
    where = (
        flags.split if flags.real else f"{flags.model} series {flags.series}"
    ) + f", {steps} steps{', lean' * flags.lean}"
    sides = {"was": (was, f"{where}: {asdict(was)}"), "now": (now, f"{where}: {asdict(now)}")}
    for peer in flags.kinds:
        if peer in PEERS:
            made_of, settings = PEERS[peer]
            method_of = build_method(made_of, dict(settings), read_preset(preset))
            sides[peer] = method_of, f"{where}: {made_of} {asdict(method_of)}"
    ingredients: dict[str, OfImage] = {}
    if "IBA" in flags.kinds:  # a bottleneck needs statistics of a layer: on the photos that are not measured
        statistics = igos.estimate(own, CUT, pictures("tune"))
        ingredients = {"statistics": lambda _: statistics}
    kept = {tuple(r["key"]): r["rows"] for r in read_lines(flags.rows)}
    end = time.monotonic() + 60 * flags.minutes
    for seed, (number, case) in itertools.product(flags.seeds, enumerate(data, flags.first)):
        for side in flags.kinds:
            method, of = sides[side]
            if (of, number, seed) in kept:
                continue
            if time.monotonic() > end:
                break
            problem = make_problem(own, case.image, case.targets, seed=seed, ingredients=ingredients)
            made = {side: explain_problem(problem, method)}
            made |= controls(problem, made["now"]) if side == "now" and not flags.lean else {}
            told: dict[str, list[dict[str, Any]]] = {}
            for kind, explanations in made.items():
                values = figures(problem, explanations, case, other, curves if kind == side else (), flags.lean)
                told[kind] = [
                    {**f, "status": e.status, "picture": number, "object": i, "seed": seed}
                    for i, (f, e) in enumerate(zip(values, explanations, strict=True))
                ]
            kept[of, number, seed] = told
            if flags.rows:
                with flags.rows.open("a") as file:
                    file.write(json.dumps({"key": (of, number, seed), "rows": told}) + "\n")
    places = list(itertools.product(range(flags.first, flags.first + len(data)), flags.seeds))
    whole = [p for p in places if all((sides[k][1], *p) in kept for k in flags.kinds)]
    if len(whole) < len(places):
        print(f"time: {len(whole)} of {len(places)} pictures and seeds")
    rows: dict[str, list[dict[str, Any]]] = {}
    for side, place in itertools.product(flags.kinds, whole):
        for kind, found in kept[(sides[side][1], *place)].items():
            rows.setdefault(kind, []).extend(found)
    statuses = Counter(r["status"] for r in rows.get("now", ()))
    maps = max(map(len, rows.values()), default=0)
    print(f"{where}: {flags.method} {preset} {extra or ''}: {maps} maps of {len(whole)} pictures, {dict(statuses)}")
    print(" ".join(k.rjust(w) if k != "map" else k.ljust(w) for k, w in COLUMNS.items()))
    told = [line(kind, r, flags.real) for kind, r in rows.items()]
    for t in told:
        print(table.line({k: t.get(k) for k in COLUMNS}, COLUMNS))
    table.write_json(flags.json, table.header(flags.seeds), told)
    for kind in rows if "now" in rows else ():
        if kind != "now":
            keys = FIGURES[:-1] if kind in sides else ("ap", "area", "share")
            print(f"now - {kind}:", ", ".join(paired(rows["now"], rows[kind], k) for k in keys))


if __name__ == "__main__":
    main()
