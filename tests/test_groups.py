"""Which process runs which tests: a group stays together, and every file is in a group."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

from tests.conftest import FIRST, GROUPS, ROOT, Later, group, pytest_xdist_make_scheduler

FILES = {p.stem for p in (ROOT / "tests").rglob("test_*.py")}


class Node:
    """A process as xdist's scheduler sees it: it notes what it is sent."""

    gateway = SimpleNamespace(id="gw")
    shutting_down = False

    def __init__(self) -> None:
        self.sent = list[int]()

    def send_runtest_some(self, indices: list[int]) -> None:
        self.sent += indices

    def shutdown(self) -> None:
        self.shutting_down = True


def test_one_process_runs_all_tests_of_a_group() -> None:
    files = ["run/test_ray", "results/test_page", "run/test_machine", "cli/test_security", "run/test_recovery"]
    tests = [f"tests/{file}.py::test_{n}[a@b]" for n in range(3) for file in files]
    options: Any = SimpleNamespace(loadscopereorder=False, verbose=0)
    log: Any = SimpleNamespace(loadscopesched=lambda *_: None)
    config: Any = SimpleNamespace(option=options, getvalue=lambda key: ["popen", "popen"], getoption=lambda *_: [])
    scheduler, nodes = pytest_xdist_make_scheduler(config, log), [Node(), Node()]
    for node in nodes:
        scheduler.add_node(node)
        scheduler.add_node_collection(node, tests)
    scheduler.schedule()
    done = set[int]()
    while pending := [(node, n) for node in nodes for n in node.sent if n not in done]:
        for node, n in pending:
            done.add(n)
            scheduler.mark_test_complete(node, n)
    assert sorted(n for node in nodes for n in node.sent) == list(range(len(tests))) and all(n.sent for n in nodes)
    mine, others = ({group(tests[n]) for n in node.sent} for node in nodes)
    assert not mine & others, "no group is in both"


def test_groups_name_files_that_exist() -> None:
    assert {stem for stems in GROUPS.values() for stem in stems} <= FILES
    assert set(FIRST) <= {group(f"{stem}.py::test") for stem in FILES}
    assert len(FILES) == len(list((ROOT / "tests").rglob("test_*.py"))), "no two of one name"


def test_a_library_is_imported_when_a_test_asks_it_for_something_and_not_when_pytest_looks_at_it() -> None:
    sys.modules.pop("colorsys", None)
    one = Later("colorsys")
    asked = ("_mock_name", "__wrapped__", "__pytest_wrapped__")
    assert not any(hasattr(one, name) for name in asked) and "colorsys" not in sys.modules
    assert one.rgb_to_hsv(0, 0, 1)[2] == 1 and "colorsys" in sys.modules
