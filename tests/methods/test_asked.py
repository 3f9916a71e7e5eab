"""Questions: what holds a score down, why this class and not that one, and what cannot be asked."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

import igos
from igos.data.nulls import COUNT, Null, alike, bundled, lift, nulls_of, row_of, share_alike
from igos.methods import ASKED
from igos.methods.asked import answering, kind_of, posed
from igos.metrics import ladder
from igos.metrics.interactions import Interactions, regions
from igos.metrics.metric import Context
from igos.metrics.raised import Raised, already, sentence, verdict_of, where
from igos.types import Candidates, ConfigError, Explanation, Scorer, Target
from tests.conftest import patch_score, toy_image, toy_problem

BLOCKER = (slice(4, 10), slice(18, 26))  # rows and columns


def held_down(pictures: Tensor, _: Tensor) -> Tensor:
    """Log-odds that fall with the contrast of the blocker: 2 where it is smooth."""
    rows, columns = BLOCKER
    part = pictures[:, :, rows, columns]
    return 2 - 30 * (part - part.mean(dim=(2, 3), keepdim=True)).pow(2).mean(dim=(1, 2, 3))


@pytest.mark.parametrize("name", ["why-not", "why-not-masks"])
def test_why_not_finds_what_holds_the_score_down(name: str) -> None:
    settings = {"size": 8} if name == "why-not" else {"size": 8, "n_masks": 300, "grid": 4}
    (e,) = ASKED[name](**settings)(toy_problem(held_down, dtype=torch.float32))
    y, x = divmod(int(e.saliency.argmax()), 8)
    assert y / 7 * 23 + 1.7 >= 4 and y / 7 * 23 - 1.7 < 10 and x / 7 * 31 + 2.2 >= 18 and x / 7 * 31 - 2.2 < 26
    assert e.status == "ok" and float(e.saliency.max()) > 0


def test_a_mask_that_does_not_move_is_an_answer() -> None:
    flat = toy_problem(lambda p, _: p.sum(dim=(1, 2, 3)) * 0, dtype=torch.float32)
    (e,) = ASKED["why-not"](size=8, iterations=3)(flat)
    assert e.status == "ok" and not e.saliency.any()


def test_path_points_lie_in_the_upper_half_and_baselines_take_turns() -> None:
    seen: list[Tensor] = []

    def watched(pictures: Tensor, rows: Tensor) -> Tensor:
        seen.append(pictures.detach().clone())
        return pictures.mean(dim=(1, 2, 3))

    problem = toy_problem(watched, dtype=torch.float32)
    ASKED["why-not"](size=4, iterations=6, ig_iter=2, detail=False)(problem)
    assert len(seen) == 6 and all(len(s) == 2 for s in seen), "a term of two points at each of six steps"
    share = [float((s[0] - seen[0][0]).abs().max()) for s in seen]
    assert max(share) > 0.01
    mean = torch.tensor([0.485, 0.456, 0.406])[:, None, None]
    apart = (seen[1][0] - problem.x[0]) / (mean - problem.x[0])  # 1 - t at the second step, of the mean colour
    t = 1 - float(apart.median())
    assert 0.5 <= t <= 1 and float((apart - apart.median()).abs().median()) < 0.05


def test_who_answers_what() -> None:
    assert answering("iGOS++", "why") == "iGOS++" and answering("iGOS++", "why-not") == "why-not"
    assert answering("drise", "why-not") == "why-not-masks" and answering("rise", "versus:cat") == "versus-masks"
    assert answering("grad_cam", "versus:cat") == "grad_cam"
    with pytest.raises(ConfigError, match="grad_cam does not answer why-not; I-GOS, "):
        answering("grad_cam", "why-not")
    for text in ("whence", "versus", "versus:", "why:dog"):
        with pytest.raises(ConfigError, match="is not one of why, why-not, versus:NAME"):
            kind_of(text)


def test_a_question_that_makes_no_sense_is_one_line() -> None:
    adapter = igos.load("emblem-vgg")
    image = adapter.read("samples/scene-04.png")
    (t,) = adapter.detect(image, 0.0)[:1]
    with pytest.raises(ConfigError, match=f"ask versus:{t.name}: the target is of that class itself"):
        posed(f"versus:{t.name}", adapter, [t])
    with pytest.raises(ConfigError, match="ask versus:starr: emblem-vgg has no such class; did you mean star"):
        posed("versus:starr", adapter, [t])
    with pytest.raises(ConfigError, match="ask versus-row: .* was not removed"):
        posed("versus-row", adapter, [t])
    box = torch.tensor([0.0, 0, 10, 10])
    winner = Target(0, "dog", 0.71, box)
    removed = Target(0, "dog", 0.62, box + torch.tensor([0, 0, 0, 2.0]), reason="suppressed", rival=winner)
    with pytest.raises(ConfigError, match=r"seen as dog .62, but removed for the dog .71 beside it \(overlap .83\)"):
        posed("why-not", adapter, [removed])
    assert posed("versus-row", adapter, [removed]) == [removed]
    with pytest.raises(ConfigError, match="metric deletion judges maps of why and versus, not of why-not"):
        igos.explain(adapter, image, [t], ask="why-not", metrics=["deletion"])


@pytest.mark.parametrize("name", ["emblem-f-rcnn", "emblem-yolov3spp", "emblem-vgg"])
def test_a_margin_is_the_difference_of_the_two_classes_at_one_row(name: str) -> None:
    adapter = igos.load(name)
    image = adapter.read("samples/scene-04.png")
    t = adapter.detect(image, 0.1)[0]
    other = next(n for n in adapter.labels if n not in (t.name, "__background__", "none"))
    (asked,) = posed(f"versus:{other}", adapter, [t])
    assert asked.rival is not None
    x = image.pixels[None, None]
    margin = float(adapter.scorer([asked], "margin")(x))
    if name == "emblem-yolov3spp":
        row = adapter.candidates(image).logits[0, int(t.index or 0)]
        assert margin == pytest.approx(float(row[t.label] - row[asked.rival.label]), abs=1e-3)
    else:
        p, q = (float(adapter.scorer([each], "prob")(x).double().log()) for each in (t, asked.rival))
        assert margin == pytest.approx(p - q, abs=1e-3)
    moved = replace(asked, rival=replace(t, index=None if t.index is None else t.index + 1, own=None))
    if name == "emblem-yolov3spp":
        odds = adapter.candidates(image).scores("logodds")[0, int(t.index or 0) :, t.label]
        assert float(adapter.scorer([moved], "margin")(x)) == pytest.approx(float(odds[0] - odds[1]), abs=1e-3)
    (e,) = igos.explain(adapter, image, [t], "vanilla_grad", ask=f"versus:{other}", metrics=[])
    assert e.explained == "margin" and e.ask == "versus" and e.score_original == pytest.approx(margin, abs=1e-3)


def test_the_ladder_is_read_from_its_large_end() -> None:
    holds = np.ones(16, bool)
    assert ladder.always_from(holds) == pytest.approx(0.001)
    holds[[2, 9]] = False
    assert ladder.always_from(holds) == pytest.approx(ladder.SHARES[10])
    holds[-1] = False
    assert np.isnan(ladder.always_from(holds)) and ladder.SHARES[-1] == pytest.approx(0.32)


def explained(saliency: Tensor, problem: Any) -> Explanation:
    return Explanation(saliency, problem.targets[0], problem.images[0], "toy", score_original=1.0, explained="prob")


def test_sufficient_and_necessary_of_a_score_that_looks_at_one_patch() -> None:
    """The patch is 12 x 8 of 24 x 32 px, an eighth of the picture: its cells first, hiding a part takes the score."""
    problem = toy_problem(patch_score(slice(6, 18), slice(8, 16)), dtype=torch.float32)
    map_ = torch.zeros(24, 32)
    map_[6:18, 8:16] = 1
    good, bad = explained(map_, problem), explained(1 - map_, problem)
    for e, least, most in ((good, 0.05, 0.15), (bad, None, None)):
        (needed,) = ladder.Necessary()(problem, [e])
        (enough,) = ladder.Sufficient()(problem, [e])
        for figure in (needed, enough):
            assert np.isnan(figure.value) if least is None else least <= figure.value <= most, figure
    assert "necessary_reason" in ladder.Necessary()(problem, [bad])[0].detail


@pytest.mark.parametrize(
    ("most", "words"),
    [
        (0.9, "of the picture turns it into cat ."),
        (0.3, "no blurring of up to 32 % of the picture turns it into cat ("),
    ],
)
def test_what_turns_one_class_into_another_is_said(most: float, words: str) -> None:
    """The answer to versus is a sentence too, where nothing turns it as well: an empty column says nothing."""
    forward = patch_score(slice(6, 18), slice(8, 20))
    problem = toy_problem(forward, dtype=torch.float32)
    (target,) = problem.targets
    asked = replace(problem, targets=[replace(target, rival=Target(target.label + 1, "cat", 0.1))])
    other = Scorer(lambda p, rows: most * (1 - forward(p, rows)), 1, 8)
    adapter = SimpleNamespace(default_target="all", threshold=0.4, scorer=lambda targets, score, batch: other)
    (e,) = ASKED["why-not"](size=8, iterations=1)(asked)
    patch = torch.zeros(8, 8)
    patch[2:6, 2:5] = 1
    (made,) = ladder.Flips()(asked, [replace(e, saliency=patch)], Context(adapter=adapter))  # type: ignore[arg-type]
    assert words in made.detail["sentence"] and "proves no cause" in made.detail["sentence"]


def test_interactions_of_or_and_and() -> None:
    """f = 1 - (1-a)(1-b) is redundant, f = a b needs both: I = -1 and +1 at pixels that are hidden whole."""
    map_ = torch.zeros(24, 32)
    map_[2:4, 2:4], map_[18:20, 26:28] = 1, 0.9

    def parts(p: Tensor) -> tuple[Tensor, Tensor]:
        return p[:, :, 2:4, 2:4].mean(dim=(1, 2, 3)), p[:, :, 18:20, 26:28].mean(dim=(1, 2, 3))

    def either(p: Tensor, _: Tensor) -> Tensor:
        a, b = (v / w for v, w in zip(parts(p), whole, strict=True))
        return 1 - (1 - a) * (1 - b)

    def both(p: Tensor, _: Tensor) -> Tensor:
        a, b = (v / w for v, w in zip(parts(p), whole, strict=True))
        return a * b

    whole = parts(toy_image().pixels[None])
    for score, value, word in ((either, -1, "redundant"), (both, 1, "needed together")):
        problem = toy_problem(score, dtype=torch.float32)
        (made,) = Interactions()(problem, [explained(map_, problem)])
        assert made.detail["interactions_strongest"] == pytest.approx(value, abs=0.15)
        assert word in made.detail["interactions_told"]
    areas, _ = regions(map_)
    assert float(areas.sum(dim=0).max()) == 1 and len(areas) >= 2


def test_nulls_count_by_how_near_their_score_is() -> None:
    risen, still = Null(0.1, (0.1,) * 5 + (0.5,) * 11), Null(0.1, (0.1,) * 16)
    median = Null(0.12, (0.12,) * 5 + (0.42,) * 11)
    assert share_alike(median, 14, [risen, still]) == pytest.approx(0.5)
    assert share_alike(median, 5, [risen, still]) == pytest.approx(1.0), "none has risen there yet"
    far = Null(0.9, (0.95,) * 16)
    assert share_alike(median, 14, [risen, far]) == pytest.approx(1.0, abs=1e-3)
    early = Null(0.12, (0.12,) + (0.42,) * 15)
    assert share_alike(early, 14, [risen]) == 0, "as far, with less"


PROBABILITY = st.floats(0.001, 0.999)


@given(PROBABILITY, PROBABILITY, st.lists(PROBABILITY, min_size=16, max_size=16), PROBABILITY)
def test_a_change_of_name_is_no_rise(score: float, best: float, medians: list[float], other: float) -> None:
    """What lies below the best that the row had of any class counts for nothing, and no more than that of the rest."""
    null = Null(score, tuple(medians), best)
    value = lift(null, 14)
    assert 0 <= value <= max(max(medians[:14]) - max(score, best), 0) + 1e-12
    assert (value > 0) == (max(medians[:14]) > max(score, best))
    assert value <= lift(null._replace(best=0.0), 14), "a row whose own class leads rises from f(x) on"
    assert lift(null._replace(best=max(best, other)), 14) <= value
    low = tuple(min(v, max(score, best)) for v in medians)
    assert lift(null._replace(medians=low), 14) == 0
    alone = share_alike(null, 14, [null])
    assert alone == pytest.approx(1) and nulls_of([row_of(null, 20)]) == [null]


def test_a_null_one_counts_no_less_than_alike() -> None:
    near, far = Null(0.1, (0.1,) * 16), Null(0.9, (0.99,) * 16)
    assert share_alike(Null(0.1, (0.15,) * 16), 14, [near, near, near, far]) == pytest.approx(0.25)


@given(st.lists(st.floats(1e-4, 0.999), min_size=11, max_size=60), st.floats(1e-4, 0.999))
def test_one_null_that_is_near_does_not_decide(scores: list[float], score: float) -> None:
    """None alone is more than a tenth, and the nearer count the more."""
    weight = alike(score, [Null(s, (s,) * 16) for s in scores])
    assert weight.max() <= weight.sum() / 10 and (weight > 0).all()
    odds = np.log(scores) - np.log1p(-np.array(scores)) - (np.log(score) - np.log1p(-score))
    assert (np.diff(weight[np.argsort(np.abs(odds), kind="stable")]) <= 1e-9).all()


def test_fifty_null_candidates_ship() -> None:
    known = bundled()
    assert all(n.score <= n.best < 1 for n in known) and {n.best > n.score for n in known} == {True, False}
    assert len(known) == COUNT == 50 and all(len(n.medians) == 16 and 0 < n.score < 0.4 for n in known)


def test_a_null_candidate_is_rarely_alone_among_nulls() -> None:
    """Whatever the curves look like, a null one comes to a share <= .1 among the others in one case of ten."""
    rng = np.random.default_rng(0)
    steps = rng.normal(0, 0.4, (200, 16)).cumsum(axis=1) - 2
    nulls = [Null(0.12, tuple(1 / (1 + np.exp(-v)))) for v in steps]
    shares = [share_alike(n, 14, nulls[:i] + nulls[i + 1 :]) for i, n in enumerate(nulls)]
    assert float(np.mean(np.array(shares) <= 0.1)) == pytest.approx(0.1, abs=0.02)


def test_three_verdicts_and_their_sentences() -> None:
    nan = float("nan")
    assert verdict_of(0.06, True, 0.04) == "covered" and verdict_of(nan, None, 0.0) == "missing"
    assert {verdict_of(*v) for v in ((0.2, True, 0.0), (0.06, False, 0.0), (0.06, True, 0.2), (0.06, True, nan))} == {
        "sensitive"
    }
    told = sentence("dog", 0.12, 0.71, 0.06, "at its left", 0.4, "covered", 0.04)
    assert told == "blurring 6 % of the picture, at its left, raises dog from .12 to .71 (null 4 %)"
    assert "no cause is shown" in sentence("dog", 0.12, 0.71, 0.06, "at its left", 0.4, "sensitive", 0.3)
    assert "raises dog from .02 over .40 (at most .11)" in sentence("dog", 0.02, 0.11, 0.3, "", 0.4, "missing", 0.0)
    first = sentence("dog", 0.3, 0.25, 0.06, "at its left", 0.0, "covered", 0.04)
    assert "puts dog first: it had .30 and has .25" in first, "of a classifier, whose other classes may fall further"
    target = Target(0, "dog", 0.7, torch.tensor([8.0, 6, 20, 18]), reason="localization")
    assert "its box does not cover the object" in already(target, 0.7, 0.4)
    assert "belongs to another" in already(replace(target, reason="shared"), 0.7, 0.4)
    top = torch.zeros(24, 32)
    top[10:14, 0:3] = 1
    assert where(top, Target(0, "dog", 0.5, torch.tensor([8.0, 6, 20, 18]))) == "to its left"


def test_raised_reads_the_median_of_three_substrates() -> None:
    def prob(pictures: Tensor, rows: Tensor) -> Tensor:
        return held_down(pictures, rows).sub(1).mul(4).sigmoid()

    problem = toy_problem(prob, dtype=torch.float32)
    map_ = torch.zeros(24, 32)
    map_[BLOCKER] = 1
    nulls = [Null(0.3, (0.3,) * 16)]
    unknown = replace(explained(map_, problem), score_original=None)
    (made,) = Raised()(problem, [unknown], Context(nulls=nulls, threshold=0.7))
    assert (
        made.detail["raised_of"] == pytest.approx(float(prob(problem.x, torch.zeros(1)))) and made.detail["null"] == 0
    )
    assert 0.02 <= made.detail["crosses"] <= 0.1 and made.detail["verdict"] == "sensitive", (
        "nobody said what is detected"
    )
    (over,) = Raised()(problem, [unknown], Context(nulls=nulls, threshold=1e-9))
    assert np.isnan(over.value) and over.detail["crosses"] == 0 and over.detail["verdict"] is None
    assert "already, the threshold is .00: it is not missed" in over.detail["sentence"]
    (none,) = Raised()(problem, [replace(unknown, saliency=1 - map_)], Context(nulls=nulls, threshold=0.7))
    assert none.detail["verdict"] == "missing" and np.isnan(none.detail["crosses"])


def test_raised_counts_above_the_best_class_of_the_row() -> None:
    """A row that another class leads rises only past that class's score; what stays below is told as another name."""

    def prob(pictures: Tensor, rows: Tensor) -> Tensor:
        return held_down(pictures, rows).sub(1).mul(4).sigmoid()

    def asked(other: float) -> Any:
        own = float(prob(problem.x, torch.zeros(1)))
        logits = torch.tensor([[[own, other], [0.5, 0.9]]]).logit()
        boxes = torch.tensor([[[8.0, 6, 20, 18]] * 2])
        adapter: Any = SimpleNamespace(
            default_target="all",
            labels=["toy", "cow"],
            candidates=lambda image, label=None: Candidates(boxes, logits),
            detect=lambda image, least: [problem.targets[0]],
        )
        (e,) = Raised()(problem, [unknown], Context(nulls=[Null(0.3, (0.3,) * 16)], threshold=0.7, adapter=adapter))
        return e

    problem = toy_problem(prob, dtype=torch.float32)
    problem = replace(problem, targets=[replace(problem.targets[0], index=0)])
    map_ = torch.zeros(24, 32)
    map_[BLOCKER] = 1
    unknown = replace(explained(map_, problem), score_original=None)
    led, beaten, passed = asked(0.001), asked(0.9999), asked(0.5)
    assert led.value > passed.value > beaten.value == 0 and led.detail["raised_over"] == led.detail["raised_of"]
    assert led.detail["verdict"] == passed.detail["verdict"] == "covered" and passed.detail["raised_over"] == 0.5
    assert beaten.detail["verdict"] == "sensitive" and beaten.detail["null"] == 1
    assert beaten.detail["sentence"].endswith("the same candidate had 1.00 as cow already, its name alone changes")
    assert led.detail["crosses"] == beaten.detail["crosses"], "the score crosses all the same"
