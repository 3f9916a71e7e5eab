"""`igos.explain`: from what people have (a model, a picture, a wish) to what `igos.run.explain` takes.

model -> Adapter, picture -> Adapter.read -> Image, wish -> [Target]  -> igos.run.explain.explain -> Explanations
"""

from __future__ import annotations

import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import torch
from torch import Tensor, nn

from igos.base.addresses import is_address
from igos.base.errors import a_kind, in_python
from igos.base.settings import normalise
from igos.data.annotations import known_of
from igos.data.asked import targets_of
from igos.data.expected import expected, label_of
from igos.data.pictures import SUFFIXES
from igos.data.targets import Selector
from igos.data.truth import Known
from igos.metrics.metric import Context
from igos.results.explanations import Explanations
from igos.run import explain as one_way
from igos.run.given import check_threshold
from igos.run.models import adapt, adapters, load
from igos.run.progress import Progress, watching
from igos.types import Adapter, ConfigError, Image, ImageError, Statistics, Target

WEIGHTS = (".pth", ".pt", ".safetensors", ".weights", ".onnx", ".bin")  # what a file of weights ends in
MOST_BYTES, PATIENCE = 100_000_000, 30  # of a picture that is fetched, and seconds for it


@in_python()
@torch.inference_mode(False)
def explain(
    model: Any,
    image: Any,
    targets: Any = None,
    method: Any = "iGOS++",
    opt: str | None = None,
    *,
    labels: Any = None,
    device: Any = None,
    threshold: float | None = None,
    progress: Progress = False,
    metrics: Sequence[Any] | str | None = None,
    score: str | None = None,
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | str | None = None,
    precision: str = "float32",
    config: str | None = None,
    context: Context | None = None,
    references: Tensor | None = None,
    judge: Any = None,
    ask: str = "why",
    patterns: Mapping[str, Tensor] | str | Path | None = None,
    stats: Statistics | str | Path | None = None,
    **settings: Any,
) -> Explanations:
    """Explain what a model sees in one picture.

    model: a network of PyTorch, a function that detects (both as igos.adapt takes them), an adapter of igos.load or
    igos.adapt, the name of a model, or a file: .onnx, Ultralytics' .pt, .weights with its .cfg beside it, a model file
    (.yaml), or weights whose name begins with the model's, as torchvision's do. labels: its class names, and device:
    where it runs, of a model that is no adapter yet.

    image: a path, an address (https://...), a PIL picture, an array (H,W,3) RGB, uint8 or in [0,1], a tensor (3,H,W) of
    the same, or what adapter.read gave.

    targets: what is explained. None: a detector's detections, or a classifier's best class. "dog" or "class:dog": that
    class. x1, y1, x2, y2 in a list or an array: the detection with that box in source pixels (IoU >= 0.5); (n,4): of
    each of these. A whole number: the place in adapter.detect(image), of a classifier the class. A dict of boxes,
    labels and scores as torchvision answers, supervision.Detections, a Target, and lists of these but of whole numbers.
    threshold: the least score in [0,1] of what is seen, by default the model's.

    method is a name of igos.METHODS or a callable Problem -> [Explanation], opt a name of igos.OPTIMIZERS, settings the
    method's own; config names a preset for them, by default the model's. metrics: names of igos.METRICS or callables,
    or "none"; by default deletion, insertion and pointing, and those of evidence where that is known. progress: True
    for a bar, or a callable(step, total, mask); mask (K,h,w) in [0,1], 1 = keep, of the K targets, or None where the
    method has none. seed decides all that is random.

    ask: the question. "why": what speaks for the score; "why-not": what holds it down, as of an object of igos.expect;
    "versus:NAME": why this class and not that one; "versus-row": why a suppressed candidate was not kept. By it the
    metrics are chosen, where none are named.

    score {prob, logit, logodds} is by default the method's own, of expected objects logodds; batch, max_memory (bytes,
    or "2G") and precision {float32,
    bfloat16} say how the network is run; context: what is known of the targets, one Truth each, by default of
    instances.json beside the picture; judge: another model, as `model` is given, for the metric transfer. What methods
    need beside: references (R,3,H,W) in [0,1], by default generated; patterns, by layer or a file of fit-patterns, and
    stats, of igos.estimate or its file, by default those that ship with the model.

    Raises ConfigError, ImageError and WeightsError, each one line, for what cannot be.

    >>> es = igos.explain("emblem-m-rcnn", "samples/scene-04.png", method="odam", metrics="none")
    >>> es[0].method, es[0].status
    ('odam', 'ok')
    """
    adapter = adapter_of(model, labels, device)
    check_threshold(threshold)
    picture = image_of(adapter, image)
    other = None if judge is None else adapter_of(judge)
    path = picture.path if isinstance(targets, str) else None  # gt and ann:ID are texts
    known = known_of(path, size=picture.geometry.source) if path else Known([], [])
    found, seen = targets_of(adapter, picture, targets, threshold, known)
    with watching(progress) as tell:
        made = one_way.explain(
            adapter,
            picture,
            found,
            method,
            opt,
            metrics=metrics,
            score=score,
            seed=seed,
            batch=batch,
            max_memory=max_memory,
            precision=precision,
            config=config,
            context=context,
            references=references,
            judge=other,
            ask=ask,
            threshold=threshold,
            patterns=patterns,
            stats=stats,
            progress=tell,
            **settings,
        )
    return Explanations(made, model=adapter.name, note=seen if not found else "")


