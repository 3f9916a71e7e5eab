"""Explanations know themselves: table, thumbnails, slices, frames, folders, pages."""

from __future__ import annotations

import doctest
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import igos
from igos.drawing.files import LONGEST
from igos.results import page_content
from igos.results.read import read_arrays, read_rows, read_run
from igos.types import Image

SCENE = Path(__file__).resolve().parents[2] / "samples" / "scene-04.png"


@pytest.fixture(scope="module")
def es() -> igos.Explanations:
    metrics = [igos.METRICS[name](steps=4) for name in ("deletion", "insertion")]
    return igos.explain("emblem-m-rcnn", SCENE, method="odam", metrics=metrics)


@pytest.fixture(scope="module")
def noisy(es: igos.Explanations) -> igos.Explanations:
    """Of a picture of noise, the worst that a thumbnail can be of, too large to be shown as it is, and no file."""
    side = LONGEST + 20
    source = np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)
    image = Image(es[0].image.pixels, igos.Geometry((side, side), (160, 160), (160 / side,) * 2), source)
    return igos.Explanations([replace(e, image=image) for e in es[:2]], model="net")


def test_repr_is_a_table(es: igos.Explanations) -> None:
    head, *lines = repr(es).splitlines()
    assert head.split()[:4] == ["what", "score", "method", "status"] and "deletion \N{DOWNWARDS ARROW}" in head
    assert len(lines) == len(es) == 4 and {len(line) for line in lines} == {len(head)}
    assert lines[0].split()[:5] == ["0", "bars", "1.00", "odam", "ok"]
    assert repr(igos.Explanations(list(es) * 10)).endswith("\n... and 20 more")


def test_reprs_are_one_line(es: igos.Explanations) -> None:
    model = igos.load("emblem-m-rcnn")
    assert repr(model) == (
        "<emblem-m-rcnn: 6 classes (cross, ring, bars, ...), short side 160 px, long side up to 320 px, on cpu>"
    )
    assert re.fullmatch(
        r"<Explanation of 'bars' 1\.00 in scene-04\.png: odam, ok, deletion \S+, insertion \S+>", repr(es[0])
    )
    for thing in (es[0], es[0].target, es[0].image, es[0].scores[0], igos.load("emblem-yolov3spp")):
        assert len(repr(thing)) < 200 and "\n" not in repr(thing) and "tensor" not in repr(thing)


def test_indexing_and_filtering(es: igos.Explanations) -> None:
    assert isinstance(es[0], igos.Explanation) and isinstance(es[-2:], igos.Explanations)
    assert [e.target.name for e in es["star"]] == ["star", "star"] and es["star"].model == "emblem-m-rcnn"
    assert es[1:3] == list(es)[1:3] and es[:1] + es[1:] == es
    assert es.filter(lambda e: e.target.score > 0.97).filter("star", status="ok") == [es[2]]
    assert es.filter(status="stalled") == [] and es["dog"] == []
    for same in (es.copy(), es * 1):
        assert isinstance(same, igos.Explanations) and same == es and same is not es and same.model == es.model
    with pytest.raises(igos.ConfigError, match="status 'okay' is not one of ok, unsure"):
        es.filter(status="okay")
    with pytest.raises(igos.ConfigError, match="a class name or a callable"):
        es.filter(5)  # type: ignore[arg-type]


def test_thumbnails_are_small(es: igos.Explanations, noisy: igos.Explanations) -> None:
    for some in (es, noisy):
        page = some._repr_html_()
        pictures = re.findall(r"<figure.*?</figure>", page)
        assert len(pictures) == len(some) and max(map(len, pictures)) < 60_000
        assert page.count("data:image/webp;base64,") == len(some)
    assert len(noisy[0]._repr_html_()) < 2_000_000


