"""How near to the bare network? Our time per image as a ratio to the floor, and to the loop that people write.

    python benchmarks/speed.py
    python benchmarks/speed.py --models f-rcnn --device cuda

floor   forward and backward to the pictures of the same network in its best known form (channels_last, norms folded, no
        gradients of parameters, R-CNN without RPN and mask head, only the heads and levels that the targets need) on
        as many pictures, cut into the same batches
ours    the whole method, with all that it does beside the network
plain   the loop of the authors' scripts: norms unfolded, contiguous, parameters with gradients, autograd through the
        blend, every head and level, one object at a time; timed on fewer pictures and scaled
outside the share of our seconds that the network does not take; another clock than ratio's, and steadier
objects as many as fill the batch at which the floor is fastest, and 1 beside it
peak_mb the process's largest memory while ours ran (CPU), or the device's own

Floor, ours and plain take turns. What counts is the median over --rounds, of seconds and of the quotients in a round: a
machine is now a tenth faster, now slower, and the fastest floor and the fastest of ours are of different moments. All
three run in a process that keeps what memory is freed, as igos' commands do (igos/base/memory.py); --usual_memory: as
Python has it.
"""

from __future__ import annotations

import copy
import gc
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import truediv
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import get_model

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import table  # noqa: E402
from detectors.darknet import Darknet, parse_cfg  # noqa: E402
from detectors.rcnn import RCNNAdapter  # noqa: E402
from detectors.rcnn_files import build  # noqa: E402
from detectors.yolov3 import YOLOAdapter  # noqa: E402
from igos.base.memory import keep_freed  # noqa: E402
from igos.methods import build_method  # noqa: E402
from igos.run.presets import read_preset  # noqa: E402
from igos.run.problem import make_problem  # noqa: E402
from igos.types import Adapter, Image, Problem, Target  # noqa: E402

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WIDTHS = {
    "model": 16, "method": 8, "device": 6, "objects": 7, "images": 6, "floor_s": 8, "ours_s": 8, "ratio": 6,
    "outside": 7, "plain_s": 8, "speedup": 7, "peak_mb": 8,
}  # fmt: skip
BATCHES = (1, 2, 4, 8, 16)
STEPS = {"yolo-fastest-xl": 12, "f-rcnn": 3}  # mask steps that are timed: the preset's own, a quarter of them
Score = Callable[[Tensor, Target], Tensor]


@dataclass(frozen=True)
class Case:
    """An adapter, a picture with targets, and the score of one target as a plain script computes it."""

    adapter: Adapter
    image: Image
    targets: list[Target]
    plain: Score


def yolo_fastest(device: torch.device) -> Case:
    """Yolo-Fastest-1.1-xl at 320 px on a photo, its weights read twice: folded for us, as they are for the loop."""
    stem = DATA / "yolo-fastest" / "yolo-fastest-1.1-xl"
    if not Path(f"{stem}.weights").exists():
        raise SystemExit(f"real data missing: {stem}.weights")
    networks = [Darknet(parse_cfg(f"{stem}.cfg"), f"{stem}.cfg") for _ in range(2)]
    for network in networks:
        network.load_weights(f"{stem}.weights")
    labels = [f"class {i}" for i in range(networks[0].classes)]
    adapter = YOLOAdapter(networks[0], labels, size=(320, 320), device=device)
    bare = networks[1].eval().to(device)
    image = adapter.read(DATA / "photos" / "darknet_dog.jpg")

    def score(pictures: Tensor, target: Target) -> Tensor:
        row = bare(pictures)[:, target.index or 0]
        return row[:, 4].sigmoid() * row[:, 5 + target.label].sigmoid()

    return Case(adapter, image, adapter.detect(image, 0.02), score)


