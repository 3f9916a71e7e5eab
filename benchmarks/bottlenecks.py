"""The bottlenecks beside other maps, and what they cost beside a plain version of the same.

    python benchmarks/bottlenecks.py                       emblem models, and SqueezeNet where ../shared/data is
    python benchmarks/bottlenecks.py --models emblem-vgg   some of them
    python benchmarks/bottlenecks.py --why                 Input IBA with one setting changed at a time; IBA at several prices
    python benchmarks/bottlenecks.py --cost                network time of Input IBA against a plain version of it
    python benchmarks/bottlenecks.py --page docs/bottlenecks.md   and put the table between this file's marks

Emblem models: scenes of series 3, the best detection of each. SqueezeNet: COCO photos whose first class is a thing with
instance masks (PHOTOS); statistics from the other photos. EHR: effective heat ratio, unweighted, on the object's mask
(`instance`) and on its emblems (`evidence`), from the finest map that the method has; *energy*: the part of that map that
lies on the emblems; *kept*: the score behind the bottleneck in the end.
`--cost`: the plain version runs the whole network for every feature copy and fake, fakes twice where the generator learns,
keeping a graph for every pass and making the weights' gradients; `ours` splits at the layer and runs each fake once.
Network passes alone, both in turns, medians, and the pictures that each pushes. *depth*: multiplications below the layer,
of all.
"""  # noqa: E501

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from igos.data.annotations import truths_of  # noqa: E402
from igos.data.emblems import scene  # noqa: E402
from igos.data.truth import Truth, match, scene_truth  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.methods.bottleneck.estimation import estimate, statistics_for  # noqa: E402
from igos.methods.bottleneck.input_iba import InputIBA  # noqa: E402
from igos.methods.gradient.attribution import AGGREGATES  # noqa: E402
from igos.metrics.curves import Deletion, Insertion  # noqa: E402
from igos.metrics.ehr import QUANTILES, effective_heat  # noqa: E402
from igos.metrics.metric import Context  # noqa: E402
from igos.metrics.statistics import trapezoid  # noqa: E402
from igos.run.explain import explain_problem  # noqa: E402
from igos.run.presets import pick_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Explanation, Image, Problem, Statistics, Target  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
COCO = DATA / "coco"
BUNDLED = ("emblem-m-rcnn", "emblem-f-rcnn", "emblem-yolov3spp", "emblem-vgg", "emblem-resnet")
MODELS = ("emblem-m-rcnn", "emblem-yolov3spp", "emblem-vgg", "emblem-resnet", "squeezenet1_0")
METHODS = ("iba", "input_iba", "integrated_gradients", "grad_cam", "odam", "iGOS+")
CHANGES: dict[str, dict[str, Any]] = {  # of Input IBA's preset, for --why
    "as it is": {},
    "white noise": {"grain": 0},
    "grain 8": {"grain": 8},
    "over the picture": {"over": "picture"},
    "beta 20": {"beta": 20},
    "beta 300": {"beta": 300},
    "smoothed by 1": {"sigma": 1},
    "lr .3": {"lr": 0.3},
    "no generator step": {"lr_mask": 0},
    "generator lr .3": {"lr_mask": 0.3, "gan_steps": 40},
    "capacity, post": {"real_mask": "capacity", "features": "post"},
}
PRICES = (20, 10, 5, 2)  # of the features' bottleneck, for --why: its map at the score that Input IBA keeps
WIDTHS = {
    "model": 16,
    "method": 20,
    "images": 6,
    "deletion": 8,
    "insertion": 9,
    "instance": 8,
    "evidence": 8,
    "energy": 7,
    "kept": 6,
    "seconds": 7,
}
COSTS = {"model": 16, "layer": 20, "depth": 6, "images": 6, "ours": 7, "plain_images": 12, "plain": 7, "ratio": 6}
SERIES = 3  # of igos.data.emblems, as in quality.py
SQUEEZE_LAYER = "features.7"
PHOTOS = {  # COCO's number of a photo -> its class where SqueezeNet's first class is that thing
    "000000000370": "broccoli",
    "000000000450": "pizza",
    "000000000785": "skis",
    "000000000885": "tennis racket",
    "000000002149": "apple",
    "000000002592": "cup",
    "000000006012": "banana",
    "000000008762": "traffic light",
}
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
    made: list[Case] = []
    for number, name in list(PHOTOS.items())[:count]:
        image = adapter.read(COCO / "images" / f"{number}.jpg")
        (target,) = adapter.detect(image, 0.0)[:1]
        truths = truths_of(image.path or "", str(COCO / "instances.json"))
        made.append((image, target, match(replace(target, name=name), image, truths)))
    return made


def of(model: str, objects: int) -> tuple[Adapter, list[Case], Statistics]:
    """The model, what of it is explained, and the statistics of its layer."""
    if model in BUNDLED:
        adapter = igos.load(model)
        return adapter, scenes(adapter, objects), statistics_for(adapter)
    adapter = igos.load(model, DATA / "squeezenet" / "squeezenet1_0_imagenet_fp16.pth")
    others = [p for p in sorted((COCO / "images").iterdir()) if p.stem not in PHOTOS]
    return adapter, photos(adapter, objects), estimate(adapter, SQUEEZE_LAYER, others, "channel")


def finest(e: Explanation) -> np.ndarray:
    """The finest map of an explanation, on source pixels, none of it negative."""
    fine = e.arrays.get("input_mask", e.arrays.get("feat_mask"))
    if e.attribution is not None:
        fine = AGGREGATES[e.settings["aggregate"]](e.attribution[None])[0].numpy()
    heat = e.on_source() if fine is None else e.geometry.map_to_source(torch.from_numpy(fine)).numpy()
    return heat.clip(min=0).astype(np.float64)


