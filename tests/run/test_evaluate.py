"""igos evaluate: shared work, resuming, maps that are used again, what is not known, the judge."""

from __future__ import annotations

import csv
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import igos
from igos import cli
from igos.base import resources
from igos.base.seals import unsealed
from igos.cli.evaluate import _patches
from igos.methods import METHODS
from igos.metrics.degradation import area_over
from igos.results.read import read_arrays, read_rows, read_run
from igos.results.rows import RESTORED as KEPT
from igos.run import judge
from igos.run.plan import resolve_each
from igos.run.workers import prefetch
from igos.types import ConfigError
from tests.conftest import darknet_options, shared_data
from tests.pages import rewrite

SINGLES = resources.folder("samples") / "singles"
METRICS = ["--metrics", "deletion,energy_pointing,degradation_pgig"]
WORDS = ["evaluate", "--model", "emblem-vgg", "--num_samples", "2", *METRICS, "--set", "deletion.steps=4"]
pytestmark = pytest.mark.usefixtures("sketched")

METHODS_ASKED = ["--methods", "vanilla_grad,iGOS++/LS", "--n_patches", "5", "--iterations", "1", "--set", "sure=false"]


def evaluated(out: Path, *more: str, methods: list[str] = METHODS_ASKED) -> list[dict[str, Any]]:
    assert cli.main([*WORDS, *methods, *more, "--output", str(out)]) == 0
    return read_rows(out)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("evaluate") / "run"
    evaluated(out)
    return out


@pytest.fixture
def copy(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "copy"))


def figures(folder: Path) -> list[float]:
    """The means of metrics.json, but for the seconds."""
    told = json.loads((folder / "metrics.json").read_text())["figures"]
    return [f["mean"] for f in told if f["metric"] != "seconds" and f["mean"] is not None]


def counted(monkeypatch: pytest.MonkeyPatch, name: str, on: Any) -> list[Any]:
    """The calls of on.name from now on."""
    calls: list[Any] = []
    real = getattr(on, name)

    def count(*args: Any, **more: Any) -> Any:
        calls.append(args)
        return real(*args, **more)

    monkeypatch.setattr(on, name, count)
    return calls


def test_every_method_explains_the_same_targets(run: Path) -> None:
    rows = read_rows(run)
    cells = {(Path(r["image"]).name, r["name"], r["method"], r["opt"]) for r in rows}
    assert len(rows) == len(cells) == 4
    assert {c[:2] for c in cells if c[2] == "vanilla_grad"} == {c[:2] for c in cells if c[2:] == ("iGOS++", "LS")}
    for row in rows:
        assert 0 <= row["deletion"] <= 1 and "degradation_pgig_curve" in read_arrays(run, row)


def test_each_picture_is_read_and_detected_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kind = type(igos.load("emblem-vgg"))
    read, detect = counted(monkeypatch, "_read", prefetch), counted(monkeypatch, "detect", kind)
    evaluated(tmp_path / "o", "--metrics", "energy_pointing")
    assert len(read) == len(detect) == 2


def test_the_figures_are_those_of_explain(run: Path, tmp_path: Path) -> None:
    """The same map and deletion as `igos explain` makes with the same settings."""
    words = ["--model", "emblem-vgg", "--num_samples", "2", "--method", "vanilla_grad", "--metrics", "deletion"]
    assert cli.main([*words, "--set", "deletion.steps=4", "--output", str(tmp_path / "o")]) == 0
    ours = [r for r in read_rows(run) if r["method"] == "vanilla_grad"]
    for a, b in zip(ours, read_rows(tmp_path / "o"), strict=True):
        assert a["deletion"] == pytest.approx(b["deletion"], abs=1e-6) and a["seed"] == b["seed"]
        maps = [read_arrays(f, r)["saliency"] for f, r in ((run, a), (tmp_path / "o", b))]
        assert np.array_equal(*maps)
    for folder in (run, tmp_path / "o"):
        assert b["name"] in (folder / "report.html").read_text(), "both leave the page"


