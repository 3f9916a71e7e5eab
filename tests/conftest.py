"""What the tests share: which process runs them, the real data (or a skip that names it), fixtures, and the toys."""

from __future__ import annotations

import gc
import multiprocessing
import os
import shlex
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import make_dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from igos.base.memory import keep_freed

os.environ["OMP_NUM_THREADS"] = "1"  # more workers than cores; read when torch is imported
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # else each new process would compile igos, and each worker the tests
sys.dont_write_bytecode = False
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job, and its children, ignore it
gc.disable()  # until the tests and their libraries, which stay, have been imported

TOYS = ("TinyNet", "net_score", "patch_score", "toy_image", "toy_problem")
FIRST = (  # what begins first: what waits longest for other processes, then what computes longest
    "browser", "ray", "clock", "story", "evaluate", "damage", "tutorials", "bundled", "site", "rcnn", "notebooks",
    "wheel", "explanations", "door", "faithful", "odd_networks", "onestage", "hugging_face", "real", "detail", "yolov3",
)  # fmt: skip
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


def pytest_configure(config: pytest.Config) -> None:
    """The processes that run the tests are forks of one that has imported torch and igos; while it does, the tests are
    compiled, once for all of them.
    """
    if each := getattr(config.option, "tx", None):
        from tests.forks import python

        config.option.tx = [f"{one}//python={shlex.quote(python())}" if one == "popen" else one for one in each]
        with suppress(ImportError, AttributeError, TypeError):  # else each process compiles them, as pytest has it
            compile_tests(config)


def compile_tests(config: pytest.Config) -> None:
    """What pytest leaves in __pycache__ where it imports a test, for those that have changed."""
    from _pytest.assertion import rewrite

    for path in (ROOT / "tests").rglob("test_*.py"):
        made = rewrite.get_cache_dir(path) / (path.stem + rewrite.PYC_TAIL)
        if rewrite._read_pyc(path, made) is None:
            made.parent.mkdir(exist_ok=True)
            stat, code = rewrite._rewrite_test(path, config)
            rewrite._write_pyc(config.stash[rewrite.assertstate_key], code, stat, made)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Long groups begin first, so that no long one is left for the end, and those that wait run beside those that
    compute.
    """
    items.sort(key=lambda item: FIRST.index(name) if (name := group(item.nodeid)) in FIRST else len(FIRST))


def pytest_collection_finish() -> None:
    """What has been imported is no garbage: it is never looked through again. And memory that a network frees is kept
    for its next pass, as igos does with a model that it loads; most tests make theirs themselves.
    """
    gc.enable()
    gc.collect()
    gc.freeze()
    keep_freed()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """One process runs all tests of a group. Not xdist's own marks: pytest 9.2 drops the names that they write."""
    from xdist.scheduler import LoadScopeScheduling

    class Grouped(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return group(nodeid)

    return Grouped(config, log)


class Later:
    """A library that few tests need, imported when one of them asks it for something. reason: that they are skipped
    where it is missing.
    """

    def __init__(self, name: str, reason: str = "") -> None:
        if reason and find_spec(name) is None:
            pytest.skip(f"{name} is missing: {reason}", allow_module_level=True)
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):  # pytest asks all that a module holds whether it is a mock or wraps a fixture
            raise AttributeError(name)
        return getattr(import_module(self._name), name)


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


def __getattr__(name: str) -> Any:
    """The toys, without torch in the process that only hands tests out."""
    if name not in TOYS:
        raise AttributeError(name)
    return getattr(import_module("tests.toys"), name)


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
def short_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deletion and insertion, a judge's too, in 4 steps by default in place of 50: no test looks at their figures."""
    from igos.base.settings import setting
    from igos.metrics import METRICS

    for name in ("deletion", "insertion", "transfer"):
        steps = [("steps", int, setting(4, least=1))]
        monkeypatch.setitem(METRICS, name, make_dataclass(name, steps, bases=(METRICS[name],), frozen=True))


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """What igos spawns is forked from a server that has imported it."""
    from tests.commands import server

    original: Callable[..., Any] = multiprocessing.get_context
    server()
    monkeypatch.setattr(multiprocessing, "get_context", lambda m=None: original("forkserver" if m == "spawn" else m))
