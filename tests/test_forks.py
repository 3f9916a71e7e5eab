"""A python that is a fork: of words, environment, folder and files it has what it was given, and ends as it should."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from tests.forks import python

TELL = """
import json, os, sys
print(json.dumps([sys.argv, sys.path[0], os.getcwd(), os.environ["ASKED"], sys.stdin.read(), os.read(FILE, 9).decode(),
    __name__, "torch" in sys.modules, os.getpid()]))
sys.exit(7)
"""


@pytest.mark.parametrize("how", ["-c", "a file", "-m"])
def test_a_fork_runs_words_as_an_interpreter_does(how: str, tmp_path: Path) -> None:
    end, begin = os.pipe()
    os.write(begin, b"given")
    code = TELL.replace("FILE", str(end))
    (tmp_path / "tells.py").write_text(code)
    words = {"-c": ["-c", code], "a file": [str(tmp_path / "tells.py")], "-m": ["-m", "tells"]}[how]
    environment = {**os.environ, "ASKED": "yes"}
    ran = subprocess.run(
        [python(), "-u", "-X", "utf8", *words, "one", "two"],
        input="said", text=True, capture_output=True, cwd=tmp_path, env=environment, pass_fds=[end], timeout=60,
    )  # fmt: skip
    os.close(end), os.close(begin)
    assert ran.returncode == 7 and not ran.stderr, ran.stderr
    argv, first, *told, number = json.loads(ran.stdout)
    assert argv[1:] == ["one", "two"] and first == ("" if how == "-c" else str(tmp_path))
    assert told == [str(tmp_path), "yes", "said", "given", "__main__", True] and number != os.getpid()


def test_a_fork_that_fails_or_is_killed_says_so() -> None:
    ran = subprocess.run([python(), "-c", "1 / 0"], capture_output=True, text=True, timeout=60)
    assert ran.returncode == 1 and ran.stderr.splitlines()[-1] == "ZeroDivisionError: division by zero"
    assert subprocess.run([python(), "-c", "import os; os.kill(os.getpid(), 9)"], timeout=60).returncode == 1
    left = subprocess.run([python(), "-c", "import os, time; os.fork() or time.sleep(30)"], timeout=20)
    assert left.returncode == 0, "what it has forked is not waited for"
