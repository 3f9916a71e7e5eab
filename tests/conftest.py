"""What the tests share: the real data (or a skip that names it) and toy problems with a known answer."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

os.environ["OMP_NUM_THREADS"] = "1"  # two workers on two cores; read when torch is imported
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and its children, ignore it

import numpy as np  # noqa: E402
import pytest  # noqa: E402
import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402

from igos.base.geometry import Geometry  # noqa: E402
from igos.types import Image, Problem, Scorer, Target  # noqa: E402

FIRST = ("ray", "clock", "story", "site", "notebooks", "wheel", "rcnn", "browser", "evaluate", "real", "bundled")
GROUPS = {  # files of the tests that share a process, by what they share; any other file is a group of its own
    "ray": ("test_ray",),
    "clock": ("test_datasets", "test_fuzz", "test_machine", "test_recovery"),
    "browser": ("test_page", "test_security", "test_live"),
}
ROOT = Path(__file__).resolve().parents[1]
DATA = ROOT.parent / "shared" / "data"


def group(nodeid: str) -> str:
    """The group of a test: "ray" has the clusters, "browser" the pages, "clock" what looks at seconds, memory or
    signals; else its file, whose fixtures and networks are made once.
    """
    stem = Path(nodeid.partition("::")[0]).stem
    return next((name for name, stems in GROUPS.items() if stem in stems), stem.removeprefix("test_"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups begin first."""
    items.sort(key=lambda item: FIRST.index(name) if (name := group(item.nodeid)) in FIRST else len(FIRST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs all tests of a group. Not xdist's own marks: pytest 9.2 drops the names that they write."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Grouped(config, log)


def shared_data(*parts: str) -> Path:
    """A folder or file of the real data; skips, naming it, where it is not present."""
    path = DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"real data missing: {path}")
    return path


def darknet_options(small: bool = False) -> dict[str, str]:
    """Arguments of igos.load for the real Yolo-Fastest detector; skips where it is missing."""
    folder = shared_data("yolo-fastest")
    stem = "yolo-fastest-1.1" + ("" if small else "-xl")
    return {
        "weights": str(folder / f"{stem}.weights"),
        "cfg": str(folder / f"{stem}.cfg"),
        "names": str(folder / "coco.names"),
    }


def toy_image(height: int = 24, width: int = 32, seed: int = 0) -> Image:
    pixels = torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))
    source = (pixels.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    return Image(pixels, Geometry((height, width), (height, width)), source, f"toy-{seed}.png")


def toy_problem(
    forward: Callable[[Tensor, Tensor], Tensor],
    k: int = 1,
    *,
    size: tuple[int, int] = (24, 32),
    dtype: torch.dtype = torch.float64,
    batch: int = 8,
    seeds: Sequence[int] | None = None,
    start: Tensor | None = None,
) -> Problem:
    """K explanations of one random picture over a black baseline."""
    image = toy_image(*size)
    x = image.pixels.to(dtype).expand(k, -1, -1, -1)
    box = torch.tensor([8.0, 6.0, 20.0, 18.0])
    return Problem(
        x=x,
        x0=torch.zeros_like(x),
        score=Scorer(forward, k, batch),
        targets=[Target(0, "toy", 1.0, box)] * k,
        generators=[torch.Generator().manual_seed(s) for s in (seeds or range(k))],
        images=[image] * k,
        start=start,
    )


def patch_score(rows: slice, columns: slice) -> Callable[[Tensor, Tensor], Tensor]:
    """A score that looks at one patch alone: 1 with all of its light, about 0 without."""

    def forward(pictures: Tensor, _: Tensor) -> Tensor:
        light = pictures[:, :, rows, columns].mean(dim=(1, 2, 3))
        return torch.sigmoid(20 * (light - 0.25))

    return forward


class TinyNet(nn.Module):
    """A small random convolutional network with K outputs, smooth, in double precision."""

    def __init__(self, outputs: int = 4, seed: int = 0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.first = nn.Conv2d(3, 8, 5, stride=2, padding=2)
        self.second = nn.Conv2d(8, outputs, 3, stride=2, padding=1)
        for p in self.parameters():
            p.data = torch.randn(p.shape, generator=generator) * 0.4
        self.double().requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return torch.sigmoid(4 * self.second(torch.tanh(self.first(x))).mean(dim=(2, 3)))


def net_score(outputs: int = 4, seed: int = 0) -> Callable[[Tensor, Tensor], Tensor]:
    """Picture n scored by output rows[n] of a TinyNet."""
    net = TinyNet(outputs, seed)
    return lambda pictures, rows: net(pictures).gather(1, rows[:, None])[:, 0]


@pytest.fixture(scope="module", autouse=True)
def forgotten(request: pytest.FixtureRequest) -> Iterator[None]:
    """What a module keeps for its tests, networks above all, goes with it."""
    yield
    for one in vars(request.module).values():
        if getattr(one, "__module__", None) == request.module.__name__ and hasattr(one, "cache_clear"):
            one.cache_clear()


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs without the pictures of their results, which take most of the time."""
    monkeypatch.setattr("igos.run.workers.worker.Worker._drawn", lambda self, made, explanations: [{} for _ in made])


@pytest.fixture
def sketched(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs whose pictures are a few bytes, written as any others."""
    from tests.faults import SKETCHES

    monkeypatch.setattr("igos.run.workers.worker.FIGURES", SKETCHES)


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What igos spawns is forked from a server that has imported it."""
    from tests.commands import server

    original: Callable[..., Any] = multiprocessing.get_context
    server()
    monkeypatch.setattr(multiprocessing, "get_context", lambda m=None: original("forkserver" if m == "spawn" else m))