def test_the_summary_is_the_mean_of_the_rows_and_holds_it_in_its_interval(run: Path) -> None:
    rows, told = read_rows(run), json.loads((run / "metrics.json").read_text())
    assert told["explanations"] == 4 and told["pictures"] == 2 and told["statuses"] == {"ok": 4}
    figure = next(f for f in told["figures"] if (f["method"], f["metric"]) == ("iGOS++ LS", "deletion"))
    values = [r["deletion"] for r in rows if r["method"] == "iGOS++"]
    assert figure["mean"] == pytest.approx(np.mean(values)) and figure["better"] == "lower"
    assert min(values) == pytest.approx(figure["low"]) and max(values) == pytest.approx(figure["high"])
    table = list(csv.DictReader((run / "metrics.csv").read_text().splitlines()))
    assert [(t["method"], t["metric"]) for t in table] == [(f["method"], f["metric"]) for f in told["figures"]]


def test_degradation_leaves_its_curves_and_a_plot(run: Path) -> None:
    points = list(csv.DictReader((run / "degradation_pgig_curves.csv").read_text().splitlines()))
    mine = [p for p in points if p["method"] == "vanilla_grad"]
    assert [float(p["x"]) for p in mine] == [0, 1, 2, 3, 4, 5] and {p["explanations"] for p in mine} == {"2"}
    rows = [r for r in read_rows(run) if r["method"] == "vanilla_grad"]
    curves = [read_arrays(run, r)["degradation_pgig_curve"][1] for r in rows]
    assert [float(p["mean"]) for p in mine] == pytest.approx(np.mean(curves, axis=0))
    assert (run / "degradation_pgig.png").read_bytes()[:4] == b"\x89PNG"


def test_patches_are_pgig_s_and_its_figures_stand_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As PGIG's users ask for the experiment: --metrics degradation --n_patches N."""
    words = ["evaluate", "--model", "emblem-vgg", "--num_samples", "1", "--methods", "vanilla_grad"]
    words += ["--metrics", "degradation", "--n_patches", "12", "--output", str(tmp_path / "o")]
    assert cli.main(words) == 0
    out = capsys.readouterr().out
    assert "degradation_pgig \N{UPWARDS ARROW}" in out
    rows = list(csv.DictReader((tmp_path / "o" / "metrics.csv").read_text().splitlines()))
    told = {r["metric"]: float(r["mean"]) for r in rows if r["mean"]}
    points = list(csv.DictReader((tmp_path / "o" / "degradation_pgig_curves.csv").read_text().splitlines()))
    curve = np.array([float(p["mean"]) for p in points])
    assert len(curve) == 13 and told["degradation_pgig"] == pytest.approx(area_over(curve), abs=1e-6)
    assert told["degradation_pgig_at_10"] == pytest.approx(curve[10], abs=1e-6) and "degradation" in told


def test_patches_alone_are_pgigs_experiment() -> None:
    assert _patches({}, "12") == {"metrics": ["degradation_pgig"], "set": ["degradation_pgig.steps=12"]}
    more = _patches({"metrics": ["degradation"], "set": ["a=1"]}, "12")
    assert more["metrics"] == ["degradation", "degradation_pgig"]
    assert more["set"] == ["a=1", "degradation.steps=12", "degradation_pgig.steps=12"]
    preset = _patches({"config": "gnl-published"}, "12")
    assert preset["metrics"] == ["deletion_rise", "insertion_rise", "degradation_pgig"]