def test_figures(es: igos.Explanations) -> None:
    heat, drawn = es[0].overlay(), np.asarray(es[0].figure("overlay"))
    np.testing.assert_array_equal(drawn[: len(heat)], heat)
    assert len(heat) < len(drawn) < 1.2 * len(heat), "a strip below says what it shows"
    assert es[0].figure("slide").width == 1280
    assert es[0].figure("curves").width > 300
    one, every = es[0].figure("heatmap"), es.figure("heatmap")
    assert every.size == (one.width, 4 * one.height)
    with pytest.raises(igos.ConfigError, match="figure 'slides' is not one of curves, overlay, heatmap, slide"):
        es[0].figure("slides")
    with pytest.raises(igos.ConfigError, match="odam leaves no such map"):
        es[0].figure("attribution")


def test_to_pandas(es: igos.Explanations) -> None:
    pytest.importorskip("pandas")
    table = es.to_pandas()
    assert list(table["name"]) == ["bars", "ring", "star", "star"] and table["deletion"].between(0, 1).all()
    assert not {"folder", "crc32", "error"} & set(table.columns)


def test_a_folder_is_one_of_a_run(es: igos.Explanations, tmp_path: Path) -> None:
    es.save(tmp_path / "out")
    rows = read_rows(tmp_path / "out")
    assert [r["name"] for r in rows] == ["bars", "ring", "star", "star"] and len({r["folder"] for r in rows}) == 4
    assert read_run(tmp_path / "out")["model"] == "emblem-m-rcnn"
    for row, e in zip(rows, es, strict=True):
        np.testing.assert_array_equal(read_arrays(tmp_path / "out", row)["saliency"], e.saliency.numpy())
        assert (tmp_path / "out" / row["folder"] / "overlay.png").is_file()
    assert (tmp_path / "out" / "report.html").is_file() and (tmp_path / "out" / "results.csv").is_file()
    damage: list[str] = []
    made = page_content.Album(lambda path: es[0].image.source)
    made.damage = damage
    made.add(tmp_path / "out")
    assert not damage and "lost" not in made.pictures[0]  # `igos report` shows the photo and finds nothing amiss
    with pytest.raises(igos.ConfigError) as caught:
        es.save(tmp_path / "out")
    assert "holds the results of another run" in str(caught.value) and "--" not in str(caught.value)


def test_a_picture_that_is_no_file_is_kept(noisy: igos.Explanations, tmp_path: Path) -> None:
    noisy[:1].save(tmp_path / "out")
    (row,) = read_rows(tmp_path / "out")
    assert Path(row["image"]) == tmp_path.resolve() / "out" / "pictures" / "picture.png"
    assert np.array_equal(igos.load("emblem-vgg").read(row["image"]).source, noisy[0].image.source)


def test_a_page(es: igos.Explanations, noisy: igos.Explanations, tmp_path: Path) -> None:
    (es + noisy).report(tmp_path / "all.html")
    page = (tmp_path / "all.html").read_text()
    assert page.count("data:image/webp;base64,") >= 2 and "<title>all" in page and '"lost"' not in page
    assert list(tmp_path.iterdir()) == [tmp_path / "all.html"]


def test_show_opens_a_page(es: igos.Explanations, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: opened.append(address) or True)
    es.show()
    assert opened[0].startswith("file://") and Path(opened[0].removeprefix("file://")).is_file()
    monkeypatch.setattr("webbrowser.open", lambda address: False)
    with pytest.raises(igos.ConfigError, match="no browser opens here; the page is"):
        es.show()
    monkeypatch.setattr("PIL.ImageShow.show", lambda picture, title: False)
    with pytest.raises(igos.ConfigError, match="no viewer of pictures here"):
        es[0].show()


CALLABLE = [name for name in igos.__all__ if callable(getattr(igos, name))]


@pytest.mark.usefixtures("short_curves")
@pytest.mark.parametrize("name", [*CALLABLE, "igos"])
def test_the_example_of_a_public_name_runs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.chdir(SCENE.parents[1])
    torch.manual_seed(0)
    thing = igos if name == "igos" else getattr(igos, name)
    test = doctest.DocTestParser().get_doctest(thing.__doc__ or "", {"igos": igos, "torch": torch}, name, None, None)
    assert test.examples, f"igos.{name} has no example"
    told: list[str] = []
    assert not doctest.DocTestRunner().run(test, out=told.append).failed, "".join(told)
