"""How good and how cheap are the maps of detectors that answer all their candidates at once?

    python benchmarks/detectors.py                     the networks of ../shared/data, COCO photos kept out of tuning
    python benchmarks/detectors.py --split tune        photos and COCO ids up to 542, which detect-dense was tuned on
    python benchmarks/detectors.py --networks yolox_nano picodet_s_320 --objects 2
    python benchmarks/detectors.py --set iterations=6 sure=true   other numbers than the preset's
    python benchmarks/detectors.py --rows FILE --sheets FOLDER   FILE keeps each object's figures; the maps as pictures
    python benchmarks/detectors.py --brittle           how little moves the score: DEIM beside PicoDet

Each network explains the same objects by iGOS+ and iGOS++ with NAG (its preset), by 50 steps of integrated gradients
and by RISE with 500 masks. An object: the best detection of a photo (score > .4) that is an object of COCO's and that
the judge, another network, sees too; without annotations that the judge sees; a face has no judge. What --rows holds
is not measured again. `images`: the mean over the objects, and `most`: that of any. `ratio`: seconds per image, over
those of one picture through the bare network forward and backward. Curves: 50 steps, blurred substrate. `gain`:
insertion less deletion; `judge` columns are of the same maps on the judge. `mask`: share of the map on the object's
mask, `ap`: average precision of its pixels, of the photos of COCO. Below the table the differences of the first method
from the others, paired over the objects, with 95 % bootstrap intervals.

`--brittle`: of a car and a giraffe the score, the score under noise (standard deviation 0.02) and with the box blurred,
and the share of the logit's gradient that lies in the box.
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.finer import paired, read_lines  # noqa: E402
from benchmarks.quality import DATA, INSTANCES, pictures  # noqa: E402
from igos.base.baselines import baseline  # noqa: E402
from igos.base.untrusted import load_yaml  # noqa: E402
from igos.data.annotations import truths_of  # noqa: E402
from igos.data.truth import Truth, match  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.metrics.curves import Deletion, Insertion  # noqa: E402
from igos.metrics.energy import EnergyMask  # noqa: E402
from igos.metrics.metric import Context  # noqa: E402
from igos.metrics.ranking import MaskAP  # noqa: E402
from igos.metrics.transfer import Transfer  # noqa: E402
from igos.run.explain import explain_problem  # noqa: E402
from igos.run.judge import views  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Image, Problem, Target  # noqa: E402

FILES = DATA / "detectors"
FACE = {"strides": [8, 16, 32, 64], "sides": [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]}
NETWORKS = {  # name -> its family and its judge
    "yolox_nano": ("ONNX yolox", "picodet_s_320"),
    "picodet_s_320": ("ONNX gfl", "yolox_nano"),
    "nanodet_m_320": ("ONNX gfl", "picodet_s_320"),
    "yolov8n": ("Ultralytics", "yolox_nano"),
    "fastestdet": ("ONNX fastestdet", "picodet_s_320"),
    "deimv2_atto_weak": ("ONNX detr", "picodet_s_320"),
    "ultralight_face_rfb320": ("ONNX ssd", None),
}
FACES = (294, 370, 8844)  # photos of COCO with a large face
LEAST = 0.4  # score of an object
BRITTLE = ("network", "object", "score", "noise", "box_blurred", "gradient_in_box")
WIDTHS = {
    "family": 15, "network": 22, "method": 20, "parity": 14, "objects": 7, "images": 6, "most": 4, "seconds": 7,
    "ratio": 5, "deletion": 8, "insertion": 9, "gain": 6, "judge_deletion": 14, "judge_insertion": 15, "judge_gain": 10,
    "mask": 5, "ap": 5,
}  # fmt: skip


@dataclass(frozen=True)
class Object:
    """One detection, what is known of it, and how the judge sees it."""

    image: Image
    target: Target
    truth: Truth | None
    view: Problem | None


@cache
def network(name: str) -> Adapter:
    if name == "yolov8n":
        return igos.adapt(yolov8n(), igos.load("onnx", FILES / "picodet_s_320.onnx").labels)
    more: dict[str, Any] = {"names": ["face"], "decode": FACE} if "face" in name else {}
    return igos.load("onnx", FILES / f"{name}.onnx", **more)


def yolov8n() -> Any:
    """YOLOv8n of Ultralytics (pip install 'igos[ultralytics]')."""
    from detectors.ultralytics import package

    model = package("nn.tasks").DetectionModel("yolov8n.yaml", verbose=False).eval().fuse(verbose=False)
    state = torch.load(FILES / "yolov8n_fused_fp16.pth", weights_only=True)
    model.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
    return model


def objects(name: str, split: str, most: int) -> list[Object]:
    """The first `most` objects of a split that a network sees, one of each photo."""
    own, judge = network(name), NETWORKS[name][1]
    paths = [DATA / "coco" / "images" / f"{i:012d}.jpg" for i in FACES] if judge is None else pictures(split)
    made: list[Object] = []
    for path in paths:
        image = own.read(path)
        seen = own.detect(image, LEAST)
        coco = path.parent == INSTANCES.parent / "images"
        truths = truths_of(str(path), str(INSTANCES)) if coco and judge else []
        twins = [None] * len(seen) if judge is None else views(network(judge), image, seen)
        every = [Object(image, t, match(t, image, truths), v) for t, v in zip(seen, twins, strict=True)]
        fit = [o for o in every if (o.view or judge is None) and (o.truth or not truths)]
        made += fit[:1]
        if len(made) == most:
            break
    return made


METHODS = ("iGOS+ NAG", "iGOS++ NAG", "IG-50", "RISE-500")
PAIRED = ("gain", "judge_gain", "deletion", "insertion", "mask", "ap")


def methods(preset: str, extra: Mapping[str, Any] | None = None) -> Iterator[tuple[str, Any]]:
    """Each of METHODS; extra: settings of the mask methods in place of the preset's."""
    for name in ("iGOS+", "iGOS++"):
        yield f"{name} NAG", build_method(name, {"opt": "NAG", **(extra or {})}, read_preset(preset))
    ig = {"baseline": "blur", "aggregate": "sum_abs", "n_steps": 50}
    yield "IG-50", build_method("integrated_gradients", ig, {})
    yield "RISE-500", build_method("rise", {"grid": 8, "n_masks": 500}, {})


