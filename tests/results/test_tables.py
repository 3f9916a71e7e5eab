"""From rows to figures: means, intervals, what is not known; the leaderboard's tables and their place."""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks import leaderboard, methods, table
from igos.drawing import charts
from igos.metrics import METRICS
from igos.metrics.statistics import interval
from igos.results.folder import RunFolder
from igos.results.tables import answers, blocks, closing, figures, legend, mean_curves
from igos.types import ConfigError
from tests.conftest import Later

stats = Later("scipy.stats")
ROOT = Path(__file__).resolve().parents[2]
NAN = float("nan")


def row(image: str, method: str = "rise", **values: object) -> dict[str, object]:
    return {"image": image, "name": "cat", "method": method, "opt": None, "folder": image, "status": "ok", **values}


def test_the_interval_is_that_of_scipy_where_each_picture_holds_one_value() -> None:
    values = np.random.default_rng(3).normal(size=40)
    low, high = interval(values.tolist(), [f"{i:02}" for i in range(40)], resamples=20_000)
    theirs = stats.bootstrap(
        (values,), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(0)
    ).confidence_interval
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=0.02)


def test_the_interval_holds_the_true_mean_about_nineteen_times_of_twenty() -> None:
    rng, hits = np.random.default_rng(0), 0
    for _ in range(200):
        of_picture = rng.normal(size=25)
        values = np.repeat(of_picture, 4) + rng.normal(scale=0.1, size=100)
        low, high = interval(values.tolist(), np.repeat(np.arange(25), 4).astype(str).tolist(), resamples=400)
        hits += low <= 0 <= high
    assert 0.87 <= hits / 200 <= 0.99, "values of one picture are alike: drawn one by one it would be about .5"


def test_intervals_depend_on_the_seed_leave_unknown_values_out_and_need_two_pictures() -> None:
    values, places = [0.1, 0.5, 0.9, NAN, 0.2], ["a", "b", "c", "c", "d"]
    many, apart = np.random.default_rng(5).normal(size=20).tolist(), [str(i) for i in range(20)]
    assert interval(many, apart, seed=1) == interval(many, apart, seed=1) != interval(many, apart, seed=2)
    low, high = interval(values, places)
    assert 0.1 <= low < np.nanmean(values) < high <= 0.9
    assert all(map(math.isnan, interval([0.1, NAN], ["a", "b"]))) and all(map(math.isnan, interval([], [])))
    assert interval([0.3] * 3, ["a", "b", "c"]) == pytest.approx((0.3, 0.3))


def test_figures_count_what_is_not_known_and_keep_details_with_their_metric() -> None:
    rows = [
        row("a", deletion=0.2, deletion_igos=9.0, deletion_normalised=0.5, evidence_lift=2.0, deletion_reason=None),
        row("b", deletion=None, deletion_reason="why", deletion_normalised=None),
        row("b", deletion=0.4, deletion_normalised=0.7, method="other"),
        {"image": "c", "folder": None, "status": "unreadable"},
    ]
    made = {(f.method, f.metric): f for f in figures(rows, [METRICS["deletion"]()])}
    f = made["rise", "deletion"]
    assert (f.mean, f.n, f.missing, f.reasons, f.better) == (0.2, 1, 1, {"why": 1}, "lower")
    assert made["rise", "deletion_normalised"].mean == 0.5 and made["rise", "deletion_normalised"].better == ""
    assert made["other", "deletion"].mean == 0.4 and ("rise", "deletion_igos") not in made
    assert made["rise", "evidence_lift"].mean == 2
    (block,) = blocks(list(made.values()) + cost(made), [METRICS["deletion"]()])
    assert "0.200 1/2" in block.text()
    many = [{"image": str(n), "folder": "f"} for n in range(10)]
    assert "too few" not in legend(many) and "only 9 pictures: too few" in legend(many[:9])
    assert "too few" not in legend(many[:1] * 3), "one picture has no interval"


def cost(made: dict) -> list:
    methods = {m for m, _ in made}
    return [f for f in figures([row("a", m, network_images=5, seconds=1.0) for m in methods], []) if f.metric]


