"""Python's face: what the command takes is taken, and what cannot be is refused in one line, in Python's words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import igos
from detectors.emblem import SlimResNet
from igos.base.geometry import Geometry
from igos.methods import METHODS, default_score
from igos.run import explain as one_way
from igos.run.presets import read_preset
from igos.types import Adapter, Explanation, IgosError, Image, Problem, Score, Target
from tests.conftest import toy_problem


@pytest.fixture(scope="module")
def adapter() -> Adapter:
    torch.manual_seed(0)
    return igos.adapt(SlimResNet(3), ["cat", "dog", "owl"], crop=32, resize=32, name="net")


@pytest.fixture(scope="module")
def image(adapter: Adapter) -> Image:
    return adapter.read(np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def targets(adapter: Adapter, image: Image) -> list[Target]:
    return adapter.detect(image, 0.0)[:2]


class Own:
    """A method of a user's own."""

    name = "own"

    def __init__(self, answer: Callable[[Problem], Any]) -> None:
        self.answer = answer

    def __call__(self, problem: Problem) -> Any:
        return self.answer(problem)


def made(problem: Problem) -> list[Explanation]:
    pairs = zip(problem.targets, problem.images, strict=True)
    return [Explanation(torch.rand(4, 4), target, image, "own") for target, image in pairs]


def metric(answer: Callable[[list[Explanation]], Any]) -> Any:
    def own(problem: Problem, explanations: list[Explanation], context: Any = None) -> Any:
        return answer(explanations)

    return own


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ("none", []),
        (["none"], []),
        ((), []),
        ("deletion", ["deletion"]),
        ("deletion,insertion", ["deletion", "insertion"]),
        ("Deletion insertion", ["deletion", "insertion"]),
        (["deletion", "sparseness"], ["deletion", "sparseness"]),
        (metric(lambda e: [Score("own", 1.0, "higher")] * len(e)), ["own"]),
    ],
)
def test_metrics_are_named_as_in_the_command(
    adapter: Adapter, image: Image, targets: list[Target], given: Any, names: list[str]
) -> None:
    for e in igos.explain(adapter, image, targets, Own(made), metrics=given):
        assert [s.name for s in e.scores] == names


def test_memory_is_told_as_in_the_command(adapter: Adapter, image: Image, targets: list[Target]) -> None:
    maps = [
        igos.explain(adapter, image, targets, "vanilla_grad", metrics="none", max_memory=size)[0].saliency
        for size in (None, "2G", "500m", 2**31)
    ]
    assert all(torch.equal(maps[0], m) for m in maps)


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"metrics": "delection"}, "unknown metric 'delection': did you mean deletion"),
        ({"metrics": ["none", "deletion"]}, "metrics none stands alone"),
        ({"metrics": 5}, "metrics: names or callables in a list are needed, got int"),
        ({"max_memory": "2X"}, "max_memory '2X': give bytes, or a number with K, M or G, such as 2G"),
        ({"max_memory": 0}, "max_memory '0': give bytes"),
        ({"precision": "half"}, "precision 'half' is not one of float32, bfloat16"),
        ({"precision": torch.float16}, "precision torch.float16 is not one of float32, bfloat16"),
        ({"batch": 0}, "batch must be a whole number of at least 1, got 0"),
        ({"batch": 2.5}, "batch must be a whole number of at least 1, got 2.5"),
        ({"batch": "8"}, "batch must be a whole number of at least 1, got '8'"),
        ({"score": "odds"}, "score 'odds' is not one of prob, logit"),
        ({"references": torch.rand(3, 32, 32)}, "references must be a tensor (R,3,H,W) in [0,1], got a Tensor"),
        ({"references": 255 * torch.ones(2, 3, 32, 32)}, "references must lie in [0,1], got 255 to 255"),
        ({"targets": [{"label": 0}]}, "targets[0]: a detector's answer has boxes (n,4), got a dict of label"),
        ({"targets": [Target(7, "fox", 0.5)]}, "targets[0] 'fox' is class 7 of another model: net has 3 classes"),
        ({"targets": [Target(1, "fox", 0.5)]}, "targets[0] 'fox' is class 1 of another model: that of net is 'dog'"),
        (
            {"targets": [Target(1, "dog", 0.5, torch.tensor([1.0, 1, 9, 9]))]},
            "targets[0] 'dog' has a box, and net is a classifier",
        ),
        ({"method": Own(lambda p: made(p)[:1])}, "the method own answers 1, not a list of 2 Explanations"),
        ({"method": Own(lambda p: None)}, "the method own answers None, not a list of 2 Explanations"),
        ({"method": Own(lambda p: torch.rand(2, 4, 4))}, "the method own answers a Tensor of shape (2, 4, 4), not"),
        ({"method": Own(lambda p: [torch.rand(4, 4)] * 2)}, "own answers a Tensor of shape (4, 4) in its list, not"),
        ({"method": Own(lambda p: [replace(e, saliency=np.ones((4, 4))) for e in made(p)])}, "must be a tensor"),
        ({"metrics": metric(lambda e: [])}, "the metric own answers 0, not a list of 2 Scores, one for each target"),
        ({"metrics": metric(lambda e: 0.5)}, "the metric own answers a float, not a list of 2 Scores"),
        ({"metrics": metric(lambda e: [0.5, 0.5])}, "the metric own answers a float in its list, not"),
        (
            {"metrics": metric(lambda e: [Score("own", torch.ones(()), "higher")] * 2)},  # type: ignore[arg-type]
            "the metric own answers a Tensor of shape () as the value of Score 0, not a number",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_pythons_words(
    adapter: Adapter, image: Image, targets: list[Target], more: dict[str, Any], told: str
) -> None:
    given = {"image": image, "targets": targets, "method": Own(made), "metrics": (), **more}
    with pytest.raises(IgosError) as caught:
        igos.explain(adapter, **given)
    assert told in str(caught.value) and "\n" not in str(caught.value)
    assert "--" not in str(caught.value).replace("--list", "")


def test_the_one_way_takes_what_the_adapter_gives(adapter: Adapter, image: Image, targets: list[Target]) -> None:
    for asked, told in (
        ((np.zeros((32, 32, 3), np.uint8), targets), "image must be what adapter.read gives, got ndarray"),
        ((image, targets[0]), "targets must be a list, as adapter.detect gives it, got Target"),
        ((image, [{"label": 0}]), "targets\\[0\\] must be a Target, as adapter.detect gives it, got dict"),
    ):
        with pytest.raises(IgosError, match=told):
            one_way.explain(adapter, *asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (torch.full((3, 8, 8), 255.0), "pixels must lie in [0,1], got 255 to 255; divide by 255"),
        (torch.linspace(-2, 2, 192).view(3, 8, 8), "pixels must lie in [0,1], got -2 to 2"),
        (torch.full((3, 8, 8), torch.nan), "pixels must lie in [0,1], got nan to nan"),
    ],
)
def test_a_picture_of_another_range_is_refused(pixels: Tensor, told: str) -> None:
    with pytest.raises(IgosError) as caught:
        Image(pixels, Geometry((8, 8), (8, 8)), np.zeros((8, 8, 3), np.uint8))
    assert str(caught.value) == told
    assert Image(torch.ones(3, 8, 8) + 1e-5, Geometry((8, 8), (8, 8)), np.zeros((8, 8, 3), np.uint8))


