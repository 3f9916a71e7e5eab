"""Runs over many pictures: killed at any moment and gone on with, in parts, in processes, with every fault a row."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from igos import cli
from igos.base.boxes import iou
from igos.data.annotations import truths_of
from igos.data.truth import same_class
from igos.results import folder as run_folder
from igos.results.folder import RunFolder
from igos.results.manifest import Manifest
from igos.results.read import each_row, read_rows
from igos.run.cells import cells_of
from igos.run.drive import drive
from igos.run.workers.processes import Processes
from igos.types import ConfigError, NetworkError
from tests import faults
from tests.commands import Command, server
from tests.conftest import darknet_options, shared_data
from tests.data.test_anywhere import archive
from tests.faults import Faulty, local, maps, picture, pictures, same_maps

pytestmark = pytest.mark.usefixtures("sketched")

# Killed and gone on with


@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_killed_twenty_times_nothing_is_lost_or_doubled(
    layout: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, out = pictures(tmp_path / "data", 30), tmp_path / "out"
    monkeypatch.setattr(run_folder, "SIZE", 7)
    moments, held = random.Random(layout), set()

    def rows_so_far() -> int:
        lines = (out / "results.jsonl").read_bytes().count(b"\n") if (out / "results.jsonl").exists() else 0
        return lines + 7 * len(list(out.glob("shards/*.safetensors")))

    for _ in range(20):
        process = server().Process(target=faults.run_into, args=(str(data), str(out), 0.003, layout))
        begin, more, deadline = rows_so_far(), moments.choice([0, 1, 2, 3]), time.monotonic() + 60
        process.start()
        while time.monotonic() < deadline and process.is_alive() and rows_so_far() < begin + more:
            time.sleep(0.001)
        time.sleep(moments.uniform(0, 0.08))
        process.kill()
        process.join()
        held.add(rows_so_far())
    process = server().Process(target=faults.run_into, args=(str(data), str(out), 0.0, layout))
    process.start()
    process.join()
    assert process.exitcode == 0 and len(held) > 3, "it was killed at different places"
    rows = read_rows(out)
    assert Counter(r["folder"] for r in rows) == Counter(
        {f"p{n:03}/{i}-{side}": 1 for n in range(30) for i, side in enumerate(("left", "right"))}
    ), "every explanation once"
    assert len({r["id"] for r in rows}) == len(rows) and {r["status"] for r in rows} <= faults.EXPLAINED
    assert not [p for p in out.rglob("*.tmp")], "nothing half-written is left"
    if layout == "folders":
        made = {p.parent.relative_to(out).as_posix() for p in out.rglob("explanation.npz")}
        assert made == {r["folder"] for r in rows}
    local(data, tmp_path / "calm", layout=layout)
    same_maps(out, tmp_path / "calm")


def test_a_damaged_result_is_made_again_and_others_are_left(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 3), tmp_path / "out"
    local(data, out)
    before = {p: p.stat().st_mtime_ns for p in out.rglob("explanation.npz")}
    hurt = out / "p001" / "0-left" / "explanation.npz"
    content = bytearray(hurt.read_bytes())
    content[len(content) // 2] ^= 1
    hurt.write_bytes(content)
    (out / "p002" / "1-right" / "explanation.npz").unlink()
    folder = local(data, out)
    assert folder.damaged == ["p001/0-left", "p002/1-right"]
    after = {p: p.stat().st_mtime_ns for p in out.rglob("explanation.npz")}
    changed = {p.parent.relative_to(out).as_posix() for p in after if after[p] != before[p]}
    assert changed == {"p001/0-left", "p002/1-right"} and len(read_rows(out)) == 6
    local(data, tmp_path / "calm")
    same_maps(out, tmp_path / "calm")


def test_targets_are_never_looked_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, out = pictures(tmp_path / "data", 2), tmp_path / "out"
    local(data, out)
    (out / "p001" / "0-left" / "explanation.npz").unlink()
    monkeypatch.setattr(Faulty, "detect", lambda *_: pytest.fail("it was looked at again"))
    local(data, out)
    assert len(read_rows(out)) == 4


def test_starts_are_all_made_again_where_one_is_missing_and_compared(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 1), tmp_path / "out"
    local(data, out, diverse_k=2)
    (out / "p000" / "0-left" / "start-2" / "explanation.npz").unlink()
    (out / "p000" / "0-left" / "diversity.json").unlink()
    (out / "p000" / "0-left" / f".{0:032x}.tmp").touch()  # what a killed process left
    local(data, out, diverse_k=2)
    assert len(read_rows(out)) == 8
    assert json.loads((out / "p000" / "0-left" / "diversity.json").read_text())["starts"] == [0, 1, 2, 3]
    assert not list(out.rglob("*.tmp"))


def test_the_manifest_is_written_before_anything_is_explained(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 3), tmp_path / "out"
    seen: list[tuple[int, int]] = []

    class Watching(Faulty):
        def scorer(self, *words: Any, **more: Any) -> Any:
            known = Manifest(out)
            seen.append((len(known.due), len(known.lines)))
            return super().scorer(*words, **more)

    local(data, out, adapter=Watching())
    assert {due for due, _ in seen} == {3} and sorted({found for _, found in seen}) == [1, 2, 3]
    lines = (out / "manifest.jsonl").read_text().splitlines()
    box = json.loads(lines[4])["targets"][0]["box"]
    assert json.loads(lines[0])["pictures"] == 3 and len(lines) == 7 and box == [0, 0, 16, 32]


def test_a_picture_that_changes_or_vanishes_in_mid_run_is_a_row(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 3), tmp_path / "out"
    local(data, out)
    for n in (0, 1):
        (out / f"p00{n}" / "0-left" / "explanation.npz").unlink()
    picture(data / "p000.png", seed=77)
    (data / "p001.png").unlink()
    local(data, out)
    told = {r["item"]: r for r in read_rows(out) if not r["folder"]}
    assert "has changed since its targets were found" in told["p000"]["error"]
    assert told["p001"]["status"] == "unreadable" and "no such file" in told["p001"]["error"]
    assert len(read_rows(out)) == 6


def test_a_corrupt_picture_in_many_is_a_row_that_retry_redoes(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 40), tmp_path / "out"
    whole = (data / "p017.png").read_bytes()
    (data / "p017.png").write_bytes(whole[:-30])
    local(data, out)
    (row,) = [r for r in read_rows(out) if r["status"] == "unreadable"]
    assert row["item"] == "p017" and len(read_rows(out)) == 79
    (data / "p017.png").write_bytes(whole)
    local(data, out)
    assert len([r for r in read_rows(out) if r["status"] == "unreadable"]) == 1, "without --retry it stays"
    local(data, out, retry=("error", "unreadable"))
    assert {r["status"] for r in read_rows(out)} <= faults.EXPLAINED and len(read_rows(out)) == 80


# Networks that fail


def test_a_network_that_raises_or_answers_nan_costs_that_picture_only(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 5, {1: "raise", 2: "nan", 4: "none"}), tmp_path / "out"
    local(data, out)
    statuses = Counter(r["status"] for r in read_rows(out))
    assert statuses == {"ok": 4, "error": 2, "not-finite": 2, "skipped": 1}
    (error, _) = [r for r in read_rows(out) if r["status"] == "error"]
    assert error["error"].endswith("RuntimeError: the network's own mistake") and error["name"] == "left raise"
    local(data, out)
    assert len(read_rows(out)) == 9, "errors are not tried again by themselves"


def test_where_everything_fails_the_run_says_so(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 3, dict.fromkeys(range(3), "raise"))
    with pytest.raises(NetworkError, match=r"the network's own mistake \(and so in all 3 pictures\)"):
        local(data, tmp_path / "out")
    many = pictures(tmp_path / "many", 30, dict.fromkeys(range(30), "raise"))
    calls = []

    class Counting(Faulty):
        def detect(self, *words: Any) -> Any:
            calls.append(1)
            return super().detect(*words)

    with pytest.raises(NetworkError, match=r"\(and so in all 5 pictures tried\)"):
        local(many, tmp_path / "out2", adapter=Counting())
    assert len(calls) < 10, "not all thirty are tried"


@pytest.mark.usefixtures("forked")
def test_networks_that_hang_or_die_in_their_processes(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 8, {1: "raise", 2: "hang", 4: "die", 5: "die1", 6: "nan"})
    out, asked = tmp_path / "out", faults.plan(data)
    engine = Processes(partial(faults.make_worker, asked, 0.0, tmp_path / "spare"), 2, timeout=2, threads=1)
    folder = RunFolder(out, {})
    folder.write_run({})
    drive(cells_of(asked), engine, folder, progress=False)
    folder.finish()
    rows = {r["folder"] or r["item"]: r for r in read_rows(out)}
    assert len(rows) == len(read_rows(out)) == 16, "every explanation has one row"
    assert Counter(r["status"] for r in rows.values()) == {"ok": 8, "error": 6, "not-finite": 2}
    assert "no answer from the network within 2 s" in rows["p002-hang/0-left_hang"]["error"]
    assert "died (signal 9)" in rows["p004-die/1-right_die"]["error"]
    assert rows["p005-die1/0-left_die1"]["status"] == "ok", "what fails once is tried again"
    assert len({r["id"] for r in rows.values()} - {None}) == 16, "and each its identity"
    assert not [p for p in multiprocessing.active_children() if p.is_alive()]
    good = pictures(tmp_path / "good", 8, {1: "none", 2: "none", 4: "none", 5: "none", 6: "none"})
    local(good, tmp_path / "calm")
    for name, saliency in maps(tmp_path / "calm").items():
        assert np.array_equal(saliency, maps(out)[name]), "bit for bit what one process makes"


@pytest.mark.usefixtures("forked")
def test_each_worker_reads_what_lies_beside_the_pictures_of_its_shard(tmp_path: Path) -> None:
    """COCO's annotations, of which one is what the network sees: --target gt."""
    told = {"annotations": [{"bbox": [1, 1, 15, 30], "category_id": 1}], "categories": [{"id": 1, "name": "left"}]}
    for n in range(2):
        file = Path(faults.picture(tmp_path / "dog.png", n))
        archive(tmp_path / f"s-{n}.tar", [file], ("dog.json", json.dumps(told).encode()))
    asked = faults.plan(tmp_path / "s-{0..1}.tar", target="gt")
    engine = Processes(partial(faults.make_worker, asked, 0.0, None), 2, threads=1)
    folder = RunFolder(tmp_path / "out", {})
    folder.write_run({})
    drive(cells_of(asked), engine, folder, progress=False)
    folder.finish()
    assert sorted((r["folder"], r["status"]) for r in read_rows(tmp_path / "out")) == [
        ("s-0-dog/0-left", "ok"),
        ("s-1-dog/0-left", "ok"),
    ]


