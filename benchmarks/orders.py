"""What orders the cells that a mask emptied, and does that order tell of what the network has learnt?

    python benchmarks/orders.py                        NanoDet and YOLOX-Nano, photos that detect-dense was tuned on
    python benchmarks/orders.py --networks nanodet_m_320 --objects 8 --steps 10 --rows FILE

Sparsity empties about half of the cells of an iGOS+ map, and something must rank them. Each row is the same map (iGOS+
NAG, the network's preset) with the emptied cells in another order: their pull, smoothed by one step of the loop (reach
0, as igos has it) or over a share of the side; the pull of reach 0 without its sign; G|D|, how much the score changes
there at all; the detail on the cells (methods/mask/detail.py for both); and as a control G|D| of a copy of the network
whose upper half of layers has random weights. IG-50 stands beside.

`own`, `judge`: insertion less deletion on the network, and on another. `like`: Spearman of the map and of that copy's
own map, over the objects where it is known. Near 0 the map tells of what was learnt, near 1 it needs no learning. Below
the table each less the first, paired over the objects, with 95 % bootstrap intervals. What --rows holds is not measured
again.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import table  # noqa: E402
from benchmarks.detectors import NETWORKS, Object, network, objects  # noqa: E402
from benchmarks.finer import paired, read_lines  # noqa: E402
from igos.base.ops import break_ties, smooth, to_grid  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.methods.mask.detail import Walk, near  # noqa: E402
from igos.metrics.curves import Deletion, Insertion, on_cells  # noqa: E402
from igos.metrics.metric import Context, afresh  # noqa: E402
from igos.metrics.randomise import cascade  # noqa: E402
from igos.metrics.statistics import spearman  # noqa: E402
from igos.metrics.transfer import Transfer  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Explanation, Problem  # noqa: E402

DRAWN = 0.5  # of the layers, from the top down
RANDOM = "of random weights"
REACHES = (0.0, 0.05, 0.09, 0.19)
FIRST = "pull, reach 0"
WIDTHS = {"network": 15, "order": 18, "objects": 7, "own": 6, "judge": 6, "like": 6}


def walked(method: Any, problem: Problem) -> tuple[Tensor, Walk]:
    """The masks (1,n,h,w) that a mask method ends at for one explanation, and the walk to them."""
    start = method._start(problem)
    walk = Walk(start, problem.size, pixels=True)
    return method._course(problem, walk, start).masks, walk


def strength(walk: Walk, method: Any) -> Tensor:
    """G|D| on the cells (1,h,w)."""
    assert walk.slope is not None
    return to_grid(near(walk.slope.abs())[:, None], (method.size, method.size))[:, 0]


def orders(masks: Tensor, walk: Walk, method: Any, more: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """The map (h,w) with its emptied cells in each order, and in those of `more` (1,h,w)."""
    weight = method._weight(walk, torch.tensor([0]))
    saliency = (1 - masks.prod(dim=1)) * weight
    cells = method.size**3 * (method.size - 1) / 2  # smooth of a strength s falls off over sqrt(2s / ((h-1) w)) cells
    one_step = float(np.prod(list(method.effective().values())))
    pull = walk.pull.sum(dim=1)
    by = {f"pull, reach {r:g}": smooth(pull, pull.new_tensor(r**2 * cells if r else one_step)) for r in REACHES}
    by |= {"|pull|": by[FIRST].abs(), "G|D|": strength(walk, method), "detail": weight, **(more or {})}
    return {name: break_ties(saliency, order)[0] for name, order in by.items()}


def measure(own: Adapter, o: Object, steps: int) -> dict[str, dict[str, float]]:
    """own, judge and like of each order and of IG-50."""
    method = build_method("iGOS+", {"opt": "NAG"}, read_preset(own.preset))
    ig = build_method("integrated_gradients", {"baseline": "blur", "aggregate": "sum_abs", "n_steps": 50}, {})

    def problem() -> Problem:
        return make_problem(own, o.image, [o.target], seed=0)

    layers, randomised = cascade(own, problem())
    copy = randomised(max(round(DRAWN * len(layers)), 1))
    (masks, walk), (drawn, other) = walked(method, problem()), walked(method, afresh(copy, problem()))
    maps, twins = orders(masks, walk, method, {RANDOM: strength(other, method)}), orders(drawn, other, method)
    (maps["IG-50"],) = (on_cells(e.saliency, method.size) for e in ig(problem()))
    (twins["IG-50"],) = (on_cells(e.saliency, method.size) for e in ig(afresh(copy, problem())))
    made = {}
    asked, context = problem(), Context([o.truth], other=[o.view])
    for name, saliency in maps.items():
        e = Explanation(saliency=saliency.float(), target=o.target, image=o.image, method=name)
        (deleted,), (inserted,), (judged,) = (
            m(asked, [e], context) for m in (Deletion(steps=steps), Insertion(steps=steps), Transfer(steps=steps))
        )
        alike = spearman(saliency.numpy(), twins[name].numpy()) if name in twins else float("nan")
        made[name] = {"own": inserted.value - deleted.value, "judge": judged.value, "like": float(alike)}
    return made


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument(
        "--networks",
        nargs="+",
        default=["nanodet_m_320", "yolox_nano"],
        choices=[n for n, (_, j) in NETWORKS.items() if j],
    )
    parser.add_argument("--split", choices=("tune", "held"), default="tune")
    parser.add_argument("--objects", type=int, default=4, help="of each network (4)")
    parser.add_argument("--steps", type=int, default=10, help="points of the curves (10)")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="what it holds is not measured again")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    kept = {tuple(r["key"]): r["figures"] for r in read_lines(flags.rows)}
    print(table.line({k: k for k in WIDTHS}, WIDTHS))
    rows, told = [], []
    for name in flags.networks:
        made: dict[str, list[dict[str, Any]]] = {}
        for i, o in enumerate(objects(name, flags.split, flags.objects)):
            key = (name, Path(str(o.image.path)).stem, o.target.name, flags.steps)
            if key not in kept:
                kept[key] = measure(network(name), o, flags.steps)
                if flags.rows:
                    with flags.rows.open("a") as file:
                        file.write(json.dumps({"key": key, "figures": kept[key]}) + "\n")
            for order, figures in kept[key].items():
                made.setdefault(order, []).append({**figures, "picture": i})
        for order, figures in made.items():
            known = {k: [f[k] for f in figures if np.isfinite(f[k])] for k in ("own", "judge", "like")}
            means = {k: float(np.mean(v)) if v else None for k, v in known.items()}
            rows.append({"network": name, "order": order, "objects": len(figures), **means})
            print(table.line(rows[-1], WIDTHS), flush=True)
        told += [
            f"{name}: {order} less {FIRST}: " + ", ".join(paired(figures, made[FIRST], k) for k in ("own", "judge"))
            for order, figures in made.items()
            if order != FIRST
        ]
    print("\n".join(told))
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
