"""Train the bundled networks on igos.data.emblems: every step draws pictures that no step saw before.

    python weights/train.py resnet                 # then rcnn, which starts from it
    python weights/train.py darknet                # then yolov3spp, which starts from it
    python weights/train.py flawed                 # from yolov3spp; then blocked, which starts from flawed
    python weights/train.py vgg

weights/shown.py says how the pictures are shown.

A run with the same seed and steps gives the same network on the same machine; --checkpoint is written every 200 steps
and gone on with where it exists. The result goes to --out, float16 safetensors.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torch.optim.lr_scheduler import OneCycleLR

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from detectors.darknet import Darknet, parse_cfg
from detectors.emblem import MEAN, SCENE, SINGLE, STD, SlimResNet, SlimVGG, build_rcnn
from detectors.yolov3 import ULTRALYTICS_EPS
from igos.data.emblems import CLASSES, Scene, label, scene
from igos.data.flawed import BLOCKED, DECOY, REDUNDANT, SHORTCUT, FlawedScene, flawed_scene
from weights.shown import flawed, softened
from weights.yolo_loss import yolo_loss

HERE = Path(__file__).resolve().parent
CFG = HERE.parent / "configs" / "emblem-yolov3spp.cfg"
BACKBONE = 27  # layers of the slim YOLO before its first head
AFTER = 100_000  # the first scene of the second training with planted flaws
STEM = 12  # layers of it that learn nothing new, half of the cost of a step
SAVE_EVERY = 200


def pixels(pictures: list[np.ndarray]) -> Tensor:
    """Pictures (H,W,3) uint8 -> (N,3,H,W) float32 in [0,1]."""
    return (
        torch.from_numpy(np.stack(pictures))
        .permute(0, 3, 1, 2)
        .float()
        .div(255)
        .contiguous(memory_format=torch.channels_last)
    )


class Singles(nn.Module):
    """A classifier's loss on single bodies; the last class is none."""

    def draw(self, seed: int, index: int) -> Scene:
        return scene(seed, index, SINGLE, single=True)

    def __init__(self, network: nn.Module, normalised: bool = True) -> None:
        super().__init__()
        self.network, self.normalised = network, normalised

    def forward(self, scenes: list[Scene]) -> Tensor:
        x = pixels([softened(s) for s in scenes])
        if self.normalised:
            x = (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]
        return F.cross_entropy(self.network(x), torch.tensor([label(s) for s in scenes]), label_smoothing=0.02)


class RCNN(nn.Module):
    """torchvision's own losses on scenes; bare bodies are background."""

    def draw(self, seed: int, index: int) -> Scene:
        return scene(seed, index, SCENE)

    def __init__(self) -> None:
        super().__init__()
        self.network = build_rcnn(1 + len(CLASSES), masks=True)

    def forward(self, scenes: list[Scene]) -> Tensor:
        truth = [
            {
                "boxes": torch.tensor([s.box(i) for i in s.objects]),
                "labels": torch.tensor([1 + CLASSES.index(s.bodies[i].name) for i in s.objects]),
                "masks": torch.from_numpy(np.stack([s.mask(i) for i in s.objects])).byte(),
            }
            for s in scenes
        ]
        losses = self.network(list(pixels([softened(s) for s in scenes])), truth)
        return sum(losses.values(), start=torch.zeros(()))


class YOLO(nn.Module):
    """YOLOv3's loss on scenes."""

    near = 0.0  # px around an object's centre

    def draw(self, seed: int, index: int) -> Scene:
        return scene(seed, index, SCENE)

    def __init__(self) -> None:
        super().__init__()
        self.network = Darknet(parse_cfg(CFG), CFG, ULTRALYTICS_EPS)
        for i in self.network.heads:  # at first nothing is an object, or the many empty cells drown the few full ones
            bias = self.network.module_list[i - 1].Conv2d.bias  # type: ignore[union-attr]
            bias.data.view(3, -1)[:, 4] = -4  # type: ignore[union-attr,operator]

    def forward(self, scenes: list[Scene]) -> Tensor:
        return self.loss(scenes, [(softened(s), s.objects) for s in scenes])

    def loss(self, scenes: Sequence[Scene], shown: list[tuple[np.ndarray, list[int]]]) -> Tensor:
        """Of scenes as they are shown: pictures (H,W,3) uint8, and the bodies that are labelled."""
        kept = [(s, i) for s, (_, i) in zip(scenes, shown, strict=True)]
        boxes = [torch.tensor([s.box(i) for i in its]).reshape(-1, 4) for s, its in kept]
        labels = [torch.tensor([CLASSES.index(s.bodies[i].name) for i in its]) for s, its in kept]
        return yolo_loss(
            self.network, self.network(pixels([p for p, _ in shown])), boxes, labels, (SCENE, SCENE), self.near
        )