# --- statuses of maps that show nothing -----------------------------------------------------------------


@dataclass(frozen=True)
class Dark:
    """A score of its own, and not a number for pictures darker than `below`."""

    value: float | None
    below: float = -1.0

    def __call__(self, pictures: Tensor, rows: Tensor) -> Tensor:
        light = pictures.mean(dim=(1, 2, 3))
        own = light if self.value is None else 0 * light + self.value
        return torch.where(light < self.below, torch.nan, own)


@pytest.mark.parametrize(
    ("score", "status"),
    [(Dark(0.7), "no-effect"), (Dark(0.0), "no-effect"), (Dark(None, 0.2), "not-finite"), (Dark(None), "ok")],
)
def test_rise_says_that_a_score_does_not_move_or_is_no_number(score: Dark, status: str) -> None:
    """The mean of random masks is no map, however it glows."""
    for e in METHODS["rise"](n_masks=40, grid=4)(toy_problem(score, 2)):
        assert e.status == status


def test_drise_says_that_no_detection_moves() -> None:
    def seen(value: float | None) -> Callable[[Tensor], Any]:
        box, probs = torch.tensor([[8.0, 6.0, 20.0, 18.0]]).double(), torch.ones(1, 1).double()

        def detect(pictures: Tensor) -> Any:
            light = pictures.mean(dim=(1, 2, 3)) if value is None else 0 * pictures[:, 0, 0, 0] + value
            return [(box, probs, o[None]) for o in light]

        return detect

    for value, status in ((0.9, "no-effect"), (None, "ok"), (0.0, "no-effect")):
        problem = replace(toy_problem(Dark(None), 2), detect=seen(value))
        assert {e.status for e in METHODS["drise"](n_masks=30, grid=4)(problem)} == {status}


def test_a_map_that_is_the_same_everywhere_shows_nothing(adapter: Adapter, image: Image, targets: list[Target]) -> None:
    def flat(value: float) -> Own:
        return Own(lambda p: [replace(e, saliency=torch.full((4, 4), value)) for e in made(p)])

    def status(method: Any) -> str:
        return igos.explain(adapter, image, targets[:1], method, metrics="none")[0].status

    assert status(flat(0.5)) == status(flat(0.0)) == status(flat(-2.0)) == "no-effect"
    assert status(flat(torch.nan)) == "not-finite" and status(Own(made)) == "ok"


# --- the published comparison of guided non-linearity ---------------------------------------------------


def test_both_methods_of_the_gnl_comparison_explain_the_logit() -> None:
    """Their code takes the gradients of the raw logit; the figures are RISE's, of the probability."""
    preset = read_preset("gnl-published")
    for name in ("integrated_gradients", "guided_integrated_gradients"):
        assert default_score(igos.run.explain.build_method(name, {}, preset)) == "logit"
    assert default_score(METHODS["integrated_gradients"]()) == "prob"


def test_the_logit_is_explained_and_the_probability_is_judged(
    adapter: Adapter, image: Image, targets: list[Target]
) -> None:
    given = {"config": "gnl-published", "metrics": "deletion", "size": 8}
    (e,) = igos.explain(adapter, image, targets[:1], "integrated_gradients", **given)
    (prob,) = igos.explain(adapter, image, targets[:1], "integrated_gradients", explained="prob", **given)
    logit = adapter.scorer(targets[:1], "logit")(image.pixels[None, None])
    assert e.score_original == pytest.approx(float(logit), abs=1e-4)
    assert prob.score_original == pytest.approx(targets[0].score, abs=1e-5)
    assert all(x.scores[-1].curve[1][0] == pytest.approx(targets[0].score, abs=1e-5) for x in (e, prob))
