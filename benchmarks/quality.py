"""How good are the maps? Deletion, insertion, transfer to another network, share in the box, against their cost.

    python benchmarks/quality.py --real                the nine detections on the five darknet_* photos
    python benchmarks/quality.py --real --split held   the COCO photos kept out of tuning (ids above 542)
    python benchmarks/quality.py --real --split tune   the photos and COCO ids up to 542, which presets were tuned on

Targets: pictures letterboxed to 320, score > .4, non-maximum suppression over all classes at IoU .45, the first two
of each picture, on yolo-fastest-1.1. `other` is insertion - deletion of the same map on yolo-fastest-1.1-xl, for the
objects that it sees too (same class, IoU >= .5, score > .1). `share` is the part of the map's positive mass in the box.
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
from igos.config import build_method, read_preset  # noqa: E402
from igos.metrics import Deletion, Insertion  # noqa: E402
from igos.ops import upscale  # noqa: E402
from igos.run import explain_problem, make_problem  # noqa: E402
from igos.types import Adapter, Explanation, Image, Problem, Target  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WIDTHS = {
    "method": 20, "opt": 4, "preset": 12, "images": 6, "deletion": 8, "insertion": 9, "difference": 10, "se": 5,
    "other": 6, "share": 6, "pointing": 8, "seconds": 7, "objects": 7,
}  # fmt: skip
OPTIMISED = [(m, o, p) for p in ("detect-yolo", "quick", "thorough") for m in ("iGOS++", "iGOS+", "I-GOS")
             for o in ("NAG", "PG", "LS")]  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One picture with the targets of one network and the same objects as another network sees them."""

    image: Image
    targets: list[Target]
    others: list[Target | None]


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
        made.append(Case(image, targets, [_same(t, second) for t in targets]))
    return made


def _boxes(targets: Sequence[Target]) -> torch.Tensor:
    return torch.stack([t.box for t in targets if t.box is not None])


def _same(target: Target, seen: Sequence[Target]) -> Target | None:
    alike = [t for t in seen if t.label == target.label]
    if not alike:
        return None
    iou = box_iou(_boxes([target]), _boxes(alike))[0]
    return alike[int(iou.argmax())] if iou.max() >= 0.5 else None


def random_map(problem: Problem) -> list[Explanation]:
    maps = [torch.rand(28, 28, generator=g) for g in problem.generators]
    return [Explanation(m, t, i, "random") for m, t, i in zip(maps, problem.targets, problem.images, strict=True)]


def box_prior(problem: Problem) -> list[Explanation]:
    """A Gaussian over the box: exp(-2 ((x-cx)/w)^2 - 2 ((y-cy)/h)^2)."""
    made = []
    for target, image in zip(problem.targets, problem.images, strict=True):
        assert target.box is not None
        x1, y1, x2, y2 = target.box.tolist()
        y = torch.linspace(0, problem.size[0] - 1, 28)[:, None]
        x = torch.linspace(0, problem.size[1] - 1, 28)[None]
        near = ((x - (x1 + x2) / 2) / (x2 - x1)) ** 2 + ((y - (y1 + y2) / 2) / (y2 - y1)) ** 2
        made.append(Explanation(torch.exp(-2 * near), target, image, "box prior"))
    return made


def plans() -> Iterator[tuple[str, str | None, str | None, Callable[[Problem], list[Explanation]]]]:
    """(method, opt, preset, call), the most telling rows first."""
    yield "random", None, None, random_map
    yield "box prior", None, None, box_prior
    for n in (20, 50, 200):
        ig = {"baseline": "blur", "aggregate": "sum_abs", "n_steps": n}
        yield "integrated_gradients", None, None, build_method("IG", ig, {})
    for n in (20, 50, 200, 500):
        yield "rise", None, None, build_method("rise", {"grid": 8, "n_masks": n}, {})
    for name in ("odam", "grad_cam"):
        yield name, None, None, build_method(name, {}, {})
    yield "drise", None, None, build_method("drise", {"grid": 8, "n_masks": 500}, {})
    for method, opt, preset in OPTIMISED:
        yield method, opt, preset, build_method(method, {"opt": opt}, read_preset(preset))