def measure(call: Any, own: Adapter, o: Object, steps: int, seed: int = 0) -> tuple[dict[str, Any], Any]:
    """The figures of an object, NaN where there is none, and its explanation."""
    metrics = (Deletion(steps=steps), Insertion(steps=steps), Transfer(steps=steps), EnergyMask(), MaskAP())
    problem = make_problem(own, o.image, [o.target], seed=seed)
    (e,) = explain_problem(problem, call, metrics, Context([o.truth], other=[o.view]))
    deletion, insertion, transfer, mask, ap = e.scores[-len(metrics) :]
    figures = {
        "images": e.network_images,
        "seconds": e.seconds,
        "deletion": deletion.value,
        "insertion": insertion.value,
        "gain": insertion.value - deletion.value,
        "judge_deletion": transfer.detail["transfer_deletion"],
        "judge_insertion": transfer.detail["transfer_insertion"],
        "judge_gain": transfer.value,
        "mask": mask.value,
        "ap": ap.value,
        "status": e.status,
    }
    return figures, e


def sheet(made: Mapping[str, Any], path: Path, width: int = 320) -> None:
    """The maps of one object side by side, a method's name above each."""
    from PIL import Image as Picture
    from PIL import ImageDraw

    from igos.drawing.figures import explained

    panels = []
    for name, e in made.items():
        drawn = Picture.fromarray(explained(e))
        drawn = drawn.resize((width, round(drawn.height * width / drawn.width)))
        panel = Picture.new("RGB", (width, drawn.height + 16), "white")
        panel.paste(drawn, (0, 16))
        ImageDraw.Draw(panel).text((4, 2), name, fill="black")
        panels.append(panel)
    whole = Picture.new("RGB", (width * len(panels), max(p.height for p in panels)), "white")
    for i, panel in enumerate(panels):
        whole.paste(panel, (width * i, 0))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, quality=85)


def bare(own: Any, image: Image, times: int = 5) -> float:
    """Seconds of one picture forward and backward through the network alone, in batches as the method has them."""
    x = image.pixels.expand(own.batch, -1, -1, -1).clone().requires_grad_(True)
    best = math.inf
    for _ in range(times):
        begin = time.perf_counter()
        with torch.enable_grad():
            torch.autograd.grad(own.raw(own.module, x).logits.sum(), x)
        best = min(best, time.perf_counter() - begin)
    return best / own.batch


def row_of(figures: Sequence[dict[str, Any]], each: float) -> dict[str, Any]:
    """Means over the objects."""
    means: dict[str, Any] = {}
    for key in figures[0].keys() & WIDTHS.keys():
        known = [f[key] for f in figures if f[key] == f[key]]
        means[key] = float(np.mean(known)) if known else None
    ratio = float(np.mean([f["seconds"] / f["images"] for f in figures])) / each
    return {**means, "most": int(max(f["images"] for f in figures)), "ratio": ratio, "objects": len(figures)}


def parity_of(name: str, seen: Sequence[Object]) -> str:
    """How far boxes (px) and scores of the photos' detections lie, at most, from the network's own pipeline."""
    own: Any = network(name)
    if own.oracle is None:
        return "-"
    from detectors.look import differences

    far = [differences(own.oracle(o.image.pixels[None]), [o.target], o.image.geometry.network) for o in seen]
    return f"{max(f[0] for f in far):.2f} px {max(f[1] for f in far):.0e}"


