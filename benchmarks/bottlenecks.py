"""The bottlenecks beside other maps, and what they cost beside a plain version of the same.

    python benchmarks/bottlenecks.py                     scenes with planted evidence, on --model (emblem-m-rcnn)
    python benchmarks/bottlenecks.py --model emblem-vgg  single objects
    python benchmarks/bottlenecks.py --real              SqueezeNet on the photos in ../shared/data; no truth there
    python benchmarks/bottlenecks.py --cost              network time of Input IBA against a plain version of it

Scenes: series 3, the best detection of each. EHR: effective heat ratio, unweighted, on the object's mask (`instance`) and
on its emblems (`evidence`), from the finest map that the method has. `--cost`: the plain version runs the whole network
for every feature copy and fake, fakes twice where the generator learns, keeping a graph for every pass and making the
weights' gradients; `ours` splits at the layer and runs each fake once. Network passes alone, both in turns, medians.
"""  # noqa: E501

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from igos.config import build_method  # noqa: E402
from igos.context import Context  # noqa: E402
from igos.emblems import scene  # noqa: E402
from igos.estimation import estimate, statistics_for  # noqa: E402
from igos.extras import Extras  # noqa: E402
from igos.methods.input_iba import InputIBA  # noqa: E402
from igos.metrics import Deletion, Insertion  # noqa: E402
from igos.metrics.ehr import QUANTILES, effective_heat  # noqa: E402
from igos.metrics.parts import trapezoid  # noqa: E402
from igos.presets import read_preset  # noqa: E402
from igos.problem import explain_problem, make_problem  # noqa: E402
from igos.truth import Truth, match, scene_truth  # noqa: E402
from igos.types import Adapter, Explanation, Image, Problem, Target  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
METHODS = ("iba", "input_iba", "integrated_gradients", "grad_cam", "odam", "iGOS+")
WIDTHS = {"method": 20, "images": 6, "deletion": 8, "insertion": 9, "instance": 8, "evidence": 8, "seconds": 7}
SERIES = 3  # of igos.emblems, as in quality.py
SQUEEZE_LAYER = "features.7"
Case = tuple[Image, Target, Truth | None]


def scenes(adapter: Adapter, count: int) -> list[Case]:
    single = adapter.default_target == "top1"
    made: list[Case] = []
    for i in range(4 * count):
        s = scene(SERIES, i, 96 if single else 160, single)
        image = adapter.read(s.picture())
        for target in adapter.detect(image)[:1]:
            truth = match(target, image, scene_truth(s))
            made += [(image, target, truth)] if truth is not None else []
    return made[:count]


def photos(adapter: Adapter, count: int) -> list[Case]:
    images = [adapter.read(p) for p in sorted((DATA / "photos").iterdir())[:count]]
    return [(image, adapter.detect(image, 0.0)[0], None) for image in images]


def ehr(e: Explanation, region: np.ndarray) -> float:
    fine = e.arrays.get("input_mask", e.arrays.get("feat_mask"))
    heat = e.on_source() if fine is None else e.geometry.map_to_source(torch.from_numpy(fine)).numpy()
    heat = heat.clip(min=0).astype(np.float64)
    return trapezoid(effective_heat(heat, region)["unweighted"], QUANTILES) if heat.max() > 0 else float("nan")


def measure(adapter: Adapter, call: Any, cases: list[Case], statistics: Any) -> dict[str, Any]:
    figures = []
    for image, target, truth in cases:
        problem = make_problem(adapter, image, [target], extras=Extras(statistics=statistics))
        (e,) = explain_problem(problem, call, (Deletion(steps=25), Insertion(steps=25)), Context([truth]))
        deletion, insertion = (s.value for s in e.scores[-2:])
        regions = (truth.mask, np.any(truth.evidence, axis=0)) if truth is not None else ()
        instance, evidence = [ehr(e, region) for region in regions] or (float("nan"),) * 2
        figures.append((float(e.network_images), deletion, insertion, instance, evidence, e.seconds))
    means = np.array(figures).mean(axis=0)
    names = ("images", "deletion", "insertion", "instance", "evidence", "seconds")
    made = {k: None if np.isnan(v) else float(v) for k, v in zip(names, means, strict=True)}
    return {**made, "images": round(made["images"] or 0)}