@in_python()
@torch.inference_mode(False)
def expect(model: Any, image: Any, name: str, box: Sequence[float], threshold: float | None = None) -> Target:
    """The target of an object that was expected: a class name and a box x1, y1, x2, y2 in source pixels.

    model and image: as explain takes them. Where the model detects the object at the threshold (by default its own),
    that detection, with reason "found"; else the candidate that stands for it, pinned, with the reason why it is no
    detection. Objects that instances.json beside the picture knows take part. Raises ConfigError for a class that the
    model lacks, and a box outside of the picture.

    >>> igos.expect("emblem-m-rcnn", "samples/scene-04.png", "star", [20, 20, 80, 80]).reason
    'no-proposal'
    """
    adapter = adapter_of(model)
    check_threshold(threshold)
    picture = image_of(adapter, image)
    known = known_of(picture.path, size=picture.geometry.source) if picture.path else Known([], [])
    if len(box) != 4:
        raise ConfigError(f"box: four numbers x1, y1, x2, y2 in source pixels are needed, got {len(box)}")
    if label_of(adapter, name) is None:
        Selector("expect", name=name).check(adapter)
    least = adapter.threshold if threshold is None else threshold
    return expected(adapter, picture, name, box, least, known.objects, known.crowds)


def adapter_of(model: Any, labels: Any = None, device: Any = None) -> Adapter:
    """The adapter that is given, or that a model, a name or a file of weights becomes. Raises ConfigError."""
    if isinstance(model, (str, Path)):
        if labels is not None:
            raise ConfigError(f"labels: those of {model} come with it, or with igos.load(..., names=FILE)")
        return _named(str(model), device)
    if all(hasattr(model, part) for part in ("read", "detect", "scorer")):
        given = "labels" if labels is not None else "device" if device is not None else None
        if given:
            raise ConfigError(f"{given}: {model.name} has its own already; give it to igos.load or igos.adapt")
        return model  # type: ignore[no-any-return]
    if isinstance(model, type):
        raise ConfigError(f"model: {model.__name__} is a class; give an object of it, with its weights loaded")
    if not isinstance(model, nn.Module) and not callable(model):
        what = "a network, a function that detects, an adapter or a name"
        raise ConfigError(f"model: {what} is needed, got {a_kind(model)}")
    return adapt(model, labels, device)


