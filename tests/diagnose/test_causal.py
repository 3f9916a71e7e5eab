"""The figures of two players against closed forms, and what the pictures of object and context show."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from igos.base.geometry import Geometry
from igos.diagnose.causal import IMAGES, causes, figures, matte, on_network, outside
from igos.diagnose.words import of_record
from igos.types import Candidates, Image, Scorer, Target

SIDE = 64
BOX = torch.tensor([24.0, 24, 40, 40])
RED, BLUE = torch.tensor([1.0, 0, 0]), torch.tensor([0.0, 0, 1])


def picture() -> Image:
    """A red square on blue ground."""
    pixels = BLUE[:, None, None].expand(3, SIDE, SIDE).clone()
    pixels[:, 24:40, 24:40] = RED[:, None, None]
    source = (pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return Image(pixels, Geometry((SIDE, SIDE), (SIDE, SIDE)), source)


class Toy:
    """Log-odds of f(o, c): o and c are whether red lies in the middle and blue at the border, in [0,1]."""

    def __init__(self, f: Any) -> None:
        self.f = f

    def scorer(self, targets: Any, score: str, batch: Any = None) -> Scorer:
        assert score == "logodds"

        def forward(p: Tensor, rows: Tensor) -> Tensor:
            o = (p[:, 0, 30:34, 30:34].mean(dim=(1, 2)) - p[:, 2, 30:34, 30:34].mean(dim=(1, 2))).clamp(0, 1)
            c = (p[:, 2, :4].mean(dim=(1, 2)) - p[:, 0, :4].mean(dim=(1, 2))).clamp(0, 1)
            return self.f(o.round(), c.round()).clamp(1e-4, 1 - 1e-4).logit()

        return Scorer(forward, len(targets), 4)


OTHERS = torch.full((4, 3, SIDE, SIDE), 0.5)
A, B, C = 0.3, 0.4, 0.2


@pytest.mark.parametrize(
    ("f", "object_", "context", "interaction"),
    [
        (lambda o, c: 0.05 + A * o + B * c, A, B, 0.0),
        (lambda o, c: 0.05 + C * o * c, C / 2, C / 2, C),
        (lambda o, c: 0.05 + C * (1 - (1 - o) * (1 - c)), C / 2, C / 2, -C),
        (lambda o, c: 0.05 + A * o + B * c + C * o * c, A + C / 2, B + C / 2, C),
    ],
)
def test_shapley_figures_of_a_known_score(f: Any, object_: float, context: float, interaction: float) -> None:
    image = picture()
    ((made,), _) = causes(Toy(f), image, [Target(0, "red", 0.9, BOX)], [None], OTHERS)  # type: ignore[arg-type]
    assert made["object"] == pytest.approx(object_, abs=1e-4) and made["context"] == pytest.approx(context, abs=1e-4)
    assert made["interaction"] == pytest.approx(interaction, abs=1e-4)
    whole, none = float(f(torch.tensor(1.0), torch.tensor(1.0))), float(f(torch.tensor(0.0), torch.tensor(0.0)))
    assert made["object"] + made["context"] == pytest.approx(whole - none, abs=2e-4)
    assert made["context_drop"] == pytest.approx(1 - made["f_object"] / whole, abs=1e-3)
    assert made["object_drop"] == pytest.approx(1 - made["f_context"] / whole, abs=1e-3)
    odds = lambda p: np.log(p / (1 - p))  # noqa: E731
    assert made["object_logodds"] + made["context_logodds"] == pytest.approx(odds(whole) - odds(none), abs=1e-3)
    assert made["range"] == pytest.approx(0, abs=1e-5) and not made["substrate_dependent"]


def test_a_range_of_backgrounds_is_told_and_a_drop_of_nothing_is_not() -> None:
    p = np.array([0.9, 0.1, 0.8, 0.2, 0.5, 0.05])
    made = figures(p, np.log(p / (1 - p)))
    assert (
        made["range"] == pytest.approx(0.6) and made["substrate_dependent"] and made["f_object"] == pytest.approx(0.5)
    )
    faint = figures(p / 100, np.log(p / 100))
    assert faint["context_drop"] is None and faint["object_drop"] is None and faint["context"] is not None


def test_a_hidden_object_is_filled_from_outside() -> None:
    image = picture()
    a = matte(Target(0, "red", 0.9, BOX), None, image.geometry)
    assert float(a[24:40, 24:40].min()) > 0.9 and float(a[:16].max()) == 0, "grown, and not far"
    made = outside(image.pixels, a)
    assert float((made - BLUE[:, None, None]).abs().max()) < 0.05, "no red is left"
    assert float((outside(image.pixels, torch.ones(SIDE, SIDE)) - torch.tensor([0.485, 0.456, 0.406])[:, None, None])
                 .abs().max()) < 1e-6  # fmt: skip


class Seeing(Toy):
    """Its pinned row needs the context; row 1 sees the object alone, row 2 as well, at another place."""

    labels: ClassVar[list[str]] = ["red"]

    def candidates(self, image: Image, label: int | None = None) -> Candidates:
        alone = bool((image.pixels[2, :4] < 0.9).all())
        boxes = torch.stack([BOX, BOX + 2, BOX + 20])[None]
        p = torch.tensor([0.01, 0.8 if alone else 0.0, 0.95])
        return Candidates(boxes, p.clamp(1e-6).logit()[None, :, None])


def test_another_candidate_that_sees_the_object_alone_is_told() -> None:
    """f(x) of a detection is known, so that this costs no picture more."""
    toy, own = Seeing(lambda o, c: 0.9 * o * c), {"prob": 0.9, "logodds": float(np.log(9))}
    seen = list[int]()
    plain, target = toy.scorer, Target(0, "red", 0.9, BOX, own=own)

    def counting(*args: Any) -> Scorer:
        made = plain(*args)
        return Scorer(lambda p, rows: (seen.append(len(p)), made.whole(p, rows))[1], 1, 4)

    toy.scorer = counting  # type: ignore[method-assign]
    ((made,), _) = causes(toy, picture(), [target], [None], OTHERS)  # type: ignore[arg-type]
    assert made["f"] == pytest.approx(0.9) and made["f_object"] < 0.01 and sum(seen) == IMAGES - 1
    assert made["f_another"] == pytest.approx(0.8, abs=1e-4)
    ((steady,), _) = causes(Seeing(lambda o, c: 0.9 * o), picture(), [target], [None], OTHERS)  # type: ignore[arg-type]
    assert steady["f_another"] is None
    told = of_record("detection", {**made, "name": "red", "score": 0.9, "outcome": "correct"})
    assert "this candidate keeps .00 of .90, but another one sees it there with .80" in told


@pytest.mark.parametrize("box", [[10.0, 63.6, 30, 64], [63.6, 10.0, 64, 30], [0.0, 0, 0.4, 0.4]])
def test_a_thin_object_at_the_edge_is_hidden_too(box: list[float]) -> None:
    """Rounded, such a box begins beyond the last pixel; nothing was hidden, and all of its score was its context's."""
    a = matte(Target(0, "red", 0.9, torch.tensor(box)), None, picture().geometry)
    x1, y1, x2, y2 = box
    assert float(a[int(y1) : int(y1) + 1, int(x1) : int(x1) + 1].max()) > 0.5


def test_masks_lie_where_the_network_sees_them() -> None:
    g = Geometry((100, 200), (64, 64), (0.32, 0.32), (16.0, 0.0))
    mask = np.zeros((100, 200), bool)
    mask[25:50, 50:150] = True
    made = on_network(mask, g)
    assert made.shape == (64, 64) and float(made[16 + 8 : 16 + 16, 16:48].min()) == 1
    assert float(made.sum()) == pytest.approx(8 * 32, abs=40) and float(made[:16].max()) == 0
