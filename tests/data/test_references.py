"""Where the pictures come from that expected gradients compare with, and that run.yaml says so."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import pytest
import torch
import yaml

from detectors.classifier import ClassifierAdapter
from detectors.emblem import SlimResNet
from igos.cli.explain import _effective
from igos.data.references import MOST, generated, source
from igos.methods import METHODS
from igos.results.folder import RunFolder
from igos.results.read import read_rows
from igos.run import drive, explain
from igos.run.plan import resolve
from igos.types import ConfigError, Problem
from tests.conftest import toy_image
from tests.run.test_plan import refusal


def write(folder: Path, *shades: int, size: tuple[int, int] = (40, 50)) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{shade}.png" for shade in shades]
    for path, shade in zip(paths, shades, strict=True):
        PIL.Image.fromarray(np.full((*size, 3), shade, dtype=np.uint8)).save(path)
    return [str(p) for p in paths]


@pytest.fixture
def adapter() -> ClassifierAdapter:
    torch.manual_seed(0)
    return ClassifierAdapter(SlimResNet(3), ["a", "b", "c"], crop=32, resize=32)


def shades(references: torch.Tensor) -> list[int]:
    return [round(255 * float(r.mean())) for r in references]


def test_the_other_pictures_of_the_data_but_never_the_picture_itself(
    tmp_path: Path, adapter: ClassifierAdapter
) -> None:
    paths = write(tmp_path / "d", 10, 20, 30)
    (tmp_path / "d" / "broken.png").write_text("no picture")
    made, words = source(adapter, None, [str(tmp_path / "d")])
    image = adapter.read(paths[1])
    assert words == "the other pictures of --data"
    assert shades(made(image)) == [10, 30] and made(image).shape == (2, 3, 32, 32)


def test_a_folder_of_references_comes_before_the_data(tmp_path: Path, adapter: ClassifierAdapter) -> None:
    data = write(tmp_path / "d", 10, 20)
    write(tmp_path / "r", 70, 80)
    made, words = source(adapter, str(tmp_path / "r"), data)
    assert shades(made(adapter.read(data[0]))) == [70, 80] and words.endswith("/r")
    with pytest.raises(ConfigError, match="--references .*missing"):
        source(adapter, str(tmp_path / "missing"), data)
    (alone,) = write(tmp_path / "one", 90)
    with pytest.raises(ConfigError, match="--references .*one"):
        source(adapter, str(tmp_path / "one"), data)[0](adapter.read(alone))


def test_a_lone_picture_is_compared_with_generated_ones(tmp_path: Path, adapter: ClassifierAdapter) -> None:
    data = write(tmp_path / "d", 10)
    made, words = source(adapter, None, data)
    first = made(adapter.read(data[0]))
    assert first.shape == (MOST, 3, 32, 32) and words == f"{MOST} generated pictures"
    assert first.min() >= 0 and first.max() <= 1 and len({float(r.mean()) for r in first}) == MOST
    assert generated(toy_image(24, 36)).shape == (MOST, 3, 24, 36)


def test_references_come_to_the_size_of_the_picture_and_are_at_most_fifty(
    tmp_path: Path, adapter: ClassifierAdapter
) -> None:
    write(tmp_path / "d", *range(MOST + 10), size=(32, 32))
    made, _ = source(adapter, None, [str(tmp_path / "d")])
    assert made(toy_image(20, 36)).shape == (MOST, 3, 20, 36)


@pytest.mark.usefixtures("sketched")
def test_the_run_hands_them_to_the_method_and_writes_them_down(
    tmp_path: Path, adapter: ClassifierAdapter, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[int]] = []
    plain = METHODS["exp_grad"].attribute

    def watched(self: object, problem: Problem) -> object:
        seen.append(shades(problem.ingredients["references"]))
        return plain(self, problem)

    monkeypatch.setattr(METHODS["exp_grad"], "attribute", watched)
    data = write(tmp_path / "d", 10, 20, 30)
    flags = {"data": data, "method": "expected_gradients", "metrics": ["none"], "set": ["n_samples=2"]}
    plan = resolve(flags, "classify")
    folder = RunFolder(tmp_path / "out")
    folder.write_run({**plan.as_preset(), "record": _effective(adapter, plan)})
    drive.run(plan, adapter, folder, progress=False)
    assert seen == [[20, 30], [10, 30], [10, 20]]
    record = yaml.safe_load((tmp_path / "out" / "run.yaml").read_text())["record"]
    assert record["references"] == "the other pictures of --data" and record["score"] == "prob"
    assert [r["status"] for r in read_rows(tmp_path / "out")] == ["ok"] * 3
    again = resolve({"config": str(tmp_path / "out" / "run.yaml")}, "classify")
    assert again.method == plan.method and again.run.data == data
    (e,) = explain.explain(
        adapter, adapter.read(data[0]), adapter.detect(adapter.read(data[0]), 0.0)[:1], "exp_grad", metrics=()
    )
    assert e.status == "ok" and len(seen[-1]) == MOST, "in Python: generated, or those given"


def test_the_flag_is_refused_where_nothing_compares() -> None:
    assert "exp_grad" in refusal({"method": "IG", "references": "x"})
    assert resolve({"method": "exp_grad", "references": "x"}, "classify").run.references == "x"


@pytest.mark.usefixtures("sketched")
def test_warnings_reach_the_rows_and_the_user(tmp_path: Path, adapter: ClassifierAdapter) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    PIL.Image.fromarray(pixels).save(tmp_path / "noise.png")
    plan = resolve({"data": [str(tmp_path / "noise.png")], "method": "IG", "metrics": ["none"]}, "classify")
    folder = RunFolder(tmp_path / "out")
    method = METHODS["integrated_gradients"](n_steps=1, rule="left")
    drive.run(type(plan)(plan.run, method, (), plan.selector), adapter, folder, progress=False)
    (row,) = read_rows(tmp_path / "out")
    assert row["completeness_error"] > 0.05 and "sums to" in row["warning"]