def test_the_same_command_goes_on_where_it_stopped(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = figures(copy)
    lines = (copy / "results.jsonl").read_text().splitlines(keepends=True)
    (copy / "results.jsonl").write_text("".join(lines[:3]) + lines[3][:40])  # the last line is torn
    calls = (
        counted(monkeypatch, "__call__", METHODS["vanilla_grad"]),
        counted(monkeypatch, "__call__", METHODS["iGOS++"]),
    )
    rows = evaluated(copy)
    assert [len(c) for c in calls] == [0, 1] and len(rows) == 4
    assert [unsealed(json.loads(line)) for line in lines[:3]] == rows[:3]
    assert figures(copy) == pytest.approx(before)


def test_other_settings_are_refused_with_the_difference(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()}
    assert cli.main([*WORDS, *METHODS_ASKED, "--manual_seed", "7", "--output", str(copy)]) == 2
    assert "manual_seed: 0 there, 7 now" in capsys.readouterr().err
    assert {p: p.read_bytes() for p in copy.rglob("*") if p.is_file()} == before


def test_a_ctrl_c_keeps_what_is_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(self: Any, problem: Any) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr(METHODS["iGOS++"], "__call__", stop)
    out = tmp_path / "o"
    assert cli.main([*WORDS, *METHODS_ASKED, "--output", str(out)]) == 130
    assert "the same command goes on" in capsys.readouterr().err
    assert [r["method"] for r in read_rows(out)] == ["vanilla_grad"] and (out / "metrics.csv").exists()
    monkeypatch.undo()
    assert len(evaluated(out)) == 4


def test_saved_maps_are_judged_without_explaining_again(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = counted(monkeypatch, "__call__", METHODS["iGOS++"])
    words = ["evaluate", "--results", str(run), "--metrics", "deletion,sparseness", "--set", "deletion.steps=4"]
    assert cli.main([*words, "--output", str(tmp_path / "o")]) == 0
    old, new = read_rows(run), read_rows(tmp_path / "o")
    assert not calls and len(new) == 4
    by_folder = {r["folder"]: r for r in new}
    for row in old:
        again = by_folder[row["folder"]]
        assert again["deletion"] == pytest.approx(row["deletion"], abs=1e-6)
        assert again["sparseness"] > 0 and "energy_pointing" not in again
        assert {k: again[k] for k in KEPT if k != "metric_seconds"} == {
            k: row[k] for k in KEPT if k != "metric_seconds"
        }
        maps = [read_arrays(f, r)["saliency"] for f, r in ((run, row), (tmp_path / "o", again))]
        assert np.array_equal(*maps)
    assert read_run(tmp_path / "o")["methods"]["iGOS++"]["LS"]["iterations"] == 1


def test_the_maps_of_explain_on_a_detector_are_judged_too(tmp_path: Path) -> None:
    out, data = tmp_path / "a", str(SINGLES.parent / "scene-04.png")
    words = ["--data", data, "--method", "vanilla_grad", "--target", "index:1", "--metrics", "energy_pointing"]
    assert cli.main([*words, "--output", str(out)]) == 0
    assert (
        cli.main(["evaluate", "--results", str(out), "--metrics", "energy_pointing", "--output", str(tmp_path / "b")])
        == 0
    )
    (a,), (b,) = read_rows(out), read_rows(tmp_path / "b")
    keys = ("name", "box", "score", "energy_pointing")
    assert [a[k] for k in keys] == [b[k] for k in keys]


def test_saved_maps_of_pictures_that_are_gone_are_told(
    copy: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = [json.loads(line) for line in (copy / "results.jsonl").read_text().splitlines()]
    gone = [{**r, "image": str(tmp_path / "gone.png")} if "06" in r["image"] else r for r in lines]
    rewrite(copy, lambda text: "".join(json.dumps(r) + "\n" for r in gone))
    words = ["evaluate", "--results", str(copy), "--metrics", "sparseness"]
    assert cli.main([*words, "--output", str(tmp_path / "o")]) == 0
    statuses = [r["status"] for r in read_rows(tmp_path / "o")]
    assert statuses.count("unreadable") == 1 and statuses.count("ok") == 2
    rewrite(copy, lambda text: "".join(json.dumps({**r, "image": str(tmp_path / "gone.png")}) + "\n" for r in lines))
    assert cli.main([*words, "--output", str(tmp_path / "p")]) == 2
    assert "gone.png" in capsys.readouterr().err and not (tmp_path / "p").exists()


def test_values_that_are_not_known_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """RISE gives no attribution, so there is no completeness."""
    methods = ["--methods", "rise", "vanilla_grad", "--n_patches", "5", "--set", "n_masks=4"]
    evaluated(tmp_path / "o", "--metrics", "completeness", methods=methods)
    told = json.loads((tmp_path / "o" / "metrics.json").read_text())["figures"]
    figure = next(f for f in told if (f["method"], f["metric"]) == ("rise", "completeness"))
    assert (figure["mean"], figure["n"], figure["missing"]) == (None, 0, 2)
    assert figure["reasons"] == {"the method gives no attribution": 2}
    assert "- 0/2" in capsys.readouterr().out


def test_a_random_method_shows_what_its_seeds_alone_change(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    methods = ["--methods", "rise", "vanilla_grad", "--n_patches", "5", "--set", "n_masks=4", "samples=1"]
    evaluated(tmp_path / "o", "--metrics", "max_sensitivity", methods=methods)
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line.strip()}
    assert "seeds alone" in lines["rise"] and "seeds alone" not in lines["vanilla_grad"]


def test_the_judge_sees_the_same_object_or_the_value_is_not_known() -> None:
    own, other = igos.load("emblem-m-rcnn"), igos.load("emblem-yolov3spp")
    image = own.read(SINGLES.parent / "scene-04.png")
    targets = own.detect(image)
    views = judge.views(other, image, targets)
    assert any(v is not None for v in views)
    for target, view in zip(targets, views, strict=True):
        if view is not None:
            twin = view.targets[0]
            assert twin.name == target.name
            a, b = (i.geometry.to_source(t.box).numpy() for i, t in ((image, target), (view.images[0], twin)))
            both = (np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2])).clip(0).prod()
            assert both / ((a[2:] - a[:2]).prod() + (b[2:] - b[:2]).prod() - both) >= 0.5
    elsewhere = [igos.Target(t.label, t.name, t.score, t.box * 0 + t.box.new_tensor([0, 0, 9, 9])) for t in targets]
    assert judge.views(other, image, elsewhere) == [None] * len(targets)
    with pytest.raises(ConfigError, match="classifier"):
        judge.views(igos.load("emblem-vgg"), image, targets)


def test_the_command_takes_a_judge(tmp_path: Path) -> None:
    words = ["--model", "emblem-vgg", "--num_samples", "1", "--method", "vanilla_grad", "--judge", "emblem-resnet"]
    assert cli.main([*words, "--set", "steps=4", "--output", str(tmp_path / "o")]) == 0
    (row,) = read_rows(tmp_path / "o")
    assert row["transfer"] == pytest.approx(row["transfer_insertion"] - row["transfer_deletion"])
    adapter, judge = igos.load("emblem-vgg"), igos.load("emblem-resnet")
    image = adapter.read(row["image"])
    target = adapter.detect(image)[0]
    metric = igos.METRICS["transfer"](steps=4)
    (e,) = igos.explain(adapter, image, [target], "vanilla_grad", metrics=[metric], judge=judge)
    assert e.scores[-1].value == pytest.approx(row["transfer"], abs=1e-5)


REFUSED = {
    "neither": ([], "--methods A,B,C"),
    "both": (["--methods", "rise", "--results", "x"], "--methods A,B,C"),
    "the run's own": (["--results", "nowhere"], "--model: --results has the run's own"),
    "unknown method": (["--methods", "risee"], "rise"),
    "twice": (["--methods", "IG,integrated_gradients"], "twice"),
    "opt of none": (["--methods", "rise/LS"], "opt"),
    "iterations of none": (["--methods", "rise", "--iterations", "3"], "none of rise"),
    "setting of none": (["--methods", "rise,IG", "--set", "speed=3"], "speed"),
    "setting of another": (["--methods", "rise,IG", "--set", "I-GOS.alpha=3"], "not among"),
    "key": (["--imagenet_download_key", "abc", "--methods", "rise"], "--data"),
    "patches": (["--methods", "rise", "--metrics", "deletion", "--n_patches", "9"], "add --metrics degradation_pgig"),
    "no patches": (["--methods", "rise", "--n_patches", "0"], "steps must be at least 1"),
    "no judge": (["--methods", "rise", "--metrics", "transfer"], "--judge"),
    "idle judge": (["--methods", "rise", "--metrics", "deletion", "--judge", "emblem-vgg"], "transfer"),
    "judge file": (["--methods", "rise", "--judge_file", "x"], "--judge"),
    "unknown judge": (["--methods", "rise", "--judge", "nobody"], "nobody"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_mistake_is_one_line_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    words, told = REFUSED[name]
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", "--model", "emblem-vgg", *words, "--output", str(tmp_path / "o")]) == 2
    out, err = capsys.readouterr()
    assert not out and len(err.strip().splitlines()) == 1 and told in err and not list(tmp_path.iterdir())


def test_flags_of_explain_only_are_refused_with_saved_maps(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "--results", str(run), "--size", "7"]) == 2
    assert "--size" in capsys.readouterr().err
    assert cli.main(["evaluate", "--results", "nowhere"]) == 2
    assert "results.jsonl" in capsys.readouterr().err


def test_a_setting_goes_to_the_methods_that_have_it() -> None:
    plans = resolve_each(["rise", "IG", "iGOS++/LS"], {"set": ["n_steps=9", "rise.size=7"], "iterations": 3}, "quick")
    rise, ig, mask = (p.method for p in plans)
    assert (rise.size, ig.size, ig.n_steps, mask.iterations, mask.opt) == (7, 28, 9, 3, "LS")


def test_flags_by_the_names_that_others_gave_them(tmp_path: Path) -> None:
    words = ["--data_dir", str(SINGLES), "--val_size", "1", "--batch_size", "4", "--n_patches", "5"]
    words += ["--methods", "vanilla_grad", *METRICS, "--output", str(tmp_path / "o")]
    assert cli.main(["evaluate", "--model", "emblem-vgg", *words]) == 0
    assert len(read_rows(tmp_path / "o")) == 1


def test_coco_s_annotations_find_what_darknet_calls_by_other_words(tmp_path: Path) -> None:
    coco, yolo = shared_data("coco"), darknet_options(small=True)
    picture = str(coco / "images" / "000000000073.jpg")
    words = ["--model", "darknet", "--cfg", yolo["cfg"], "--model_file", yolo["weights"], "--names", yolo["names"]]
    more = ["--annotations", str(coco / "instances.json"), "--target", "gt", "--metrics", "energy_mask"]
    asked = ["evaluate", "--methods", "vanilla_grad", *words, "--data", picture, *more]
    assert cli.main([*asked, "--output", str(tmp_path / "o")]) == 0
    (row,) = read_rows(tmp_path / "o")
    assert row["name"] == "motorbike" and row["energy_mask"] > 0, "COCO says motorcycle"


def test_methods_that_need_more_than_the_problem_get_it(tmp_path: Path) -> None:
    """Statistics and patterns of the bundled model, references from the data, all in one run."""
    quick = ["--set", "iba.opt_steps=2", "iba.copies=2", "exp_grad.n_samples=2"]
    words = ["evaluate", "--model", "emblem-vgg", "--num_samples", "1", "--methods", "IBA,pattern_net,exp_grad", *quick]
    assert cli.main([*words, "--metrics", "energy_pointing", "--output", str(tmp_path / "o")]) == 0
    assert [(r["method"], r["status"]) for r in read_rows(tmp_path / "o")] == [
        (name, "ok") for name in ("iba", "pattern_net", "exp_grad")
    ]


def test_methods_share_the_answers_that_no_map_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sensitivity-n asks about the same random sets for each of two methods on two pictures."""
    calls = counted(monkeypatch, "scores", sys.modules["igos.metrics.sensitivity_n"])
    words = ["evaluate", "--model", "emblem-vgg", "--num_samples", "2", "--metrics", "sensitivity_n"]
    words += ["--set", "sensitivity_n.subsets=3", "--output", str(tmp_path / "o")]
    assert cli.main([*words, "--methods", "vanilla_grad,grad_x_input"]) == 0
    assert len(calls) == 2 and len({r["sensitivity_n"] for r in read_rows(tmp_path / "o")}) == 4
    again = ["evaluate", "--results", str(tmp_path / "o"), "--metrics", "sensitivity_n", *words[-4:-2]]
    assert cli.main([*again, "--output", str(tmp_path / "p")]) == 0
    assert len(calls) == 4


def test_what_no_method_needs_is_refused_and_goes_to_those_that_do() -> None:
    with pytest.raises(ConfigError, match="--patterns: none of iba, exp_grad goes back through patterns"):
        resolve_each(["IBA", "exp_grad"], {"patterns": "p.safetensors"}, "emblem")
    both = resolve_each(["exp_grad", "IBA"], {"stats": "s.safetensors"}, "emblem")
    assert [p.run.stats for p in both] == ["s.safetensors"] * 2


@pytest.mark.usefixtures("forked")
def test_it_runs_in_processes_in_parts_and_on_from_where_it_was(run: Path, tmp_path: Path) -> None:
    """The figures of one process: of two workers, of two parts joined, and of a folder that is gone on with."""
    asked = [*WORDS, *METHODS_ASKED, "--threads", "1"]
    assert cli.main([*asked, "--workers", "1", "--readers", "1", "--output", str(tmp_path / "w")]) == 0
    parts = [str(tmp_path / f"part-{i}") for i in (1, 2, 3)]  # of which the second has no picture
    for i, part in enumerate(parts, 1):
        assert cli.main([*asked, "--shard", f"{i}/3", "--output", part]) == 0
    whole = {(r["image"], r["method"]): r["deletion"] for r in read_rows(run)}
    assert cli.main(["merge", *parts, "--out", str(tmp_path / "joined")]) == 0
    folders = [tmp_path / "w", tmp_path / "joined"]
    lines = (tmp_path / "w" / "results.jsonl").read_text().splitlines(keepends=True)
    cut = Path(shutil.copytree(tmp_path / "w", tmp_path / "cut"))
    (cut / "results.jsonl").write_text("".join(lines[:2]))
    assert cli.main(["evaluate", "--resume", str(cut)]) == 0
    for folder in [*folders, cut]:
        rows = {(r["image"], r["method"]): r["deletion"] for r in read_rows(folder)}
        assert rows == pytest.approx(whole, abs=1e-6) and (folder / "metrics.csv").exists(), folder.name


@pytest.mark.usefixtures("forked")
def test_saved_maps_are_judged_in_processes_too(run: Path, tmp_path: Path) -> None:
    words = ["evaluate", "--results", str(run), "--metrics", "deletion", "--set", "deletion.steps=4", "--threads", "1"]
    assert cli.main([*words, "--workers", "1", "--output", str(tmp_path / "o")]) == 0
    before = {r["folder"]: r["deletion"] for r in read_rows(run)}
    assert {r["folder"]: r["deletion"] for r in read_rows(tmp_path / "o")} == pytest.approx(before, abs=1e-6)


def test_a_method_that_the_network_refuses_is_named_and_the_others_stay(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--methods", "vanilla_grad,grad_cam", "--n_patches", "5", "--set", "grad_cam.layer=nowhere"]
    assert cli.main([*WORDS, *words, "--output", str(tmp_path / "o")]) == 2
    err = capsys.readouterr().err
    assert "grad_cam" in err and "nowhere" in err and len(err.strip().splitlines()) == 1
    assert {r["method"] for r in read_rows(tmp_path / "o") if r["folder"]} == {"vanilla_grad"}
