"""Pure tensor maths: upscale, blur, total variation, smoothing, ranking. Device and dtype follow the input.

Bilinear upsampling, Gaussian blur and the cosine transform are all linear and separable, so each is a pair of
small matrices: exact adjoints, any picture shape, the same result on every device and in every batch.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

TIE = 1e-3
LARGEST_GRID = 1024  # cells a side: beyond it a map is finer than any network's picture


@lru_cache(maxsize=64)
def _upscale_matrix(n: int, size: int) -> Tensor:
    """(size, n): bilinear, align_corners=True; every row sums to 1."""
    node = torch.linspace(0, n - 1, size, dtype=torch.float64)[:, None]
    return (1 - (node - torch.arange(n, dtype=torch.float64)).abs()).clamp(min=0)


@lru_cache(maxsize=8)
def _blur_matrix(n: int, kernel: int, sigma: float) -> Tensor:
    """(n, n): a Gaussian of `kernel` taps over a border reflected without its edge; rows sum to 1."""
    offsets = torch.arange(kernel) - kernel // 2
    weights = torch.exp(-0.5 * (offsets.double() / sigma) ** 2)
    period = max(2 * (n - 1), 1)
    place = (torch.arange(n)[:, None] + offsets) % period
    place = torch.minimum(place, (period - place) % period if n > 1 else place)
    matrix = torch.zeros(n, n, dtype=torch.float64)
    return matrix.scatter_add_(1, place, (weights / weights.sum()).expand(n, kernel).contiguous())


@lru_cache(maxsize=64)
def _cosine_matrix(n: int) -> Tensor:
    """(n, n): the orthonormal DCT-II."""
    i, x = torch.arange(n, dtype=torch.float64)[:, None], torch.arange(n, dtype=torch.float64)
    matrix = torch.cos(math.pi * i * (x + 0.5) / n) * math.sqrt(2 / n)
    matrix[0] /= math.sqrt(2)
    return matrix


def _separable(rows: Tensor, x: Tensor, columns: Tensor) -> Tensor:
    return rows.to(x) @ x @ columns.to(x).mT


def upscale(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """U: (..., h, w) -> (..., H, W), bilinear with align_corners=True."""
    h, w = mask.shape[-2:]
    return _separable(_upscale_matrix(h, size[0]), mask, _upscale_matrix(w, size[1]))


def upscale_adjoint(gradient: Tensor, size: tuple[int, int]) -> Tensor:
    """The transpose of `upscale`: d/dU (..., H, W) -> d/dmask (..., h, w)."""
    height, width = gradient.shape[-2:]
    return _separable(_upscale_matrix(size[0], height).mT, gradient, _upscale_matrix(size[1], width).mT)


def downscale(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., h, w): the least squares inverse of `upscale`, which gives an upsampled map back.

    Raises ValueError for a finer grid, which more than one map answers.
    """
    if size[0] > x.shape[-2] or size[1] > x.shape[-1]:
        raise ValueError(f"no {size} grid follows from a map of {tuple(x.shape[-2:])}")
    rows, columns = (torch.linalg.pinv(_upscale_matrix(n, m)) for n, m in zip(size, x.shape[-2:], strict=True))
    return _separable(rows, x, columns)


def channel_sum(x: Tensor) -> Tensor:
    """The sum over channels: (n,C,H,W) -> (n,H,W); plane by plane, which is several times as fast as pixel by pixel."""
    return x.contiguous().sum(dim=1)


def gaussian_blur(x: Tensor, kernel: int, sigma: float) -> Tensor:
    """(..., H, W) blurred by a Gaussian of `kernel` (odd) taps; reflected border, any kernel size."""
    height, width = x.shape[-2:]
    return _separable(_blur_matrix(height, kernel, sigma), x, _blur_matrix(width, kernel, sigma))


def grained(white: Tensor, sigma: float) -> Tensor:
    """White noise (..., H, W) of spread 1, blurred by a Gaussian of sigma pixels (0: not) and still of spread 1."""
    if sigma <= 0:
        return white
    rows, columns = (_blur_matrix(n, 2 * round(2 * sigma) + 1, sigma) for n in white.shape[-2:])
    spread = rows.norm(dim=1)[:, None] * columns.norm(dim=1)
    return _separable(rows, white, columns) / spread.to(white)


class Blend:
    """a + v*(b - a) of pictures a, b (K,3,H,W), for the rows and weights v (n,H,W) asked for.

    K views of one picture are kept as one. They are blended plane by plane, which is faster, and answered in the layout
    that convolutions like best.
    """

    def __init__(self, a: Tensor, b: Tensor) -> None:
        self._one = len(a) == 1 or (a.stride(0) == 0 and b.stride(0) == 0)
        a, b = (a[:1], b[:1]) if self._one else (a, b)
        self._a, self._planes = a.contiguous(), (b - a).contiguous()

    def __call__(self, rows: Tensor, v: Tensor) -> Tensor:
        a = self._a if self._one else self._a[rows]
        return torch.addcmul(a, v[:, None], self.difference(rows)).contiguous(memory_format=torch.channels_last)

    def difference(self, rows: Tensor) -> Tensor:
        """b - a of those rows (n or 1,3,H,W), plane by plane."""
        return self._planes if self._one else self._planes[rows]


