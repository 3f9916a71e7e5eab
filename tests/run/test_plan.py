"""defaults < preset < flags; every flag changes the run; every refusal names its key."""

from __future__ import annotations

from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from igos.base import resources
from igos.base.settings import coerce, lookup
from igos.cli.explain import parser
from igos.methods import METHODS
from igos.run.models import adapters
from igos.run.plan import resolve, resolve_each
from igos.run.presets import read_preset
from igos.run.settings import RUN_TYPES, Run
from igos.types import ConfigError

PRESET = "detect-yolo"


def refusal(flags: dict[str, Any], preset: str = PRESET) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve(flags, preset)
    assert "\n" not in str(caught.value)
    return str(caught.value)


CHANGES: dict[str, Any] = {
    "model": "darknet", "model_file": "w", "cfg": "c", "names": "n", "pretrained": True, "fit": "letterbox",
    "trust": True, "model_layout": "yolox",
    "input_size": 320, "dataset": "voc", "data": ["x"], "shuffle": True, "num_samples": 3, "target": "top1",
    "threshold": 0.7, "part": "box", "ask": "why-not", "score": "logit",
    "method": "I-GOS", "opt": "LS", "form": "published", "size": 14,
    "iterations": 3, "ig_iter": 4, "alpha": 7.0, "L1": 0.3, "L2": 0.7, "diverse_k": 2, "metrics": ["none"],
    "manual_seed": 5, "output": "o", "device": "cpu", "threads": 1, "batch": 2, "set": ["reg=BTV"],
    "config": "quick", "annotations": "a.json", "subset_file": "s.txt", "activation": "sigmoid",
    "judge": "emblem-vgg", "max_memory": "2G", "precision": "bfloat16",
    "start_index": 2, "stride": 3, "end": 9, "mix_images": True, "layout": "shards", "shard": "2/3", "engine": "ray",
    "workers": 2, "timeout": 60.0, "readers": 1, "keep": "maps",
}  # fmt: skip


@pytest.mark.parametrize("key", CHANGES)
def test_each_flag_changes_the_resolved_run(key: str) -> None:  # defect 1
    plain, changed = resolve({}, PRESET), resolve({key: CHANGES[key]}, PRESET)
    assert plain != changed


@pytest.mark.parametrize(("key", "value"), [("init_posi", ["1"]), ("init_val", 0.7)])
def test_each_flag_of_diverse_starts_changes_the_run(key: str, value: Any) -> None:
    assert resolve({"diverse_k": 2}, PRESET) != resolve({"diverse_k": 2, key: value}, PRESET)


@pytest.mark.parametrize(("key", "value"), [("layer", "features.3"), ("stats", "s.safetensors")])
def test_each_flag_of_a_bottleneck_changes_the_run(key: str, value: Any) -> None:
    assert resolve({"method": "IBA"}, PRESET) != resolve({"method": "IBA", key: value}, PRESET)
    assert f"--{key}" in refusal({"method": "iGOS+", key: value})


@pytest.mark.parametrize("key", ["judge_file", "judge_cfg"])
def test_each_flag_of_the_judge_changes_the_run(key: str) -> None:
    assert resolve({"judge": "darknet"}, PRESET) != resolve({"judge": "darknet", key: "x"}, PRESET)


@pytest.mark.parametrize(("key", "value"), [("num_cpus", 2.0), ("num_gpus", 0.5)])
def test_each_flag_of_ray_changes_the_run_and_needs_it(key: str, value: float) -> None:
    assert resolve({"engine": "ray"}, PRESET) != resolve({"engine": "ray", key: value}, PRESET)
    assert f"--{key} needs --engine ray" in refusal({key: value})


def test_a_data_set_with_annotations_is_explained_where_it_is_annotated() -> None:
    run = {"dataset": "coco", "annotations": "instances.json"}
    assert resolve(run, PRESET).selector.kind == "gt"
    assert resolve({**run, "target": "all"}, PRESET).selector.kind == "all"
    assert resolve({"dataset": "coco"}, PRESET).selector.kind == ""


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"shard": "0/3"}, "1 <= i <= n"),
        ({"shard": "4/3"}, "such as 3/8"),
        ({"shard": "half"}, "--shard half"),
        ({"timeout": 0.0}, "--timeout must be above 0"),
        ({"readers": -1}, "--readers must be at least 0"),
        ({"workers": 0}, "--workers must be at least 1"),
        ({"layout": "piles"}, "folders"),
        ({"engine": "spark"}, "ray"),
    ],
)
def test_how_a_run_is_done_is_checked(flags: dict[str, Any], word: str) -> None:
    assert word in refusal(flags)


