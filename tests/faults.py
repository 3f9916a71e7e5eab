"""A detector whose faults are written in the names of its pictures, for tests of runs that survive them.

`<anything>-raise.png` makes it raise, `-nan` answer NaN, `-hang` never answer, `-die` end its process, `-die1` only the
first time, `-none` sees nothing, `-unread` ends a process that only reads it. Everything here can be imported by
another process.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor, nn

from igos.base.geometry import Geometry
from igos.base.reading import opened
from igos.results.folder import RunFolder
from igos.results.read import each_row, read_arrays
from igos.run.cells import cells_of
from igos.run.drive import run
from igos.run.plan import Plan, resolve
from igos.run.workers import worker
from igos.run.workers.worker import Worker
from igos.types import Image, ImageError, Scorer, Target

SIDE = 32
SETTINGS = {"method": "iGOS+", "opt": "NAG", "iterations": 2, "ig_iter": 1, "size": 8, "metrics": ["deletion"]}
SETTINGS["set"] = ["deletion.steps=4", "sure=false"]
EXPLAINED = {"ok", "no-effect"}  # few masks move nowhere where the contrast of a half falls either way
SKETCHES = {name: lambda e: b"a picture" for name in worker.FIGURES}


def picture(path: Path, seed: int = 0) -> str:
    few = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    PIL.Image.fromarray(few).resize((SIDE, SIDE)).save(path)
    return str(path)


def pictures(folder: Path, count: int, faults: dict[int, str] | None = None) -> Path:
    """count pictures, of which some have a fault in their names."""
    for n in range(count):
        fault = (faults or {}).get(n)
        picture(folder / (f"p{n:03}-{fault}.png" if fault else f"p{n:03}.png"), n)
    return folder


class Faulty:
    """Two targets in every picture: the contrast of its left and of its right half. pause: seconds of each pass."""

    name, labels, preset, default_target, parts = "faulty", ["left", "right"], "detect-yolo", "all", ("class",)
    threshold, notes = 0.4, ()
    device, detections, patterns = torch.device("cpu"), None, None

    def __init__(self, pause: float = 0.0, spare: Path | None = None) -> None:
        self.module, self.pause, self.spare = nn.Identity(), pause, spare

    @property
    def reader(self) -> Any:
        return self.read

    def read(self, source: Any) -> Image:
        if Path(str(source)).stem.endswith("-unread") and multiprocessing.parent_process() is not None:
            os.kill(os.getpid(), signal.SIGKILL)
        try:
            rgb = np.array(PIL.Image.open(opened(str(source))).convert("RGB"))
        except OSError as error:
            raise ImageError(f"{source}: {error}") from None
        pixels = torch.from_numpy(rgb).permute(2, 0, 1).float() / 255
        size = rgb.shape[0], rgb.shape[1]
        return Image(pixels, Geometry(size, size), rgb, str(source))

    def detect(self, image: Image, threshold: float = 0.4) -> list[Target]:
        fault = self.fault(image)
        if fault == "none":
            return []
        boxes = ([0.0, 0.0, 16.0, 32.0], [16.0, 0.0, 32.0, 32.0])
        return [
            Target(n, f"{self.labels[n]} {fault}".strip(), 0.9 - n / 10, torch.tensor(box), index=n)
            for n, box in enumerate(boxes)
        ]

    def fault(self, image: Image) -> str:
        stem = Path(str(image.path)).stem
        return stem.partition("-")[2]

    def scorer(self, targets: Any, score: str = "prob", batch: int | None = None) -> Scorer:
        faults = {t.name.partition(" ")[2] for t in targets}

        def forward(x: Tensor, rows: Tensor) -> Tensor:
            if self.pause:
                time.sleep(self.pause)
            if "raise" in faults:
                raise RuntimeError("the network's own mistake")
            if "hang" in faults:
                time.sleep(3600)
            if "die" in faults or ("die1" in faults and self._first()):
                os.kill(os.getpid(), signal.SIGKILL)
            side = torch.tensor([targets[int(r)].label for r in rows])
            half = torch.stack([x[..., :16].var((1, 2, 3)), x[..., 16:].var((1, 2, 3))])
            made = torch.sigmoid(60 * half.gather(0, side[None])[0] - 2)
            return made * float("nan") if "nan" in faults else made

        return Scorer(forward, len(targets), batch or 8, module=self.module)

    def _first(self) -> bool:
        assert self.spare is not None
        first = not self.spare.exists()
        self.spare.touch()
        return first


def plan(data: Path | str, **flags: Any) -> Plan:
    return resolve({"model": "faulty", "data": [str(data)], **SETTINGS, **flags}, "detect-yolo")


def make_worker(plan: Plan, pause: float, spare: Path | None, number: int) -> Worker:
    """In a process of its own, whose pictures are sketches."""
    worker.FIGURES = SKETCHES
    return Worker(cells_of(plan), Faulty(pause, spare))


def local(data: Path | str, out: Path, retry: tuple[str, ...] = (), adapter: Any = None, **flags: Any) -> RunFolder:
    """A run in this process; gone on with where there is one."""
    asked = plan(data, **flags)
    settings = {"model": "faulty", "shard": asked.run.shard, "layout": asked.run.layout}
    folder = RunFolder(out, settings, asked.run.layout, retry)
    folder.write_run(settings)
    run(asked, adapter or Faulty(), folder, progress=False)
    folder.finish()
    folder.close()
    return folder


def maps(out: Path) -> dict[str, np.ndarray]:
    return {r["folder"]: read_arrays(out, r)["saliency"] for r in each_row(out) if r["folder"]}


def same_maps(a: Path, b: Path) -> None:
    first, second = maps(a), maps(b)
    assert first.keys() == second.keys() and first
    for name, saliency in first.items():
        assert np.array_equal(saliency, second[name]), name


def once(out: Path, count: int) -> None:
    """Each explanation of so many pictures has one row, whose arrays are there."""
    rows = list(each_row(out))
    assert Counter(r["folder"] for r in rows) == Counter(
        {f"p{n:03}/{i}-{side}": 1 for n in range(count) for i, side in enumerate(("left", "right"))}
    )
    for row in rows:
        read_arrays(out, row)


def run_into(data: str, out: str, pause: float, layout: str) -> None:
    """A run in a process of its own, whose pictures are sketches; gone on with where there is one."""
    torch.set_num_threads(1)
    worker.FIGURES = SKETCHES
    asked = plan(Path(data), layout=layout)
    folder = RunFolder(out, {"model": "faulty"}, layout)
    folder.write_run({"model": "faulty"})
    run(asked, Faulty(pause), folder, progress=False)
    folder.finish()
