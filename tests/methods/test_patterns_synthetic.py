"""The synthetic experiments of PatternNet and PGIG: a linear distractor, a saturating network, two spellings of one
function. Every figure that their notebooks print is reproduced, through the project's own methods.

    X = z (1,0) + eps (1,1),    z = -2, -1.99 .. 1.99,    eps ~ N(0, 0.3),    y = (1,-1) . X = z
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from igos.base.geometry import Geometry
from igos.methods.backward.pattern import PatternAttribution, PatternIntegrateGrad, PatternNet
from igos.methods.backward.pattern_fit import Sums
from igos.methods.backward.substitute import Matrix
from igos.methods.gradient.gradients import VanillaGrad
from igos.methods.gradient.integrated_gradients import IntegratedGradients
from igos.types import Image, Problem, Scorer, Target

W = torch.tensor([1.0, -1.0], dtype=torch.float64)
Z = torch.from_numpy(np.arange(-2, 2, 0.01))
PATH: dict[str, Any] = {"n_steps": 100, "rule": "right", "baseline": "black"}


def distractor() -> Tensor:
    """eps (400,)."""
    return torch.from_numpy(np.random.RandomState(42).normal(0, 0.3, 400))


def data(eps: Tensor) -> Tensor:
    """X (400,2)."""
    return torch.stack([Z + eps, eps], dim=1)


def pattern(x: Tensor, w: Tensor, y: Tensor, estimator: str = "positive") -> Tensor:
    """a (D,) of one unit of weights w (D,) that gives y (n,)."""
    sums = Sums(w[None], estimator)
    sums.add(Matrix(), x, y[:, None])
    return sums.pattern().values[0]


def stack(*layers: tuple[list[list[float]], list[float]]) -> nn.Sequential:
    """Linear layers of these weights and biases, a ReLU between two of them."""
    made: list[nn.Module] = []
    for weight, bias in layers:
        made += [nn.Linear(len(weight[0]), len(weight)), nn.ReLU()]
        made[-2].weight.data, made[-2].bias.data = torch.tensor(weight), torch.tensor(bias)  # type: ignore[assignment]
    return nn.Sequential(*made[:-1]).double().requires_grad_(False)


def problem_of(net: nn.Sequential, x: Tensor, *patterns: Tensor) -> Problem:
    """The network's score of points (n,2), which are the first two channels of pictures of one pixel."""
    k = len(x)
    pictures = torch.cat([x, torch.zeros(k, 1, dtype=x.dtype)], dim=1)[:, :, None, None]
    image = Image(torch.zeros(3, 1, 1), Geometry((1, 1), (1, 1)), np.zeros((1, 1, 3), np.uint8))
    names = [n for n, m in net.named_modules() if isinstance(m, nn.Linear)]

    def forward(p: Tensor, rows: Tensor) -> Tensor:
        return net(p[:, :2, 0, 0])[:, 0]

    return Problem(
        x=pictures,
        x0=torch.zeros_like(pictures),
        score=Scorer(forward, k, 4096, module=net),
        targets=[Target(0, "y", 1.0)] * k,
        generators=[torch.Generator()] * k,
        images=[image] * k,
        ingredients={"patterns": dict(zip(names, (p[None] for p in patterns), strict=False))},
    )


def values(method: Any, problem: Problem) -> Tensor:
    """(n,2)."""
    made: Tensor = method.attribute(problem).values
    return made[:, :2, 0, 0]


def digits(made: Tensor, wanted: list[float], n: int = 6) -> None:
    assert made.tolist() == pytest.approx(wanted, abs=0.5000001 * 10**-n)


def test_the_patterns_of_the_linear_distractor() -> None:
    x = data(distractor())
    assert torch.allclose(x @ W, Z, atol=1e-14)
    digits(pattern(x, W, Z), [1.01835493, 0.01835493], 8)
    digits(pattern(x, W, Z, "linear"), [1.01802636, 0.01802636], 8)


def test_patternnet_recovers_the_signal_where_the_distractor_is_projected_out() -> None:
    """eps orthogonal to 1 and z, on either side of 0: a = (1,0), and the signal of every point is z (1,0)."""
    eps = distractor()
    for side in (Z > 0, Z <= 0):
        basis = torch.linalg.qr(torch.stack([torch.ones_like(Z[side]), Z[side]], dim=1)).Q
        eps[side] -= basis @ (basis.T @ eps[side])
    x = data(eps)
    ideal = torch.tensor([1.0, 0.0], dtype=torch.float64)
    for estimator in ("positive", "linear"):
        a = pattern(x, W, x @ W, estimator)
        assert float((a - ideal).abs().max()) < 1e-12
    problem = problem_of(stack(([[1.0, -1.0]], [0.0])), x, a)
    assert float((values(PatternNet(), problem) - Z[:, None] * ideal).abs().max()) < 1e-12
    assert torch.equal(values(VanillaGrad(), problem), W.expand(400, 2)), "the gradient is the filter, not the signal"
    assert torch.allclose(values(PatternAttribution(), problem), Z[:, None] * W * ideal, atol=1e-12)


SATURATING = (([[-1.0, 1.0]], [1.0]), ([[-1.0]], [1.0]))  # f = 1 - relu(1 - w.x)