def test_a_judge_judges_by_transfer_and_transfer_needs_one() -> None:
    assert resolve({"judge": "emblem-vgg"}, PRESET).run.metrics[-1] == "transfer"
    assert "--judge" in refusal({"metrics": ["transfer"]}) and "transfer" in refusal(
        {"judge": "a", "metrics": ["none"]}
    )
    assert "--judge" in refusal({"judge_file": "a"})


def test_every_flag_is_in_that_table() -> None:
    others = {"init_posi", "init_val", "references", "patterns", "judge_file", "judge_cfg", "layer", "stats"}
    others |= {"num_cpus", "num_gpus"}
    assert {f.name for f in fields(Run)} == {*CHANGES, *others}


def test_without_flags_it_is_igos_pp_with_nag() -> None:
    plan = resolve({}, PRESET)
    assert (plan.method.name, plan.method.opt, plan.method.form) == ("iGOS++", "NAG", "default")


def test_flags_beat_the_preset_and_the_preset_beats_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("threshold: 0.7\nmethods:\n  igos++: {iterations: 5, LS: {alpha: 9}, NAG: {alpha: 8}}\n")
    plan = resolve({"config": str(path)}, PRESET)
    assert (plan.run.threshold, plan.method.iterations, plan.method.alpha) == (0.7, 5, 8)
    plan = resolve({"config": str(path), "opt": "ls", "iterations": 6, "threshold": 0.1}, PRESET)
    assert (plan.run.threshold, plan.method.iterations, plan.method.alpha, plan.method.opt) == (0.1, 6, 9, "LS")


@pytest.mark.parametrize("name", sorted(p.stem for p in resources.folder("configs").glob("*.yaml")))
@pytest.mark.parametrize("method", METHODS)
def test_every_shipped_preset_makes_every_method(name: str, method: str) -> None:
    flags = {"config": name, "method": method}
    if read_preset(name).get("diverse_k") and not METHODS[method].diverse:
        assert "diverse_k" in refusal(flags)
    else:
        assert resolve(flags, PRESET).method.name == method


@pytest.mark.parametrize("preset", ["classify", "detect-rcnn", "detect-yolo"])
def test_published_form_takes_the_published_numbers(preset: str) -> None:
    method = resolve({"form": "published"}, preset).method
    assert method.form == "published" and method.L2 == 20
    assert resolve({"form": "published", "L2": 3.0}, preset).method.L2 == 3