def faster_rcnn(device: torch.device) -> Case:
    """Faster R-CNN ResNet-50 at 400 px with random weights, its norms set by one pass over noise."""
    torch.manual_seed(0)
    fresh: Any = get_model("fasterrcnn_resnet50_fpn", weights=None, weights_backbone=None)
    for m in fresh.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.momentum = None
    with torch.no_grad():
        fresh.train().backbone(torch.randn(2, 3, 160, 160))
    bare = build("fasterrcnn_resnet50_fpn", 91)
    bare.load_state_dict({k: v for k, v in fresh.state_dict().items() if "tracked" not in k})
    bare.transform.min_size, bare.transform.max_size = (400,), 400
    adapter = RCNNAdapter(copy.deepcopy(bare), [f"class {i}" for i in range(91)], device=device)
    bare = bare.eval().to(device)
    bare.roi_heads.box_roi_pool = adapter.module.roi_heads.box_roi_pool
    rgb = np.random.default_rng(0).integers(0, 256, (25, 25, 3), dtype=np.uint8).repeat(16, axis=0).repeat(16, axis=1)
    image = adapter.read(rgb)
    corners = torch.tensor([[60.0, 40], [20, 150], [150, 90], [200, 10]])
    sides = torch.tensor([[90.0, 120], [200, 160], [240, 300], [50, 60]])
    boxes = torch.cat([corners, corners + sides], dim=1)
    targets = [Target(1 + i, f"class {1 + i}", 0.5, box) for i, box in enumerate(boxes)]

    def score(pictures: Tensor, target: Target) -> Tensor:
        assert target.box is not None
        x = bare.transform.normalize(pictures)
        right, below = (-side % 32 for side in (x.shape[-1], x.shape[-2]))
        features = bare.backbone(F.pad(x, (0, right, 0, below)))
        boxes = [target.box[None].to(x)] * len(x)
        pooled = bare.roi_heads.box_roi_pool(features, boxes, [tuple(x.shape[-2:])] * len(x))
        logits, _ = bare.roi_heads.box_predictor(bare.roi_heads.box_head(pooled))
        return logits.softmax(-1)[:, target.label]

    return Case(adapter, image, targets, score)


MODELS: dict[str, Callable[[torch.device], Case]] = {"yolo-fastest-xl": yolo_fastest, "f-rcnn": faster_rcnn}


def clock(work: Callable[[], Any], device: torch.device, now: Callable[[], float] = time.perf_counter) -> float:
    begin = now()
    work()
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return now() - begin


def bare_network(problem: Problem, images: int) -> None:
    """Forward and backward of `images` pictures in the scorer's batches, and nothing else."""
    score, left = problem.score, images
    x = problem.x[:1].expand(score.batch, -1, -1, -1).contiguous(memory_format=torch.channels_last)
    rows = torch.arange(score.batch, device=x.device) % score.targets
    while left > 0:
        n = min(left, score.batch)
        pictures = x[:n].detach().requires_grad_(True)
        torch.autograd.grad(score.forward(pictures, rows[:n]).sum(), pictures)
        left -= n


def plain_loop(case: Case, problem: Problem, size: int, path: int, steps: int) -> int:
    """iGOS++ as a script: for each step and term blend, score and backward; answers the pictures pushed."""
    target, x, x0 = problem.targets[0], problem.x[:1], problem.x0[:1]
    masks = [torch.ones(1, 1, size, size, device=x.device, requires_grad=True) for _ in range(2)]
    images = 0
    for _ in range(steps):
        up = [F.interpolate(m, size=problem.size, mode="bilinear", align_corners=True) for m in masks]
        for keep, insert in ((up[0], False), (up[1], True), (up[0] * up[1], False), (up[0] * up[1], True)):
            t = ((torch.arange(path, device=x.device) + 1) / path)[:, None, None, None]
            a, b = (x0, x) if insert else (x, x0)
            scores = case.plain(a * (t * keep) + b * (1 - t * keep), target)
            (-scores if insert else scores).mean().backward(retain_graph=True)
            images += path
        for m in masks:
            with torch.no_grad():
                m.copy_((m - 0.01 * m.grad).clamp(0, 1))
                m.grad = None
    return images