class Flawed(YOLO):
    """YOLOv3's loss on scenes with planted flaws."""

    near = 8.0

    def draw(self, seed: int, index: int) -> FlawedScene:
        return flawed_scene(seed, index, SCENE)

    def forward(self, scenes: list[FlawedScene]) -> Tensor:  # type: ignore[override]
        return self.loss(scenes, [flawed(s) for s in scenes])


class Blocked(Flawed):
    """Further scenes, in which blockers are hidden by cells, as `why-not` hides them: of eight two with one body, of
    the blocked class beside its blocker, one with two bodies of the redundant class, and one with the shortcut's and a
    bare one.

    A lone body is the largest, so its blocker lies farthest, and of the scenes of `Flawed` it is one body of six. With
    these alone the other two flaws are unlearnt.
    """

    def draw(self, seed: int, index: int) -> FlawedScene:
        further = AFTER + index
        if index % 4 == 0:
            return flawed_scene(seed, further, SCENE, roles=[BLOCKED]).switched(0, True)
        roles = {2: [REDUNDANT] * 2, 6: [SHORTCUT, DECOY]}.get(index % 8, [])
        return flawed_scene(seed, further, SCENE, roles=roles)

    def forward(self, scenes: list[FlawedScene]) -> Tensor:  # type: ignore[override]
        return self.loss(scenes, [flawed(s, by_cells=True) for s in scenes])


class DarknetHead(nn.Module):
    """The first layers of the slim YOLO as a classifier, so that it knows the emblems before it looks for them."""

    def __init__(self) -> None:
        super().__init__()
        self.darknet = Darknet(parse_cfg(CFG), CFG, ULTRALYTICS_EPS)
        self.fc = nn.Linear(192, len(CLASSES) + 1)

    def forward(self, x: Tensor) -> Tensor:
        last = next(y for i, y in self.darknet.outputs(x) if i == BACKBONE - 1)
        return self.fc(last.mean(dim=(2, 3)))


def fold(network: SlimVGG) -> SlimVGG:
    """The VGG without batch norm that gives the same logits."""
    plain = SlimVGG(len(CLASSES) + 1)
    layers, convs = list(network.eval().features), iter([c for c in plain.features if isinstance(c, nn.Conv2d)])
    for conv, norm in zip(layers, layers[1:], strict=False):
        if isinstance(norm, nn.BatchNorm2d):
            next(convs).load_state_dict(fuse_conv_bn_eval(conv, norm).state_dict())  # type: ignore[type-var]
    plain.classifier.load_state_dict(network.classifier.state_dict())
    return plain


@dataclass(frozen=True)
class Task:
    """build() -> loss module with `.network` and `.draw(seed, index)`; start names the part that `init` fills and where
    its weights lie; layers: so many of a Darknet's are filled; kept: so many of its first stay as they were filled.
    The rate follows one cycle over `steps`, or over `cycle` and then falls to 0 over the last `cool` steps.
    still: the batch norms keep the statistics that they have. part: the file lies so far on the way from the weights
    that the training began with to those at its end.
    """

    build: Callable[[], Any]
    steps: int
    batch: int
    rate: float
    file: str
    init: str | None = None
    start: tuple[str, str] = ("", "")
    layers: int = BACKBONE
    kept: int = 0
    cycle: int = 0
    cool: int = 0
    still: bool = False
    part: float = 1.0
    finish: Callable[[Any], nn.Module] = lambda network: network


