"""Two thousand damaged inputs of every kind: an IgosError, or it is read; `benchmarks/fuzz.py` tries many more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from igos.types import ConfigError, IgosError
from tests.fuzzing import TARGETS, Hang, Target, cases, outcome

CASES = 2000


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_but_an_igos_error_reaches_the_user(name: str) -> None:
    target = TARGETS[name]

    @settings(
        max_examples=cases(CASES)[name],
        database=None,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(target.cases)
    def each(case: Any) -> None:
        assert not outcome(target, case).startswith("escaped")

    each()


def test_what_escapes_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The measure itself: an exception of another kind, an error without words, a hang, memory."""
    monkeypatch.setattr("tests.fuzzing.MOST", 100 << 20)

    def work(case: str, folder: Path) -> None:
        if case == "refused":
            raise ConfigError("a reason")
        if case == "silent":
            raise IgosError("")
        if case == "other":
            json.loads("{")
        while case == "hang":
            pass
        if case == "memory":
            bytearray(800 << 20)[::4096] = b"x" * (200 << 10)

    target = Target(None, work)  # type: ignore[arg-type]
    assert outcome(target, "") == "accepted" and outcome(target, "refused") == "refused"
    assert "without words" in outcome(target, "silent")
    assert "JSONDecodeError at decoder.py" in outcome(target, "other")
    assert "MB of memory" in outcome(target, "memory")
    monkeypatch.setattr("tests.fuzzing.SECONDS", 0.2)
    assert "longer than" in outcome(target, "hang") and issubclass(Hang, BaseException)
