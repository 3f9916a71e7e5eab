"""What came from outside reaches no terminal as it is: names of files and classes, errors, tables, traces."""

from __future__ import annotations

import ast
import logging
import sys
from pathlib import Path

import pytest

from igos import cli
from igos.base.terminal import printable, say, trace
from igos.cli.session import warn
from igos.results.folder import RunFolder
from igos.results.tables import blocks, figures, table
from igos.types import ConfigError
from tests.pages import toy_run

ROOT = Path(__file__).resolve().parents[2]
TITLE, CLEAR, TURNED = "\x1b]0;taken\x07", "a\x1b[2J\x9b5n\x7f", "gnp.\u202egpj"


def tame(told: str) -> bool:
    return not set(told.replace("\n", "")) & {chr(n) for n in (*range(32), *range(127, 160), 0x202E)}


@pytest.mark.parametrize("path", sorted((ROOT / "igos").rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_one_function_prints(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and path.name != "terminal.py":
            call = ast.unparse(node.func)
            assert call not in ("print", "sys.stdout.write", "sys.stderr.write", "warnings.warn", "traceback.print_exc")


def test_what_a_terminal_obeys_is_escaped() -> None:
    assert printable(TITLE) == "\\x1b]0;taken\\x07" and printable(CLEAR) == "a\\x1b[2J\\x9b5n\\x7f"
    assert printable(TURNED) == "gnp.\\u202egpj" and printable("a\nb\tc") == "a\\x0ab\\x09c"
    assert printable("\udcff\u2028\ufeff") == "\\udcff\\u2028\\ufeff" and printable("\U000e0041") == "\\U000e0041"
    for same in ("caf\u00e9", "\u732b", "\u05d0\u05d1", "\U0001f469\u200d\U0001f4bb", "a b-c_d.png", "x\u00a0y"):
        assert printable(same) == same
    assert printable(printable(TITLE)) == printable(TITLE)


def test_lines_and_errors(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"{TITLE}\nsecond")
    say(f"igos: {CLEAR}\nigos: forged", error=True)
    told = capsys.readouterr()
    assert told.out == "\\x1b]0;taken\\x07\nsecond\n" and told.err.count("\n") == 1 and tame(told.err)


def test_a_table_and_its_warnings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = RunFolder(tmp_path / "run")
    row = {"image": f"x/{CLEAR}.png", "folder": "p/0", "status": f"ok{TITLE}", "score": 0.5, "label_index": 0}
    folder.add({**row, "name": f"{TITLE}\nforged  line", "method": f"m{TITLE}", "seconds": 1.0, "network_images": 3})
    folder.add({**row, "folder": None, "item": "q", "error": f"{CLEAR}\nforged", "warning": TITLE, "name": TURNED})
    told = table(folder)
    assert tame(told) and told.count("\n") == 3, "a row is a line"
    assert tame("\n".join(b.text() for b in blocks(figures(folder.rows, []), [])))
    warn(folder)
    assert tame(capsys.readouterr().err)
    folder.finish()
    written = (tmp_path / "run" / "results.csv").read_bytes()
    assert b"\x1b" not in written and b"\x07" not in written and b"\\x1b]0;taken" in written
    assert b"\x1b" not in (tmp_path / "run" / "results.jsonl").read_bytes()


@pytest.mark.parametrize("word", [TITLE, TURNED, f"--{TITLE}"])
@pytest.mark.parametrize("command", [[], ["report"], ["compare"], ["export"], ["--config"], ["--method"], ["--data"]])
def test_no_word_comes_back_raw(
    command: list[str], word: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main([*command, word]) == 2
    told = capsys.readouterr()
    assert tame(told.err) and tame(told.out) and len(told.err.splitlines()) == 1


def test_the_name_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = toy_run(tmp_path / TITLE, 1)
    assert cli.main(["report", str(run)]) == 0
    told = capsys.readouterr()
    assert tame(told.out + told.err) and "\\x1b]0;taken" in told.out


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    logging.getLogger("igos").warning("%s: gone", TITLE)
    assert caplog.messages == ["\\x1b]0;taken\\x07: gone"]


def test_errors_and_their_traces(capsys: pytest.CaptureFixture[str]) -> None:
    error = ConfigError(f"{CLEAR}: no such file")
    assert tame(str(error)) and str(ConfigError("plain")) == "plain" and str(ConfigError()) == ""
    try:
        raise ValueError(TITLE)
    except ValueError:
        trace(*sys.exc_info())  # type: ignore[arg-type]
    told = capsys.readouterr().err
    assert tame(told) and "ValueError: \\x1b]0;taken" in told and "Traceback" in told
