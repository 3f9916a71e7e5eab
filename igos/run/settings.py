"""The flags of a run as one frozen dataclass; without torch, so that help is quick."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, get_type_hints

from igos.base.errors import ConfigError
from igos.base.names import ACTIVATIONS, DEFAULT_METRICS, EDGES, EVERY_EDGE, PARTS, PRECISIONS, SCORES
from igos.base.settings import setting
from igos.data.pictures import ALL_NUMBERS, find_pictures

MODEL_OPTIONS = (
    "cfg",
    "names",
    "dataset",
    "input_size",
    "fit",
    "model_layout",
    "activation",
    "pretrained",
    "trust",
)  # flags that belong to a model
LAYOUTS = ("folders", "shards")
KEEPS = ("all", "maps", "rows")
WHERE = (  # flags that say where and how a run is done, and decide nothing of its results
    "device", "threads", "batch", "max_memory", "mix_images", "engine", "workers", "timeout", "readers", "num_cpus",
    "num_gpus",
)  # fmt: skip


def _flag(help: str, default: Any = None, **more: Any) -> Any:
    """One flag: its default and what --help says; aliases, metavar and the bounds of base/settings.py on the side."""
    return setting(default, help=help, **more)


def parts_of(part: str) -> tuple[str, ...]:
    """The parts of a target that --part asks for."""
    return EDGES if part == EVERY_EDGE else (part,)


@dataclass(frozen=True)
class Run:
    """The run. A None is decided by the model, the method or the preset."""

    model: str | None = _flag(
        "what to explain: emblem-m-rcnn (bundled), m-rcnn, retinanet_resnet50_fpn, darknet, onnx, vgg16, ... (see "
        "--list), or a model file, my.yaml (default: emblem-m-rcnn)",
        aliases=("--model_name", "-mn"),
        metavar="MODEL",
    )
    model_file: str | None = _flag(
        "the model's weights: .pth, .pt, .safetensors, .onnx or Darknet .weights", metavar="PATH"
    )
    cfg: str | None = _flag("network description of a darknet model, a .cfg file", metavar="PATH")
    names: str | None = _flag("file of class names, one per line", metavar="PATH")
    pretrained: bool = _flag("let torchvision or transformers download the weights", False)
    trust: bool = _flag("run the code that the model's file holds, if it holds any (ultralytics)", False)
    fit: str | None = _flag(
        "how pictures of YOLO and onnx are brought to size", choices=("stretch", "letterbox", "letterbox-corner")
    )
    model_layout: str | None = _flag(
        "what the outputs of an onnx model mean, where their shapes do not tell",
        choices=("yolox", "yolov5", "yolov8", "gfl", "fastestdet", "ssd", "detr", "end2end"),
    )
    input_size: int | None = _flag(
        "short side (R-CNN), side, a multiple of 32 (YOLO), or crop (classifier), in pixels", least=1, most=8192
    )
    activation: str | None = _flag(
        "what makes probabilities of a classifier's answers; none: they are some (default: as they show)",
        choices=ACTIVATIONS,
    )
    dataset: str | None = _flag(
        "data set whose class names the model uses", choices=("imagenet", "coco", "voc", "emblems")
    )
    data: list[str] = _flag(
        "pictures: files, folders (searched through), glob patterns, addresses (s3:// https:// ...), .tar, .parquet "
        "or .txt lists of paths (default: the bundled model's samples)",
        (),
        aliases=("--data_dir", "-da"),
        metavar="PATH",
    )
    annotations: str | None = _flag(
        "annotated objects: COCO's instances JSON; Pascal VOC's XML, a file or a folder of them; YOLO's data.yaml or "
        "folder of labels (default: instances.json beside a picture)",
        metavar="PATH",
    )
    shuffle: bool = _flag("take the pictures in a random order", False)
    subset_file: str | None = _flag(
        "take only the pictures that this file names, one per line", aliases=("--subset-file",), metavar="PATH"
    )
    start_index: int | None = _flag(
        "number of the first picture, from 1; for ILSVRC2012_val_... the number in the name",
        aliases=("--start", "-si"),
        least=1,
    )
    stride: int | None = _flag("take every N-th picture", aliases=("-ie",), least=1)
    end: int | None = _flag("stop before the picture of this number", aliases=("-ei",), least=1)
    num_samples: int | None = _flag("explain at most N pictures", aliases=("--val_size",), least=1)
    target: str | None = _flag(
        "what is explained: all, top1, index:N, box:x1,y1,x2,y2 (source pixels), class:NAME, gt (what is annotated), "
        "ann:ID, expect:NAME@x1,y1,x2,y2 (an object that should be there) or missed (annotated and not detected) "
        "(default: all for detectors, top1 for classifiers)",
        metavar="TARGET",
    )
    threshold: float | None = _flag(
        "least score of a detection, from 0 to 1 (default: 0.4)", least=0, most=1, metavar="SCORE"
    )
    part: str = _flag(
        "which part of the detection is explained; of a box also each edge by itself, or `edges`, all four "
        "(default: class)",
        "class",
        choices=(*PARTS, EVERY_EDGE),
    )
    ask: str = _flag(
        "the question: why, what speaks for the score; why-not, what holds it down; versus:NAME, why not that class; "
        "versus-row, why another detection was kept in its place (default: why)",
        "why",
        metavar="QUESTION",
    )
    score: str | None = _flag("score that is explained (default: the method's, see --list)", choices=SCORES)
    method: str = _flag("how to explain, see --list (default: iGOS++)", "iGOS++", aliases=("-md",), metavar="METHOD")
    opt: str | None = _flag("optimiser of a mask method (default: NAG)", metavar="{LS,NAG,PG}")
    form: str | None = _flag(
        "published: the papers' explicit step and numbers (default: default)", metavar="{default,published}"
    )
    size: int | None = _flag("the map has N x N cells (default: 28)", least=2, most=2048)
    iterations: int | None = _flag("mask steps (default: the preset's)", least=1)
    ig_iter: int | None = _flag("path points per mask step (default: the preset's)", least=1)
    alpha: float | None = _flag("step size (default: the preset's)", metavar="STEP")
    L1: float | None = _flag("weight of sparsity (default: the preset's)", metavar="WEIGHT")
    L2: float | None = _flag("weight of smoothness (default: the preset's)", metavar="WEIGHT")
    layer: str | None = _flag("layer that the method reads: its name, or the end of it", metavar="LAYER")
    stats: str | None = _flag(
        "statistics of that layer for iba and input_iba, a file of `igos estimate` (default: the bundled model's)",
        metavar="PATH",
    )
    references: str | None = _flag(
        "pictures that exp_grad and gradient_shap compare with (default: the other pictures of --data)", metavar="PATH"
    )
    patterns: str | None = _flag(
        "patterns for the pattern_* methods, a file of `igos fit-patterns` (default: the bundled model's)",
        metavar="PATH",
    )
    diverse_k: int | None = _flag("start from each of N x N cells of the object: several explanations", least=1)
    init_posi: list[str] | None = _flag(
        "cells to start from: all, or numbers row by row from 0 (default: all)", metavar="N"
    )
    init_val: float | None = _flag(
        "how deep the start cell begins: its mask is 1 - DEPTH (default: 0.9)", least=0, most=1, metavar="DEPTH"
    )
    metrics: list[str] = _flag(
        f"figures to compute, or none; see --list (default: {' '.join(DEFAULT_METRICS)}; where annotations tell what "
        "decides a class, also evidence_share evidence_pointing)",
        DEFAULT_METRICS,
        metavar="METRIC",
    )
    judge: str | None = _flag("another model, which judges the maps by the metric transfer", metavar="MODEL")
    judge_file: str | None = _flag("the judge's weights", metavar="PATH")
    judge_cfg: str | None = _flag("network description of a darknet judge, a .cfg file", metavar="PATH")
    manual_seed: int = _flag("seed of everything random (default: 0)", 0, least=0, most=2**63 - 1)
    output: str | None = _flag(
        "folder of the results (default: Output/<time>-<opt>-<method>)", aliases=("--out", "--work-dir"), metavar="DIR"
    )
    device: str | None = _flag(
        "cpu, cuda, cuda:1, ... or a GPU's number (default: a GPU if there is one, else cpu)",
        aliases=("--gpu_num", "-gn", "--gpu-id"),
        metavar="DEVICE",
    )
    threads: int | None = _flag("CPU threads (default: torch's)", least=1, most=1024)
    batch: int | None = _flag(
        "pictures per network call (default: what suits the model)", aliases=("--batch_size",), least=1
    )
    max_memory: str | None = _flag(
        "memory that the pictures of a network call may take: 500M, 2G (default: half of what is free on a GPU)",
        metavar="SIZE",
    )
    precision: str = _flag(
        "precision of the network while it explains; figures are always float32 (default: float32)",
        "float32",
        choices=PRECISIONS,
    )
    mix_images: bool = _flag("let objects of several pictures share a batch, where their sizes agree", False)
    layout: str = _flag(
        "folders, with pictures; or shards, explanations by the thousand in one file, for big runs (default: folders)",
        "folders",
        choices=LAYOUTS,
    )
    keep: str | None = _flag(
        "what is left of each explanation: all; maps, in at most 40 kB and without pictures; rows, the figures alone "
        "(default: all, of more than 100 pictures maps)",
        choices=KEEPS,
    )
    shard: str | None = _flag(
        "explain only part I of N parts of the pictures; `igos merge` joins the parts", metavar="I/N"
    )
    engine: str = _flag(
        "local: this machine; ray: the Ray cluster that this machine belongs to, or one of its own (default: local)",
        "local",
        choices=("local", "ray"),
    )
    workers: int | None = _flag("networks that work at the same time, each in a process of its own", least=1)
    timeout: float | None = _flag(
        "seconds without an answer after which a network is ended and its picture left out", above=0, metavar="SECONDS"
    )
    readers: int | None = _flag(
        "processes per network that read and blur pictures ahead (default: a thread beside the network)", least=0
    )
    num_cpus: float | None = _flag("CPUs of each worker of --engine ray (default: its threads)", above=0, metavar="N")
    num_gpus: float | None = _flag(
        "GPUs of each worker of --engine ray (default: 1 where there are any)", least=0, metavar="N"
    )
    set: list[str] = _flag("any setting of the method or of a metric (metric.KEY too)", (), metavar="KEY=VALUE")
    config: str | None = _flag(
        "preset: a name of --list, or a YAML file such as an earlier run.yaml (default: the model's own)",
        metavar="PATH",
    )

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


def memory_size(given: str | float | None, name: str = "--max_memory") -> float | None:
    """ "500M", "2G" or a number of bytes -> bytes; name: as whoever asks calls it. Raises ConfigError."""
    if given is None:
        return None
    text = str(given)
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].isalpha() else (text, "")
    try:
        size = float(number) * {"": 1, "K": 2**10, "M": 2**20, "G": 2**30}[unit]
    except (ValueError, KeyError):
        size = math.nan
    if not 0 < size < math.inf:
        raise ConfigError(f"{name} {text!r}: give bytes, or a number with K, M or G, such as 2G")
    return size
