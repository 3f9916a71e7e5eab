"""How busy is the GPU? Seconds per object, the ratio to the bare network, idle time, memory, and what levers change.

    python benchmarks/gpu.py --minutes 8 --place docs/speed.md
    python benchmarks/gpu.py --device cpu --quick

ways       float32 (TF32 off), TF32, bfloat16 (`--precision bfloat16`), compile (torch.compile of the score), graphs
           (forward and backward of a full batch as one CUDA graph), batch 8 (else a batch fills half of the free
           memory), mixed (the objects of several pictures in one call, as --mix_images has them)
s_object   the whole method, iGOS++ with its preset's steps, a fourth of them where a network is large; fastest round
ratio      to forward and backward of the bare network (benchmarks/speed.py) on as many pictures, in the same way
speedup    to float32
idle       the share of the method's time in which no kernel runs, by torch.profiler
peak_mb    the device's largest allocation; on the CPU the process's memory
corr       the least correlation of an object's map with that of float32
Then whole runs without pictures of the results, by the bundled detector and classifier: one reader thread, --readers 2
and --mix_images; network and waiting are shares of the time.

Random weights, norms set by one pass over noise: speed does not depend on them. What is not had or fails is a line.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models import get_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import igos  # noqa: E402
from benchmarks import table  # noqa: E402
from benchmarks.speed import bare_network, clock, peak_memory  # noqa: E402
from detectors.darknet import Darknet, parse_cfg  # noqa: E402
from detectors.onestage import build as one_stage  # noqa: E402
from detectors.rcnn_files import build as rcnn  # noqa: E402
from igos.base import resources  # noqa: E402
from igos.data.expected import expected  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.results.folder import RunFolder  # noqa: E402
from igos.run.cells import cells_of  # noqa: E402
from igos.run.drive import drive  # noqa: E402
from igos.run.models import load_models, pick_model  # noqa: E402
from igos.run.plan import resolve  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.run.workers.engines import Local  # noqa: E402
from igos.run.workers.worker import Worker  # noqa: E402
from igos.types import DTYPES, Adapter, Explanation, Image, Problem, Scorer, Target  # noqa: E402

WIDTHS = {
    "model": 12, "way": 9, "objects": 7, "images": 6, "batch": 5, "s_object": 8, "ratio": 6, "speedup": 7, "idle": 6,
    "peak_mb": 9, "corr": 6,
}  # fmt: skip
RUNS = {"model": 14, "way": 14, "explained": 9, "s_object": 8, "network": 7, "waiting": 7}
WAYS = ("float32", "TF32", "bfloat16", "compile", "graphs", "batch 8", "mixed")
PICTURES = 4  # whose objects share calls in the way "mixed"; each has as many objects as MODELS says
QUICK = 64  # px


@dataclass(frozen=True)
class Model:
    """side -> an adapter; the side in px; objects of a picture; whether a fourth of the preset's steps are timed."""

    load: Callable[[int, torch.device], Adapter]
    side: int
    objects: int
    large: bool


def settled(module: nn.Module, network: nn.Module) -> dict[str, Tensor]:
    """The state of a module with random weights whose norms (of `network`, within it) one pass over noise has set."""
    for m in module.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
    with torch.no_grad():
        network.train()(torch.randn(2, 3, 160, 160))
    return {k: v for k, v in module.eval().state_dict().items() if "tracked" not in k}


def torchvision_detector(name: str, build: Callable[[str, int], Any]) -> Callable[[int, torch.device], Adapter]:
    def load(side: int, device: torch.device) -> Adapter:
        fresh: Any = get_model(name, weights=None, weights_backbone=None)
        module = build(name, 91)
        module.load_state_dict(settled(fresh, fresh.backbone))
        module.transform.min_size, module.transform.max_size = (side,), side
        return igos.adapt(module, [f"class {i}" for i in range(91)], device)

    return load


def yolov3(side: int, device: torch.device) -> Adapter:
    cfg = Path(resources.folder("configs")) / "yolov3-spp.cfg"
    module = Darknet(parse_cfg(cfg), cfg)
    module.load_state_dict(settled(module, module), strict=False)
    return igos.adapt(module, [f"class {i}" for i in range(80)], device, input_size=side)


def yolov8n(side: int, device: torch.device) -> Adapter:
    from ultralytics import YOLO  # AGPL-3.0: only where it is installed

    return igos.adapt(YOLO("yolov8n.yaml"), device=device)


def resnet50(side: int, device: torch.device) -> Adapter:
    module = get_model("resnet50", weights=None)
    module.load_state_dict(settled(module, module), strict=False)
    return igos.adapt(module, [f"class {i}" for i in range(1000)], device, crop=side)


MODELS = {
    "mask-rcnn": Model(torchvision_detector("maskrcnn_resnet50_fpn", rcnn), 800, 2, True),
    "retinanet": Model(torchvision_detector("retinanet_resnet50_fpn", one_stage), 800, 2, True),
    "yolov3-spp": Model(yolov3, 512, 2, True),
    "yolov8n": Model(yolov8n, 640, 2, False),
    "resnet50": Model(resnet50, 224, 1, False),
}


