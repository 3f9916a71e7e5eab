"""Interior gradients against closed forms and integrated gradients; their figures, from what an explanation holds."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image as Picture
from torch import Tensor

from igos.drawing import files, path_figures
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.methods.gradient.interior import Interior
from igos.types import ConfigError, Explanation
from tests.conftest import TinyNet, net_score, toy_problem
from tests.methods.test_gradients import close, raw, values

FIGURES = {"interior.gif", "interior.png", "saturation.png"}


def quadratic(p: Tensor, r: Tensor) -> Tensor:
    return (p**2).sum(dim=(1, 2, 3)) / 2


def test_on_a_quadratic_everything_is_known() -> None:
    """f = |x|^2/2 from black: g(a) = a x, its path mean |x|/2, f(a) = a^2 f, and the sum over the path f."""
    problem = toy_problem(quadratic, size=(20, 28))
    x = problem.x[0]
    (e,) = Interior(n_steps=5, size=28)(problem)
    a = e.arrays["interior_alpha"]
    assert a.tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert np.allclose(e.arrays["interior_score"], a**2 * float(quadratic(x[None], x)), rtol=1e-6)
    assert np.allclose(e.arrays["interior_norm"], a * float(x.norm()), rtol=1e-6)
    assert np.allclose(e.arrays["interior"], a[:, None, None] * x.sum(dim=0).numpy(), atol=1e-6)
    assert close(raw(e), x**2 / 2) and e.scores[0].value < 1e-6
    (e,) = Interior(n_steps=5, size=20)(toy_problem(quadratic, size=(20, 20)))
    x = toy_problem(quadratic, size=(20, 20)).x[0]
    assert close(e.saliency.double(), x.sum(dim=0) / 2), "the gradient's size, without the factor x - x'"


@pytest.mark.parametrize("baseline", ["black", "mean"])
def test_its_attribution_is_integrated_gradients_by_the_trapezoid(baseline: str) -> None:
    problem = toy_problem(net_score(2), 2, batch=3)
    made = Interior(n_steps=9, baseline=baseline)(problem)
    plain = values(IntegratedGradients(n_steps=9, baseline=baseline, rule="trapezoid"), problem)
    assert all(close(raw(e), expected) for e, expected in zip(made, plain, strict=True))
    assert problem.score.backward_images.tolist() == [18, 18]


def test_frames_are_the_gradients_of_the_network_itself() -> None:
    net, problem = TinyNet(2), toy_problem(net_score(2), 2, batch=4)
    made = Interior(n_steps=4)(problem)
    for k, e in enumerate(made):
        points = (torch.linspace(0, 1, 4)[:, None, None, None] * problem.x[k]).requires_grad_()
        f = net(points)[:, k]
        (g,) = torch.autograd.grad(f.sum(), points)
        assert np.allclose(e.arrays["interior"], g.abs().sum(dim=1).numpy(), rtol=1e-4, atol=1e-8)
        assert np.allclose(e.arrays["interior_score"], f.detach().numpy(), rtol=1e-5)
        assert np.allclose(e.arrays["interior_norm"], g.flatten(1).norm(dim=1).numpy(), rtol=1e-5)
        assert (e.saliency >= 0).all()


def test_a_saturated_score_shows_inside_the_path_alone() -> None:
    """sigmoid(40 (light - 0.2)): flat at the picture, steep at alpha = 0.2 / light."""

    def forward(p: Tensor, r: Tensor) -> Tensor:
        return torch.sigmoid(40 * (p[:, :, 4:12, 4:12].mean(dim=(1, 2, 3)) - 0.2))

    problem = toy_problem(forward)
    (e,) = Interior()(problem)
    norm, light = e.arrays["interior_norm"], float(problem.x[0, :, 4:12, 4:12].mean())
    assert norm[-1] < 0.01 * norm.max()
    assert e.arrays["interior_alpha"][norm.argmax()] == pytest.approx(0.2 / light, abs=0.02)
    assert e.warnings == ()
    (coarse,) = Interior(n_steps=2)(problem)
    assert coarse.scores[0].value > 0.05 and "n_steps" in coarse.warnings[0]


def test_frames_of_large_pictures_are_area_means() -> None:
    (e,) = Interior(n_steps=2)(toy_problem(quadratic, size=(300, 40), dtype=torch.float32))
    assert e.arrays["interior"].shape == (2, 224, 40) and e.attribution is not None
    assert e.attribution.shape == (3, 300, 40)
    total = toy_problem(quadratic, size=(300, 40)).x.mean() * 3
    assert float(e.arrays["interior"][1].mean()) == pytest.approx(float(total), rel=0.01)


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"n_steps": 1}, {"baseline": "noise"}, {"size": 0}):
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            Interior(**wrong)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def explained() -> Explanation:
    (e,) = Interior()(toy_problem(net_score()))
    return e


def test_the_figures_follow_from_what_the_explanation_holds(explained: Explanation, tmp_path: Path) -> None:
    files.write_figures(tmp_path, explained)
    assert {p.name for p in tmp_path.iterdir()} == {"heatmap.png", "overlay.png", "attribution.png", *FIGURES}
    with Picture.open(tmp_path / "interior.gif") as gif:
        pauses = set()
        for k in range(gif.n_frames):  # type: ignore[attr-defined]
            gif.seek(k)
            pauses.add(gif.info["duration"])
        assert gif.n_frames == 51 and gif.info["loop"] == 0 and pauses == {500}  # type: ignore[attr-defined]
    files.write_figures(tmp_path, replace(explained, arrays={}, attribution=None))
    assert {p.name for p in tmp_path.iterdir()} == {"heatmap.png", "overlay.png"}, "none of an earlier explanation"
    other = replace(explained, method="another", attribution=None)
    files.write_figures(tmp_path, other)
    assert {p.name for p in tmp_path.iterdir()} >= FIGURES, "whatever the method is called"


def test_each_frame_is_bright_from_its_own_percentile_and_says_its_alpha(
    explained: Explanation, tmp_path: Path
) -> None:
    frames = explained.arrays["interior"].copy()
    frames[:, :, 16:] *= 0  # nothing on the right
    frames[3] = 0
    e = replace(explained, arrays={**explained.arrays, "interior": frames})
    with Picture.open(io.BytesIO(path_figures.loop(e))) as gif:
        seen = []
        for k in range(51):
            gif.seek(k)
            seen.append(np.asarray(gif.convert("L")))
    picture = [s[:240] for s in seen]  # 24 x 32 drawn at 320 x 240, the caption below
    assert all(p[:, :140].max() > 200 for k, p in enumerate(picture) if k != 3), "scales 1e-3 and 1 alike"
    assert not any(p[:, 180:].any() for p in picture) and not picture[3].any()
    captions = {s[240:].tobytes() for s in seen}
    assert len(captions) == 51


def test_nothing_to_see_is_drawn_as_nothing(tmp_path: Path) -> None:
    (flat,) = Interior(n_steps=3)(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * 0))
    (bad,) = Interior(n_steps=3)(toy_problem(lambda p, r: p.sum(dim=(1, 2, 3)) * float("nan")))
    for e in (flat, bad):
        assert all(np.isfinite(a).all() for a in e.arrays.values())
        files.write_figures(tmp_path / e.status, e)
        with Picture.open(tmp_path / e.status / "interior.gif") as gif:
            assert not np.asarray(gif.convert("L"))[:240].any()
