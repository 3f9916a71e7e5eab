"""benchmarks/gpu.py on the CPU: every way is measured or says why not, and the table goes between its marks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

import igos
from benchmarks import gpu, table
from igos.types import Adapter


def tiny(side: int, device: torch.device) -> Adapter:
    torch.manual_seed(0)
    layers = nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)
    module = nn.Sequential(*layers)
    module.load_state_dict(gpu.settled(module, module), strict=False)
    return igos.adapt(module, list("abcde"), device, crop=side)


def broken(side: int, device: torch.device) -> Adapter:
    raise ModuleNotFoundError("No module named 'ultralytics'")


def test_every_way_has_a_row_or_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu, "MODELS", {"tiny": gpu.Model(tiny, 64, 1, False), "odd": gpu.Model(broken, 64, 1, False)})
    page = tmp_path / "speed.md"
    page.write_text("before\n{}\n{}\nafter\n".format(*table.marks("gpu")))
    ways = [way for way in gpu.WAYS if way != "compile"]  # which asks for a C++ compiler on the CPU
    words = ["--device", "cpu", "--quick", "--threads", "1", "--pictures", "0", "--place", str(page), "--models"]
    rows = {row["way"]: row for row in gpu.main([*words, "tiny", "odd", "--ways", *ways])}
    told = capsys.readouterr().out
    assert set(rows) == {"float32", "TF32", "bfloat16", "batch 8", "mixed"}
    assert "tiny, graphs: not had (RuntimeError: CUDA graphs need a CUDA device)" in told
    assert "odd: not had (ModuleNotFoundError: No module named 'ultralytics')" in told
    assert rows["mixed"]["objects"] == 2 and rows["float32"]["objects"] == 1 and rows["batch 8"]["batch"] == 8
    for way, row in rows.items():
        assert row["images"] and row["s_object"] > 0 and row["ratio"] > 0 and row["idle"] is None, way
        assert row["corr"] > 0.99, "the map of float32"
    assert rows["float32"]["speedup"] == 1.0 and rows["float32"]["corr"] == pytest.approx(1.0)
    text = page.read_text()
    assert text.startswith("before\n") and text.count("| tiny | ") == 5 and "not measured" not in text


def test_a_whole_run_says_where_its_time_went() -> None:
    row = gpu.whole_run("emblem-vgg", "mix_images", "cpu", 1)
    assert row["explained"] == 1 and 0 < row["network"] <= 1 and 0 <= row["waiting"] < 1


def test_a_table_without_its_marks_stops_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "a.md").write_text("no marks")
    with pytest.raises(igos.IgosError, match="gpu: begin"):
        gpu.main(["--place", str(tmp_path / "a.md")])
