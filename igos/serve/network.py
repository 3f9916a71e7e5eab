"""What the process of the network does for the live page: it looks at pictures, explains, and scores painted ones.

It is asked messages, dicts with `do`, and answers events (kind, content) by `say`; see Network.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from igos.base.baselines import baseline
from igos.base.files import npz_bytes, safe_name
from igos.base.names import CLASS_THRESHOLD
from igos.base.ops import upscale
from igos.data.annotations import known_of
from igos.methods.asked import kind_of, posed
from igos.results.manifest import target_record
from igos.results.packed import frame
from igos.results.rows import Row
from igos.run.drive import check
from igos.run.explain import Job, explain_jobs
from igos.run.models import load_models, pick_model
from igos.run.plan import resolve
from igos.run.problem import ingredients_for
from igos.run.progress import Watched
from igos.run.settings import memory_size
from igos.serve.asked import settings_of
from igos.types import Adapter, ConfigError, Explanation, Image, Problem, Target
from igos.types.scorer import asking

Say = Callable[[str, Mapping[str, Any]], None]
T = TypeVar("T")
KEPT = 6  # pictures, and what was seen in them
LEAST, MOST = 0.1, 100  # the least score of a detection that is shown, where the user names none; how many at most
CLASSES = 10  # of a classifier that are shown


class Cancelled(BaseException):
    """The job that runs is not wanted any more. No `except Exception` may take it for a fault."""


class Network:
    """The models, each named as the user did, with what was read and seen last. flags: those of the command."""

    def __init__(self, flags: Mapping[str, Any], models: Sequence[str | None]) -> None:
        self.flags = dict(flags)
        self.models = [self._load(m) for m in models]
        self._images: OrderedDict[Hashable, Image] = OrderedDict()
        self._seen: OrderedDict[Hashable, list[Target]] = OrderedDict()

    def _load(self, model: str | None) -> tuple[Adapter, dict[str, Any], str]:
        """The model, its flags, its preset."""
        flags, preset = pick_model({**self.flags, **({"model": model} if model else {})})
        config = resolve(settings_of(flags), preset).run
        if config.threads:
            torch.set_num_threads(config.threads)
        return load_models(config)[0], flags, preset

    def facts(self) -> list[dict[str, Any]]:
        """What the page says of each model."""
        return [
            {
                "name": adapter.name,
                "classes": adapter.default_target == "top1",
                "threshold": float(flags.get("threshold", _usual(adapter))),
                "labels": [str(label) for label in adapter.labels][:2000],
                "notes": list(adapter.notes),
                "device": str(adapter.device),
                "flags": flags,
                "least": least_of(adapter.default_target == "top1", flags),
            }
            for adapter, flags, _ in self.models
        ]

    def look(self, path: str, model: int) -> dict[str, Any]:
        """What the model sees in a picture: names, scores, boxes in fractions of the source picture."""
        adapter = self.models[model][0]
        image, targets = self._image(path, model), self._targets(path, model)
        height, width = image.geometry.source
        found = []
        for t in targets:
            box = None if t.box is None else image.geometry.to_source(t.box.float().cpu()).tolist()
            found.append(
                {
                    "name": t.name,
                    "label": t.label,
                    "score": float(t.score),
                    "box": box and [v / n for v, n in zip(box, (width, height) * 2, strict=True)],
                }
            )
        return {"detections": found, "frame": frame(image.geometry), "size": [width, height], "model": adapter.name}

    def explain(self, asked: Mapping[str, Any], say: Say, ask: Callable[[bool], Any]) -> dict[str, Any]:
        """Explain a detection: events `step` while it goes on, then the row and the arrays. ask(idle): called before
        every pass; idle: whether the network is between two steps, and may be asked something else. Raises ConfigError.
        """
        adapter, flags, preset = self.models[asked["model"]]
        path, part = str(asked["path"]), str(flags.get("part", "class"))
        least = asked["threshold"]
        wish = {"data": [path], "target": asked["target"], "threshold": least}
        plan = resolve({**settings_of(flags, asked), **wish}, preset)
        check(plan, adapter)
        image = self._image(path, asked["model"])
        known = known_of(path, flags.get("annotations"), image.geometry.source)
        if asked.get("index") is None:
            found, _ = plan.selector.select(adapter, image, least, known)
        else:
            found = self._targets(path, asked["model"])[asked["index"] :][:1]
        if not found:
            raise ConfigError(f"{asked['target']}: there is no such thing in this picture")
        (target,) = posed(plan.run.ask, adapter, [replace(found[0], part=part)])
        (ingredients,) = ingredients_for(plan.run, [plan.method], adapter)
        watched = Live(plan.method, say, ask)
        with asking(lambda: ask(False)):
            (made,), _ = explain_jobs(
                adapter,
                [Job(target, image, truths=known.objects, warnings=tuple(known.warnings))],
                watched,
                plan.metrics,
                score=plan.run.score,
                seed=plan.run.manual_seed,
                batch=plan.run.batch,
                max_memory=memory_size(plan.run.max_memory),
                precision=plan.run.precision,
                ingredients=ingredients,
                ask=kind_of(plan.run.ask),
                threshold=plan.run.threshold,
            )
        place = f"{asked['name']}/{asked['place']}-{safe_name(target.name)}"
        return {
            "row": {**Row.of(made, f"{place}/{asked['within']}").as_dict(), "reason": target.reason},
            "arrays": npz_bytes(made.as_arrays()),
            "target": target_record(target, place),
            "sha256": image.sha256,
            "metrics": list(plan.run.metrics),
            "set": list(plan.run.set),
        }

    def score(self, path: str, model: int, index: int, paint: bytes, grid: tuple[int, int]) -> dict[str, float]:
        """The score of a detection in the picture, blurred where it is painted. paint: h*w bytes on a grid over the
        whole source picture, 255 = blurred.
        """
        image, target = self._image(path, model), self._targets(path, model)[index]
        on = painted(image, torch.from_numpy(np.frombuffer(paint, np.uint8).reshape(grid) / 255.0).float())
        x = image.pixels[None]
        hidden = x + on.to(x) * (baseline("blur", x) - x)
        with torch.no_grad():
            score = self.models[model][0].scorer([target])(torch.stack([x, hidden], dim=1))
        return {"before": float(score[0, 0]), "now": float(score[0, 1])}

    def _image(self, path: str, model: int) -> Image:
        return _kept(self._images, (path, model), lambda: self.models[model][0].read(path))

    def _targets(self, path: str, model: int) -> list[Target]:
        adapter, flags, _ = self.models[model]
        least = least_of(adapter.default_target == "top1", flags)
        return _kept(
            self._seen, (path, model), lambda: adapter.detect(self._image(path, model), least)[: most_of(adapter)]
        )


def least_of(classes: bool, flags: Mapping[str, Any]) -> float:
    """The least score of what is seen; a classifier's classes are cut by their number."""
    return 0.0 if classes else min(LEAST, float(flags.get("threshold", LEAST)))