def brittle() -> Iterator[dict[str, Any]]:
    """One row per network and object."""
    for name in ("deimv2_atto_weak", "picodet_s_320"):
        own = network(name)
        for photo, what in (("darknet_dog.jpg", "car"), ("darknet_giraffe.jpg", "giraffe")):
            image = own.read(DATA / "photos" / photo)
            target = next(t for t in own.detect(image, LEAST) if t.name == what)
            x, inside = image.pixels[None], torch.zeros(1, 1, *image.pixels.shape[1:])
            assert target.box is not None
            x1, y1, x2, y2 = (int(v) for v in target.box)
            inside[..., y1 : y2 + 1, x1 : x2 + 1] = 1
            noise = 0.02 * torch.randn(x.shape, generator=torch.Generator().manual_seed(0))
            hidden = x + (baseline("blur", x) - x) * inside
            with torch.no_grad():
                scores = own.scorer([target])(torch.cat([x, (x + noise).clamp(0, 1), hidden])[None])[0].tolist()
            asked = x.clone().requires_grad_(True)
            with torch.enable_grad():
                logit = own.scorer([target], "logit").forward(asked, torch.tensor([0])).sum()
                (g,) = torch.autograd.grad(logit, asked)
            share = float((g.abs() * inside).sum() / g.abs().sum())
            yield {"network": name, "object": what, **dict(zip(BRITTLE[2:5], scores, strict=True)), BRITTLE[5]: share}


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--split", choices=("tune", "held"), default="held")
    parser.add_argument("--objects", type=int, default=3, help="of each network (3)")
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--preset", help="of the mask methods (the network's own)")
    parser.add_argument("--set", nargs="*", default=[], help="settings of the mask methods, KEY=VALUE")
    parser.add_argument("--steps", type=int, default=50, help="points of the curves (50)")
    parser.add_argument("--rows", metavar="FILE", type=Path, help="what it holds is not measured again")
    parser.add_argument("--sheets", metavar="FOLDER", type=Path, help="draw the maps of each object side by side")
    parser.add_argument("--markdown", metavar="FILE", type=Path, help="also put the table into FILE, between its marks")
    parser.add_argument("--brittle", action="store_true", help="how little moves the score")
    flags = parser.parse_args()
    torch.set_num_threads(flags.threads)
    table.ready("detectors", flags.markdown)
    if not FILES.exists():
        raise SystemExit(f"real data missing: {FILES}")
    if flags.brittle:
        cells = [[table.cell(v) for v in r.values()] for r in brittle()]
        print(table.markdown([k.replace("_", " ") for k in BRITTLE], cells))
        return
    rows: list[dict[str, Any]] = []
    told: list[str] = []
    extra = {key: load_yaml(value) for key, _, value in (item.partition("=") for item in flags.set)}
    kept = {tuple(r["key"]): r["figures"] for r in read_lines(flags.rows)}
    print(table.line({k: k for k in WIDTHS}, WIDTHS))
    for name in flags.networks:
        own, seen = network(name), objects(name, flags.split, flags.objects)
        each = bare(own, seen[0].image)
        head = {"family": NETWORKS[name][0], "network": name, "parity": parity_of(name, seen)}
        made: dict[str, list[dict[str, Any]]] = {}
        maps: list[dict[str, Any]] = [{} for _ in seen]
        for method, call in methods(flags.preset or own.preset, extra):
            if method not in flags.methods:
                continue
            for i, o in enumerate(seen):
                key = (name, repr(call), Path(str(o.image.path)).stem, o.target.name, flags.steps, 0)
                if key not in kept or flags.sheets:
                    kept[key], maps[i][method] = measure(call, own, o, flags.steps)
                    if flags.rows:
                        with flags.rows.open("a") as file:
                            file.write(json.dumps({"key": key, "figures": kept[key]}) + "\n")
                made.setdefault(method, []).append({**kept[key], "picture": i})
            row = {**head, "method": method, **row_of(made[method], each)}
            rows.append({**row, "each": made[method]})
            print(table.line(row, WIDTHS), flush=True)
        if flags.sheets:
            for o, of in zip(seen, maps, strict=True):
                sheet(of, flags.sheets / f"{name}-{Path(str(o.image.path)).stem}.jpg")
        first, *others = made.items()
        for method, figures in others:
            differences = ", ".join(paired(first[1], figures, k) for k in PAIRED)
            told.append(f"{name}: {first[0]} less {method}: {differences}")
            print(told[-1], flush=True)
    cells = [[table.cell(row.get(k)) for k in WIDTHS] for row in rows]
    table.place(flags.markdown, "detectors", table.markdown([k.replace("_", " ") for k in WIDTHS], cells))
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