def passes(method: InputIBA, problem: Problem, lean: bool) -> None:
    """The network passes of Input IBA and nothing else: lean as ours makes them, or as a plain version does."""
    x, score, module = problem.x, problem.score, problem.score.module
    assert module is not None and problem.statistics is not None
    layer = problem.statistics.layer
    lower, upper = score.split(layer)
    kept: list[torch.Tensor] = []

    def pull(run: Callable[..., torch.Tensor], source: torch.Tensor, count: int, backward: bool) -> None:
        rows = torch.zeros(count, dtype=torch.long)
        with torch.set_grad_enabled(backward or not lean):
            shown = source.expand(count, -1, -1, -1).clone().requires_grad_(backward or not lean)
            out = torch.cat([run(a, r) for a, r in zip(shown.split(8), rows.split(8), strict=True)])
        if backward:
            (torch.cat(kept) if kept and run is score.forward else out).sum().backward()

    features = lower(x)
    for _ in range(method.feat_steps):
        pull(upper if lean else score.forward, features if lean else x, method.copies, True)
    handle = None if lean else module.get_submodule(layer).register_forward_hook(lambda _, __, out: kept.append(out))
    try:
        for step in range(method.gan_steps):
            forging = step % method.critic_iter == 0
            for backward in (forging,) if lean else (False, True)[: 1 + forging]:
                kept.clear()
                pull(lower if lean else score.forward, x, method.gan_batch, backward)
    finally:
        if handle is not None:
            handle.remove()
    kept.clear()
    for _ in range(method.opt_steps):
        pull(score.forward, x, method.copies, True)


def cost(adapter: Adapter, method: InputIBA, case: Case, rounds: int) -> dict[str, Any]:
    """Seconds of ours and of the plain version's network passes, in turns, their median."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    for _ in range(rounds):
        for name in seconds:
            problem = make_problem(adapter, case[0], [case[1]], extras=Extras(statistics=statistics_for(adapter)))
            adapter.module.requires_grad_(name == "plain")
            begin = time.perf_counter()
            passes(method, problem, lean=name == "ours")
            seconds[name].append(time.perf_counter() - begin)
            for p in adapter.module.requires_grad_(False).parameters():
                p.grad = None
    a, b = (float(np.median(seconds[name])) for name in ("ours", "plain"))
    return {"method": "input_iba", "ours": a, "plain": b, "ratio": a / b}


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--model", default="emblem-m-rcnn")
    parser.add_argument("--real", action="store_true", help="SqueezeNet on photos")
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--objects", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(METHODS))
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    if flags.real and not DATA.exists():
        raise SystemExit(f"real data missing: {DATA}")
    if flags.real:
        weights = DATA / "squeezenet" / "squeezenet1_0_imagenet_fp16.pth"
        adapter = igos.load("squeezenet1_0", weights)
        cases = photos(adapter, flags.objects)
        statistics = estimate(adapter, SQUEEZE_LAYER, sorted((DATA / "coco" / "images").iterdir()))
    else:
        adapter = igos.load(flags.model)
        cases, statistics = scenes(adapter, flags.objects), statistics_for(adapter)
    preset = read_preset("emblem")
    if flags.cost:
        method = build_method("input_iba", {}, preset)
        rows = [cost(adapter, method, cases[0], flags.rounds)]
        print("method                   ours    plain    ratio")
        print(table.line(rows[0], {"method": 20, "ours": 8, "plain": 8, "ratio": 8}))
    else:
        rows = []
        print(" ".join(k.rjust(w) if k != "method" else k.ljust(w) for k, w in WIDTHS.items()))
        for name in flags.only:
            rows.append({"method": name, **measure(adapter, build_method(name, {}, preset), cases, statistics)})
            print(table.line(rows[-1], WIDTHS), flush=True)
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
