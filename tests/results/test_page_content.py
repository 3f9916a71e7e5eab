"""What a page is given: the cells, steps and places that metrics and figures have; and no run can lead it astray."""

from __future__ import annotations

import base64
import json
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from igos import cli
from igos.base.baselines import blur
from igos.base.files import npz_bytes, write_bytes
from igos.base.geometry import Geometry
from igos.base.names import ARRAYS_FILE
from igos.base.ops import upscale
from igos.base.seals import sealed
from igos.cli.report import read_picture
from igos.metrics.curves import Deletion, Insertion
from igos.metrics.protocols import DeletionIGOS
from igos.results import page, page_content
from igos.results.page_content import Album, frame, packed, playable, steps
from igos.results.read import read_rows
from igos.types import ConfigError
from tests.conftest import toy_problem
from tests.pages import RUN, explanation, letterbox, made_run, photo, rewrite, toy_run


def gathered(*folders: Path) -> dict[str, Any]:
    made = Album(read_picture)
    for folder in folders:
        made.add(folder)
    return made.data("a run")


def test_starts_tell_how_much_of_the_evidence_they_find_together(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", 2, start=1)
    facts = {"mean_correlation": 0.625, "evidence": 2, "evidence_covered": 1}
    (run / "picture" / "diversity.json").write_text(json.dumps(sealed(facts)))
    item, other = gathered(run)["items"]
    told = {"correlation between starts": "0.62", "emblems on which a start peaks": "1 of 2"}
    assert item["facts"].items() >= told.items() and other["facts"].items() >= told.items()
    (run / "picture" / "diversity.json").write_text('{"mean_correlation": null, "evidence": null}')
    assert not gathered(run)["items"][0]["facts"].keys() & told.keys()


def unpacked(item: dict[str, Any]) -> np.ndarray:
    """(layers,h,w): what the page's script makes of an item's cells."""
    flat = np.frombuffer(zlib.decompress(base64.b64decode(item["cells"])), np.uint8)
    return np.cumsum(flat, dtype=np.uint8).reshape(-1, *item["grid"])


@pytest.mark.parametrize("metric", [Deletion(steps=7), Insertion(steps=7), Deletion(steps=50)])
def test_the_steps_are_the_pictures_that_the_metric_scored(metric: Deletion | Insertion) -> None:
    seen: list[torch.Tensor] = []

    def forward(pictures: torch.Tensor, _: torch.Tensor) -> torch.Tensor:
        seen.append(pictures.clone())
        return pictures.mean(dim=(1, 2, 3))

    problem = toy_problem(forward)
    saliency = torch.rand(6, 9, generator=torch.Generator().manual_seed(1))
    saliency[2] = 0.5  # ties
    e = explanation(Path("x.png"), np.zeros((24, 32, 3), np.uint8), saliency=saliency, image=problem.images[0])
    metric(problem, [e])
    pictures, x, step = torch.cat(seen), problem.x[0], torch.from_numpy(steps(saliency, metric))
    for j, picture in enumerate(pictures):
        v = upscale((step <= j).double(), problem.size)
        v = 1 - v if metric.insert else v
        assert torch.allclose(picture, x + v * (blur(problem.x)[0] - x), atol=1e-6), j
    assert len(pictures) == metric.steps + 1


geometries = st.builds(
    lambda h, w, nh, nw, sy, sx, oy, ox: Geometry((h, w), (nh, nw), (sy * nh / h, sx * nw / w), (oy * nh, ox * nw)),
    *(st.integers(20, 90),) * 4, *(st.floats(0.5, 2),) * 2, *(st.floats(-0.5, 0.4),) * 2,
)  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(geometries)
def test_the_frame_puts_the_map_where_the_geometry_does(g: Geometry) -> None:
    for axis, (n, ramp) in enumerate([(g.source[1], [[0.0, 1.0]]), (g.source[0], [[0.0], [1.0]])]):
        there = g.map_to_source(torch.tensor(ramp)).numpy()
        line = there.max(axis=axis)
        first, last, low, high = frame(g)[axis]
        u = (np.arange(n) + 0.5) / n
        inside = (u >= low - 1e-9) & (u <= high + 1e-9)
        other = frame(g)[1 - axis]
        if other[2] < 1 and other[3] > 0 and inside.any() and there.any():
            assert line == pytest.approx(np.where(inside, ((u - first) / (last - first)).clip(0, 1), 0), abs=2e-3)


def test_an_item_holds_the_map_and_what_its_row_says(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", 3)
    data, rows = gathered(folder), read_rows(folder)
    keys = [c["key"] for c in data["columns"]]
    for n, (item, row) in enumerate(zip(data["items"], rows, strict=True)):
        heat, step = unpacked(item)
        e = explanation(Path("x"), np.zeros((120, 160, 3), np.uint8), n).saliency
        assert np.abs(heat / 255 - ((e - e.min()) / (e.max() - e.min())).numpy()).max() <= 0.5 / 255 + 1e-6
        assert step.min() == 1 and step.max() == 10
        assert item["values"][keys.index("deletion")] == pytest.approx(row["deletion"], rel=1e-5)
        assert item["box"] == pytest.approx([20 / 160, 20 / 120, 120 / 160, 100 / 120], abs=1e-4)
        assert item["curves"]["deletion"][1][0] == 1 and item["play"] == ["deletion", "insertion"]
    assert [c["better"] for c in data["columns"] if c["key"] in ("deletion", "insertion")] == ["lower", "higher"]
    assert len(data["pictures"]) == len(data["views"]) == 2, "each picture once"


def test_a_few_kilobytes_for_each_explanation(tmp_path: Path) -> None:
    one, many = (len(page.render(self_contained(toy_run(tmp_path / str(n), n)))) for n in (2, 12))
    assert (many - one) / 10 < 2500


def self_contained(folder: Path) -> dict[str, Any]:
    data = gathered(folder)
    return {**data, "pictures": [{**p, "source": None} for p in data["pictures"]]}


def test_maps_pack_into_less_than_their_pixels() -> None:
    smooth = np.add.outer(np.arange(160), np.arange(160)).astype(np.uint8) // 2
    assert len(packed([smooth])) < smooth.size / 20


def test_finer_maps_are_shown_by_their_means_alone(tmp_path: Path) -> None:
    e = explanation(tmp_path / "x.png", photo(tmp_path / "x.png"))
    fine = e.geometry.map_to_source(e.saliency)  # 120 x 160, as smooth as the 14 x 14 cells
    item, other = gathered(made_run(tmp_path / "run", [replace(e, saliency=fine), e]))["items"]
    assert item["grid"] == [96, 96] and item["play"] == [] and item["curves"] == other["curves"]
    coarse = F.interpolate(fine[None, None], (96, 96), mode="bilinear", align_corners=True)[0, 0]
    assert np.abs(unpacked(item)[0] / 255 - (coarse / coarse.max()).numpy()).mean() < 0.01


def test_only_what_can_be_redrawn_plays() -> None:
    assert [m.name for m in playable([Deletion(), Insertion(), DeletionIGOS()])] == ["deletion", "insertion"]
    assert [m.name for m in playable([Deletion(), Insertion(steps=20)])] == ["deletion"]
    assert [m.name for m in playable([Deletion(), Insertion(substrate="black")])] == ["deletion"]
    assert playable([Deletion(units="pixels")]) == playable([Deletion(step=3)]) == playable([Deletion(steps=256)]) == []


def test_what_parts_are_replaced_by_is_the_networks_own_substrate() -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 48, 3), dtype=np.uint8)
    g = Geometry((64, 48), (64, 48))
    x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    expected = (blur(x)[0].permute(1, 2, 0) * 255).numpy()
    assert np.abs(page_content.replaced(pixels, g, "blur") - expected).max() <= 0.51
    assert not page_content.replaced(pixels, letterbox(64, 48), "black").any()


