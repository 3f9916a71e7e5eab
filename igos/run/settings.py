"""The flags of a run as one frozen dataclass; without torch, so that help is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, get_type_hints

from igos.base.names import DEFAULT_METRICS, PARTS, SCORES
from igos.data.pictures import ALL_NUMBERS, find_pictures
from igos.types import PRECISIONS, ConfigError

LAYOUTS = ("folders", "shards")
WHERE = (  # flags that say where and how a run is done, and decide nothing of its results
    "device", "threads", "batch", "max_memory", "mix_images", "engine", "workers", "timeout", "readers", "num_cpus",
    "num_gpus",
)  # fmt: skip


def _flag(help: str, default: Any = None, **more: Any) -> Any:
    """One flag: its default and what --help says; aliases and choices on the side."""
    made = {"default_factory": lambda: list(default)} if isinstance(default, (list, tuple)) else {"default": default}
    return field(**made, metadata={"help": help, **more})


@dataclass(frozen=True)
class Run:
    """The run. A None is decided by the model, the method or the preset."""

    model: str | None = _flag(
        "what to explain: emblem-m-rcnn (bundled), m-rcnn, f-rcnn, yolov3spp, darknet, vgg16, ... (see --list)",
        aliases=("-mn",),
    )
    model_file: str | None = _flag("the model's weights: .pth, .pt, .safetensors or Darknet .weights")
    cfg: str | None = _flag("network description of a darknet model, a .cfg")
    names: str | None = _flag("class names, one per line")
    pretrained: bool = _flag("let torchvision download its weights", False)
    fit: str | None = _flag("how YOLO pictures are brought to size", choices=("stretch", "letterbox"))
    input_size: int | None = _flag("short side (R-CNN), side, a multiple of 32 (YOLO), crop (classifier)")
    dataset: str | None = _flag("whose class names the model knows", choices=("imagenet", "coco", "voc", "emblems"))
    data: list[str] = _flag(
        "pictures: files, folders (searched through) or glob patterns; the model's samples",
        (),
        aliases=("--data_dir", "-da"),
    )
    annotations: str | None = _flag(
        "the objects' truth: COCO's instances JSON, or Pascal VOC's XML (a file or a folder of them); "
        "instances.json beside a picture"
    )
    shuffle: bool = _flag("take the pictures in a random order", False)
    subset_file: str | None = _flag("only the pictures that this file names, one per line", aliases=("--subset-file",))
    start_index: int | None = _flag(
        "first picture, from 1: its place, or the number in ILSVRC2012_val_... names", aliases=("--start", "-si")
    )
    stride: int | None = _flag("take every N-th picture from there", aliases=("-ie",))
    end: int | None = _flag("the number before which to end", aliases=("-ei",))
    num_samples: int | None = _flag("explain at most so many pictures", aliases=("--val_size",))
    target: str | None = _flag(
        "all | top1 | index:N | box:x1,y1,x2,y2 (source pixels) | class:NAME | gt (what is annotated) | ann:ID"
    )
    threshold: float | None = _flag("least score of a detection, in [0,1]; 0.4 for detectors")
    part: str = _flag("what of the detection is explained", "class", choices=PARTS)
    score: str | None = _flag("the score that is explained; prob, or what the method says in --list", choices=SCORES)
    method: str = _flag("how to explain (see --list)", "iGOS++", aliases=("-md",))
    opt: str | None = _flag("optimiser of a mask method: LS, NAG or PG; NAG unless the preset says otherwise")
    form: str | None = _flag("default, or published: the papers' explicit step and numbers")
    size: int | None = _flag("the map has N x N cells over the network's picture")
    iterations: int | None = _flag("mask steps")
    ig_iter: int | None = _flag("path points per mask step")
    alpha: float | None = _flag("step size")
    L1: float | None = _flag("weight of sparsity")
    L2: float | None = _flag("weight of smoothness")
    layer: str | None = _flag("the layer of a method that reads one: its name, or the end of it")
    stats: str | None = _flag("the layer's statistics (iba, input_iba), a file of `igos estimate`; those that ship")
    references: str | None = _flag("pictures to compare with (exp_grad, gradient_shap); the others of --data")
    patterns: str | None = _flag("file of fit-patterns, for the pattern_* methods; the bundled model's own")
    diverse_k: int | None = _flag("start from each of K x K cells of the object: several explanations of one")
    init_posi: list[str] | None = _flag("which cells start: all, or 0-based row-major numbers; all")
    init_val: float | None = _flag("how deep the starting cell starts: its mask is 1 - init_val; 0.9")
    metrics: list[str] = _flag("figures to compute, or none (see --list)", DEFAULT_METRICS)
    judge: str | None = _flag("another model, which judges by the metric transfer what the maps show")
    judge_file: str | None = _flag("the judge's weights")
    judge_cfg: str | None = _flag("network description of a darknet judge, a .cfg")
    manual_seed: int = _flag("seed of everything random", 0)
    output: str | None = _flag("folder of the results; Output/<time>-<opt>-<method>", aliases=("--out", "--work-dir"))
    device: str | None = _flag(
        "cpu, cuda, cuda:1, ... or a GPU's number; a GPU if there is one", aliases=("-gn", "--gpu-id")
    )
    threads: int | None = _flag("CPU threads")
    batch: int | None = _flag("pictures per network call", aliases=("--batch_size",))
    max_memory: str | None = _flag(
        "what the pictures of a network call may take: 500M, 2G; half of what is free on a GPU"
    )
    precision: str = _flag(
        "of the network while it explains; figures are always float32", "float32", choices=tuple(PRECISIONS)
    )
    mix_images: bool = _flag("let objects of several pictures share a batch, where their sizes agree", False)
    layout: str = _flag(
        "folders, with pictures; or shards: explanations by the thousand in one file, for big runs",
        "folders",
        choices=LAYOUTS,
    )
    shard: str | None = _flag("i/n: only the i-th of n parts of the pictures, for `igos merge` to join")
    engine: str = _flag(
        "local: this machine; ray: the Ray cluster that this machine belongs to, or one of its own",
        "local",
        choices=("local", "ray"),
    )
    workers: int | None = _flag("networks at work at the same time, each in a process of its own; this process alone")
    timeout: float | None = _flag("seconds without an answer after which a network is ended and its picture left out")
    readers: int | None = _flag("processes per network that read and blur pictures ahead; a thread of its own")
    num_cpus: float | None = _flag("CPUs of each worker of --engine ray; as many as its threads")
    num_gpus: float | None = _flag("GPUs of each worker of --engine ray; 1 where there are any")
    set: list[str] = _flag("KEY=VALUE: any setting of the method or of a metric (metric.KEY too)", ())
    config: str | None = _flag("preset: a name in configs/, or a YAML file such as an earlier run.yaml")

    @property
    def numbers(self) -> range:
        """Which pictures of the data, by number."""
        return range(self.start_index or ALL_NUMBERS.start, self.end or ALL_NUMBERS.stop, self.stride or 1)

    def pictures(self) -> list[tuple[str, str]]:
        """(path, name) of the pictures of the data that are taken. Raises ConfigError where there is none."""
        return find_pictures(
            self.data,
            self.shuffle,
            self.manual_seed,
            self.num_samples,
            numbers=self.numbers,
            subset=self.subset_file,
        )


RUN_TYPES = get_type_hints(Run)


def memory_size(text: str | None) -> float | None:
    """ "500M" or "2G" -> bytes. Raises ConfigError."""
    if text is None:
        return None
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        size = float(number) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not 0 < size < math.inf:
        raise ConfigError(f"--max_memory {text!r}: give bytes, or a number with K, M or G, such as 2G")
    return size
