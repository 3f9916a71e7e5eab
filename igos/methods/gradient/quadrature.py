"""Nodes and weights of quadrature rules over [0,1]."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from igos.base.errors import ConfigError


def quadrature(rule: str, n: int) -> tuple[Tensor, Tensor]:
    """Nodes and weights (n,) in float64 for the integral over [0,1]. Rules: QUADRATURE."""
    nodes, weights = QUADRATURE[rule](n)
    return torch.as_tensor(nodes, dtype=torch.float64), torch.as_tensor(weights, dtype=torch.float64)


def check_points(rule: str, n_steps: int, paths: int = 1) -> None:
    """Raises ConfigError where the trapezoids of a path would have fewer than two points."""
    least = 2 * paths if "trapezoid" in rule else paths
    if n_steps < least:
        raise ConfigError(f"n_steps must be at least {least} for the rule {rule}, got {n_steps}")


def _uniform(n: int, shift: float) -> tuple[np.ndarray, np.ndarray]:
    return (np.arange(n) + shift) / n, np.full(n, 1 / n)


def _trapezoid(n: int, gaps: int) -> tuple[np.ndarray, np.ndarray]:
    weights = np.full(n, 1 / gaps)
    weights[[0, -1]] /= 2
    return np.linspace(0, 1, n), weights


def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    nodes, weights = np.polynomial.legendre.leggauss(n)
    return (1 + nodes) / 2, weights / 2


QUADRATURE = {
    "left": lambda n: _uniform(n, 0.0),
    "right": lambda n: _uniform(n, 1.0),
    "middle": lambda n: _uniform(n, 0.5),
    "trapezoid": lambda n: _trapezoid(n, n - 1),
    "riemann_trapezoid": lambda n: _trapezoid(n, n),  # captum's: its weights sum to (n-1)/n
    "gausslegendre": _gauss_legendre,
    "pgig": lambda n: (np.arange(1, n + 1) / (n + 1), np.full(n, 1 / (n + 1))),  # its code's: the sum is n/(n+1)
}
