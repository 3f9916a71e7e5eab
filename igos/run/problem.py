"""One image and its targets as a Problem, and a Problem explained and judged: what run and igos.explain share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor

from igos.base.baselines import baseline
from igos.base.hashing import seed_of
from igos.methods.ingredients import INGREDIENTS, OfImage, load_ingredients
from igos.run.settings import Run
from igos.types import DTYPES, Adapter, ConfigError, Image, Problem, Target

NOTHING: Mapping[str, OfImage] = MappingProxyType({})
LARGEST_BATCH = 64  # pictures in one call; no network gets faster per picture beyond


def make_problem(
    adapter: Adapter,
    image: Image | Sequence[Image],
    targets: Sequence[Target],
    *,
    blurred: Tensor | None = None,
    score: str = "prob",
    seed: int = 0,
    batch: int | None = None,
    max_memory: float | None = None,
    precision: str = "float32",
    starts: Sequence[int | None] | None = None,
    start_masks: Tensor | None = None,
    ingredients: Mapping[str, OfImage] = NOTHING,
) -> Problem:
    """K targets (a target may stand several times, once per start) of one image, or each of its own, as a Problem.

    A network call takes `batch` pictures, by default what suits the model, fewer where those would keep more than
    max_memory bytes; where that is None a device with memory of its own is filled to half of what is free.
    ingredients: what the method needs beside (igos/methods/ingredients.py). blurred (K,3,H,W) is the baseline, if it
    is made already. Seeds follow from the seed given and the picture's bytes, the label, the part and the start: not
    from the method, its settings, index or box, so that methods and budgets share their draws; and not from pixels,
    whose last bits depend on the number of threads. Raises ConfigError for a target that cannot be scored, such as a
    box without area or outside of the picture.
    """
    k = len(targets)
    images = [image] * k if isinstance(image, Image) else list(image)
    same = all(i is images[0] for i in images)
    for target, each in zip(targets, images, strict=True):
        check_boxes([target], each)
    x = images[0].pixels.expand(k, -1, -1, -1) if same else torch.stack([i.pixels for i in images])
    generators = [
        torch.Generator().manual_seed(seed_of(f"{seed}|{each.sha256}|{target.label}|{target.part}|{start}"))
        for target, each, start in zip(targets, images, starts or [None] * k, strict=True)
    ]
    scorer = adapter.scorer(targets, score, batch)
    scorer.precision = DTYPES[precision]
    free = free_memory(x.device) if batch is None else None
    if max_memory is not None:
        scorer.fit(x[:1], max_memory, scorer.batch if free is None else LARGEST_BATCH)
    elif free is not None:
        scorer.fit(x[:1], free / 2, LARGEST_BATCH)
    return Problem(
        x=x,
        x0=baseline("blur", x) if blurred is None else blurred,
        score=scorer,
        targets=targets,
        generators=generators,
        images=images,
        start=start_masks,
        starts=starts,
        detect=adapter.detections,
        ingredients={name: of(images[0]) for name, of in ingredients.items()},
        probability=adapter.scorer(targets, "prob", batch) if score != "prob" else None,
        picture_seeds=[seed_of(f"{seed}|{i.sha256}") for i in images],
    )


def free_memory(device: torch.device) -> int | None:
    """Bytes that are free on a device with memory of its own; None on the CPU and where that cannot be asked."""
    ask = None if device.type == "cpu" else getattr(torch.get_device_module(device), "mem_get_info", None)
    return ask(device)[0] if ask else None


def ingredients_for(run: Run, methods: Sequence[Any], adapter: Adapter) -> list[dict[str, OfImage]]:
    """What each of the methods needs, by the flags of the run."""
    return load_ingredients(methods, adapter, {i.flag: getattr(run, i.flag) for i in INGREDIENTS.values()}, run.data)


def check_boxes(targets: Sequence[Target], image: Image) -> None:
    """Refuse boxes without area and boxes outside of the network's picture. Raises ConfigError."""
    height, width = image.geometry.network
    for target in targets:
        if target.box is None:
            continue
        x1, y1, x2, y2 = target.box.tolist()
        subject = f"target {target.name!r}: its box ({x1:.1f}, {y1:.1f}, {x2:.1f}, {y2:.1f})"
        if not (x1 < x2 and y1 < y2 and bool(target.box.isfinite().all())):
            raise ConfigError(f"{subject} has no area")
        if x2 <= 0 or y2 <= 0 or x1 >= width or y1 >= height:
            raise ConfigError(f"{subject} lies outside of the network's picture of {width} x {height} px")