def _named(name: str, device: Any) -> Adapter:
    """A model by its name, or by a file whose name begins with it; other files .pt are Ultralytics'."""
    path, known = Path(name), adapters().ADAPTERS
    if path.suffix.lower() not in WEIGHTS:
        return load(name, device=device)
    if not path.is_file():
        raise ConfigError(f"model: {name}: no such file")
    begins = [k for k in known if normalise(path.stem).startswith(normalise(k))]
    if adapters().is_model_file(name) and not (begins and path.suffix == ".pt"):
        return load(name, device=device)
    if not begins:
        raise ConfigError(f"model: {name} does not say of which network it is: igos.load(NAME, {path.name!r}) does")
    return load(max(begins, key=len), name, device)


def image_of(adapter: Adapter, image: Any) -> Image:
    """The picture as the model reads it. Raises ImageError."""
    if isinstance(image, Image):
        return image
    if isinstance(image, str) and urlsplit(image).scheme.lower() in ("http", "https"):
        return _fetched(adapter, image)
    if isinstance(image, str) and "://" in image and not is_address(image):
        raise ImageError(f"{image}: an address begins with http://, https:// or that of a store, such as s3://")
    if isinstance(image, (list, tuple)):
        raise ImageError(f"image: one picture at a time, got {a_kind(image)} of {len(image)}; explain each of them")
    return adapter.read(_as_bytes(image) if isinstance(image, (Tensor, np.ndarray)) else image)


def _as_bytes(pixels: Tensor | np.ndarray) -> np.ndarray:
    """An array (H,W,3) or a tensor (3,H,W) or (1,3,H,W), in [0,1] or of bytes, as (H,W,3) uint8."""
    if isinstance(pixels, Tensor):
        shape = tuple(pixels.shape)
        pixels = pixels[0] if pixels.ndim == 4 and len(pixels) == 1 else pixels
        if pixels.ndim != 3 or len(pixels) not in (1, 3):
            hint = "; permute(2, 0, 1) brings the channels to the front" if shape[-1:] == (3,) else ""
            raise ImageError(f"image: a tensor is a picture (3,H,W), got {shape}{hint}")
        pixels = pixels.detach().cpu()
        pixels = (pixels.float() if pixels.is_floating_point() else pixels).expand(3, -1, -1).permute(1, 2, 0).numpy()
    if pixels.dtype.kind != "f":
        return pixels  # adapter.read says what else is wrong
    low, high = (float(v(pixels)) for v in (np.min, np.max)) if pixels.size else (0.0, 0.0)
    if not (low >= 0 and high <= 1):
        hint = "; divide by 255" if low >= 0 and 1 < high <= 255 else "; undo the normalisation" if low < 0 else ""
        raise ImageError(f"image: floating-point pixels must lie in [0,1], got {low:.3g} to {high:.3g}{hint}")
    return (pixels * 255).round().astype(np.uint8)


def _fetched(adapter: Adapter, address: str) -> Image:
    """A picture of the web; its path is the address. Raises ImageError."""
    suffix = Path(urlsplit(address).path).suffix.lower()
    asked = urllib.request.Request(address, headers={"User-Agent": "igos"})
    try:
        with urllib.request.urlopen(asked, timeout=PATIENCE) as answer:
            data = answer.read(MOST_BYTES + 1)
    except (OSError, ValueError, urllib.error.URLError) as error:
        raise ImageError(f"{address}: cannot be fetched ({' '.join(str(error).split())})") from None
    if len(data) > MOST_BYTES:
        raise ImageError(f"{address}: more than {MOST_BYTES // 1_000_000} MB")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"picture{suffix if suffix in SUFFIXES else ''}"
        file.write_bytes(data)
        try:
            return replace(adapter.read(file), path=address)
        except ImageError as error:
            raise ImageError(str(error).replace(str(file), address)) from None
