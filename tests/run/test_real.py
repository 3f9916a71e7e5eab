"""Maps of a real detector on real photos lie on the object, as people drew it."""

from __future__ import annotations

import numpy as np
import torch

import igos
from igos.data.annotations import truths_of
from igos.data.truth import match
from igos.metrics.energy import EnergyMask
from igos.metrics.metric import Context
from igos.run.problem import make_problem
from igos.types import Explanation
from tests.conftest import darknet_options, shared_data


def test_saliency_lies_on_the_instance_more_than_chance_or_the_centre_would() -> None:
    adapter = igos.load("darknet", fit="letterbox", input_size=224, **darknet_options(small=True))
    folder = shared_data("coco")
    y, x = torch.meshgrid(torch.linspace(-1, 1, 28), torch.linspace(-1, 1, 28), indexing="ij")
    figures = []
    for path in sorted((folder / "images").iterdir()):
        if len(figures) == 15:
            break
        image, truths = adapter.read(path), truths_of(str(path), str(folder / "instances.json"))
        pairs = [(t, match(t, image, truths)) for t in adapter.detect(image, 0.4)]
        found = [(t, truth) for t, truth in pairs if truth is not None][:1]
        for target, truth in found:
            made = igos.explain(
                adapter, image, [target], "iGOS+", config="quick", metrics=(), sure=False, iterations=5
            )[0]
            maps = [made.saliency, torch.rand(28, 28), torch.exp(-2 * (x**2 + y**2))]
            shown = [Explanation(m, target, image, "map") for m in maps]
            problem = make_problem(adapter, image, [target] * 3)
            figures.append([s.value for s in EnergyMask()(problem, shown, Context([truth] * 3))])
    ours, chance, centre = np.mean(figures, axis=0)
    assert len(figures) == 15
    assert ours > 1.5 * chance and ours > 1.1 * centre