def test_a_model_that_cannot_be_loaded_stops_the_run_with_its_reason(tmp_path: Path) -> None:
    words = ["--model", "darknet", "--model_file", "none.weights", "--cfg", "none.cfg", "--workers", "1"]
    assert cli.main([*words, "--data", str(pictures(tmp_path / "d", 1)), "--output", str(tmp_path / "o")]) == 2
    assert not (tmp_path / "o").exists()


# Parts, layouts and settings


def test_mixed_batches_hold_objects_of_several_pictures_and_change_nothing(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 6, {1: "raise", 3: "none"})
    local(data, tmp_path / "a")
    sizes: list[int] = []

    class Counting(Faulty):
        def scorer(self, targets: Any, *words: Any, **more: Any) -> Any:
            sizes.append(len(targets))
            return super().scorer(targets, *words, **more)

    local(data, tmp_path / "b", mix_images=True, adapter=Counting())
    assert max(sizes) == 10
    first, second = maps(tmp_path / "a"), maps(tmp_path / "b")
    assert first.keys() == second.keys() and all(np.allclose(first[n], second[n], atol=1e-6) for n in first)
    ids = [{r["folder"]: r["id"] for r in read_rows(tmp_path / n) if r["folder"]} for n in "ab"]
    assert ids[0] == ids[1], "batches decide nothing"