def most_of(adapter: Adapter) -> int:
    return CLASSES if adapter.default_target == "top1" else MOST


def _usual(adapter: Adapter) -> float:
    """Where the page's slider begins."""
    return CLASS_THRESHOLD if adapter.default_target == "top1" else adapter.threshold


class Live(Watched):
    """A method that says after every step how far it is, and the scores of what is hidden and shown by its mask: two
    network images forward, a fifth of a step of four there and back.
    """

    def __init__(self, method: Any, say: Say, ask: Callable[[bool], Any]) -> None:
        super().__init__(method, self._step)
        self._say, self._ask = say, ask
        self._problem: Problem | None = None
        self._begin = 0.0

    def __call__(self, problem: Problem) -> list[Explanation]:
        self._problem = problem
        ends = problem.score_ends()[0].tolist()
        total = getattr(self.unwatched, "iterations", 0)
        self._say("step", {"step": 0, "total": total, "hidden": ends[0], "shown": ends[1]})
        self._begin = time.perf_counter()
        made = super().__call__(problem)
        self._say("measuring", {})
        return made

    def _step(self, step: int, total: int, mask: Tensor | None) -> None:
        self._ask(mask is not None)
        told: dict[str, Any] = {"step": step, "total": total}
        if mask is not None and self._problem is not None:
            heat = ((1 - mask[0]).clamp(0, 1) * 255).round().to(torch.uint8)
            told |= {"heat": heat.cpu().numpy().tobytes(), "grid": list(heat.shape)}
            told |= scores_of(self._problem, mask)
        told["left"] = (time.perf_counter() - self._begin) / step * (total - step)
        self._say("step", told)


def scores_of(problem: Problem, mask: Tensor) -> dict[str, float]:
    """The scores of the picture without what the mask (1,h,w) marks, and of what it marks alone; the problem does not
    count these two network images, which are not the method's.
    """
    keep = upscale(mask, problem.size)[:, None].to(problem.x)
    x, x0 = problem.x, problem.x0
    with torch.no_grad():
        hidden, shown = problem.score(torch.stack([x0 + keep * (x - x0), x + keep * (x0 - x)], dim=1))[0].tolist()
    return {"hidden": hidden, "shown": shown}


def painted(image: Image, grid: Tensor) -> Tensor:
    """A grid (h,w) over the whole source picture -> (1,1,H,W) on the network's pixels, 0 beside the picture."""
    g, axes = image.geometry, []
    for n0, size, scale, offset in zip(g.source, g.network, g.scale, g.offset, strict=True):
        axes.append(((torch.arange(size) + 0.5 - offset) / scale / n0) * 2 - 1)
    y, x = torch.meshgrid(*axes, indexing="ij")
    place = torch.stack([x, y], dim=-1)[None].float()
    on = F.grid_sample(grid[None, None], place, padding_mode="border", align_corners=False)
    return on * (place.abs() <= 1).all(dim=-1)[:, None]


def _kept(store: OrderedDict[Hashable, T], key: Hashable, make: Callable[[], T]) -> T:
    if key not in store:
        store[key] = make()
        while len(store) > KEPT:
            store.popitem(last=False)
    store.move_to_end(key)
    return store[key]