def measure(call: Any, own: Adapter, other: Adapter, data: Sequence[Case], seed: int) -> dict[str, Any]:
    """Means over the objects of one method."""
    metrics = (Deletion(), Insertion(), igos.METRICS["pointing"]())
    figures: list[list[float]] = []
    for case in data:
        problem = make_problem(own, case.image, case.targets, seed=seed)
        made = explain_problem(problem, call, metrics)
        both = [i for i, t in enumerate(case.others) if t is not None]
        transfer = dict.fromkeys(range(len(made)), float("nan"))
        if both:
            judge = make_problem(other, case.image, [case.others[i] for i in both])  # type: ignore[misc]
            shown = [made[i] for i in both]
            deleted, inserted = (m(judge, shown) for m in metrics[:2])
            transfer.update({i: n.value - d.value for i, d, n in zip(both, deleted, inserted, strict=True)})
        for i, e in enumerate(made):
            deletion, insertion, hit = (s.value for s in e.scores)
            figures.append(
                [deletion, insertion, transfer[i], _share(e, problem.size), hit, e.network_images, e.seconds]
            )
    means = np.nanmean(np.array(figures), axis=0).tolist()
    return {
        "deletion": means[0], "insertion": means[1], "difference": means[1] - means[0], "other": means[2],
        "share": means[3], "pointing": means[4], "images": means[5], "seconds": means[6],
        "objects": len(figures),
    }  # fmt: skip


def over_seeds(figures: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Means over the seeds, and `se`, the standard error of the difference (none for one seed)."""
    mean = {k: float(np.mean([f[k] for f in figures])) for k in figures[0]}
    spread = np.std([f["difference"] for f in figures], ddof=1) if len(figures) > 1 else None
    se = None if spread is None else float(spread / np.sqrt(len(figures)))
    return {**mean, "se": se, "images": round(mean["images"]), "objects": round(mean["objects"])}


def _share(e: Explanation, size: tuple[int, int]) -> float:
    assert e.target.box is not None
    x1, y1, x2, y2 = (int(v) for v in e.target.box.round())
    heat = upscale(e.saliency.clamp(min=0), size)
    return float(heat[y1:y2, x1:x2].sum() / heat.sum().clamp(min=1e-9))


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--real", action="store_true", required=True, help="on the real photos in ../shared/data")
    parser.add_argument("--split", choices=("nine", "tune", "held"), default="nine")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=14.0, help="time box (14)")
    parser.add_argument("--only", nargs="+", help="only these methods, such as iGOS++ or iGOS+/PG")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    if not DATA.exists():
        raise SystemExit(f"real data missing: {DATA}")
    end = time.monotonic() + 60 * flags.minutes
    own, other = network(""), network("-xl")
    data = cases(own, other, pictures(flags.split))
    rows: list[dict[str, Any]] = []
    print(" ".join(k.rjust(w) if k not in ("method", "opt", "preset") else k.ljust(w) for k, w in WIDTHS.items()))
    longest = 0.0
    for method, opt, preset, call in plans():
        if flags.only and method not in flags.only and f"{method}/{opt}" not in flags.only:
            continue
        row: dict[str, Any] = {"method": method, "opt": opt or "", "preset": preset or "", "split": flags.split}
        if time.monotonic() + longest > end:
            print(table.line(row, dict(list(WIDTHS.items())[:3])), "not run (time)", flush=True)
            rows.append({**row, "status": "not run (time)"})
            continue
        begin = time.monotonic()
        row.update(over_seeds([measure(call, own, other, data, seed) for seed in flags.seeds]))
        longest = max(longest, time.monotonic() - begin)
        rows.append(row)
        print(table.line(row, WIDTHS), flush=True)
    table.write_json(flags.json, table.header(flags.seeds), rows)


if __name__ == "__main__":
    main()
