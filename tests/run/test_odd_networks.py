"""Networks and settings of other people: each works, or is refused in one line that says what to do."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import igos
from detectors.emblem import SlimVGG
from igos.types import ConfigError, IgosError
from tests.detectors.test_levers import lively
from tests.detectors.test_yolov3 import noise
from tests.run.test_faithful import rcnn

SIZE = {"crop": 32, "resize": 32}


class Net(nn.Module):
    """A user's network, with what a test makes of it."""

    def __init__(self, how: str = "plain") -> None:
        super().__init__()
        torch.manual_seed(0)
        self.how = how
        self.conv = nn.Conv2d(3, 4, 3, 2, 1)
        self.fc = nn.Linear(4 * 16 * 16, 3)

    def _run(self, x: Tensor) -> Tensor:
        x = self.conv(x).relu()
        return self.fc(x.view(-1, 4 * 16 * 16) if self.how == "view" else x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        if self.how == "no_grad":
            with torch.no_grad():
                return self._run(x)
        if self.how == "inference_mode":
            with torch.inference_mode():
                return self._run(x)
        return self._run(x)

    def get_extra_state(self) -> Any:
        return {"made of": "words"}

    def set_extra_state(self, state: Any) -> None:
        pass


def quantised() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.ao.quantization.quantize_dynamic(Net().eval(), {nn.Linear}, dtype=torch.qint8)  # type: ignore[no-any-return]


class Wrapper(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.ModuleDict({"detector": rcnn()})

    def forward(self, x: Any) -> Any:
        return self.inner["detector"](list(x))


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "view": lambda: Net("view"),
    "extra state": Net,
    "no_grad": lambda: Net("no_grad"),
    "inference_mode": lambda: Net("inference_mode"),
    "TorchScript": lambda: torch.jit.trace(Net().eval(), torch.rand(1, 3, 32, 32)),
    "compiled": lambda: torch.compile(Net(), backend="eager"),  # type: ignore[return-value]
    "quantised": quantised,
    "DataParallel": lambda: nn.DataParallel(Net()),
    "wrapped": Wrapper,
}
METHODS: dict[str, dict[str, Any]] = {"vanilla_grad": {}, "grad_cam": {"layer": "conv"}, "rise": {"n_masks": 4}}
BLIND = "passes no gradient back .* take method rise"
REFUSED: dict[tuple[str, str], str] = {
    **{(n, m): BLIND for n in ("no_grad", "inference_mode") for m in ("vanilla_grad", "grad_cam")},
    ("quantised", "vanilla_grad"): BLIND,
    ("quantised", "grad_cam"): BLIND,
    ("TorchScript", "grad_cam"): "a TorchScript network has no layers to look into",
    **{("DataParallel", m): r"unwrap it: model\.module" for m in METHODS},
    **{("wrapped", m): r"unwrap it: model\.inner\.detector" for m in METHODS},
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_network_of_somebody_else_works_or_is_refused_in_a_line(kind: str) -> None:
    for method, settings in METHODS.items():
        words = REFUSED.get((kind, method))

        def made(method: str = method, settings: Any = settings) -> list[igos.Explanation]:
            adapter = igos.adapt(NETWORKS[kind](), ["a", "b", "c"], **SIZE)
            image = adapter.read(noise(40, 40))
            return igos.explain(adapter, image, adapter.detect(image, 0.0)[:1], method, metrics=(), **settings)

        if words is None:
            (e,) = made()
            assert e.status == "ok" and e.saliency.abs().sum() > 0
            assert e.score_original == pytest.approx(e.target.score, abs=1e-4)
        else:
            with pytest.raises(ConfigError, match=words) as caught:
                made()
            assert "\n" not in str(caught.value)


def test_channels_last_is_taken_only_where_a_probe_shows_that_it_works() -> None:
    assert igos.adapt(Net("view"), ["a", "b", "c"], **SIZE).plain is None  # type: ignore[attr-defined]
    taken = igos.adapt(Net(), ["a", "b", "c"], **SIZE)
    assert taken.plain is not None and taken._format == torch.channels_last  # type: ignore[attr-defined]


def test_explaining_inside_inference_mode() -> None:
    torch.manual_seed(0)
    model = lively(SlimVGG(4))

    def made() -> Tensor:
        adapter = igos.adapt(model, list("abcd"), **SIZE)
        image = adapter.read(noise(40, 40))
        targets = adapter.detect(image, 0.0)[:1]
        deletion = igos.METRICS["deletion"](steps=4)
        asked: dict[str, dict[str, Any]] = {"odam": {}, "rise": {"n_masks": 20}}
        return torch.stack(
            [igos.explain(adapter, image, targets, m, metrics=[deletion], **s)[0].saliency for m, s in asked.items()]
        ).clone()

    expected = made()
    with torch.inference_mode():
        inside = made()
    with torch.no_grad():
        quiet = made()
    assert torch.equal(inside, expected) and torch.equal(quiet, expected)


def test_detecting_inside_inference_mode_and_explaining_outside() -> None:
    adapter = igos.adapt(rcnn(), list("abcd"))
    with torch.inference_mode():
        image = adapter.read(noise(64, 64))
        targets = adapter.detect(image, 0.0)[:1]
    (e,) = igos.explain(adapter, image, targets, "iGOS++", iterations=1, metrics=())
    assert e.status != "not-finite"


@contextmanager
def default(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@pytest.mark.parametrize("family", ["classifier", "rcnn"])
def test_the_default_dtype_of_the_user_changes_no_map(family: str) -> None:
    model: nn.Module = rcnn(side=64) if family == "rcnn" else lively(SlimVGG(4))
    quick: dict[str, dict[str, Any]] = {
        "iGOS++": {"iterations": 2, "size": 7, "sure": False}, "smooth_grad": {"n_samples": 2},
        "interior": {"n_steps": 3}, "rise": {"n_masks": 4}, "odam": {},
    }  # fmt: skip
    more = {
        "exp_grad": {"n_samples": 3},
        "blur_ig": {"n_steps": 3},
        "guided_ig": {"n_steps": 3},
        "xrai": {"n_steps": 2},
    }

    def made() -> list[igos.Explanation]:
        adapter = igos.adapt(model, list("abcd"), **(SIZE if family == "classifier" else {}))
        image = adapter.read(noise(48, 48))
        targets = adapter.detect(image, 0.0)[:1]
        every = quick if family == "rcnn" else {**quick, **more}
        metrics = [igos.METRICS[name](steps=4) for name in ("deletion", "insertion")] + [igos.METRICS["pointing"]()]
        return [igos.explain(adapter, image, targets, m, metrics=metrics, **s)[0] for m, s in every.items()]

    expected = made()
    for dtype in (torch.float64, torch.bfloat16):
        with default(dtype):
            found = made()
        for a, b in zip(expected, found, strict=True):
            assert b.saliency.dtype == torch.float32, (dtype, b.method)
            assert torch.allclose(a.saliency, b.saliency, atol=1e-4), (dtype, b.method)
            assert b.score_original == pytest.approx(a.score_original, abs=1e-4)
            assert (dtype, b.method) and [s.value for s in b.scores] == pytest.approx(
                [s.value for s in a.scores], abs=1e-3, nan_ok=True
            )


def test_interior_takes_pictures_in_double_precision() -> None:
    from igos.methods import METHODS as known
    from tests.conftest import toy_problem

    (e,) = known["interior"](n_steps=3)(toy_problem(lambda x, rows: x.mean(dim=(1, 2, 3)).sigmoid()))
    assert e.saliency.isfinite().all()


def test_an_error_of_igos_is_one_line() -> None:
    with pytest.raises(IgosError) as caught:
        igos.adapt(nn.DataParallel(Net()), ["a", "b", "c"])
    assert str(caught.value).startswith("DataParallel only spreads another network over devices; unwrap it: ")
