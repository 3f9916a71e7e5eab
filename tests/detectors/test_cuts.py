"""The layer that suits a target is found by one pass forward and one backward."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from detectors.cuts import last_cut


class Ways(nn.Module):
    """stem -> a + b, side by side -> joined -> rows 0, 1; stem -> other -> rows 2, 3; `skip` goes round joined."""

    def __init__(self, skip: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem, self.a, self.b = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 1)
        self.joined, self.other = nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.halves = Halves()
        self.skip = skip
        self.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        f = self.stem(x).tanh()
        left, right = self.halves(self.joined(self.a(f) + self.b(f)))
        rows = torch.cat([left.tanh() + right + self.skip * f[:, :2], self.other(f)[:, :2]], 1).flatten(2)
        return rows[:, :, rows.shape[2] // 2 + 5]


class Halves(nn.Module):
    def forward(self, x: Tensor) -> list[Tensor]:
        return list(x.chunk(2, 1))


def found(net: nn.Module, row: int, picture: Tensor) -> str | None:
    return last_cut(net, lambda x: net(x)[0, row], picture)


def test_a_layer_cuts_where_every_way_leads_through_it() -> None:
    x = torch.rand(3, 8, 12)
    assert found(Ways(), 0, x) == "stem"  # of joined it reads one cell, and a lies beside b
    wide = Ways()
    wide.joined = nn.Sequential(nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 3, padding=1)).requires_grad_(False)
    assert found(wide, 0, x) == "joined.0"
    wide.skip = 0.5
    assert found(wide, 0, x) == "stem"  # the rest goes round it
    assert found(wide, 2, x) == "stem"


def test_layers_that_run_twice_or_show_nothing_do_not_suit() -> None:
    x = torch.rand(3, 8, 12)
    twice = nn.Conv2d(3, 3, 3, padding=1).requires_grad_(False)
    assert last_cut(nn.Sequential(twice), lambda v: twice(twice(v))[0, 0, 4, 4], x) is None
    flat = nn.Flatten()
    assert last_cut(nn.Sequential(flat), lambda v: flat(v)[0, 3], x) is None


def test_one_backward_tells_and_nothing_is_left_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    calls, grad = list[Any](), torch.autograd.grad
    monkeypatch.setattr(torch.autograd, "grad", lambda *a, **k: (calls.append(1), grad(*a, **k))[1])
    net = Ways()
    found(net, 0, torch.rand(3, 8, 12))
    assert len(calls) == 1
    assert not any(m._forward_hooks for m in net.modules())