def pool(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., h, w) by area means (or repetition, where the grid is the finer one)."""
    return F.adaptive_avg_pool2d(x.flatten(0, -3) if x.ndim > 4 else x, size).reshape(*x.shape[:-2], *size)


def to_grid(x: Tensor, size: tuple[int, int]) -> Tensor:
    """(..., H, W) -> (..., h, w): means weighted by each mask node's own bilinear footprint.

    So a pixel map comes to lie on the nodes that `upscale` spreads out again; on a finer grid it is repeated.
    """
    if size[0] > x.shape[-2] or size[1] > x.shape[-1]:
        return pool(x, size)
    ones = torch.ones(x.shape[-2:], dtype=x.dtype, device=x.device)
    return upscale_adjoint(x, size) / upscale_adjoint(ones, size)


def tv(mask: Tensor) -> Tensor:
    """TV(M) = mean (dM/dy)^2 + mean (dM/dx)^2 over (..., h, w) -> (...)."""
    return _mean(mask.diff(dim=-2) ** 2) + _mean(mask.diff(dim=-1) ** 2)


def bilateral_tv(guide: Tensor, mask: Tensor) -> Tensor:
    """BTV(I, M) = 1/2 [TV(M) + mean w_y (dM/dy)^2 + mean w_x (dM/dx)^2], w = exp(-mean_c (dI)^2 / 0.0005).

    guide (..., 3, h, w) in [0,1], the picture area-resized to the mask grid; mask (..., h, w) -> (...).
    """
    weighted = sum(
        _mean(torch.exp(-(guide.diff(dim=d) ** 2).mean(dim=-3) / 0.0005) * mask.diff(dim=d) ** 2) for d in (-2, -1)
    )
    return (tv(mask) + weighted) / 2


def _mean(x: Tensor) -> Tensor:
    """Mean over the last two axes, 0 where a one-cell grid leaves nothing to average."""
    return x.mean(dim=(-2, -1)) if x.shape[-1] and x.shape[-2] else x.sum(dim=(-2, -1))


@lru_cache(maxsize=64)
def _tv_eigenvalues(h: int, w: int) -> Tensor:
    """Eigenvalues (h, w) of H, the Hessian of TV, in the DCT-II basis (Neumann borders)."""
    y = 4 * torch.sin(math.pi * torch.arange(h, dtype=torch.float64) / (2 * h)) ** 2 / max((h - 1) * w, 1)
    x = 4 * torch.sin(math.pi * torch.arange(w, dtype=torch.float64) / (2 * w)) ** 2 / max(h * (w - 1), 1)
    return 2 * (y[:, None] + x[None, :])


def smooth(gradient: Tensor, strength: Tensor) -> Tensor:
    """(I + strength * H)^-1 applied to (..., h, w); strength broadcasts. Constants pass unchanged."""
    h, w = gradient.shape[-2:]
    rows, columns = _cosine_matrix(h), _cosine_matrix(w)
    waves = _separable(rows, gradient, columns) / (1 + strength * _tv_eigenvalues(h, w).to(gradient))
    return _separable(rows.mT, waves, columns.mT)


def break_ties(saliency: Tensor, order: Tensor) -> Tensor:
    """(...,h,w) in [0,1] with equal cells told apart by another map: at most TIE of the range is that map's."""
    low, high = order.amin(dim=(-2, -1), keepdim=True), order.amax(dim=(-2, -1), keepdim=True)
    return (1 - TIE) * saliency + TIE * ((order - low) / (high - low).clamp(min=1e-30)).nan_to_num(0)


def rank(saliency: Tensor) -> tuple[np.ndarray, float]:
    """Cells (h,w) from most to least important as flat indices, and the fraction of cells that are tied.

    Ties are broken by the 3x3-smoothed map, then by index.
    """
    values = saliency.detach().double().cpu()
    near = F.avg_pool2d(values[None, None], 3, stride=1, padding=1, count_include_pad=False)[0, 0]
    flat = values.numpy().ravel()
    order = np.lexsort((np.arange(flat.size), -near.numpy().ravel(), -flat))
    _, counts = np.unique(flat, return_counts=True)
    return order, float(counts[counts > 1].sum() / flat.size)


def top_area(saliency: np.ndarray, box: np.ndarray | None, share: float = 0.1) -> np.ndarray:
    """The most important pixels of (H,W), as many as `share` of the box (4,) xyxy covers, or of the picture; of equal
    ones the first.
    """
    height, width = saliency.shape
    area = height * width if box is None else (box[2] - box[0]) * (box[3] - box[1])
    count = int(np.clip(round(share * float(area)), 1, saliency.size))
    values = np.where(np.isnan(saliency), -np.inf, saliency).ravel()
    least = np.partition(values, -count)[-count]
    top = values > least
    top[np.flatnonzero(values == least)[: count - int(top.sum())]] = True
    return top.reshape(saliency.shape)


def flat(values: Tensor) -> bool:
    """Whether values differ by no more than rounding: by a millionth of the largest."""
    low, high = float(values.min()), float(values.max())
    return high - low <= 1e-6 * max(abs(low), abs(high))
