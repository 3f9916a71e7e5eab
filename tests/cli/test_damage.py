"""Damaged folders at the commands: what is damaged or missing is named, made or drawn again, and never passed on."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from igos import cli
from igos.base.files import npz_bytes
from igos.base.seals import sealed
from igos.methods import METHODS
from igos.results import read as reading
from igos.results.exports import EXPORTS
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest
from igos.results.read import each_row, read_arrays, read_rows, read_run
from igos.run.merge import merge
from igos.run.redraw import redraw
from igos.run.workers import worker
from igos.types import ConfigError, IgosError
from tests.faults import SKETCHES, Faulty, local, once, pictures, plan
from tests.pages import toy_run

ROOT = Path(__file__).resolve().parents[2]
SINGLES = [str(ROOT / "samples" / "singles" / f"single-{n}.png") for n in ("06", "10")]
WORDS = ["--model", "emblem-vgg", "--method", "vanilla_grad", "--metrics", "deletion", "--set", "deletion.steps=4"]
WORDS += ["--size", "8", "--data", *SINGLES]
FIRST = "single-06/0-bars"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A run of two pictures, as the command leaves it; its pictures are sketches."""
    folder = tmp_path_factory.mktemp("made") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker, "FIGURES", SKETCHES)
        assert cli.main([*WORDS, "--output", str(folder)]) == 0
    yield folder


@pytest.fixture
def run(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "run"))


def edit(path: Path, line: int, change: Callable[[dict[str, Any]], Any], seal: bool = False) -> None:
    """A line of JSON changed by hand; seal: by somebody who makes a new seal."""
    lines = path.read_text().splitlines()
    values = json.loads(lines[line])
    change(values)
    values = sealed({k: v for k, v in values.items() if k != "seal"}) if seal else values
    lines[line] = json.dumps(values)
    path.write_text("\n".join(lines) + "\n")


def other_size(run: Path) -> None:
    text = (run / "run.yaml").read_text()
    assert text.count("size: 8\n") == 1
    (run / "run.yaml").write_text(text.replace("size: 8\n", "size: 9\n"))


DAMAGE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "row": (lambda r: edit(r / "results.jsonl", 0, lambda v: v.update(deletion=0.5)), "results.jsonl, line 1: damaged"),
    "cut row": (lambda r: (r / "results.jsonl").write_text("{\n"), "results.jsonl, line 1: damaged"),
    "manifest": (
        lambda r: edit(r / "manifest.jsonl", 3, lambda v: v["targets"][0].update(label=1)),
        "manifest.jsonl, line 4: damaged",
    ),
    "sealed manifest": (
        lambda r: edit(r / "manifest.jsonl", 3, lambda v: v["targets"][0].update(box=[1.0, 2.0, 3.0, 4.0]), seal=True),
        f"1 row ({FIRST})",
    ),
    "sealed row": (
        lambda r: edit(r / "results.jsonl", 0, lambda v: v.update(name="zigzag"), seal=True),
        f"1 row ({FIRST})",
    ),
    "settings": (other_size, f"other settings than run.yaml holds, made 2 rows ({FIRST}, single-10/0-zigzag)"),
    "settings' seal": (other_size, "run.yaml: has changed since the run wrote it"),
    "arrays": (
        lambda r: (r / FIRST / "explanation.npz").write_bytes(npz_bytes({})),
        f"{FIRST}/explanation.npz: damaged (its content does not fit its checksum)",
    ),
    "no arrays": (lambda r: (r / FIRST / "explanation.npz").unlink(), f"{FIRST}/explanation.npz: no such file"),
    "no row": (
        lambda r: (r / "results.jsonl").write_text((r / "results.jsonl").read_text().split("\n")[0] + "\n"),
        "not finished: 1 picture (single-10)",
    ),
    "no picture": (lambda r: (r / FIRST / "overlay.png").unlink(), f"1 picture ({FIRST}/overlay.png)"),
    "doubled": (
        lambda r: (r / "results.jsonl").write_text((r / "results.jsonl").read_text() * 2),
        "doubled: 2 rows",
    ),
}


def reader(command: str, run: Path, out: Path) -> list[str]:
    return {
        "report": ["report", str(run)],
        "compare": ["compare", str(run), str(run.parent / "other"), "--out", str(out / "a.html")],
        "coco": ["export", str(run), "--format", "coco", "--out", str(out / "a.json")],
        "png": ["export", str(run), "--format", "png", "--out", str(out / "maps")],
        "fiftyone": ["export", str(run), "--format", "fiftyone", "--out", str(out / "maps")],
        "evaluate": ["evaluate", "--results", str(run), "--metrics", "sparseness", "--output", str(out / "judged")],
    }[command]


