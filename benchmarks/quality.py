"""How good are the maps? Deletion, insertion, truth or transfer to another network, against their cost.

    python benchmarks/quality.py                       50 scenes with planted evidence, on --model (emblem-m-rcnn)
    python benchmarks/quality.py --real                the nine detections on the five darknet_* photos
    python benchmarks/quality.py --real --split held   the COCO photos kept out of tuning (ids above 542)
    python benchmarks/quality.py --real --curve        quality against network images, 12 to 1,600, per mask method
    python benchmarks/quality.py --real --split tune   the photos and COCO ids up to 542, which presets were tuned on

Scenes: series 3, which no network was trained or tuned on; the detection with the highest score of each. `evidence` is
the part of the map's positive mass on the emblems, `lift` that over the emblems' part of the object's area, `hit`
whether the map's maximum lies on an emblem. Curves: 25 steps, blurred substrate. Below the table: how often the maxima
of one run, and of the runs from a 2 x 2 grid of starts, lie on both emblems of an object that has two.

Photos: letterboxed to 320, score > .4, non-maximum suppression over all classes at IoU .45, the first two of each, on
yolo-fastest-1.1. `other` is insertion - deletion of the same map on yolo-fastest-1.1-xl, for the objects that it sees
too (same class, IoU >= .5, score > .1). `share` is the part of the map's positive mass in the box, `mask` that on the
object's instance mask, of the COCO photos (a map that is even over the picture has the mask's part of it).
Budgets are presets: quick (at most 20 network images), detect-yolo (50), thorough (200). Curves: 50 steps, blurred
substrate, 28 x 28 cells, full budget. Rows that do not fit in --minutes are printed as `not run (time)`.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torchvision.ops import box_iou, nms

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.floor import PRIORS  # noqa: E402
from igos.base.ops import upscale  # noqa: E402
from igos.data.annotations import truths_of  # noqa: E402
from igos.data.emblems import scene  # noqa: E402
from igos.data.truth import Truth, match, scene_truth  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.methods.mask.starts import start_mask  # noqa: E402
from igos.metrics.curves import Deletion, Insertion  # noqa: E402
from igos.metrics.diversity import covered  # noqa: E402
from igos.metrics.energy import EnergyMask  # noqa: E402
from igos.metrics.evidence import EvidencePointing, EvidenceShare  # noqa: E402
from igos.metrics.metric import Context  # noqa: E402
from igos.metrics.pointing import Pointing  # noqa: E402
from igos.run.explain import explain_problem  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Explanation, Image, Problem, Target  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
INSTANCES = DATA / "coco" / "instances.json"
CURVE = {"iGOS++": 4, "iGOS+": 2, "I-GOS": 1}  # terms: network images per path point and step
BUDGETS = (12, 20, 48, 100, 200, 400, 800, 1600)
HEAD = {"method": 20, "opt": 4, "preset": 15, "images": 6, "deletion": 8, "insertion": 9, "difference": 10, "se": 5}
TAIL = {"pointing": 8, "seconds": 7, "objects": 7}
REAL = {**HEAD, "other": 6, "share": 6, "mask": 6, **TAIL}
SCENES = {**HEAD, "evidence": 8, "lift": 6, "hit": 6, **TAIL}
SERIES = 3  # of igos.data.emblems; 0 is for training, 1 for measuring the networks, 2 the samples, 4 for tuning presets


@dataclass(frozen=True)
class Case:
    """One picture with the targets of one network: as another network sees them, and what is known of them."""

    image: Image
    targets: list[Target]
    others: list[Target | None]
    truths: list[Truth | None]


def network(kind: str) -> Adapter:
    stem = DATA / "yolo-fastest" / f"yolo-fastest-1.1{kind}"
    return igos.load("darknet", f"{stem}.weights", cfg=f"{stem}.cfg", fit="letterbox")


def pictures(split: str) -> list[Path]:
    photos = sorted((DATA / "photos").iterdir())
    coco = sorted((DATA / "coco" / "images").iterdir())
    if split == "nine":
        return [p for p in photos if p.name.startswith("darknet_")]
    if split == "tune":
        return [*photos, *(p for p in coco if int(p.stem) <= 542)]
    return [p for p in coco if int(p.stem) > 542]


def cases(own: Adapter, other: Adapter, paths: Sequence[Path]) -> list[Case]:
    made = []
    for path in paths:
        image = own.read(path)
        seen = own.detect(image, 0.4)
        if not seen:
            continue
        keep = nms(_boxes(seen), torch.tensor([t.score for t in seen]), 0.45)[:2]
        targets = [seen[int(i)] for i in keep]
        second = other.detect(image, 0.1)
        truths = truths_of(str(path), str(INSTANCES)) if path.parent == INSTANCES.parent / "images" else []
        made.append(
            Case(image, targets, [_same(t, second) for t in targets], [match(t, image, truths) for t in targets])
        )
    return made


def scene_cases(own: Adapter, count: int, series: int) -> list[Case]:
    """The best detection of each scene of a series, among those that are an object."""
    made = []
    for index in range(count):
        s = scene(series, index)
        image, truths = own.read(s.picture()), scene_truth(s)
        seen = [(t, match(t, image, truths)) for t in own.detect(image)]
        right = [(t, truth) for t, truth in seen if truth is not None][:1]
        made += [Case(image, [t], [None], [truth]) for t, truth in right]
    return made


def _boxes(targets: Sequence[Target]) -> torch.Tensor:
    return torch.stack([t.box for t in targets if t.box is not None])


def _same(target: Target, seen: Sequence[Target]) -> Target | None:
    alike = [t for t in seen if t.label == target.label]
    if not alike:
        return None
    iou = box_iou(_boxes([target]), _boxes(alike))[0]
    return alike[int(iou.argmax())] if iou.max() >= 0.5 else None


def plans(
    presets: Sequence[str], gradients: Sequence[int], masks: Sequence[int]
) -> Iterator[tuple[str, str | None, str | None, Callable[[Problem], list[Explanation]]]]:
    """(method, opt, preset, call), the most telling rows first; gradients and masks: images of IG and of RISE."""
    for name, prior in PRIORS.items():
        yield name, None, None, prior
    for n in gradients:
        ig = {"baseline": "blur", "aggregate": "sum_abs", "n_steps": n}
        yield "integrated_gradients", None, None, build_method("IG", ig, {})
    for n in masks:
        yield "rise", None, None, build_method("rise", {"grid": 8, "n_masks": n}, {})
    for name in ("odam", "grad_cam"):
        yield name, None, None, build_method(name, {}, {})
    yield "drise", None, None, build_method("drise", {"grid": 8, "n_masks": masks[-1]}, {})
    for preset in presets:
        for method in ("iGOS++", "iGOS+", "I-GOS"):
            for opt in ("NAG", "PG", "LS"):
                yield method, opt, preset, build_method(method, {"opt": opt}, read_preset(preset))


def curve() -> Iterator[tuple[str, str, str, Callable[[Problem], list[Explanation]]]]:
    """The default preset's settings with more or fewer steps, up to 24 of them; then more path points."""
    for budget in BUDGETS:
        for method, terms in CURVE.items():
            points = max(1, round(budget / terms / 24), 2 if terms < 4 and budget >= 48 else 1)
            settings = {"opt": "NAG", "ig_iter": points, "iterations": max(1, budget // (terms * points))}
            yield method, "NAG", "detect-yolo", build_method(method, settings, read_preset("detect-yolo"))


def measure(
    call: Any, own: Adapter, other: Adapter | None, data: Sequence[Case], seed: int, steps: int
) -> dict[str, Any]:
    """Means over the objects of one method."""
    metrics = (
        Deletion(steps=steps),
        Insertion(steps=steps),
        Pointing(),
        EvidenceShare(),
        EvidencePointing(),
        EnergyMask(),
    )
    figures: list[dict[str, float]] = []
    for case in data:
        problem = make_problem(own, case.image, case.targets, seed=seed)
        made = explain_problem(problem, call, metrics, Context(case.truths))
        both = [i for i, t in enumerate(case.others) if t is not None]
        transfer = dict.fromkeys(range(len(made)), float("nan"))
        if both and other is not None:
            judge = make_problem(other, case.image, [case.others[i] for i in both])  # type: ignore[misc]
            shown = [made[i] for i in both]
            deleted, inserted = (m(judge, shown) for m in metrics[:2])
            transfer.update({i: n.value - d.value for i, d, n in zip(both, deleted, inserted, strict=True)})
        for i, e in enumerate(made):
            told = e.scores[-len(metrics) :]  # before them stand the method's own
            deletion, insertion, pointing, evidence, hit, mask = (s.value for s in told)
            figures.append(
                {
                    "deletion": deletion,
                    "insertion": insertion,
                    "difference": insertion - deletion,
                    "other": transfer[i],
                    "share": _share(e, problem.size),
                    "mask": mask,
                    "pointing": pointing,
                    "evidence": evidence,
                    "lift": told[3].detail["evidence_lift"],
                    "hit": hit,
                    "images": e.network_images,
                    "seconds": e.seconds,
                }  # fmt: skip
            )
    means = {k: [f[k] for f in figures if f[k] == f[k]] for k in figures[0]}
    return {**{k: float(np.mean(v)) if v else None for k, v in means.items()}, "objects": len(figures)}


def both_emblems(own: Adapter, data: Sequence[Case], preset: str) -> str:
    """How often one run, and four diverse ones, point at both emblems of an object that has two."""
    call, counts = build_method("iGOS++", {"opt": "NAG"}, read_preset(preset)), []
    for case in data:
        truth, target = case.truths[0], case.targets[0]
        if truth is None or len(truth.evidence) < 2:
            continue
        starts = torch.stack([start_mask(target, case.image.geometry.network, call.size, 2, c, 0.9) for c in range(4)])
        several = make_problem(own, case.image, [target] * 4, starts=range(4), start_masks=starts)
        one = make_problem(own, case.image, [target])
        counts.append([covered(call(p), truth) == 2 for p in (one, several)])
    if not counts:
        return "both of two emblems: no such object"
    one, four = np.mean(counts, axis=0)
    return f"both of two emblems: {one:.2f} by one run, {four:.2f} by four starts ({len(counts)} objects, iGOS++ NAG)"


def over_seeds(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and `se`, the standard error of the difference (none for one seed)."""
    mean = {k: None if figures[0][k] is None else float(np.mean([f[k] for f in figures])) for k in figures[0]}
    spread = np.std([f["difference"] for f in figures], ddof=1) if len(figures) > 1 else None
    se = None if spread is None else float(spread / np.sqrt(len(figures)))
    return {**mean, "se": se, "images": round(mean["images"] or 0), "objects": round(mean["objects"] or 0)}


def _share(e: Explanation, size: tuple[int, int]) -> float:
    assert e.target.box is not None
    x1, y1, x2, y2 = (int(v) for v in e.target.box.round())
    heat = upscale(e.saliency.clamp(min=0), size)
    return float(heat[y1:y2, x1:x2].sum() / heat.sum().clamp(min=1e-9))


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--real", action="store_true", help="on the real photos in ../shared/data")
    parser.add_argument("--curve", action="store_true", help="with --real: quality against network images")
    parser.add_argument("--model", default="emblem-m-rcnn", help="the bundled detector that sees the scenes")
    parser.add_argument("--scenes", type=int, default=50)
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--presets", nargs="+", help="budgets; emblem, or detect-yolo quick thorough with --real")
    parser.add_argument("--split", choices=("nine", "tune", "held"), default="nine")
    parser.add_argument("--steps", type=int, help="points of the curves: 50 on photos, 25 on scenes")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="time box (14)")
    parser.add_argument("--only", nargs="+", help="only these methods, such as iGOS++ or iGOS+/PG")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    end = time.monotonic() + 60 * flags.minutes
    if flags.curve and not flags.real:
        raise SystemExit("--curve goes with --real")
    if flags.real and not DATA.exists():
        raise SystemExit(f"real data missing: {DATA}")
    own, other = (network(""), network("-xl")) if flags.real else (igos.load(flags.model), None)
    data = scene_cases(own, flags.scenes, flags.series) if other is None else cases(own, other, pictures(flags.split))
    widths, where = (REAL, flags.split) if flags.real else (SCENES, flags.model)
    rows: list[dict[str, Any]] = []
    print(" ".join(k.rjust(w) if k not in ("method", "opt", "preset") else k.ljust(w) for k, w in widths.items()))
    longest = 0.0
    budgets = ((20, 50, 200), (20, 50, 200, 500)) if flags.real else ((20, 50), (20, 200))
    presets = flags.presets or (["detect-yolo", "quick", "thorough"] if flags.real else [own.preset])
    for method, opt, preset, call in curve() if flags.curve else plans(presets, *budgets):
        if flags.only and method not in flags.only and f"{method}/{opt}" not in flags.only:
            continue
        row: dict[str, Any] = {"method": method, "opt": opt or "", "preset": preset or "", "split": where}
        if time.monotonic() + longest > end:
            print(table.line(row, dict(list(widths.items())[:3])), "not run (time)", flush=True)
            rows.append({**row, "status": "not run (time)"})
            continue
        begin = time.monotonic()
        steps = flags.steps or (50 if flags.real else 25)
        row.update(over_seeds([measure(call, own, other, data, seed, steps) for seed in flags.seeds]))
        longest = max(longest, time.monotonic() - begin)
        rows.append(row)
        print(table.line(row, widths), flush=True)
    if not flags.real:
        print(both_emblems(own, data, presets[0]))
    table.write_json(flags.json, table.header(flags.seeds), rows)


if __name__ == "__main__":
    main()