@pytest.mark.parametrize("method", ["drise", "gradient_shap"])
def test_what_is_shared_within_a_picture_is_not_between_pictures(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def all_of(x: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
        boxes = torch.tensor([[0.0, 0.0, 16.0, 32.0], [16.0, 0.0, 32.0, 32.0]])
        return [(boxes, torch.eye(2) * picture.mean(), torch.ones(2)) for picture in x]

    monkeypatch.setattr(Faulty, "detections", staticmethod(all_of))
    data = pictures(tmp_path / "data", 4)
    less = {"drise": ["n_masks=20"], "gradient_shap": ["n_samples=4"]}[method]
    flags: dict[str, Any] = {"method": method, "metrics": ["none"], "set": less}
    monkeypatch.setattr(faults, "SETTINGS", {})
    local(data, tmp_path / "a", **flags)
    local(data, tmp_path / "b", mix_images=True, **flags)
    first, second = maps(tmp_path / "a"), maps(tmp_path / "b")
    assert len(first) == 8 and all(np.allclose(first[n], second[n], atol=1e-6) for n in first)


@pytest.mark.usefixtures("forked")
def test_pictures_are_read_ahead_in_processes_with_the_same_bits(tmp_path: Path) -> None:
    data = pictures(tmp_path / "data", 6)
    (data / "p003.png").write_bytes(b"no picture")
    local(data, tmp_path / "a")
    local(data, tmp_path / "b", readers=1)
    same_maps(tmp_path / "a", tmp_path / "b")
    assert [r["status"] for r in read_rows(tmp_path / "b")].count("unreadable") == 1


def test_one_process_at_a_time_works_in_a_folder(tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 40), tmp_path / "out"
    first = server().Process(target=faults.run_into, args=(str(data), str(out), 0.02, "folders"))
    first.start()
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (out / "run.yaml").exists():
        time.sleep(0.02)
    with pytest.raises(ConfigError, match=f"another run works in this folder .process {first.pid} "):
        RunFolder(out, {"model": "faulty"})
    first.kill()
    first.join()
    RunFolder(out, {"model": "faulty"})


# A full disk


def _limited(data: str, out: str, limit: int, layout: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        faults.run_into(data, out, 0.0, layout)
    except ConfigError as error:
        assert "cannot be written" in str(error)
        os._exit(7)
    os._exit(0)


@pytest.mark.parametrize("layout", ["folders", "shards"])
def test_a_full_disk_stops_in_one_line_and_loses_nothing(layout: str, tmp_path: Path) -> None:
    data, out = pictures(tmp_path / "data", 12), tmp_path / "out"
    faults.run_into(str(pictures(tmp_path / "one", 1)), str(tmp_path / "a"), 0.0, layout)
    most = max(p.stat().st_size for p in (tmp_path / "a").rglob("*") if p.is_file())
    for limit in (most // 3, 2 * most):
        limited = server().Process(target=_limited, args=(str(data), str(out), limit, layout))
        limited.start()
        limited.join()
        if limit < most or layout == "shards":
            assert limited.exitcode == 7
        assert not list(out.rglob("*.tmp"))
    rows = read_rows(out)
    assert rows and all((out / r["folder"] / "explanation.npz").exists() for r in rows), "some fitted"
    faults.run_into(str(data), str(out), 0.0, layout)
    assert len(read_rows(out)) == 24
    local(data, tmp_path / "calm", layout=layout)
    same_maps(out, tmp_path / "calm")


def test_a_reopened_folder_takes_the_threads_of_torch_as_they_are(tmp_path: Path) -> None:
    before = torch.get_num_threads()
    local(pictures(tmp_path / "data", 1), tmp_path / "out")
    assert torch.get_num_threads() == before


# The command


WORDS = ["--model", "emblem-vgg", "--method", "vanilla_grad", "--metrics", "none", "--num_samples", "3"]


def test_the_command_goes_on_with_its_folder_and_refuses_other_settings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert cli.main([*WORDS, "--output", str(out)]) == 0
    told = capsys.readouterr().out
    assert "score" in told and "deletion" not in told and "insertion" not in told, "no columns of what was not asked"
    before = {p: p.stat().st_mtime_ns for p in out.rglob("explanation.npz")}
    next(iter(before)).write_bytes(b"PK half")
    capsys.readouterr()
    assert cli.main(["--resume", str(out), "--batch", "3"]) == 0
    assert "2 explanations were finished before" in capsys.readouterr().out
    after = {p: p.stat().st_mtime_ns for p in out.rglob("explanation.npz")}
    assert sum(after[p] != before[p] for p in before) == 1 and len(read_rows(out)) == 3
    assert cli.main([*WORDS, "--output", str(out)]) == 0, "the same command again"
    assert cli.main([*WORDS, "--output", str(out), "--manual_seed", "7"]) == 2
    assert "manual_seed: 0 there, 7 now" in capsys.readouterr().err
    assert cli.main(["--resume", str(out), "--output", str(tmp_path / "x")]) == 2
    assert cli.main(["--resume", str(tmp_path / "none")]) == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 2
    assert len(read_rows(out)) == 3 and not (tmp_path / "x").exists()


def test_sigterm_stops_cleanly_within_ten_seconds(tmp_path: Path) -> None:
    out = tmp_path / "out"
    words = ["--model", "emblem-vgg", "--method", "rise", "--metrics", "none", "--output", str(out), "--threads", "1"]
    process = Command("-m", "igos", *words, "--set", "n_masks=100", cwd=tmp_path)
    deadline = time.monotonic() + 120
    rows = out / "results.jsonl"
    while time.monotonic() < deadline and not (rows.exists() and rows.read_bytes()):
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGTERM)
    begin = time.monotonic()
    code, _, err = process.end()
    assert code == 143 and time.monotonic() - begin < 10, err
    assert f"terminated; {len(read_rows(out))} finished rows" in err and "Traceback" not in err
    assert (out / "results.csv").exists() and len(read_rows(out)) < 12


def test_annotated_objects_of_coco_are_explained(tmp_path: Path) -> None:
    coco, out = shared_data("coco"), tmp_path / "out"
    files = darknet_options(small=True)
    model = ["--model", "darknet", "--model_file", files["weights"], "--cfg", files["cfg"], "--names", files["names"]]
    data = ["--dataset", "coco", "--annotations", str(coco / "instances.json"), "--data", str(coco / "images")]
    how = ["--num_samples", "6", "--method", "vanilla_grad", "--metrics", "none", "--layout", "shards"]
    assert cli.main([*model, *data, *how, "--output", str(out)]) == 0
    rows = [r for r in each_row(out) if r["folder"]]
    assert rows and not (out / "report.html").exists()
    for row in rows:
        truths = truths_of(row["image"], str(coco / "instances.json"))
        boxes = [t.box for t in truths if same_class(t.name, row["name"])]
        assert max(iou(np.array(row["box"]), box) for box in boxes) >= 0.5
    assert cli.main(["export", str(out), "--format", "coco", "--out", str(tmp_path / "c.json")]) == 0
    assert len(json.loads((tmp_path / "c.json").read_text())["annotations"]) == len(rows)
    words = ["evaluate", "--results", str(out), "--metrics", "sparseness", "--output", str(tmp_path / "ev")]
    assert cli.main(words) == 0 and all(0 < r["sparseness"] < 1 for r in read_rows(tmp_path / "ev"))
    assert cli.main(["report", str(out)]) == 0 and (out / "report.html").exists()