def test_curves_of_different_lengths_are_brought_to_the_shortest(tmp_path: Path) -> None:
    for name, n in (("a", 3), ("b", 5)):
        (tmp_path / name).mkdir()
        x = np.arange(n, dtype=float)
        np.savez(tmp_path / name / "explanation.npz", degradation_pgig_curve=np.stack([x, x * (1 if n == 3 else 3)]))
    x, y, n = mean_curves(tmp_path, [row("a"), row("b")], "degradation_pgig")["rise"]
    assert x.tolist() == [0, 1, 2] and y.tolist() == [0, 2, 4] and n == 2


def test_a_folder_is_gone_on_with_only_under_the_same_settings(tmp_path: Path) -> None:
    first = RunFolder(tmp_path / "run", resume={"a": 1})
    first.write_run({"a": 1, "record": {"time": "then"}})
    first.keep({"image": "x", "folder": "f"}, b"the arrays")
    first.keep({"image": "z", "folder": "g"}, b"the arrays")
    (tmp_path / "run" / "g" / "explanation.npz").write_bytes(b"the arrayz")
    with (tmp_path / "run" / "results.jsonl").open("a") as file:
        file.write('{"image": "torn')
    with pytest.raises(ConfigError, match="another run works in this folder"):
        RunFolder(tmp_path / "run", resume={"a": 1})
    first.close()
    again = RunFolder(tmp_path / "run", resume={"a": 1})
    assert again.damaged == ["g"] and again.held == {"f"}
    again.add({"image": "y"})
    lines = (tmp_path / "run" / "results.jsonl").read_text().splitlines()
    assert [json.loads(line)["image"] for line in lines] == ["x", "y"]
    again.close()
    with pytest.raises(ConfigError, match="a: 1 there, 2 now"):
        RunFolder(tmp_path / "run", resume={"a": 2})
    with pytest.raises(ConfigError, match="another run"):
        RunFolder(tmp_path / "run")


def test_plots_of_any_number_of_methods_are_drawn(tmp_path: Path) -> None:
    x = np.linspace(0, 1, 5)
    for n in (0, 1, 30):
        shown = METRICS["degradation"].mean_curve
        assert shown is not None
        charts.write_mean_curves(tmp_path / "d.png", shown, "higher", {f"m{i}": (x, x * i, i) for i in range(n)})
        charts.write_quality(tmp_path / "q.png", {"q": [(f"m{i}", i, 0.5, NAN if i else 0.4, 0.6) for i in range(n)]})
        assert all((tmp_path / f).read_bytes()[:4] == b"\x89PNG" for f in ("d.png", "q.png"))


def test_the_leaderboard_shows_every_metric_once() -> None:
    shown = [m for group in leaderboard.GROUPS.values() for m in group]
    assert sorted([*shown, *leaderboard.OTHERS]) == sorted(METRICS)
    assert {"sanity", "max_sensitivity"} == set(leaderboard.EXPLAIN_AGAIN)
    assert {"deletion_iba", "insertion_iba"} == set(leaderboard.BY_PIXELS)


@pytest.mark.parametrize(
    ("file", "mark"),
    [("docs/leaderboard.md", leaderboard.MARK), ("docs/comparison.md", methods.MARK)],
)
def test_the_file_has_the_marks_and_text_goes_between_them(file: str, mark: str) -> None:
    text = (ROOT / file).read_text()
    begin, end = table.marks(mark)
    made = table.placed(text, mark, "new")
    assert f"{begin}\n\nnew\n\n{end}" in made and table.placed(made, mark, "") != made
    head, tail = text.split(begin)[0], text.split(end)[1]
    assert made.startswith(head) and made.endswith(tail)
    for broken in ("nothing", end + begin, begin * 2 + end):
        with pytest.raises(ConfigError, match=f"{mark}: begin"):
            table.placed(broken, mark, "")