@pytest.mark.parametrize("kind", DAMAGE)
@pytest.mark.parametrize("command", ["report", "png"])
def test_damage_is_named_and_strict_refuses_it(
    command: str, kind: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hurt, said = DAMAGE[kind]
    hurt(run)
    for strict in (False, True):
        capsys.readouterr()
        words = reader(command, run, tmp_path / str(strict))
        assert cli.main([*words, *(["--strict"] if strict else [])]) == (
            2 if strict or kind == "cut row" and command == "png" else 0
        )
        told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("igos: warning: ")]
        named = said if not (strict and "explanation.npz" in said and command == "png") else "missing or damaged: 1 exp"
        assert [line for line in told if named in line], told
    assert not (tmp_path / "True").exists()


@pytest.mark.parametrize("command", ["compare", "coco", "fiftyone", "evaluate"])
@pytest.mark.parametrize("kind", ["row", "settings", "arrays"])
def test_every_reader_names_it(
    command: str, kind: str, made: Path, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(made, tmp_path / "other")
    hurt, said = DAMAGE[kind]
    hurt(run)
    (tmp_path / "out").mkdir()
    words = reader(command, run, tmp_path / "out")
    assert cli.main([*words, "--strict"]) == 2
    err = capsys.readouterr().err
    assert "igos: --strict: " in err and not list((tmp_path / "out").iterdir())
    assert cli.main(words) == 0
    out, err = capsys.readouterr()
    assert said in err and err.count(said) == 1, err
    if command == "coco":
        assert len(json.loads((tmp_path / "out" / "a.json").read_text())["annotations"]) == (
            2 if kind == "settings" else 1
        )


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("kind", ["row", "sealed manifest", "sealed row", "settings", "arrays", "no row", "manifest"])
def test_a_resume_makes_again_what_is_damaged_or_of_other_settings(
    kind: str, made: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    DAMAGE[kind][0](run)
    capsys.readouterr()
    assert cli.main(["--resume", str(run)]) == 0
    out, err = capsys.readouterr()
    if kind != "no row":
        assert "igos: warning: " in err, err
    kept = {"settings": 0, "manifest": 2}.get(kind, 1)
    assert (f"{kept} explanations were finished before" in out) == (kept > 0)
    rows, before = read_rows(run), {r["folder"]: r for r in read_rows(made)}
    assert len(rows) == 2 and {r["status"] for r in rows} == {"ok"}
    shape = {read_arrays(run, r)["saliency"].shape for r in rows}
    assert shape == {(9, 9) if kind == "settings" else (8, 8)}, "never mixed"
    for row in rows:
        other = kind == "settings" or (kind == "sealed manifest" and row["folder"] == FIRST)
        assert (row["id"] != before[row["folder"]]["id"]) == other and row["name"] == before[row["folder"]]["name"]
    assert cli.main(["export", str(run), "--format", "png", "--out", str(run.parent / "maps"), "--strict"]) == 0


@pytest.mark.usefixtures("sketched")
def test_pictures_that_were_deleted_or_cut_are_drawn_again_as_they_were(
    made: Path, run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> None:
        raise AssertionError("explained again")

    monkeypatch.setattr(METHODS["vanilla_grad"], "__call__", never)
    (run / FIRST / "overlay.png").unlink()
    (run / FIRST / "heatmap.png").write_bytes(b"cut")
    for _ in range(2):
        assert cli.main(["--resume", str(run)]) == 0
    told = capsys.readouterr().err
    assert told.count("drawn again: pictures of 1 explanation") == 1
    for name in ("overlay.png", "heatmap.png", "explanation.npz"):
        assert (run / FIRST / name).read_bytes() == (made / FIRST / name).read_bytes()
    assert cli.main(["report", str(run), "--strict"]) == 0


def test_a_picture_whose_photo_has_gone_is_said_to_be_lost(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / FIRST / "overlay.png").unlink()
    lines = [json.loads(line) for line in (run / "manifest.jsonl").read_text().splitlines()]
    text = (run / "results.jsonl").read_text() + (run / "manifest.jsonl").read_text()
    assert SINGLES[0] in text and len(lines) == 5
    for name in ("results.jsonl", "manifest.jsonl"):
        for n, line in enumerate((run / name).read_text().splitlines()):
            if SINGLES[0] in line:
                gone = json.loads(line.replace(SINGLES[0], str(tmp_path / "gone.png")))
                edit(run / name, n, lambda v, gone=gone: v.update(gone), seal=True)
    assert cli.main(["--resume", str(run)]) == 0
    assert f"{FIRST}: its pictures cannot be drawn again" in capsys.readouterr().err


def test_what_is_drawn_again_has_the_same_bytes(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 1), tmp_path / "out"
    local(data, out, target="top1")
    before = {p: p.read_bytes() for p in out.rglob("*.png")}
    assert len(before) == 3
    for file in before:
        file.unlink()
    folder = RunFolder(out, {"model": "faulty", "shard": None, "layout": "folders"})
    assert len(folder.undrawn) == 1 and redraw(folder, plan(data), Faulty()) == []
    assert {p: p.read_bytes() for p in out.rglob("*.png")} == before


@pytest.mark.usefixtures("sketched")
def test_all_starts_of_an_object_are_drawn_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--model", "emblem-vgg", "--data", SINGLES[0], "--iterations", "1", "--ig_iter", "1", "--size", "8"]
    words += ["--metrics", "none", "--diverse_k", "2", "--init_posi", "0", "3", "--output", str(out)]
    assert cli.main(words) == 0
    shutil.copytree(out, tmp_path / "calm")
    above = out / FIRST
    text = (above / "diversity.json").read_text()
    (above / "diversity.json").write_text(text.replace("3", "2", 1))
    (above / "start-0" / "overlay.png").unlink()
    capsys.readouterr()
    assert cli.main(["report", str(out)]) == 0
    assert f"{above}/diversity.json: damaged" in capsys.readouterr().err
    assert cli.main(["report", str(out), "--strict"]) == 2
    assert cli.main(["--resume", str(out)]) == 0
    for file in (tmp_path / "calm" / FIRST).rglob("*.*"):
        assert (out / file.relative_to(tmp_path / "calm")).read_bytes() == file.read_bytes(), file


@pytest.mark.parametrize("layout", ["folders", "shards"])
@pytest.mark.usefixtures("undrawn")
def test_parts_of_other_settings_are_named_by_merge(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*WORDS, "--layout", layout]
    parts = [tmp_path / "1", tmp_path / "2"]
    for n, part in enumerate(parts, 1):
        assert cli.main([*words, "--shard", f"{n}/2", "--output", str(part)]) == 0
    for part in parts:
        other_size(part)
    joined = ["merge", *map(str, parts), "--out", str(tmp_path / "all")]
    capsys.readouterr()
    assert cli.main([*joined, "--strict"]) == 2 and not (tmp_path / "all").exists()
    assert cli.main(joined) == 0
    told = capsys.readouterr().err
    assert told.count("other settings than run.yaml holds, made 1 row") >= 2, told
    assert cli.main(["--resume", str(tmp_path / "all")]) == 0
    assert {read_arrays(tmp_path / "all", r)["saliency"].shape for r in each_row(tmp_path / "all")} == {(9, 9)}
    assert "made again: 2 explanations" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["explain", "evaluate", "shards"])
def test_a_folder_of_0_1_0_opens_with_one_warning(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(ROOT)
    old = Path(shutil.copytree(ROOT / "tests" / "runs_0_1_0" / kind, tmp_path / "old"))
    for command in ("report", "coco", "evaluate"):
        capsys.readouterr()
        assert cli.main(reader(command, old, tmp_path)) == 0
        told = capsys.readouterr().err.splitlines()
        assert len(told) == 1 and "made by an igos without checksums" in told[0], told


@pytest.mark.usefixtures("undrawn")
def test_parts_of_0_1_0_are_sealed_by_merge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    for kind in ("explain", "shards"):
        old = Path(shutil.copytree(ROOT / "tests" / "runs_0_1_0" / kind, tmp_path / kind))
        with open(old / "run.yaml", "a") as file:
            file.write("shard: 1/1\n")
        damage: list[str] = []
        assert merge([old], tmp_path / f"{kind}-all", damage) == len(list(each_row(old)))
        assert len(damage) == 1 and "without checksums" in damage[0]
        assert cli.main(["report", str(tmp_path / f"{kind}-all"), "--strict"]) == 0


# Many at once


def at_once(count: int, work: Callable[[int], Any]) -> list[Any]:
    """What so many threads answer or raise that begin together."""
    begin, answers = threading.Barrier(count), [None] * count

    def one(n: int) -> None:
        begin.wait()
        try:
            answers[n] = work(n)
        except IgosError as error:
            answers[n] = error

    threads = [threading.Thread(target=one, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("what", ["merge", *EXPORTS])
def test_of_three_that_make_one_folder_one_wins_and_the_others_say_so(what: str, tmp_path: Path) -> None:
    if what == "merge":
        parts = [tmp_path / "1", tmp_path / "2"]
        data = pictures(tmp_path / "data", 2)
        for n, part in enumerate(parts, 1):
            local(data, part, shard=f"{n}/2", layout="shards")
    run = toy_run(tmp_path / "run", 4)
    for turn in range(8):
        out = tmp_path / f"mine{turn}"
        theirs = out.with_name(f".{out.name}.tmp")
        theirs.mkdir()
        (theirs / "note.txt").write_text("mine")

        def work(n: int, out: Path = out) -> int:
            return merge(parts, out) if what == "merge" else EXPORTS[what](run, out, read_rows(run), [])[0]

        answers = at_once(3, work)
        assert answers.count(4) == 1, answers
        for lost in (a for a in answers if a != 4):
            assert isinstance(lost, ConfigError) and str(lost) == f"--out {out}: exists; choose a new name"
        assert (theirs / "note.txt").read_text() == "mine"
        assert len(list(tmp_path.glob(f".mine{turn}*"))) == 1, "nothing is left behind"
        if what == "merge":
            once(out, 2)


@pytest.mark.usefixtures("undrawn")
def test_two_runs_without_output_in_the_same_second(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-01-01_00-00-00")
    for _ in range(2):
        assert cli.main(WORDS) == 0
    folders = sorted((tmp_path / "Output").iterdir())
    assert [f.name for f in folders] == ["2026-01-01_00-00-00-vanilla_grad", "2026-01-01_00-00-00-vanilla_grad-2"]
    assert all(len(read_rows(f)) == 2 for f in folders)
    made = at_once(6, lambda n: RunFolder(tmp_path / "new", {"a": 1}, new=True).path.name)
    assert sorted(made) == ["new", "new-2", "new-3", "new-4", "new-5", "new-6"]


# A folder that goes away


@pytest.mark.parametrize("how", ["moved", "deleted", "replaced"])
@pytest.mark.parametrize("layout", ["folders", "shards"])
@pytest.mark.usefixtures("undrawn")
def test_a_folder_that_is_taken_away_in_mid_run_leaves_nothing_there(
    how: str, layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, away, original, calls = tmp_path / "out", tmp_path / "away", METHODS["vanilla_grad"].__call__, list[int]()

    def taking(self: Any, problem: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            shutil.rmtree(out) if how == "deleted" else shutil.move(out, away)
            if how == "replaced":
                out.mkdir()
        return original(self, problem)

    monkeypatch.setattr(METHODS["vanilla_grad"], "__call__", taking)
    assert cli.main([*WORDS, "--output", str(out), "--layout", layout]) == 2
    err = capsys.readouterr().err
    assert (
        err == f"igos: --output {out}: the folder was moved or removed while the run worked; nothing more is written\n"
    )
    assert not list(out.iterdir()) if how == "replaced" else not out.exists()
    if how != "deleted":
        assert len(read_rows(away)) <= 1  # the first is drawn while the second is explained
        assert cli.main(["--resume", str(away)]) == 0 and len(list(each_row(away))) == 2


# What stands in run.yaml


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize(
    "text",
    [
        "record: null", "record: [1]", "record: {command: 2001-02-03, time: !!binary aGk=}", "model: 2001-02-03",
        "model: !!binary aGk=", "data: 2001-02-03", "metrics: [2001-02-03]", "metrics: [!!binary aGk=]", "set: [1]",
        "methods: null", "methods: {vanilla_grad: null}", "methods: {2001-02-03: {}}", "diverse_k: x", "weights: 3",
        "init_posi: {}", "manual_seed: 2001-02-03", "layout: 7", "shard: 2001-02-03", "record: {versions: 3}",
        "record: {versions: {igos: 2001-02-03}}", "? [a, b]\n: 1", "1: 2", "!!binary aGk=: 1",
    ],
)  # fmt: skip
def test_anything_in_run_yaml_is_shown_or_refused_in_a_line(
    text: str, run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = text.partition(":")[0]
    values = {k: v for k, v in read_run(run).items() if k != key}
    (run / "run.yaml").write_text(yaml.safe_dump(values) + text + "\n")
    words = [["report", str(run)], ["--resume", str(run)], ["merge", str(run), "--out", str(tmp_path / "x")]]
    words += [["evaluate", "--results", str(run), "--metrics", "none", "--output", str(tmp_path / "y")]]
    words += [["evaluate", "--resume", str(run)]]
    for one in words:
        capsys.readouterr()
        code = cli.main(one)
        told = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
        assert code in (0, 2) and len(told) == (1 if code else 0), told


def test_evaluate_reads_the_saved_rows_once(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[Path] = []
    original = reading.json_rows

    def counted(folder: Path, *words: Any, **more: Any) -> Any:
        read.append(folder)
        return original(folder, *words, **more)

    monkeypatch.setattr(reading, "json_rows", counted)
    assert cli.main(reader("evaluate", run, tmp_path)) == 0
    assert read.count(run) == 1
    assert len(Manifest(run).due) == 2