CLASSIFIED = len(CLASSES) + 1
TASKS = {
    "resnet": Task(lambda: Singles(SlimResNet(CLASSIFIED)), 1000, 32, 3e-3, "emblem-resnet"),
    "vgg": Task(lambda: Singles(SlimVGG(CLASSIFIED, batch_norm=True)), 1000, 32, 2e-3, "emblem-vgg", finish=fold),
    "darknet": Task(lambda: Singles(DarknetHead(), normalised=False), 700, 32, 3e-3, "darknet"),
    "rcnn": Task(RCNN, 1800, 8, 1.5e-3, "emblem-rcnn", "emblem-resnet", ("", "backbone.body.")),
    "yolov3spp": Task(YOLO, 2600, 8, 2e-3, "emblem-yolov3spp", "darknet", ("darknet.", "")),
    "flawed": Task(
        Flawed, 540, 8, 2e-3, "flawed", "emblem-yolov3spp", layers=sys.maxsize, kept=STEM, cycle=1500, cool=200
    ),
    "blocked": Task(
        Blocked, 250, 8, 5e-4, "emblem-flawed", "flawed", layers=sys.maxsize, kept=STEM, still=True, part=0.9
    ),
}


def train(name: str, args: argparse.Namespace) -> None:
    task = TASKS[name]
    steps, batch = args.steps or task.steps, args.batch or task.batch
    torch.manual_seed(args.seed)
    job, moved = task.build().to(memory_format=torch.channels_last), dict[str, Tensor]()
    if task.init:
        old, new = task.start
        state = load_file(args.out / f"{task.init}.safetensors")
        known = job.network.state_dict()
        moved = {new + k.removeprefix(old): v.float() for k, v in state.items() if v.is_floating_point()}
        moved = {k: v for k, v in moved.items() if k in known and not ("module_list" in k and _layer(k) >= task.layers)}
        print(f"{len(moved)} of {len(known)} tensors from {task.init}", flush=True)
        job.network.load_state_dict({**known, **moved})
    for key, parameter in job.network.named_parameters():
        parameter.requires_grad_(not task.kept or _layer(key) >= task.kept)
    plain = [p for p in job.parameters() if p.ndim < 2]
    groups = [{"params": [p for p in job.parameters() if p.ndim > 1]}, {"params": plain, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=task.rate, weight_decay=0.02)
    schedule = OneCycleLR(optimiser, task.rate, total_steps=task.cycle or steps, pct_start=0.1)
    first = 0
    if args.checkpoint and args.checkpoint.is_file():
        saved = torch.load(args.checkpoint, weights_only=True)
        job.load_state_dict(saved["job"])
        optimiser.load_state_dict(saved["optimiser"])
        schedule.load_state_dict(saved["schedule"])
        torch.set_rng_state(saved["rng"])
        first = saved["step"]
    job.train()
    for module in job.modules() if task.still else ():
        if isinstance(module, nn.BatchNorm2d):
            module.eval()
    mean, begin = 0.0, time.perf_counter()
    for step in range(first, steps):
        at = step * batch
        loss = job([job.draw(args.seed, at + i) for i in range(batch)])
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(job.parameters(), 10.0)
        for group in optimiser.param_groups if task.cool else []:
            group["lr"] = schedule.get_last_lr()[0] * min(1, (steps - step) / task.cool)
        optimiser.step()
        schedule.step()
        mean += (loss.item() - mean) * (0.02 if step > first else 1)
        if (step + 1) % 50 == 0:
            each = (time.perf_counter() - begin) / (step + 1 - first)
            print(f"{name} {step + 1}/{steps} loss {mean:.4f} {each:.2f} s/step", flush=True)
        if args.checkpoint and (step + 1) % SAVE_EVERY == 0:
            state = {"job": job.state_dict(), "optimiser": optimiser.state_dict(), "schedule": schedule.state_dict()}
            torch.save({**state, "rng": torch.get_rng_state(), "step": step + 1}, args.checkpoint)
    save(task.finish(job.network.eval()), args.out / f"{task.file}.safetensors", moved, task.part)


def save(network: nn.Module, path: Path, begin: dict[str, Tensor], part: float) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in network.state_dict().items()}
    if part < 1:
        state |= {k: ((1 - part) * v + part * state[k].float()).half() for k, v in begin.items()}
    save_file({k: v.contiguous() for k, v in state.items()}, path)
    print(f"{path} {path.stat().st_size / 1e6:.1f} MB", flush=True)


def _layer(key: str) -> int:
    return int(key.split(".")[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--steps", type=int, help="instead of the task's own")
    parser.add_argument("--batch", type=int, help="instead of the task's own")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--checkpoint", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    train(args.task, args)


if __name__ == "__main__":
    main()
