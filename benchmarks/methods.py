"""Every method on every kind of model: what its map shows, whether it is complete, and what it costs.

    python benchmarks/methods.py                               30 minutes; an object more of each model as there is time
    python benchmarks/methods.py --models emblem-vgg --minutes 8
    python benchmarks/methods.py --page docs/comparison.md     and put the tables between this page's marks

Models: the bundled ones on scenes with planted evidence (detectors) and on single bodies (classifiers), both of series
3, which nothing was trained or tuned on; SqueezeNet on real photos, where ../shared/data is there, on which evidence is
not known (its patterns are fitted on 40 other photos). The best target of each picture; maps of 28 x 28 cells; `random`
maps are the floor. A method that cannot serve a model is named with its reason. `complete` is the completeness error
|sum of the attribution - change of the score| / |change of the score| along the method's own path, the median over
objects, of the methods that are complete by their theory; the other figures are means. Curves: 25 steps, blurred
substrate. exp_grad and gradient_shap compare with 50 generated pictures. What does not fit in --minutes is left out, a
whole round at a time: two objects of each bundled model and a photo. Every row tells how many objects it is of.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.floor import Prior  # noqa: E402
from benchmarks.photos import DATA, photos, squeezenet  # noqa: E402
from igos.data.coco import write  # noqa: E402
from igos.data.emblems import CLASSES, label, scene  # noqa: E402
from igos.data.truth import FILE, scene_truth  # noqa: E402
from igos.methods import METHODS  # noqa: E402
from igos.methods.map_method import BY_THEORY  # noqa: E402
from igos.results.folder import RunFolder  # noqa: E402
from igos.run.evaluate import evaluate  # noqa: E402
from igos.run.plan import Plan, resolve_each  # noqa: E402
from igos.types import Adapter, ConfigError, ImageError  # noqa: E402

SERIES, PIXELS = 3, 160
MARK = "methods"
METRICS = ("deletion", "insertion", "evidence_share", "evidence_pointing")
WIDTHS = {
    "model": 17, "method": 28, "deletion": 8, "insertion": 9, "share": 6, "hit": 6, "complete": 8, "images": 6,
    "seconds": 7, "objects": 7,
}  # fmt: skip
SHOWN = {
    "share": "evidence_share", "hit": "evidence_pointing", "complete": "completeness_error", "images": "network_images",
}  # fmt: skip

KINDS = {  # of models, for the short table
    "classifiers": ("emblem-vgg", "emblem-resnet"),
    "detectors": ("emblem-m-rcnn", "emblem-yolov3spp"),
    "photos": ("squeezenet1_0",),
}


@dataclass(frozen=True)
class Subject:
    """A model, the pictures (path, name) that it is asked about, and how many of them come in one round."""

    adapter: Adapter
    pictures: Iterator[tuple[str, str]]
    pace: int


def drawn(folder: Path, count: int, single: bool) -> list[tuple[str, str]]:
    """Scenes of the series, or its single bodies that are of a class, with their truth beside them."""
    folder.mkdir(parents=True)
    series = (scene(SERIES, index, PIXELS, single) for index in range(10_000))
    shown = islice((s for s in series if not single or label(s) < len(CLASSES)), count)
    made: list[tuple[str, Any]] = []
    for index, s in enumerate(shown):
        made.append((f"{index:04}.png", scene_truth(s)))
        PIL.Image.fromarray(s.picture()).save(folder / made[-1][0])
    write(folder / FILE, CLASSES, made, PIXELS)
    return [(str(folder / name), name.removesuffix(".png")) for name, _ in made]


def bundled(name: str, single: bool) -> Callable[[Path, int], Subject]:
    return lambda place, count: Subject(igos.load(name), iter(drawn(place / name, count, single)), 2)


def real(place: Path, count: int) -> Subject:
    return Subject(squeezenet(place), ((str(p), p.stem) for p in photos()[:count]), 1)


MODELS: dict[str, Callable[[Path, int], Subject]] = {
    "emblem-vgg": bundled("emblem-vgg", True),
    "emblem-resnet": bundled("emblem-resnet", True),
    "emblem-m-rcnn": bundled("emblem-m-rcnn", False),
    "emblem-yolov3spp": bundled("emblem-yolov3spp", False),
    "squeezenet1_0": real,
}


def serving(adapter: Adapter, methods: list[str], first: tuple[str, str], folder: RunFolder) -> list[Plan]:
    """The plans of the methods that serve the model, tried on its first picture; of the others why they do not."""
    plans = []
    for name in methods:
        given = {"model": adapter.name, "target": "top1", "metrics": list(METRICS), "data": [first[0]]}
        given["set"] = ["deletion.steps=25", "insertion.steps=25"]
        try:
            (plan,) = resolve_each([name], given, adapter.preset)
            evaluate([plan], adapter, folder, progress=False, pictures=[first])
            plans.append(plan)
        except ConfigError as error:
            print(f"{adapter.name}: {' '.join(str(error).split())}", flush=True)
    if not plans:
        raise SystemExit(f"{adapter.name}: no method serves")
    floor = replace(plans[0], method=Prior("random"))
    evaluate([floor], adapter, folder, progress=False, pictures=[first])
    return [*plans, floor]


def figures(model: str, rows: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The means of each method over its objects."""
    complete = {name for name, method in METHODS.items() if method.complete in BY_THEORY}
    for method in dict.fromkeys(r["method"] for r in rows if r["folder"]):
        own = [r for r in rows if r["method"] == method and r["folder"]]
        means: dict[str, Any] = {"model": model, "method": method, "objects": len(own)}
        for key in WIDTHS:
            if key not in means:
                known = [r[SHOWN.get(key, key)] for r in own if r.get(SHOWN.get(key, key)) is not None]
                means[key] = float((np.median if key == "complete" else np.mean)(known)) if known else None
        means["complete"] = means["complete"] if method in complete else None
        yield {**means, "images": round(means["images"] or 0)}