def first_patterns(x: Tensor) -> dict[str, Tensor]:
    """Of the saturating network: as the notebook's broadcasting has it, and Eq. 7 before and after the ReLU."""
    y = 1 - x @ W
    mean = x[y > 0].mean(dim=0)
    return {
        "notebook": mean / (-W @ mean),
        "before": pattern(x, -W, y),
        "after": pattern(x, -W, y.clamp(min=0)),
    }


def test_the_patterns_of_the_saturating_network() -> None:
    """The notebook multiplies arrays (400,1,1), so that E+[xy] becomes E+[x] E+[y] and a = E+[x] / (w . E+[x])."""
    made = first_patterns(data(distractor()))
    digits(made["notebook"], [-1.00329617, -0.00329617], 8)
    digits(made["before"], [-1.01620905, -0.01620905], 8)
    digits(made["after"], [-1.01706753, -0.01706753], 8)
    assert all(float(-W @ a) == pytest.approx(1, abs=1e-12) for a in made.values())


def test_the_saturation_table() -> None:
    x = data(distractor())
    a = first_patterns(x)["notebook"]
    problem = problem_of(stack(*SATURATING), x, a, torch.tensor([-1.0], dtype=torch.float64))
    ig = values(IntegratedGradients(**PATH), problem)
    pa, pgig = values(PatternAttribution(), problem), values(PatternIntegrateGrad(**PATH), problem)
    digits(x[-1], [2.36134, 0.37134], 5)
    for row, by_ig, by_pa, by_pgig in (
        (-1, [1.180672, -0.185672], [0.0, 0.0], [1.184564, -0.000612]),
        (0, [-1.850986, -0.149014], [-2.006592, 0.006592], [-1.857087, -0.000491]),
    ):
        digits(ig[row], by_ig)
        digits(pa[row], by_pa)
        digits(pgig[row], by_pgig)
    f = problem.score.forward(problem.x, torch.zeros(400, dtype=torch.long))
    rows = [0, 101, 202, 303, 399]
    assert f[rows].tolist() == pytest.approx([-2.0, -0.99, 0.02, 1.0, 1.0])
    assert ig.sum(dim=1)[rows].tolist() == pytest.approx([-2.0, -0.99, 0.02, 0.9991, 0.995], abs=1e-12)


@pytest.mark.parametrize("kind", ["notebook", "before", "after"])
def test_the_closed_forms_of_the_saturating_network(kind: str) -> None:
    """s, the share of path points below the plateau: IG (x1, -x2) s, PGIG (-a1 x1, a2 x2) s, PA y (-w a) below it."""
    x = data(distractor())
    a = first_patterns(x)[kind]
    problem = problem_of(stack(*SATURATING), x, a, torch.tensor([-1.0], dtype=torch.float64))
    s = (torch.arange(1, 101, dtype=torch.float64) / 100 * Z[:, None] < 1).double().mean(dim=1, keepdim=True)
    below = (Z[:, None] < 1).double()
    edge = (Z - 1).abs() > 1e-9  # at t = 1 rounding decides on which side of the plateau a point lies
    assert torch.allclose(values(IntegratedGradients(**PATH), problem)[edge], (x * W * s)[edge], atol=1e-12)
    pgig = values(PatternIntegrateGrad(**PATH), problem)
    assert torch.allclose(pgig[edge], (-a * W * x * s)[edge], atol=1e-12)
    pa = values(PatternAttribution(), problem)
    assert torch.allclose(pa[edge], (Z[:, None] * (-W * a) * below)[edge], atol=1e-12)
    assert not pa[Z > 1.001].any(), "it starves on the plateau"
    if kind == "after":
        noise = (float(values(IntegratedGradients(**PATH), problem)[:, 1].abs().mean()), float(pgig[:, 1].abs().mean()))
        assert noise == pytest.approx((0.2106, 0.0036), abs=5e-5)


def test_two_spellings_of_one_function_are_attributed_differently() -> None:
    """relu(relu(w.x) - 1) and relu(w.x - 1), w = (1,2), x = (3,3): implementation invariance does not hold."""
    random = np.random.RandomState(42)
    x1 = random.normal(0, 0.7, 5000)
    x = torch.from_numpy(np.stack([x1, np.where(random.rand(5000) < 0.5, -x1, x1)], axis=1))
    w, one = torch.tensor([1.0, 2.0], dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    point = torch.tensor([[3.0, 3.0]], dtype=torch.float64)
    spellings = (
        (stack(([[1.0, 2.0]], [0.0]), ([[1.0]], [-1.0])), 0.0, [0.20428254, 0.39785873], [1.6342603, 6.3657397]),
        (stack(([[1.0, 2.0]], [-1.0])), -1.0, [0.26148377, 0.36925811], [2.09187018, 5.90812982]),
    )
    for net, bias, a, attribution in spellings:
        made = pattern(x, w, x @ w + bias)
        digits(made, a, 8)
        problem = problem_of(net.append(nn.ReLU()), point, made, one)
        (ours,) = values(PatternAttribution(), problem)
        digits(ours, attribution, 7)
        assert float(ours.sum()) == pytest.approx(8) == float(problem.score.forward(problem.x, torch.zeros(1)))
        assert values(VanillaGrad(), problem)[0].tolist() == [1.0, 2.0], "the gradient is the same for both"