def ehr(heat: np.ndarray, region: np.ndarray) -> float:
    return trapezoid(effective_heat(heat, region)["unweighted"], QUANTILES) if heat.max() > 0 else float("nan")


def measure(adapter: Adapter, call: Any, cases: list[Case], statistics: Statistics) -> dict[str, Any]:
    figures = []
    for image, target, truth in cases:
        problem = make_problem(adapter, image, [target], ingredients={"statistics": lambda _: statistics})
        (e,) = explain_problem(problem, call, (Deletion(steps=25), Insertion(steps=25)), Context([truth]))
        kept = next((s.value for s in e.scores if s.name == "score_kept"), float("nan"))
        row = [float(e.network_images), *(s.value for s in e.scores[-2:]), *[float("nan")] * 3, kept, e.seconds]
        heat = finest(e)
        if truth is not None:
            row[3] = ehr(heat, truth.mask)
        if truth is not None and truth.evidence:
            evidence = np.any(truth.evidence, axis=0)
            row[4:6] = ehr(heat, evidence), heat[evidence].sum() / max(heat.sum(), 1e-30)
        figures.append(row)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # of a column that nothing is known of
        means = dict(zip(list(WIDTHS)[2:], np.nanmean(figures, axis=0), strict=True))
    return {"images": round(means.pop("images")), **{k: None if np.isnan(v) else float(v) for k, v in means.items()}}


def passes(method: InputIBA, problem: Problem, lean: bool) -> int:
    """The network passes of Input IBA and nothing else: lean as ours makes them, or as a plain version does; how many
    pictures they push."""
    x, score, module = problem.x, problem.score, problem.score.module
    assert module is not None
    layer = problem.ingredients["statistics"].layer
    lower, upper = score.split(layer)
    kept: list[torch.Tensor] = []
    pushed = 0

    def pull(run: Callable[..., torch.Tensor], source: torch.Tensor, count: int, backward: bool) -> None:
        nonlocal pushed
        pushed += count
        rows = torch.zeros(count, dtype=torch.long)
        with torch.set_grad_enabled(backward or not lean):
            shown = source.expand(count, -1, -1, -1).clone().requires_grad_(backward or not lean)
            out = torch.cat([run(a, r) for a, r in zip(shown.split(score.batch), rows.split(score.batch), strict=True)])
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
    return pushed


def depth(problem: Problem, layer: str) -> float:
    """Of the multiplications of one picture's pass, the share below the layer."""
    from torch.utils.flop_counter import FlopCounterMode  # it imports triton, half a second

    row = torch.zeros(1, dtype=torch.long)
    lower, _ = problem.score.split(layer)
    counts = []
    for run in (lower, problem.score.forward):
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            run(problem.x[:1], row)
        counts.append(counter.get_total_flops())
    return counts[0] / counts[1]


def cost(adapter: Adapter, method: InputIBA, case: Case, statistics: Statistics, rounds: int) -> dict[str, Any]:
    """Seconds of ours and of the plain version's network passes, in turns, their median."""
    seconds: dict[str, list[float]] = {"ours": [], "plain": []}
    problem = make_problem(adapter, case[0], [case[1]], ingredients={"statistics": lambda _: statistics})
    pushed: dict[str, int] = {}
    for _ in range(rounds):
        for name in seconds:
            problem = make_problem(adapter, case[0], [case[1]], ingredients={"statistics": lambda _: statistics})
            adapter.module.requires_grad_(name == "plain")
            begin = time.perf_counter()
            pushed[name] = passes(method, problem, lean=name == "ours")
            seconds[name].append(time.perf_counter() - begin)
            for p in adapter.module.requires_grad_(False).parameters():
                p.grad = None
    a, b = (float(np.median(seconds[name])) for name in ("ours", "plain"))
    layer = statistics.layer
    made = {"layer": layer, "depth": depth(problem, layer), "images": pushed["ours"], "plain_images": pushed["plain"]}
    return {**made, "ours": a, "plain": b, "ratio": a / b}


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--models", nargs="+", default=list(MODELS), choices=[*BUNDLED, MODELS[-1]])
    parser.add_argument("--cost", action="store_true")
    parser.add_argument("--why", action="store_true")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the table between this file's marks")
    parser.add_argument("--objects", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(METHODS))
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    widths, mark = (COSTS, "cost") if flags.cost else (WIDTHS, "why" if flags.why else "bottlenecks")
    table.ready(mark, flags.page)
    print(" ".join(k.rjust(w) if k not in ("model", "method", "layer") else k.ljust(w) for k, w in widths.items()))
    rows: list[dict[str, Any]] = []
    for model in flags.models:
        if model not in BUNDLED and not DATA.exists():
            print(f"{model}: real data missing: {DATA}")
            continue
        adapter, cases, statistics = of(model, flags.objects)
        preset = pick_preset(None, adapter.preset, {})
        asked: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in flags.only}
        if flags.cost or flags.why:
            asked = {row: ("input_iba", given) for row, given in CHANGES.items() if flags.why or not given}
        if flags.why:
            asked |= {f"iba, beta {beta}": ("iba", {"beta": beta}) for beta in PRICES}
        for row, (name, given) in asked.items():
            call = build_method(name, given, preset)
            if flags.cost:
                made = cost(adapter, call, cases[0], statistics, flags.rounds)
            else:
                made = measure(adapter, call, cases, statistics)
            rows.append({"model": model, "method": row, **made})
            print(table.line(rows[-1], widths), flush=True)
    cells = ([table.cell(r.get(k)) for k in widths] for r in rows)
    table.place(flags.page, mark, f"    {table.header(0)['command']}\n\n{table.markdown(list(widths), cells)}")
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