@pytest.mark.parametrize(
    ("flags", "word"),
    [
        ({"iterations": -1}, "--iterations"), ({"ig_iter": 0}, "--ig_iter"), ({"size": 0}, "--size"),
        ({"alpha": float("nan")}, "--alpha"), ({"L1": float("inf")}, "--L1"), ({"L2": "x"}, "--L2"),
        ({"alpha": -1}, "alpha"), ({"threshold": 1.5}, "--threshold"), ({"threshold": -0.1}, "--threshold"),
        ({"diverse_k": 2, "init_val": 1.1}, "--init_val"), ({"init_val": 2.0}, "--init_val"),
        ({"diverse_k": 2, "init_posi": ["4"]}, "--init_posi"), ({"init_posi": ["99"]}, "--init_posi"),
        ({"init_posi": ["-1"]}, "--init_posi"), ({"diverse_k": 99}, "--diverse_k"),
        ({"method": "IG", "opt": "LS"}, "--opt"), ({"method": "IG", "alpha": 3}, "--alpha"),
        ({"method": "IG", "iterations": 3}, "--iterations"), ({"method": "rise", "diverse_k": 2}, "--diverse_k"),
        ({"method": "iGOSS"}, "iGOS"), ({"opt": "SGD"}, "LS"), ({"config": "detect-yollo"}, "detect-yolo"),
        ({"metrics": ["deletoin"]}, "deletion"), ({"metrics": ["none", "deletion"]}, "none"),
        ({"fit": "crop"}, "letterbox"), ({"score": "odds"}, "prob"), ({"part": "legs"}, "class_box"),
        ({"target": "best"}, "top1"), ({"target": "box:1,2,3"}, "box"), ({"target": "box:5,5,1,9"}, "x1 < x2"),
        ({"set": ["gamma=1"]}, "iterations"), ({"set": ["steps"]}, "KEY=VALUE"), ({"set": ["steps=0"]}, "steps"),
        ({"set": ["noise=lots"]}, "noise"), ({"num_samples": 0}, "--num_samples"), ({"batch": 0}, "--batch"),
        ({"threads": 0}, "--threads"), ({"manual_seed": -1}, "--manual_seed"), ({"input_size": 0}, "--input_size"),
        ({"iterations": 2.5}, "--iterations"), ({"iterations": "ten"}, "--iterations"),
        ({"shuffle": "perhaps"}, "--shuffle"),
    ],
)  # fmt: skip
def test_refusals_name_the_key(flags: dict[str, Any], word: str) -> None:
    assert word in refusal(flags)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("iterations: ten", "iterations"), ("thresold: 0.5", "threshold"), ("a: [1", "YAML"), ("- a\n- b", "keys"),
        ("methods: {iGOS+: {beta: 1}}\nmethod: iGOS+", "beta"), ("methods: {iGOS+: 3}", "settings"),
        ("methods: {nothing: {}}", "nothing"), ("threshold: [0.1, 0.2]", "threshold"), 
        ("data: {a: b}\nsize: x", "size"),
        ("alpha: .nan", "alpha"),
    ],
)  # fmt: skip
def test_a_wrong_preset_is_refused_by_name(tmp_path: Path, text: str, word: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    assert word in refusal({"config": str(path)})


def test_a_run_written_as_yaml_repeats_itself(tmp_path: Path) -> None:
    flags = {
        "model": "darknet", "data": ["a", "b"], "method": "igos+", "opt": "PG", "alpha": 3.5, "target": "class:dog",
        "metrics": "deletion,pointing", "set": ["noise=0.1", "deletion.substrate=mean"], "diverse_k": 2,
    }  # fmt: skip
    first = resolve(flags, PRESET)
    path = tmp_path / "run.yaml"
    path.write_text(yaml.safe_dump({**first.as_preset(), "record": {"anything": 1}}))
    second = resolve({"config": str(path)}, PRESET)
    assert second.method == first.method and second.metrics == first.metrics and second.selector == first.selector
    same = {
        k: v for k, v in asdict(first.run).items() if k in ("data", "metrics", "target", "diverse_k", "model", "set")
    }
    assert {k: asdict(second.run)[k] for k in same} | {"set": 0} == same | {"set": 0}


def test_settings_of_methods_and_metrics_by_set() -> None:
    plan = resolve({"set": ["noise=1e-2", "substrate=mean", "insertion.steps=10"]}, PRESET)
    assert plan.method.noise == 0.01
    assert [(m.substrate, m.steps) for m in plan.metrics[:2]] == [("mean", 50), ("mean", 10)]


def test_names_ignore_case_and_dashes() -> None:
    for spelling, name in (("IGOS++", "iGOS++"), ("i_gos", "I-GOS"), ("ig", "integrated_gradients"), ("Rise", "rise")):
        assert resolve({"method": spelling}, PRESET).method.name == name
    assert lookup("M_RCNN", ["m-rcnn"], "model") == "m-rcnn"


def test_lists_split_at_spaces_and_commas() -> None:
    assert coerce("--metrics", ["deletion,insertion", "pointing"], list[str]) == ["deletion", "insertion", "pointing"]
    assert coerce("data", ["a b.jpg", "c,d.jpg"], list[str]) == ["a b.jpg", "c,d.jpg"]


def test_set_is_merged_over_a_run_s_own_and_dropped_with_its_metric(tmp_path: Path) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("set: [deletion.steps=10, noise=0.3]\n")
    plan = resolve({"config": str(path), "set": ["noise=0.1"]}, PRESET)
    assert plan.method.noise == 0.1 and plan.metrics[0].steps == 10
    assert resolve({"config": str(path), "metrics": ["none"]}, PRESET).metrics == ()


@pytest.mark.parametrize(("size", "sparsity"), [(None, 1), (28, 1), (224, 10)])
def test_published_numbers_follow_the_mask_size_also_under_a_named_preset(size: int | None, sparsity: float) -> None:
    flags = {"form": "published", "config": "classify", **({"size": size} if size else {})}
    assert sparsity == resolve(flags, PRESET).method.L1
    assert resolve({"form": "published", "method": "iGOS+"}, PRESET).method.reg == "BTV"
    assert "published-detect" in refusal({"form": "published", "config": "quick"})


@pytest.mark.parametrize(
    "text",
    [
        "methods: {iGOS++: {NAG: 3}}",
        "methods: {iGOS+: {beta: 1}}",
        "methods: {iGOS++: {LS: {bogus: 1}}}",
        "config: quick",
    ],
)
def test_every_block_of_a_preset_is_checked(tmp_path: Path, text: str) -> None:
    path = tmp_path / "wrong.yaml"
    path.write_text(text)
    refusal({"config": str(path)})


def test_large_seeds_and_odd_digits() -> None:
    assert resolve({"manual_seed": "9007199254740993"}, PRESET).run.manual_seed == 9007199254740993
    assert "index" in refusal({"target": "index:\u00b2"}) and "--init_posi" in refusal(
        {"diverse_k": 2, "init_posi": ["\u00b2"]}
    )
    assert "size" in refusal({"size": 10**9})


def test_the_spellings_of_the_guided_non_linearity_command() -> None:
    words = "-md guided_integrated_gradients -mn ResNet50 -si 11 -ie 5 -ei 99 -gn 0 -da photos --model_file w.pth"
    flags = vars(parser().parse_args(words.split()))
    run = resolve({k: v for k, v in flags.items() if k in RUN_TYPES}, "classify").run
    assert (run.method, run.device, run.data) == ("guided_integrated_gradients", "0", ["photos"])
    assert run.numbers == range(11, 99, 5), "-ie is the stride, -ei the end"
    flags = vars(parser().parse_args(["--gpu_num", "1", "--model_name", "vgg19", "--activation", "none"]))
    assert (flags["device"], flags["model"], flags["activation"]) == ("1", "vgg19", "none")
    assert parser().parse_args(["--start", "3"]).start_index == "3"
    for name in ("ResNet50", "VGG16", "vgg19", "GoogLeNet"):
        assert lookup(name, adapters().ADAPTERS, "model") == name.lower()


@pytest.mark.parametrize("flags", [{"start_index": 0}, {"stride": 0}, {"end": -1}, {"start_index": 5, "end": 5}])
def test_numbers_of_pictures_that_cannot_be_are_refused(flags: dict[str, int]) -> None:
    assert f"--{list(flags)[-1]}" in refusal(flags)


def test_the_published_comparison_of_guided_non_linearity() -> None:
    plan = resolve({"config": "gnl-published"}, "classify")
    method = plan.method
    assert plan.run.numbers == range(1, 50000, 10) and len(plan.run.numbers) == 5000 and plan.score == "logit"
    assert (method.name, method.pool_rule, method.baseline) == ("guided_integrated_gradients", "reference", "mean")
    assert (method.n_steps, method.rule, method.aggregate, method.size) == (50, "gausslegendre", "abs_sum", 224)
    assert [(m.name, m.steps, m.units) for m in plan.metrics] == [
        ("deletion_rise", 224, "pixels"),
        ("insertion_rise", 224, "pixels"),
    ]


def test_the_published_comparison_takes_integrated_gradients_of_the_logit_too() -> None:
    plans = resolve_each(["IG", "gnl"], {"config": "gnl-published"}, "classify")
    assert [p.score for p in plans] == ["logit", "logit"]
    assert resolve({"method": "IG", "config": "gnl-published", "score": "prob"}, "classify").score == "prob"
    assert resolve({"method": "IG"}, "classify").score == "prob"


@pytest.mark.parametrize("preset", ["detect-rcnn", "detect-yolo", "emblem", "classify", "quick", "thorough", "diverse"])
def test_numbers_of_the_published_scale_are_warned_of(preset: str) -> None:
    """The published command of the detectors, --L2 20 --alpha 10, and that of the classifiers; no preset's own."""
    for name in ("I-GOS", "iGOS+", "iGOS++"):
        for opt in ("NAG", "PG", "LS"):
            assert not resolve({"method": name, "opt": opt}, preset).method.warnings()
    for alpha in (10, 1000):
        flags = {"L2": 20, "alpha": alpha}
        assert "--form published" in resolve(flags, preset).method.warnings()[0]
        assert not resolve({**flags, "form": "published", "config": "published-detect"}, preset).method.warnings()


def test_paths_keep_their_blanks_and_commas(tmp_path: Path) -> None:
    """Words of other flags are cut at blanks and commas."""
    folder = tmp_path / "my photos, two"
    run = resolve({"data": [str(folder)], "metrics": ["deletion,insertion"]}, PRESET).run
    assert run.data == [str(folder)] and run.metrics == ["deletion", "insertion"]