def mean(values: Sequence[float | None]) -> str:
    known = [v for v in values if v is not None]
    return f"{sum(known) / len(known):.2f}" if known else "-"


def by_model(rows: Sequence[Mapping[str, Any]]) -> str:
    """A table of each model."""
    made = []
    for model in dict.fromkeys(r["model"] for r in rows):
        own = [r for r in rows if r["model"] == model]
        keys = [k for k in WIDTHS if k not in ("model", "objects") and any(r[k] is not None for r in own)]
        cells = ([table.cell(r[k]) for k in keys] for r in own)
        made += [f"## {model}", f"{max(r['objects'] for r in own)} objects.", table.markdown(keys, cells)]
    return "\n\n".join(made)


def by_kind(rows: Sequence[Mapping[str, Any]]) -> str:
    """One table: the means over the models of a kind."""
    shown = {r["model"] for r in rows}
    kinds = {kind: models for kind, models in KINDS.items() if shown.intersection(models)}
    head, cells = ["method", "images"], []
    for kind in kinds:
        head += [f"{kind}: ins - del", *([f"{kind}: evidence"] if kind != "photos" else [])]
    for method in sorted({r["method"] for r in rows}, key=[*METHODS, "random"].index):
        own = [r for r in rows if r["method"] == method]
        line = [method, str(max(r["images"] for r in own))]
        for kind, models in kinds.items():
            of = [r for r in own if r["model"] in models]
            line.append(mean([r["insertion"] - r["deletion"] for r in of]))
            line += [mean([r["share"] for r in of])] if kind != "photos" else []
        cells.append(line)
    return table.markdown(head, cells)


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=[m for m in MODELS if "emblem" in m])
    parser.add_argument("--only", nargs="+", default=list(METHODS), help="only these methods")
    parser.add_argument("--without", nargs="+", default=[], help="not these methods")
    parser.add_argument("--objects", type=int, default=30, help="at most so many of each model (30)")
    parser.add_argument("--minutes", type=float, default=30.0, help="time box (30)")
    parser.add_argument("--page", type=Path, metavar="FILE", help="put the tables between this file's marks")
    flags = parser.parse_args()
    table.ready(MARK, flags.page)
    torch.set_num_threads(flags.threads)
    begin, rows = time.monotonic(), []
    end = begin + 60 * flags.minutes
    methods = [name for name in flags.only if name not in flags.without]
    names = [*flags.models, *(["squeezenet1_0"] if DATA.exists() and len(flags.models) == 4 else [])]
    with tempfile.TemporaryDirectory() as place:
        subjects = {name: MODELS[name](Path(place), flags.objects) for name in dict.fromkeys(names)}
        folders = {name: RunFolder(Path(place) / "runs" / name) for name in subjects}
        plans = {n: serving(s.adapter, methods, next(s.pictures), folders[n]) for n, s in subjects.items()}
        longest = time.monotonic() - begin
        for _ in range(flags.objects - 1):
            begin = time.monotonic()
            if begin + longest > end:
                break
            for name, subject in subjects.items():
                for picture in islice(subject.pictures, subject.pace):
                    with suppress(ConfigError, ImageError):  # nothing is seen in it: another time
                        evaluate(plans[name], subject.adapter, folders[name], progress=False, pictures=[picture])
            longest = max(longest, time.monotonic() - begin)
        for name, folder in folders.items():
            rows += figures(name, folder.rows)
    print(" ".join(k.ljust(w) if k in ("model", "method") else k.rjust(w) for k, w in WIDTHS.items()))
    for row in rows:
        print(table.line(row, WIDTHS))
    made = ["## By kind of network", by_kind(rows), by_model(rows)]
    table.place(flags.page, MARK, "\n\n".join([f"    {table.header(0)['command']}", *made]))
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