def test_the_same_objects_of_several_runs_share_a_number(tmp_path: Path) -> None:
    a, b = toy_run(tmp_path / "a", 4), toy_run(tmp_path / "b", 4, method="rise", opt=None)
    items = gathered(a, b)["items"]
    assert [i["object"] for i in items[:4]] == [i["object"] for i in items[4:]]
    assert len({i["object"] for i in items}) == 4 and [i["run"] for i in items] == [0] * 4 + [1] * 4


def test_what_cannot_be_shown_is_told_and_the_rest_is_shown(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", 4)
    (tmp_path / "photos" / "photo-0.png").unlink()
    photo(tmp_path / "photos" / "photo-1.png", 60, 60)
    (folder / "picture/3/explanation.npz").write_bytes(b"PK")
    data = gathered(folder)
    assert "no such file" in data["pictures"][0]["lost"] and "has changed" in data["pictures"][1]["lost"]
    assert "damaged" in data["items"][3]["facts"]["error"] and "cells" not in data["items"][3]
    assert all("cells" in i for i in data["items"][:3])


def test_maps_without_geometry_ask_for_a_new_run(tmp_path: Path) -> None:
    folder = toy_run(tmp_path / "run", 1)
    np.savez(folder / "picture/0/explanation.npz", saliency=np.ones((3, 3), np.float32))
    assert "older igos" in gathered(folder)["items"][0]["facts"]["error"]


@pytest.mark.parametrize("place", ["../outside", "picture/../../outside", "/etc"])
def test_a_row_cannot_lead_out_of_its_run(tmp_path: Path, place: str) -> None:
    folder = toy_run(tmp_path / "run", 1)
    made = explanation(tmp_path / "x.png", np.zeros((120, 160, 3), np.uint8))
    write_bytes(tmp_path / "outside" / ARRAYS_FILE, npz_bytes(made.as_arrays()))
    rewrite(folder, lambda text: text.replace('"folder": "picture/0"', f'"folder": "{place}"'))
    with pytest.raises(ConfigError, match="outside the run's folder"):
        gathered(folder)


def test_rows_without_a_map_and_flat_or_unknown_values_are_plain_data(tmp_path: Path) -> None:
    flat = explanation(tmp_path / "x.png", photo(tmp_path / "x.png"), saliency=torch.full((5, 5), float("nan")))
    folder = made_run(tmp_path / "run", [flat], {**RUN, "metrics": ["none"]})
    gone = '{"image": "gone.jpg", "status": "unreadable", "error": "gone.jpg: no such file", "folder": null}\n'
    rewrite(folder, lambda text: text + gone)
    data = gathered(folder)
    json.dumps(data, allow_nan=False)
    assert not unpacked(data["items"][0]).any() and data["items"][0]["play"] == []
    assert data["items"][1]["facts"]["error"] == "gone.jpg: no such file" and data["items"][1]["status"] == "unreadable"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["report", "{}"], "holds no results.jsonl"),
        (["report"], "required: DIR"),
        (["compare", "{}/run", "--out", "x.html"], "two or more different folders"),
        (["compare", "{}/run", "{}/run", "--out", "x.html"], "two or more different folders"),
        (["compare", "{}/run", "{}", "--out", "{}/x.txt"], "ends in .html"),
        (["compare", "{}/run", "{}", "--out", "{}/x.html"], "holds no results.jsonl"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    toy_run(tmp_path / "run", 1)
    before = sorted(tmp_path.rglob("*"))
    assert cli.main([w.format(tmp_path) for w in words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


def test_of_a_big_run_the_first_rows_are_shown_and_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("igos.results.page_content.MOST", 4)
    folder = toy_run(tmp_path / "run", 6)
    assert cli.main(["report", str(folder)]) == 0
    assert "the first 4 of 6 rows" in (folder / "report.html").read_text()