def test_the_leaderboard_says_what_was_not_run_and_what_is_not_known() -> None:
    rows = [row(i, deletion=d, network_images=3, seconds=1.0) for i, d in (("a", 0.1), ("b", 0.3), ("c", None))]
    cells = {(f.method, f.metric): f for f in figures(rows, [METRICS["deletion"]()])}
    made = leaderboard.tables(cells, leaderboard.GROUPS)
    line = next(line for line in made.splitlines() if "[" in line and line.startswith("| rise"))
    assert "| rise | 3 | 1.00 | 0.200 [" in line and " 2/3 |" in line and leaderboard.NOT_RUN in line
    tables = [t for t in made.split("\n\n") if t.startswith("|")]
    assert all(len({line.count("|") for line in t.splitlines() if line.startswith("|")}) == 1 for t in tables)


def test_the_leaderboard_ranks_by_evidence_and_its_short_table_is_of_known_metrics() -> None:
    shares = {"rise": 0.2, "other": 0.6, "third": None}
    rows = [row(i, m, evidence_share=v, network_images=1, seconds=1.0) for m, v in shares.items() for i in "ab"]
    cells = {(f.method, f.metric): f for f in figures(rows, [METRICS["evidence_share"]()])}
    made = leaderboard.tables(cells, leaderboard.SHORT)
    lines = [line.split(" | ")[0] for line in made.splitlines() if line.startswith("| ")]
    assert lines == ["| method", "| other", "| rise", "| third"]
    assert all(m in METRICS for group in leaderboard.SHORT.values() for m in group)


def test_the_leaderboard_s_steps_are_those_of_metrics_and_full_takes_their_own(tmp_path: Path) -> None:
    flags = argparse.Namespace(model="emblem-m-rcnn", judge="emblem-yolov3spp", output=tmp_path, full=False, set=None)
    metrics = [m for m in METRICS if m not in (*leaderboard.EXPLAIN_AGAIN, *leaderboard.OTHERS)]
    made = leaderboard.plans(flags, "emblem", metrics, ["random", "rise"])
    assert [p.label for p in made] == ["random", "rise"] and made[0].metrics == made[1].metrics
    steps = {m.name: m.steps for m in made[0].metrics if hasattr(m, "steps")}
    assert steps["deletion"] == 25 and steps["deletion_rise"] == 28 and steps["degradation_pgig"] == 50
    flags.full = True
    (full,) = leaderboard.plans(flags, "emblem", metrics, ["rise"])
    assert next(m for m in full.metrics if m.name == "deletion_rise") == METRICS["deletion_rise"]()


def test_the_table_of_all_methods_shows_the_completeness_of_those_that_should_have_it() -> None:
    told = {"folder": "x", "completeness_error": 0.2, "network_images": 9}
    rows = [
        {**dict.fromkeys(methods.WIDTHS), **told, "method": m}
        for m in ("integrated_gradients", "guided_ig", "gnl", "rise")
    ]
    shown = {f["method"]: f["complete"] for f in methods.figures("m", rows)}
    assert shown == {"integrated_gradients": 0.2, "guided_ig": 0.2, "gnl": None, "rise": None}


def test_the_closing_table_tells_parts_apart_and_the_answer_to_why_not(tmp_path: Path) -> None:
    own = {"image": "a.jpg", "name": "dog", "start": None, "status": "ok", "score": 0.3, "folder": "a/0-dog"}
    told = {"reason": "below-threshold", "sentence": "blurring 2 % raises dog", "verdict": "covered"}
    rows = [{**own, "part": "left"}, {**own, "part": "class", **told}]
    tally = SimpleNamespace(rows=2, explanations=2, has=lambda name: False, mean=lambda key: None)
    folder: Any = SimpleNamespace(first=lambda count: rows, tally=tally, shards=None)
    assert [line[1] for line in closing(folder).rows] == ["dog, left", "dog"]
    assert answers(folder) == ["a.jpg, dog (below-threshold): blurring 2 % raises dog [covered]"]
    rows[:] = [{**own, "part": "class", "reason": "no-candidate"}, {**own, "part": "class", "reason": "found"}]
    assert answers(folder) == [
        "a.jpg, dog (no-candidate): it is no detection; what is explained is the candidate that stands for it"
    ]
