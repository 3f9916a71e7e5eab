"""Help, spellings, words before the command, quiet and loud; all without torch."""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from igos import cli
from igos.base import terminal
from igos.base.errors import ConfigError
from igos.cli import overview
from igos.cli.flags import ELSEWHERE, GROUPS, Parser
from igos.cli.main import COMMANDS, command_of
from igos.results.tables import Table, headed
from igos.run.settings import Run

ROOT = Path(__file__).resolve().parents[2]
WORDS = ["--help"], ["--version"], ["explain", "--help"], ["--nonsense", "1"], ["evaluate", "--modle", "x"], []


@pytest.fixture(autouse=True)
def usual() -> Any:
    yield
    terminal.talk(terminal.USUAL)


def parser_of(name: str) -> Parser:
    made: Parser = import_module(COMMANDS[name]).parser()
    return made


def told(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    try:
        assert cli.main(list(words)) == 0
    except SystemExit as end:
        assert not end.code
    return capsys.readouterr().out


def test_the_overview_is_one_screen_with_every_command_in_a_group(capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "--help")
    assert shown.count("\n") <= 36 and max(map(len, shown.splitlines())) <= 100
    assert all(any(line.startswith(f"  {name} ") for line in shown.splitlines()) for name in COMMANDS)
    assert all(f"\n{title}:\n" in shown for title in ("look", "judge", "prepare", "share", "examples"))
    assert sum(line.startswith("  igos ") for line in shown.splitlines()) == 4 and "--list" in shown
    found = [name for own in overview.groups(COMMANDS).values() for name in own]
    assert sorted(found) == sorted(COMMANDS)


def test_a_command_that_stands_in_no_group_is_shown_all_the_same() -> None:
    shown = overview.groups({"explain": COMMANDS["explain"], "odd": COMMANDS["merge"]})
    assert list(shown) == ["look", "more"] and "Join the folders" in shown["more"]["odd"]


def test_nothing_but_the_name_greets_in_ten_lines(capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys).splitlines()
    assert len(shown) == 10 and "igos demo" in shown[2]
    assert "igos --method iGOS++ --opt NAG" in "\n".join(shown)


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_has_examples_and_real_values(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, name, "--help")
    assert f"usage: igos {name} " in shown and "\nexamples:\n  igos " in shown
    for action in parser_of(name)._actions:
        if action.nargs == 0 or action.help == argparse.SUPPRESS:
            continue
        assert action.metavar or action.choices, action.option_strings
        assert action.metavar != "X", action.option_strings
        assert action.metavar or "{" + ",".join(map(str, action.choices or ())) in shown, action.option_strings
        if action.default not in (None, argparse.SUPPRESS):
            assert "(default: " in str(action.help), action.option_strings
    first = [line.split()[0] for line in shown.splitlines() if line.startswith("  --")]
    assert len(first) == len(set(first)), "one spelling of each flag"


def test_flags_stand_in_groups(capsys: pytest.CaptureFixture[str]) -> None:
    shown = told(capsys, "explain", "--help")
    places = [shown.index(f"\n{title}:\n") for title in (*GROUPS, "more", "examples")]
    assert places == sorted(places)
    for f in fields(Run):
        assert f"  --{f.name}" in shown
    parts = dict(zip(GROUPS, (shown[a:b] for a, b in zip(places, places[1:], strict=False)), strict=False))
    assert "--target" in parts["what is explained"] and "--cfg" in parts["model"] and "--set" in parts["method"]
    assert "--layout" in parts["output"] and "--workers" in parts["speed"]


def test_every_flag_may_be_written_with_either_sign() -> None:
    parser = parser_of("explain")
    one = parser.parse_args(["--model-file", "a", "--work_dir", "b", "--ig-iter=3", "--num_samples", "2"])
    assert (one.model_file, one.output, one.ig_iter, one.num_samples) == ("a", "b", "3", "2")
    for name in COMMANDS:
        parser = parser_of(name)
        for flag in (s for s in parser._option_string_actions if s.startswith("--")):
            for spelled in (flag.replace("_", "-")[2:], flag[2:].replace("-", "_")):
                assert parser._option_string_actions[parser._spelled(f"--{spelled}")].dest == (
                    parser._option_string_actions[flag].dest
                )
    assert parser_of("explain").parse_args(["--set", "a-b=c_d"]).set == ["a-b=c_d"]


def test_flags_of_other_tools_name_flags_that_are_there() -> None:
    flags = parser_of("explain")
    for other, own in ELSEWHERE.items():
        assert flags.takes_value(f"--{other}") is None and flags.takes_value(own), (other, own)


def test_flags_may_stand_before_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert command_of(["--strict", "report", "OUT"]) == ("report", ["--strict", "OUT"])
    assert command_of(["--model", "vgg16", "evaluate", "--methods", "IG"])[0] == "evaluate"
    assert command_of(["--model-file=x", "model", "vgg16"])[0] == "model"
    assert command_of(["-q", "merge", "A"]) == ("merge", ["-q", "A"])
    assert command_of(["--data", "report"]) == ("explain", ["--data", "report"])
    assert command_of(["--data", "photos", "evaluate"])[0] == "evaluate"
    (tmp_path / "evaluate").mkdir()
    assert command_of(["--data", "photos", "evaluate"])[0] == "explain", "a folder of that name"
    assert command_of(["--method", "iGOS++", "--opt", "NAG"]) == ("explain", ["--method", "iGOS++", "--opt", "NAG"])


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--mdoel", "x"], "did you mean --model"),
        (["evalute"], "did you mean igos evaluate?"),
        (["README.md"], "did you mean --data README.md?"),
        (["-q", "-v"], "not allowed with"),
        (["report", "x", "--stric"], "did you mean --strict?"),
        (["--limit", "2"], "did you mean --num_samples?"),
        (["diagnose", "--conf=.3"], "did you mean --threshold?"),
        (["--target-layer", "x"], "did you mean --layer"),
    ],
)
def test_a_slip_of_the_fingers_is_told(
    words: list[str], hint: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert cli.main(words) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert hint in line and "--help)" in line


@pytest.mark.parametrize("words", WORDS, ids=lambda w: " ".join(w) or "-")
def test_words_without_a_network_cost_little_and_no_torch(words: list[str]) -> None:
    code = f"""
import sys
from igos.cli.main import main
try:
    main({words!r})
except SystemExit:
    pass
assert not {{"torch", "rich", "matplotlib", "cv2"}} & sys.modules.keys()
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.6


def test_quiet_and_loud(capsys: pytest.CaptureFixture[str]) -> None:
    for level, out, err in ((terminal.QUIET, "r", ""), (terminal.USUAL, "nr", ""), (terminal.VERBOSE, "nr", "sd")):
        terminal.talk(level)
        terminal.note("n")
        terminal.say("r")
        terminal.status("s")
        terminal.detail("d")
        printed = capsys.readouterr()
        assert printed.out.split() == list(out) and printed.err.replace("igos: ", "").split() == list(err)


def test_a_table_in_signs_that_the_output_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", open("/dev/null", "w", encoding="utf-8"))  # noqa: SIM115
    assert headed("deletion", "lower") == "deletion ↓" and headed("insertion", "higher") == "insertion ↑"
    monkeypatch.setattr(sys, "stdout", open("/dev/null", "w", encoding="ascii"))  # noqa: SIM115
    assert headed("deletion", "lower") == "deletion (low)"
    made = Table(("a", "n"), [("x", "1"), ("long", "20")], "... more", ("sum", "21"), frozenset({1}))
    assert made.text().splitlines() == ["a      n", "x      1", "long  20", "... more", "sum   21"]


def test_a_terminal_gets_colours_and_no_column_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    class Screen(io.StringIO):
        encoding = "utf-8"

        def isatty(self) -> bool:
            return True

    from igos.cli.tables import show

    for name in ("NO_COLOR", "TERM", "COLORTERM"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    head = ("picture", "object", "score", "deletion ↓", "insertion ↑", "evidence_share ↑")
    row = ("scene-07.png", "bars", "1.00", "0.010", "0.985", "0.936", "22", "1.7", "4.5", "ok")
    show(Table((*head, "images", "map s", "figures s", "status"), [row], right=frozenset(range(2, 9))))
    drawn = screen.getvalue()
    assert "\x1b[32mok" in drawn and all(word in drawn for word in row[1:])


def test_every_error_of_a_parser_is_a_line() -> None:
    with pytest.raises(ConfigError, match=r"see igos merge --help"):
        parser_of("merge").parse_args([])