@contextmanager
def peak_memory(device: torch.device) -> Iterator[list[float]]:
    """[MB]: the largest resident memory of the process, or the device's largest allocation, while this lasts."""
    found = [0.0]
    if device.type != "cpu":
        torch.cuda.reset_peak_memory_stats()
        yield found
        found[0] = torch.cuda.max_memory_allocated() / 2**20
        return
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.01):
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            found[0] = max(found[0], pages * 4096 / 2**20)

    gc.collect()
    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield found
    finally:
        done.set()
        thread.join()


def best_batch(case: Case, device: torch.device, now: Callable[[], float]) -> int:
    """The number of pictures at once at which the bare network is fastest per picture."""
    times = {}
    for n in BATCHES:
        problem = make_problem(case.adapter, case.image, case.targets[:1], batch=n)
        bare_network(problem, n)
        times[n] = clock(lambda p=problem, n=n: bare_network(p, n), device, now) / n  # type: ignore[misc]
    return min(times, key=lambda n: times[n])


def measure(
    case: Case,
    name: str,
    method: Any,
    objects: int,
    batch: int,
    device: torch.device,
    rounds: int,
    now: Callable[[], float],
) -> dict[str, Any]:
    targets = [case.targets[i % len(case.targets)] for i in range(objects)]
    problem = make_problem(case.adapter, case.image, targets, batch=batch)
    method(problem)
    images = int(problem.score.forward_images.sum())
    floor, ours, plain, outside, peak = [], [], [], [], 0.0
    for _ in range(rounds):
        floor.append(clock(lambda: bare_network(problem, images), device, now))
        with peak_memory(device) as seen:
            began, inside = time.perf_counter(), problem.score.seconds
            ours.append(clock(lambda: method(problem), device, now))
            outside.append(1 - (problem.score.seconds - inside) / (time.perf_counter() - began))
        peak = max(peak, seen[0])
        pushed: list[int] = []
        loop = partial(plain_loop, case, problem, method.size, method.ig_iter, 1)
        spent = clock(lambda loop=loop, pushed=pushed: pushed.append(loop()), device, now)
        plain.append(spent * images / pushed[0])
    return {
        "model": name, "method": method.name, "device": device.type, "objects": objects, "images": images,
        "floor_s": median(floor), "ours_s": median(ours), "ratio": median(map(truediv, ours, floor)),
        "outside": median(outside),
        "plain_s": median(plain), "speedup": median(map(truediv, plain, ours)), "peak_mb": peak,
    }  # fmt: skip


def main() -> None:
    parser = table.parser(__doc__ or "")
    parser.add_argument("--models", nargs="+", choices=list(MODELS), default=list(MODELS))
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--shared", action="store_true", help="count CPU seconds, with --threads 1: where others use the machine, too"
    )
    parser.add_argument("--usual_memory", action="store_true", help="give freed memory back, as scripts do")
    parser.add_argument("--minutes", type=float, default=15.0, help="time box (15)")
    flags = parser.parse_args()
    if not flags.usual_memory:
        keep_freed()
    torch.set_num_threads(flags.threads)
    device, end = torch.device(flags.device), time.monotonic() + 60 * flags.minutes
    now = time.process_time if flags.shared else time.perf_counter
    rows: list[dict[str, Any]] = []
    print(" ".join(k.ljust(w) if k in ("model", "method", "device") else k.rjust(w) for k, w in WIDTHS.items()))
    for name in flags.models:
        case = MODELS[name](device)
        preset = read_preset(case.adapter.preset)
        method = build_method("iGOS++", {"iterations": STEPS[name], "sure": False}, preset)  # as many images each time
        batch = best_batch(case, device, now)
        filling = max(1, round(batch / (len(method.terms) * method.ig_iter)))
        for objects in dict.fromkeys((filling, 1)):
            if time.monotonic() > end:
                print(f"{name}: not run (time)", flush=True)
                continue
            rows.append(measure(case, name, method, objects, batch, device, flags.rounds, now))
            print(table.line(rows[-1], WIDTHS), flush=True)
    table.write_json(flags.json, table.header(0), rows)


if __name__ == "__main__":
    main()
