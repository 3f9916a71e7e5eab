"""The command, end to end, on the real Yolo-Fastest and real photos; and every mistake, one line and exit 2."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

import igos
from igos import cli
from igos.run.models import adapters
from igos.types import ConfigError
from tests.commands import ROOT, Command
from tests.conftest import darknet_options, shared_data

QUICK = ["--iterations", "3", "--ig_iter", "1"]
SMALL = ["--input_size", "192"]  # a third of the network's pixels


def model_flags(small: bool = True) -> list[str]:
    options = darknet_options(small)
    return [
        "--model",
        "darknet",
        "--model_file",
        options["weights"],
        "--cfg",
        options["cfg"],
        "--names",
        options["names"],
    ]


def photo(name: str = "darknet_dog.jpg") -> str:
    return str(shared_data("photos") / name)


def rows_of(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "results.jsonl").read_text().splitlines()]


def test_one_command_explains_the_detections_of_a_photo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    words = ["--method", "iGOS++", "--opt", "NAG", *model_flags(), "--data", photo(), "--output", str(out)]
    assert cli.main([*words, "--threshold", "0.67", "--set", "deletion.steps=10", "insertion.steps=10"]) == 0
    printed = capsys.readouterr().out.strip().splitlines()
    assert printed[-1] == f"open {out}/report.html", "the last line shows the way"
    rows = rows_of(out)
    assert [r["label"] for r in rows] == ["car", "dog"]
    for row in rows:
        sure = row["status"] == "ok" or (row["status"], row["network_images"]) == ("unsure", 32)
        assert sure and (row["status"] == "ok" or row["label"] == "dog"), "unsure is said after twice the images alone"
        assert row["network_images"] <= 50
        assert row["deletion"] < 0.15 and row["insertion"] > 0.6, row
        folder = out / row["folder"]
        assert {p.name for p in folder.iterdir()} == {
            "explanation.npz",
            "heatmap.png",
            "overlay.png",
            "curves.png",
            "figure.png",
        }
        arrays = np.load(folder / "explanation.npz")
        assert arrays["saliency_source"].shape == (576, 768)
        x1, y1, x2, y2 = (int(v) for v in row["box"])
        heat = np.clip(arrays["saliency_source"], 0, None)
        share = heat[y1:y2, x1:x2].sum() / heat.sum()
        assert share > 1.5 * (x2 - x1) * (y2 - y1) / heat.size, (
            "the heat lies in the box, in source pixels"
        )  # defect 12
    assert len(list(csv.DictReader((out / "results.csv").read_text().splitlines()))) == len(rows)
    run = yaml.safe_load((out / "run.yaml").read_text())
    assert run["methods"]["iGOS++"]["opt"] == "NAG" and run["record"]["alpha_eff"] > 0


def test_run_yaml_repeats_the_run_bit_for_bit(tmp_path: Path) -> None:
    first, second = tmp_path / "a", tmp_path / "b"
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), *QUICK, "--set", "noise=0.02", "sure=false"]
    words += ["--opt", "LS", "--size", "14", *SMALL]
    assert cli.main([*words, "--metrics", "none", "--output", str(first)]) == 0
    assert cli.main(["--config", str(first / "run.yaml"), "--output", str(second)]) == 0
    a, b = (np.load(p / rows_of(p)[0]["folder"] / "explanation.npz")["saliency"] for p in (first, second))
    assert np.array_equal(a, b)
    assert rows_of(first)[0]["deletion"] is None and not list(first.rglob("curves.png"))


@pytest.mark.usefixtures("sketched")
def test_the_model_is_loaded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:  # defect 10
    import detectors

    loads = []
    load = detectors.load
    monkeypatch.setattr(detectors, "load", lambda *a, **k: loads.append(a) or load(*a, **k))
    data = ["--data", photo(), photo("darknet_eagle.jpg"), "--method", "vanilla_grad", "--metrics", "none"]
    assert cli.main([*model_flags(), *SMALL, *data, "--output", str(tmp_path / "o")]) == 0
    assert len(loads) == 1 and len(rows_of(tmp_path / "o")) >= 3


def test_maps_do_not_depend_on_chunks_nor_on_other_objects(tmp_path: Path) -> None:
    adapter = igos.load("darknet", input_size=256, **darknet_options(small=True))
    image = adapter.read(photo("darknet_giraffe.jpg"))
    targets = adapter.detect(image, 0.4)
    assert len(targets) >= 2
    targets = targets[:2]
    together = igos.explain(adapter, image, targets, metrics=(), iterations=2, batch=3)
    alone = [igos.explain(adapter, image, [t], metrics=(), iterations=2, batch=8)[0] for t in targets]
    for a, b in zip(together, alone, strict=True):
        assert np.corrcoef(a.saliency.ravel(), b.saliency.ravel())[0, 1] >= 0.999
    again = igos.explain(adapter, image, targets, metrics=(), iterations=2, batch=3)
    assert all(torch.equal(a.saliency, b.saliency) for a, b in zip(together, again, strict=True))


@pytest.mark.usefixtures("sketched")
def test_diverse_starts_give_several_explanations_of_one_object(tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), *QUICK, "--diverse_k", "2", "--metrics", "deletion"]
    words += SMALL
    words += ["--size", "14", "--iterations", "2"]
    assert cli.main([*words, "--set", "deletion.steps=2", "sure=false", "--output", str(out)]) == 0
    rows = rows_of(out)
    assert [r["start"] for r in rows] == [0, 1, 2, 3]
    place = (out / rows[0]["folder"]).parent
    figures = json.loads((place / "diversity.json").read_text())
    assert len(figures["correlation"]) == 4 and figures["mean_correlation"] < 0.999
    assert PIL.Image.open(place / "starts.png").size[0] > 200


@pytest.mark.usefixtures("sketched")
def test_skipped_and_unreadable_pictures_are_rows_and_the_run_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    PIL.Image.open(photo()).save(folder / "dog.png")
    PIL.Image.new("RGB", (64, 64), "grey").save(folder / "empty.png")
    (folder / "broken.jpg").write_text("no picture")
    words = [*model_flags(), "--data", str(folder), *QUICK, "--metrics", "none", "--target", "class:dog", *SMALL]
    assert cli.main([*words, "--set", "sure=false", "--output", str(tmp_path / "o")]) == 0
    statuses = {Path(r["image"]).name: (r["status"], bool(r["error"])) for r in rows_of(tmp_path / "o")}
    assert statuses == {"dog.png": ("ok", False), "empty.png": ("skipped", True), "broken.jpg": ("unreadable", True)}


@pytest.mark.usefixtures("sketched")
def test_a_picture_without_detections_is_a_skipped_row_and_no_mistake(tmp_path: Path) -> None:
    PIL.Image.new("RGB", (64, 64), "grey").save(tmp_path / "empty.png")
    assert cli.main([*model_flags(), "--data", str(tmp_path / "empty.png"), "--output", str(tmp_path / "o")]) == 0
    assert [r["status"] for r in rows_of(tmp_path / "o")] == ["skipped"]


@pytest.mark.usefixtures("sketched")
@pytest.mark.parametrize("method", ["IG", "rise", "I-GOS", "iGOS+", "drise", "odam", "grad_cam"])
def test_every_method_runs_from_the_command(tmp_path: Path, method: str) -> None:
    masks = ["--set", "n_masks=8"]
    small = {"IG": ["--set", "n_steps=4"], "rise": masks, "drise": masks, "odam": [], "grad_cam": []}.get(method, QUICK)
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), "--method", method, *small, "--size", "14"]
    words += [*SMALL, "--set", "deletion.steps=4", "insertion.steps=4"]
    assert cli.main([*words, "--score", "logit", "--output", str(tmp_path / "o")]) == 0
    (row,) = rows_of(tmp_path / "o")
    assert np.load(tmp_path / "o" / row["folder"] / "explanation.npz")["saliency"].shape == (14, 14)
    assert row["score_original"] == pytest.approx(np.log(row["score"] / (1 - row["score"])), abs=1e-3)


@pytest.mark.usefixtures("sketched")
def test_the_part_reaches_the_score_and_the_row(tmp_path: Path) -> None:
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), *QUICK, "--size", "14", "--part", "box"]
    words += [*SMALL, "--metrics", "deletion", "--set", "deletion.steps=4"]
    assert cli.main([*words, "--output", str(tmp_path / "o")]) == 0
    (row,) = rows_of(tmp_path / "o")
    assert row["part"] == "box" and row["score_original"] == pytest.approx(1, abs=1e-4)
    assert yaml.safe_load((tmp_path / "o" / "run.yaml").read_text())["part"] == "box"


def mistakes(tmp_path: Path) -> dict[str, tuple[list[str], str]]:
    """name -> (flags on top of a sound model and photo, a word of the one line)."""
    photos = shared_data("photos")
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.jpg").write_text("I am no picture")
    (tmp_path / "cut.jpg").write_bytes((photos / "darknet_dog.jpg").read_bytes()[:60_000])
    PIL.Image.new("RGB", (300, 12)).save(tmp_path / "flat.png")
    PIL.Image.new("RGB", (600, 20)).save(tmp_path / "long.png")
    (tmp_path / "short.weights").write_bytes(b"\0" * 40)
    (tmp_path / "broken.yaml").write_text("a: [1, 2")
    (tmp_path / "typed.yaml").write_text("iterations: ten")
    (tmp_path / "file").write_text("x")
    (tmp_path / "truth.json").write_text("[]")
    data = {n: (["--data", str(tmp_path / n)], w) for n, w in (
        ("missing.jpg", "no such"), ("empty", "no pictures"), ("text.jpg", "not a picture"), ("cut.jpg", "cut off"),
        ("flat.png", "16 px"), ("long.png", "20 times"),
    )}  # fmt: skip
    flags = {
        "--model": ("resnet51", "resnet50"), "--method": ("iGOS+++", "iGOS++"), "--opt": ("ADAM", "NAG"),
        "--config": ("fast", "preset"), "--nonsense": ("1", "unknown argument"),
        "--model_file": (str(tmp_path / "none.weights"), "no such file"), "--iterations": ("-3", "--iterations"),
        "--ig_iter": ("0", "--ig_iter"), "--size": ("0", "--size"), "--alpha": ("nan", "--alpha"),
        "--L2": ("inf", "--L2"), "--threshold": ("1.5", "[0,1]"), "--init_val": ("2", "[0,1]"),
        "--init_posi": ("9", "--init_posi"), "--target": ("index:99", "nothing to explain"),
        "--output": (str(tmp_path / "file" / "o"), "cannot be written"), "--device": ("cuda:7", "not available"),
        "--input_size": ("300", "multiple of 32"), "--cfg": (str(tmp_path / "no.cfg"), "--cfg"),
        "--names": (str(tmp_path / "no.names"), "no.names"), "--set": ("speed=9", "settings"),
        "--pretrained": ("", "--pretrained"), "--part": ("mask", "it has class, box, class_box"),
        "--annotations": (str(tmp_path / "truth.json"), "instances JSON"),
    }  # fmt: skip
    return {
        **data,
        **{k: ([k, v] if v else [k], word) for k, (v, word) in flags.items()},
        "short weights": (["--model_file", str(tmp_path / "short.weights")], "floats"),
        "wrong weights": (["--model_file", darknet_options(small=False)["weights"]], "floats"),
        "broken yaml": (["--config", str(tmp_path / "broken.yaml")], "YAML"),
        "typed yaml": (["--config", str(tmp_path / "typed.yaml")], "iterations"),
    }  # fmt: skip


MISTAKES = [
    "missing.jpg", "empty", "text.jpg", "cut.jpg", "flat.png", "long.png", "--model", "--method",
    "--opt", "--config", "--nonsense", "--model_file", "--iterations", "--ig_iter", "--size", "--alpha",
    "--L2", "--threshold", "--init_val", "--init_posi", "--target", "--output", "--device", "--input_size",
    "--cfg", "--names", "--set", "--pretrained", "--part", "--annotations", "short weights", "wrong weights",
    "broken yaml",
    "typed yaml",
]  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_line_and_exit_2_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    flags, word = mistakes(tmp_path)[name]
    out = tmp_path / "out"
    before = {p for p in tmp_path.rglob("*")}
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), *QUICK, "--output", str(out)]
    for flag in flags[::2]:
        if flag in words:
            at = words.index(flag)
            del words[at : at + 2]
    assert cli.main([*words, *flags]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1 and word in lines[0], captured.err
    assert {p for p in tmp_path.rglob("*")} == before, "nothing half-written"


def test_that_list_is_whole(tmp_path: Path) -> None:
    assert set(MISTAKES) == set(mistakes(tmp_path))


def test_no_model_and_no_data_say_what_to_give(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--cfg", "x.cfg"]) == 2
    assert "--model" in capsys.readouterr().err
    assert cli.main(model_flags()) == 2
    assert "--data" in capsys.readouterr().err


def test_debug_shows_the_trace() -> None:
    with pytest.raises(ConfigError):
        cli.main(["--debug", "--model", "nothing"])


def test_ctrl_c_leaves_finished_rows_valid_and_exits_130(tmp_path: Path) -> None:
    out = tmp_path / "o"
    words = [*model_flags(), "--data", str(shared_data("photos")), *QUICK, "--metrics", "none", "--output", str(out)]
    words += ["--size", "14", "--set", "sure=false"]
    process = Command("-m", "igos", *words, cwd=tmp_path)
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline and process.alive():
        if (out / "results.jsonl").exists() and len((out / "results.jsonl").read_text().splitlines()) >= 2:
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    code, _, err = process.end()
    assert code == 130, err
    assert "interrupted" in err and "Traceback" not in err
    rows = rows_of(out)
    assert len(rows) >= 2 and all((out / r["folder"] / "explanation.npz").exists() for r in rows if r["folder"])
    assert len(list(csv.DictReader((out / "results.csv").read_text().splitlines()))) == len(rows)


def test_a_silent_bar_and_a_list_of_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    printed = capsys.readouterr().out
    for word in ("iGOS++", "rise", "NAG", "deletion", "m-rcnn", "squeezenet1_0", "quick", "alias IG"):
        assert word in printed


def test_another_package_named_detectors_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    import types

    stranger = types.ModuleType("detectors")
    stranger.__path__ = ["/elsewhere/detectors"]
    monkeypatch.setitem(sys.modules, "detectors", stranger)
    with pytest.raises(ConfigError, match="/elsewhere/detectors"):
        adapters()


def test_the_sample_runs(tmp_path: Path) -> None:
    code, out, err = Command(str(ROOT / "samples" / "explain_photo.py"), cwd=tmp_path).end(300)
    assert code == 0 and "evidence_share" in out, err
    assert list((tmp_path / "out").rglob("overlay.png"))


def test_the_python_interface_refuses_what_it_would_ignore() -> None:
    adapter = igos.load("darknet", input_size=192, **darknet_options(small=True))
    image = adapter.read(photo("darknet_eagle.jpg"))
    targets = adapter.detect(image)[:1]
    for wrong in ({"diverse_k": 2}, {"manual_seed": 7}, {"alpha": -1.0}, {"opt": "SGD"}, {"metrics": ("nothing",)}):
        with pytest.raises(ConfigError):
            igos.explain(adapter, image, targets, **wrong)  # type: ignore[arg-type]
    method = igos.METHODS["iGOS+"](iterations=2, sure=False)
    with pytest.raises(ConfigError):
        igos.explain(adapter, image, targets, method=method, alpha=3)
    (e,) = igos.explain(adapter, image, targets, method=method, metrics=(igos.METRICS["pointing"](),))
    assert e.network_images == 4 and [s.name for s in e.scores] == ["pointing"]
    (e,) = igos.explain(adapter, image, targets, "iGOS+", igos.OPTIMIZERS["PG"], iterations=2, metrics=())  # type: ignore[arg-type]
    assert e.opt == "projected_gradient"


@pytest.mark.parametrize("words", [["explain", "--help"], ["--help"], []])
def test_a_closed_pipe_is_no_traceback(words: list[str]) -> None:
    """In an interpreter of its own, which flushes what it still holds when it ends."""
    line = " ".join([sys.executable, "-m", "igos", *words])
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(f"{line} | true", shell=True, env=environment, capture_output=True, text=True)
    assert not done.stderr, done.stderr


@pytest.mark.parametrize("words", [["--data", "x" * 5000], ["--config", "y" * 5000 + ".yaml"]])
def test_names_too_long_are_no_traceback(words: list[str], tmp_path: Path) -> None:
    code, out, err = Command("-m", "igos", "--model", "vgg16", *words, cwd=tmp_path).end()
    assert code == 2 and out == "" and "Traceback" not in err, err


@pytest.mark.usefixtures("sketched")
def test_a_gradient_method_by_its_alias_says_what_it_could_not_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [*model_flags(), "--data", photo("darknet_eagle.jpg"), "--metrics", "deletion", "--set", "n_steps=2"]
    words += SMALL
    assert cli.main([*words, "--method", "gnl", "--output", str(tmp_path / "a")]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("igos: warning")]
    assert len(said) == 1 and "max-pools only, not its leaky_relu" in said[0] and "activations=all" in said[0]
    (row,) = rows_of(tmp_path / "a")
    assert row["network_images"] == 4 and row["backward_images"] == 2 and 0 <= row["deletion"] <= 1
    assert row["score_original"] > 0 and row["completeness_error"] is not None
    run = yaml.safe_load((tmp_path / "a" / "run.yaml").read_text())
    assert run["record"]["score"] == "logit" and "score" not in run


def test_the_list_says_what_every_method_needs_costs_and_keeps(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--list"]) == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.startswith("  ")}
    for name, facts in {
        "integrated_gradients": ("alias IG", "gradients", "60 + 2 forward", "yes", "sum", "prob", "2017"),
        "guided_integrated_gradients": ("alias gnl", "backward rules", "no", "abs_sum", "logit", "2020"),
        "exp_grad": ("alias expected_gradients", "in the mean"),
        "rise": ("black box", "500 forward"),
        "iGOS++": ("gradients", "48"),
    }.items():
        assert all(fact in lines[name] for fact in facts), lines[name]
    assert set(igos.METHODS) <= set(lines)