@dataclass(frozen=True)
class Case:
    """A loaded model, PICTURES pictures of noise in squares, the targets of each, and the method."""

    name: str
    adapter: Adapter
    pictures: list[tuple[Image, list[Target]]]
    method: Any


def case_of(name: str, device: torch.device, quick: bool) -> Case:
    torch.manual_seed(0)
    model = MODELS[name]
    side = QUICK if quick else model.side
    adapter = model.load(side, device)
    own = read_preset(adapter.preset)
    usual = build_method("iGOS++", {}, own)
    steps = 1 if quick else max(usual.iterations // (4 if model.large else 1), 1)
    method = build_method("iGOS++", {"iterations": steps, "sure": False}, own)
    pictures = []
    for n in range(2 if quick else PICTURES):
        squares = np.random.default_rng(n).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        image = adapter.read(squares.repeat(side // 8, axis=0).repeat(side // 8, axis=1))
        pictures.append((image, targets_in(adapter, image, model.objects)))
    return Case(name, adapter, pictures, method)


def targets_in(adapter: Adapter, image: Image, count: int) -> list[Target]:
    """The best classes, of a classifier; else what stands for objects at `count` places, whatever is seen there."""
    if adapter.default_target == "top1":
        return adapter.detect(image, 0.0)[:count]
    height, width = image.geometry.source
    boxes = [((0.1 + 0.2 * n) * width, 0.2 * height, (0.5 + 0.2 * n) * width, 0.8 * height) for n in range(count)]
    return [expected(adapter, image, adapter.labels[1 + n], box, 0.0) for n, box in enumerate(boxes)]


@contextmanager
def tf32(on: bool) -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = on
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


def problem_of(case: Case, way: str) -> Problem:
    """The objects of one picture, or of all in the way "mixed", the score set up in that way."""
    pictures = case.pictures if way == "mixed" else case.pictures[:1]
    images = [image for image, targets in pictures for _ in targets]
    targets = [t for _, targets in pictures for t in targets]
    problem = make_problem(
        case.adapter,
        images,
        targets,
        batch=8 if way == "batch 8" else None,
        precision="bfloat16" if way == "bfloat16" else "float32",
    )
    if way == "compile":
        problem.score.forward = torch.compile(problem.score.forward)
    if way == "graphs":
        as_graph(problem.score, problem.x)
    return problem


def as_graph(score: Scorer, x: Tensor) -> None:
    """Full batches of the score go through one CUDA graph of forward and backward. Raises RuntimeError where the
    network cannot be recorded, as one that asks for values on the CPU.
    """
    if x.device.type != "cuda":
        raise RuntimeError("CUDA graphs need a CUDA device")
    work, n = score._with_gradient, score.batch
    pictures, rows = x[:1].expand(n, -1, -1, -1).clone(), torch.arange(n, device=x.device) % score.targets
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            work(pictures, rows)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        scores, g = work(pictures, rows)

    def replayed(given: Tensor, of: Tensor) -> tuple[Tensor, Tensor]:
        if len(given) != n:
            return work(given, of)
        pictures.copy_(given)
        rows.copy_(of)
        graph.replay()
        return scores.clone(), g.clone()

    score._with_gradient = replayed  # type: ignore[method-assign]


def idle(work: Callable[[], Any], device: torch.device) -> float | None:
    """The share of the time of work() in which no kernel runs; None on the CPU."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        seconds = clock(work, device)
    spans = sorted(
        (e.time_range.start, e.time_range.end) for e in seen.events() if e.device_type == torch.autograd.DeviceType.CUDA
    )
    busy = end = 0.0
    for begin, stop in spans:
        busy += max(stop - max(begin, end), 0.0)
        end = max(end, stop)
    return max(1 - busy / 1e6 / seconds, 0.0)


def correlation(a: Explanation, b: Explanation) -> float:
    """1 of equal maps, flat ones too; NaN where one alone is flat."""
    if torch.equal(a.heat, b.heat):
        return 1.0
    return float(np.corrcoef(a.heat.flatten(), b.heat.flatten())[0, 1])


def measure(case: Case, way: str, known: list[Explanation], device: torch.device, rounds: int) -> dict[str, Any]:
    """A row of the table. known: the maps of float32, which this way makes where there are none."""
    with tf32(way == "TF32"):
        problem = problem_of(case, way)
        before = problem.score.forward_images.sum()
        made = case.method(problem)  # once, so that what is compiled is compiled
        images = int(problem.score.forward_images.sum() - before)
        bare, ours, peak = [], [], 0.0
        for _ in range(rounds):
            dtype = DTYPES["bfloat16" if way == "bfloat16" else "float32"]
            with torch.autocast(device.type, dtype, enabled=way == "bfloat16"):
                bare.append(clock(lambda: bare_network(problem, images), device))
            with peak_memory(device) as seen:
                ours.append(clock(lambda: case.method(problem), device))
            peak = max(peak, seen[0])
        share = idle(lambda: case.method(problem), device)
    known += [] if known else made
    return {
        "model": case.name, "way": way, "objects": len(made), "images": images, "batch": problem.score.batch,
        "s_object": min(ours) / len(made), "ratio": min(ours) / min(bare), "idle": share, "peak_mb": peak,
        "corr": min(correlation(a, b) for a, b in zip(known, made, strict=False)),
    }  # fmt: skip


def whole_run(name: str, way: str, device: str, pictures: int) -> dict[str, Any]:
    """A run of the bundled model over scenes, without pictures of its results."""
    flags: dict[str, Any] = {"readers 2": {"readers": 2}, "mix_images": {"mix_images": True}}.get(way, {})
    scenes = sorted((resources.folder("samples")).glob("scene-*.png"))[:pictures]
    given = {"model": name, "data": [str(s) for s in scenes], "target": "top1", "metrics": ["none"], "device": device}
    flags, preset = pick_model({**given, **flags})
    plan = resolve(flags, preset)
    adapter, _ = load_models(plan.run)
    worker = Worker(cells_of(plan), adapter, draw=False)
    with tempfile.TemporaryDirectory() as folder:
        out = RunFolder(Path(folder) / "out", {})
        out.write_run({})
        shares = drive(cells_of(plan), Local(worker), out, progress=False)
        explained = out.tally.explanations
    return {
        "model": name, "way": way, "explained": explained, "s_object": shares.seconds / explained,
        "network": shares.network / shares.seconds, "waiting": shares.waited / shares.seconds,
    }  # fmt: skip


def told(make: Callable[[], dict[str, Any]], widths: dict[str, int], rows: list[dict[str, Any]], what: str) -> None:
    """One more row, shown at once; or why there is none."""
    try:
        rows.append(make())
        print(table.line(rows[-1], widths), flush=True)
    except Exception as error:  # the other ways are measured all the same
        print(f"{what}: not had ({type(error).__name__}: {' '.join(str(error).split())[:160]})", flush=True)


def main(words: list[str] | None = None) -> list[dict[str, Any]]:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), metavar="WAY", help=", ".join(WAYS))
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=8.0, help="time box (8)")
    parser.add_argument("--pictures", type=int, default=16, help="of each whole run (16; 0: no runs)")
    parser.add_argument("--quick", action="store_true", help="64 px, one step, one round: whether it runs at all")
    parser.add_argument("--place", type=Path, metavar="FILE", help="write the table between the marks `gpu` of FILE")
    flags = parser.parse_args(words)
    table.ready("gpu", flags.place)
    torch.set_num_threads(flags.threads)
    device, end, rows, runs = torch.device(flags.device), time.monotonic() + 60 * flags.minutes, [], []
    card = torch.cuda.get_device_name(device) if device.type == "cuda" else table.header(0)["machine"]["cpu"]
    print(f"{card}, torch {torch.__version__}")
    print(" ".join(k.ljust(w) if k in ("model", "way") else k.rjust(w) for k, w in WIDTHS.items()), flush=True)
    for name in flags.models:
        case, known = None, list[Explanation]()
        for way in dict.fromkeys(("float32", *flags.ways)):
            if time.monotonic() > end:
                print(f"{name}, {way}: not measured (time)", flush=True)
                continue
            try:
                case = case or case_of(name, device, flags.quick)
            except Exception as error:  # a package that is not there, or no memory for the network
                print(f"{name}: not had ({type(error).__name__}: {' '.join(str(error).split())[:160]})", flush=True)
                break
            rounds = 1 if flags.quick else flags.rounds
            told(lambda c=case, w=way, k=known, r=rounds: measure(c, w, k, device, r), WIDTHS, rows, f"{name}, {way}")
        del case
    usual = {row["model"]: row["s_object"] for row in rows if row["way"] == "float32"}
    for row in rows:
        row["speedup"] = usual[row["model"]] / row["s_object"] if row["model"] in usual else None
    if flags.pictures:
        print("\n" + " ".join(k.ljust(w) if k in ("model", "way") else k.rjust(w) for k, w in RUNS.items()))
        for name in ("emblem-m-rcnn", "emblem-vgg"):
            for way in ("", "readers 2", "mix_images"):
                if time.monotonic() < end:
                    make = lambda n=name, w=way: whole_run(n, w, flags.device, flags.pictures)  # noqa: E731
                    told(make, RUNS, runs, f"{name}, {way}")
    made = ((WIDTHS, rows), (RUNS, runs))
    tables = [table.markdown(list(w), [[table.cell(r.get(k)) for k in w] for r in part]) for w, part in made if part]
    first = f"{card}, torch {torch.__version__}, `python benchmarks/gpu.py`:"
    table.place(flags.place, "gpu", "\n\n".join([first, *tables]))
    table.write_json(flags.json, {**table.header(0), "device": card}, [*rows, *runs])
    return [*rows, *runs]


if __name__ == "__main__":
    main()
