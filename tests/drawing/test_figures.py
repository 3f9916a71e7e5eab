"""What is drawn: sizes, places, and that nothing a user can name or show breaks a picture."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from PIL import Image as Picture

from igos.base import ops
from igos.base.errors import ConfigError
from igos.base.geometry import Geometry
from igos.base.names import EMPTY
from igos.drawing import figures, files, layout
from igos.drawing import slide as slides
from igos.drawing.layout import SKY
from igos.drawing.letters import Lettered, name_of
from igos.drawing.signed import signed
from igos.types import Explanation, Image, Score, Target

NAMES = ("dog", "", "a\nb\tc", "W" * 300, "犬 " * 90, r"$\frac{$", "<script>alert(1)</script>", "café ­ß")


def blob(h: int = 14, w: int = 14, at: tuple[float, float] = (0.5, 0.5)) -> torch.Tensor:
    """(h,w): a Gaussian hill at (y, x), fractions of the picture."""
    y, x = torch.linspace(0, 1, h)[:, None], torch.linspace(0, 1, w)
    return torch.exp(-((y - at[0]) ** 2 + (x - at[1]) ** 2) / 0.02)


def explanation(
    height: int = 240,
    width: int = 320,
    *,
    saliency: torch.Tensor | None = None,
    box: tuple[float, float, float, float] | None = None,
    name: str = "dog",
    photo: np.ndarray | None = None,
    network: tuple[int, int] = (64, 64),
    **fields: Any,
) -> Explanation:
    """A picture stretched to the network's size; box in source pixels."""
    if photo is None:
        few = np.random.default_rng(0).integers(60, 200, (6, 8, 3), dtype=np.uint8)
        photo = cv2.resize(few, (width, height))
    geometry = Geometry((height, width), network, (network[0] / height, network[1] / width))
    at = None if box is None else geometry.to_network(torch.tensor(box, dtype=torch.float32))
    image = Image(torch.zeros(3, *network), geometry, photo)
    saliency = blob() if saliency is None else saliency
    target = Target(1, name, 0.894, at)
    return Explanation(saliency=saliency, target=target, image=image, method="iGOS+", opt="NAG", **fields)


def measured(scale: float = 1.0) -> tuple[Score, ...]:
    x = np.linspace(0, 1, 11)
    return (
        Score("deletion", 0.031 * scale, "lower", np.stack([x, scale * (1 - x) ** 9]), plot="deletion"),
        Score("insertion", 0.842 * scale, "higher", np.stack([x, scale * x**0.2]), plot="insertion"),
        Score("pointing", 1.0, "higher"),
    )


def close(picture: np.ndarray, colour: tuple[int, int, int], within: int = 40) -> np.ndarray:
    return np.asarray((np.abs(picture.astype(int) - colour) <= within).all(axis=2))


def extent(mask: np.ndarray) -> tuple[int, int, int, int]:
    """xyxy of the true pixels."""
    y, x = np.nonzero(mask)
    return int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1


@pytest.fixture
def coarse(monkeypatch: pytest.MonkeyPatch) -> None:
    """Plots of a ninth of the pixels: laid out as ever, drawn faster."""
    monkeypatch.setattr(figures, "Figure", lambda *, dpi, **how: Figure(dpi=dpi // 3, **how))


@pytest.fixture
def untagged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "tag", lambda picture, *_: picture)


# Files


def test_the_files_are_whole_pictures_of_the_right_size(coarse: None, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "folder"
    files.write_figures(folder, explanation(scores=measured()))
    assert sorted(p.name for p in folder.iterdir()) == ["curves.png", "heatmap.png", "overlay.png"]
    for file, size in (("heatmap.png", (320, 240)), ("overlay.png", (720, 540)), ("curves.png", None)):
        with Picture.open(folder / file) as picture:
            picture.load()
            assert picture.format == "PNG"
            wide, high = picture.size
            strip = high - size[1] if size and file == "overlay.png" else 0  # what says what the colours are
            assert size is None or ((wide, high - strip) == size and picture.mode == "RGB")
            assert strip == 0 or 25 < strip < 45


def test_without_measured_curves_no_plot_and_no_old_one(coarse: None, tmp_path: Path) -> None:
    files.write_figures(tmp_path, explanation(scores=measured()))
    files.write_figures(tmp_path, explanation(scores=(Score("deletion", 0.1, "lower"), measured()[2])))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["heatmap.png", "overlay.png"]


def test_a_failure_leaves_the_finished_file_and_no_litter(
    coarse: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    e = explanation(scores=measured())
    files.write_figures(tmp_path, e)
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}

    def broken(self: Figure, out: Any, **_: Any) -> None:
        out.write(b"half a pic")
        raise OSError("disk full")

    monkeypatch.setattr(Figure, "savefig", broken)
    with pytest.raises(OSError, match="disk full"):
        files.write_figures(tmp_path, e)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before


def test_starts_are_written_as_one_sheet(tmp_path: Path) -> None:
    starts = [explanation(start=i) for i in range(4)]
    with Picture.open(io.BytesIO(files.starts_png(starts))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), figures.starts_sheet(starts))


# The top area


@settings(max_examples=60, deadline=None)
@given(
    values=st.lists(st.integers(-2, 3), min_size=1, max_size=60),
    columns=st.integers(1, 8),
    shares=st.tuples(st.floats(0, 1), st.floats(0, 1)),
)
def test_top_area_is_exact_monotone_and_the_best(values: list[int], columns: int, shares: tuple[float, float]) -> None:
    rows = -(-len(values) // columns)
    saliency = np.resize(np.array(values, dtype=np.float32), (rows, columns))
    small, large = (ops.top_area(saliency, None, s) for s in sorted(shares))
    for share, top in zip(sorted(shares), (small, large), strict=True):
        assert top.shape == saliency.shape and top.dtype == bool
        assert top.sum() == max(round(share * saliency.size), 1)
        if not top.all():
            worst, best_left = saliency[top].min(), saliency[~top].max()
            assert worst >= best_left
            if worst == best_left:  # ties go to the lower index
                tied = saliency.ravel() == worst
                assert np.flatnonzero(top.ravel() & tied).max() < np.flatnonzero(~top.ravel() & tied).min()
    assert (large | ~small).all()


def test_top_area_counts_by_the_box_but_lies_anywhere() -> None:
    saliency = np.zeros((40, 60), np.float32)
    saliency[30:, 50:] = 1
    top = ops.top_area(saliency, np.array([0, 0, 20, 30], np.float32))
    assert top.sum() == 60 and saliency[top].min() == 1


# The map


def test_heatmap_is_at_source_size_and_brightest_where_the_map_is_highest() -> None:
    picture = figures.heatmap(explanation(100, 200, saliency=blob(9, 9, (0.25, 0.75))))
    assert picture.shape == (100, 200, 3) and picture.dtype == np.uint8
    light = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    y, x = np.unravel_index(light.argmax(), light.shape)
    assert abs(y - 25) <= 3 and abs(x - 150) <= 3
    assert light[-10:, :50].max() < 10


def test_heat_grows_with_saliency_alone() -> None:
    ramp = torch.linspace(0, 1, 64).repeat(64, 1)
    for saliency in (ramp, 17 * ramp, ramp + 5):
        picture = figures.heatmap(explanation(64, 64, saliency=saliency))
        light = cv2.cvtColor(picture, cv2.COLOR_RGB2LAB)[5, :, 0].astype(int)
        assert (np.diff(light) >= -1).all() and light[0] < 5 and light[-1] > 240
    signed = figures.heatmap(explanation(64, 64, saliency=2 * ramp - 1))
    assert (signed[:, :31] == signed[0, 0]).all() and (signed[:, -1] != signed[0, 0]).any()


@pytest.mark.parametrize(
    ("value", "size"), [(0.0, (240, 320)), (0.7, (900, 1200)), (-3.0, (72, 72)), (float("nan"), (72, 72))]
)
def test_a_flat_map_leaves_the_photo_as_it_is(untagged: None, value: float, size: tuple[int, int]) -> None:
    e = explanation(*size, saliency=torch.full((14, 14), value))
    drawn = figures.overlay(e)
    np.testing.assert_array_equal(drawn, cv2.resize(e.image.source, drawn.shape[1::-1], interpolation=cv2.INTER_CUBIC))
    assert not (figures.heatmap(e) != figures.heatmap(e)[0, 0]).any()


def test_heat_covers_the_object_and_the_rest_stays_a_quiet_photo(untagged: None) -> None:
    photo = np.full((240, 320, 3), (40, 160, 60), np.uint8)
    drawn = figures.overlay(explanation(photo=photo, saliency=blob(at=(0.25, 0.25)))).astype(int)
    hot, cold = drawn[135, 180], drawn[-10, -10]
    assert hot[0] > 180 and hot[0] - hot[2] > 60  # yellow
    assert np.argmax(cold) == 1
    assert np.ptp(cold) < 0.6 * np.ptp(photo[0, 0])  # greyer
    assert cold.mean() < 0.9 * cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY)[0, 0]  # darker


def test_a_map_of_few_high_cells_shows_more_of_itself_than_its_maximum(untagged: None) -> None:
    """Full heat from a quantile, or from half of the maximum; order and contour are the map's own."""
    few, many = torch.zeros(28, 28), torch.zeros(28, 28)
    few[10, 10], few[10:12, 16:20], many[8:14, 8:14] = 1.0, 0.25, 1.0
    assert figures.full(few) == 0.5 and figures.full(many) == 1.0
    few[4:6, 4:8] = 0.6
    assert figures.full(few) == pytest.approx(0.6)
    photo = np.full((280, 280, 3), 128, np.uint8)
    e = explanation(280, 280, photo=photo, saliency=few, network=(280, 280))
    light = cv2.cvtColor(cv2.resize(figures.overlay(e), (280, 280)), cv2.COLOR_RGB2LAB)[..., 0].astype(int)
    at = {v: light[round(y / 27 * 279), round(x / 27 * 279)] for v, y, x in ((1.0, 10, 10), (0.6, 4, 5), (0.0, 24, 24))}
    assert at[1.0] >= at[0.6] - 2 and at[0.6] > at[0.0] + 60
    assert figures._heat(e, e.geometry).max() > 0.9, "the level of the contour asks the map itself"


@pytest.mark.parametrize("ground", [0, 255])
def test_contour_shows_on_any_ground(untagged: None, ground: int) -> None:
    photo = np.full((600, 800, 3), ground, np.uint8)
    e = explanation(600, 800, photo=photo, saliency=blob(28, 28), network=(600, 800))
    level = figures._level(e)
    assert level is not None
    heat = figures._heat(e, e.geometry)
    row = cv2.cvtColor(figures.overlay(e), cv2.COLOR_RGB2GRAY)[300].astype(int)
    edge = int(np.argmax(heat[300] >= level))
    near = row[edge - 6 : edge + 7]
    assert near.max() > 200 and near.max() - near.min() > 90


def test_drawing_changes_nothing_it_was_given() -> None:
    e = explanation(box=(40, 40, 200, 200))
    photo, saliency = e.image.source.copy(), e.saliency.clone()
    e.image.source.flags.writeable = False
    figures.overlay(e), figures.heatmap(e), figures.starts_sheet([e])
    assert (e.image.source == photo).all() and torch.equal(e.saliency, saliency)


# Sizes


@pytest.mark.parametrize(
    ("height", "width", "drawn"),
    [
        (17, 300, (41, 720)),
        (300, 17, (720, 41)),
        (1, 1, (720, 720)),
        (1, 2500, (1, 1600)),
        (2500, 1, (1600, 1)),
        (720, 500, (720, 500)),
        (1000, 2000, (800, 1600)),
    ],
)
def test_any_photo_is_drawn_at_a_readable_size(height: int, width: int, drawn: tuple[int, int]) -> None:
    e = explanation(height, width, box=(0.1 * width, 0, width, 0.6 * height), start=0)
    assert figures.overlay(replace(e, target=Target(1, "dog", 0.5))).shape == (*drawn, 3)
    picture = figures.overlay(e)
    assert picture.shape == (*drawn, 3) and picture.dtype == np.uint8
    assert figures.heatmap(e).shape == (height, width, 3)
    assert figures.starts_sheet([e]).shape[2] == 3


@pytest.mark.parametrize("grid", [(1, 1), (1, 7), (2, 2), (64, 64)])
def test_any_mask_grid(grid: tuple[int, int]) -> None:
    saliency = torch.rand(grid, generator=torch.Generator().manual_seed(0))
    assert figures.overlay(explanation(saliency=saliency, box=(40, 40, 200, 200))).shape == (540, 720, 3)


def test_a_large_photo_is_reduced_without_moire(untagged: None) -> None:
    stripes = np.zeros((400, 4000, 3), np.uint8)
    stripes[:, ::2] = 254
    drawn = figures.overlay(explanation(400, 4000, photo=stripes, saliency=torch.zeros(7, 7)))
    assert np.abs(drawn.astype(int) - 127).max() < 45


# The box


@pytest.mark.parametrize(("scale", "offset"), [(0.5, (0.0, 0.0)), (0.25, (30.0, 12.0)), (0.7, (-20.0, -9.0))])
def test_the_box_lies_where_the_target_is(untagged: None, scale: float, offset: tuple[float, float]) -> None:
    geometry = Geometry((600, 800), (300, 400), (scale, scale), offset)
    e = explanation(600, 800, saliency=torch.zeros(7, 7))
    box = geometry.to_network(torch.tensor([200.0, 100.0, 520.0, 400.0]))
    with_box = replace(
        e,
        image=Image(torch.zeros(3, 300, 400), geometry, e.image.source),
        target=replace(e.target, box=box),
    )
    changed = (figures.overlay(with_box) != figures.overlay(e)).any(axis=2)
    x1, y1, x2, y2 = extent(changed)
    assert np.abs(np.array([x1 - 200, y1 - 100, x2 - 520, y2 - 400])).max() <= 4
    assert not changed[108:392, 208:512].any()
    drawn = figures.overlay(with_box)
    for y, x in ((100, 360), (400, 360), (250, 200), (250, 520)):
        assert close(drawn[y - 1 : y + 1, x - 1 : x + 1], layout.SKY).all()


def test_a_box_as_large_as_the_picture_is_still_seen(untagged: None) -> None:
    drawn = figures.overlay(explanation(600, 800, box=(-5, -5, 900, 900), saliency=torch.zeros(7, 7)))
    for edge in (drawn[1, 200:-100], drawn[-2, 100:-100], drawn[100:-100, 1], drawn[100:-100, -2]):
        assert close(edge[None], layout.SKY).all()


def test_without_a_box_nothing_but_the_label_is_added() -> None:
    e = explanation(600, 800, saliency=torch.zeros(7, 7))
    x1, y1, x2, y2 = extent((figures.overlay(e) != e.image.source).any(axis=2))
    assert (x1, y1) == (0, 0) and x2 < 200 and y2 < 60


# The label


def label_of(e: Explanation) -> tuple[int, int, int, int]:
    """xyxy of the tag on a grey picture of the overlay's size."""
    size = figures._size(e, *layout.LONG_SIDE)
    box = figures._box(e, figures.drawn_at(e.geometry, figures._whole(e), size))
    plain = np.full((*size, 3), 127, np.uint8)
    drawn = layout.tag(plain, name_of(e.target), f"{e.target.score:.2f}", box)
    assert drawn.shape == plain.shape
    return extent((drawn != plain).any(axis=2))


@cache
def size_without_box(height: int, width: int) -> tuple[int, int]:
    """Width and height of the tag where no edge is near."""
    x1, y1, x2, y2 = label_of(explanation(height, width))
    return x2 - x1, y2 - y1


@settings(max_examples=40, deadline=None)
@given(
    corners=st.tuples(*[st.floats(-0.5, 1.5)] * 4),
    size=st.sampled_from([(240, 320), (300, 200), (1800, 1200), (17, 300)]),
)
@example(corners=(0.5, 1.0, 0.2, 0.9), size=(17, 300))
def test_the_label_is_whole_wherever_the_box_is(corners: tuple, size: tuple[int, int]) -> None:
    (ya, yb), (xa, xb) = sorted(corners[:2]), sorted(corners[2:])
    height, width = size
    box = (xa * width, ya * height, xb * width, yb * height)
    x1, y1, x2, y2 = label_of(explanation(height, width, box=box))
    assert (x2 - x1, y2 - y1) == size_without_box(height, width)  # not cut at any edge


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(240, 320), (320, 90)])
def test_any_name_fits(name: str, size: tuple[int, int]) -> None:
    e = explanation(*size, name=name, box=(60, 50, 88, 200))
    x1, y1, x2, y2 = label_of(e)
    height, width = figures.overlay(e).shape[:2]
    assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height and 15 < y2 - y1 < 40


@pytest.mark.parametrize("name", NAMES)
def test_any_name_fits_above_the_curves(coarse: None, name: str) -> None:
    assert figures.curves(explanation(name=name, scores=measured()))[:4] == b"\x89PNG"


def test_a_label_sits_on_its_box_and_grows_with_the_picture() -> None:
    x1, y1, x2, y2 = label_of(explanation(600, 800, box=(200, 300, 500, 500)))
    assert (x1, y2) == (200, 300)
    u1, v1, u2, v2 = label_of(explanation(1200, 1600, box=(400, 0, 1000, 1000)))
    assert (u1, v1) == (400, 1000), "below, where nothing is above"
    assert label_of(explanation(600, 800, box=(200, 0, 500, 600)))[1] == 0, "inside, where nothing is below either"
    assert 1.8 < (u2 - u1) / (x2 - x1) < 2.2


def test_where_no_label_fits_there_is_none() -> None:
    plain = np.zeros((720, 12, 3), np.uint8)
    assert (layout.tag(plain, Lettered("dog"), "0.89", None) == plain).all()


# The curves


def drawn_figure(e: Explanation, monkeypatch: pytest.MonkeyPatch) -> Figure:
    seen: list[Figure] = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self))
    figures.curves(e)
    return seen[0]


def test_curves_say_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    figure = drawn_figure(explanation(scores=measured()), monkeypatch)
    axes = figure.axes[0]
    assert axes.get_ylim() == axes.get_xlim() == (0, 1)
    assert axes.get_xlabel() and axes.get_ylabel() == "score"
    for line, score in zip(axes.lines, measured(), strict=False):
        assert score.curve is not None
        np.testing.assert_array_equal(line.get_xydata(), score.curve.T)
        assert score.name in str(line.get_label()) and f"{score.value:.3f}" in str(line.get_label())


def test_curves_of_logits_are_not_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    for scale in (12.0, -7.0):
        figure = drawn_figure(explanation(scores=measured(scale)), monkeypatch)
        low, high = figure.axes[0].get_ylim()
        assert low < min(scale, 0.01) and high > max(scale, 0.99)


# The notebook


def test_html_is_escaped_and_carries_its_picture() -> None:
    e = explanation(name='<script>alert("1")</script>', scores=measured(), status="stalled")
    page = e._repr_html_()
    assert "<script" not in page and "&lt;script&gt;" in page
    assert re.findall(r"<(\w+)", page).count("img") == 1 and 'alt="&lt;script' in page
    for said in ("0.89", "iGOS+", "NAG", "0.031", "0.842", "stalled"):
        assert said in page
    (data,) = re.findall(r"data:image/png;base64,([^\"]+)", page)
    with Picture.open(io.BytesIO(base64.b64decode(data))) as picture:
        np.testing.assert_array_equal(np.asarray(picture), figures.overlay(e))


# The sheet of starts


def start_of(cell: int, k: int, size: int = 14) -> np.ndarray:
    mask = np.ones((size, size), np.float32)
    step = size // k
    y, x = cell // k * step, cell % k * step
    mask[y : y + step, x : x + step] = 0.1
    return mask


def test_each_tile_marks_its_own_start_in_reading_order() -> None:
    grey, flat = np.full((400, 400, 3), 90, np.uint8), torch.zeros(14, 14)
    masks = [start_of(i, 2) for i in range(4)]
    starts = [
        explanation(photo=grey, height=400, width=400, start=i, saliency=flat, arrays={"start_mask": m})
        for i, m in enumerate(masks)
    ]
    sheet = figures.starts_sheet(starts)
    h, w = sheet.shape[0] // 2, sheet.shape[1] // 2
    for i in range(4):
        y, x = i // 2 * h, i % 2 * w
        u1, v1, u2, v2 = extent(close(sheet[y : y + h, x : x + w], figures.LIME))
        assert ((v1 + v2) / 2 > h / 2) == (i // 2 == 1)
        assert ((u1 + u2) / 2 > w / 2) == (i % 2 == 1)
        assert u2 - u1 > w / 4 or v2 - v1 > h / 4
        for part in (0.3, 0.7):  # away from the line the photo is as it was
            assert (sheet[y + int(part * h), x + int(part * w)] == 90).all()


@pytest.mark.parametrize("n", [1, 2, 5, 36])
def test_the_sheet_has_a_tile_per_start_and_stays_of_a_size(n: int) -> None:
    grey = np.full((400, 400, 3), 90, np.uint8)
    starts = [explanation(400, 400, photo=grey, start=i, saliency=torch.zeros(3, 3)) for i in range(n)]
    sheet = figures.starts_sheet(starts)
    _, _, parts, _ = cv2.connectedComponentsWithStats(close(sheet, (90, 90, 90), 0).astype(np.uint8))
    assert (parts[1:, cv2.CC_STAT_AREA] > 200 * 200).sum() == n
    assert sheet.shape[1] < 2000


def test_a_tile_shows_the_object_and_a_margin() -> None:
    photo = np.zeros((1000, 1000, 3), np.uint8)
    photo[400:600, 400:600] = 255
    e = explanation(1000, 1000, photo=photo, box=(400, 400, 600, 600), start=3, saliency=torch.zeros(7, 7))
    tile = figures.starts_sheet([e])
    x1, y1, x2, y2 = extent(close(tile, layout.SKY))
    assert x2 - x1 == pytest.approx(figures.TILE[1] / 1.5, abs=5) == pytest.approx(y2 - y1, abs=5)


@cache
def sound() -> tuple[Explanation, list[tuple[Callable[[Explanation], np.ndarray], np.ndarray]]]:
    """An explanation that shows something, and the ways to draw it, each with its picture."""
    fine = explanation(360, 480, attribution=torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(0)))
    return fine, [(d, d(fine)) for d in (lambda e: figures.overlay(e, label=False), figures.heatmap, signed)]


@pytest.mark.parametrize("status", EMPTY)
def test_a_map_that_shows_nothing_does_not_glow(status: str) -> None:
    """No heat, no contour, no green and red: grey, and a stamp that says why; the box and the label stay."""
    fine, drawn = sound()
    e = replace(fine, status=status)
    for draw, usual in drawn:
        made = draw(e)
        assert np.ptp(usual.astype(int), axis=2).max() > 100 and made.shape == usual.shape
        assert np.ptp(made[..., :2].astype(int), axis=2).max() <= 6, "grey but for the band"
        band = made[made.shape[0] // 2 - 20 : made.shape[0] // 2 + 20]
        assert close(band, (255, 255, 255), 60).any() and (band.max(axis=2) < 90).mean() > 0.4
    boxed = explanation(360, 480, box=(60, 100, 220, 300), status=status)
    assert close(figures.overlay(boxed), SKY).sum() > 1500, "box and label"
    assert close(figures.overlay(boxed, label=False), SKY).sum() > 500


def test_the_plot_and_the_tile_name_a_status_of_no_use(coarse: None, monkeypatch: pytest.MonkeyPatch) -> None:
    titles: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_title", lambda self, text, **_: titles.append(text))
    figures.curves(explanation(scores=measured(), status="saturated"))
    figures.curves(explanation(scores=measured()))
    assert titles == ["dog 0.89, iGOS+, saturated", "dog 0.89, iGOS+"]
    tile = {s: figures.starts_sheet([explanation(start=0, status=s)]) for s in ("ok", "stalled")}
    assert np.ptp(tile["ok"].astype(int), axis=2).max() > 100 > np.ptp(tile["stalled"].astype(int), axis=2).max()


@pytest.mark.parametrize("size", [(16, 16), (20, 300), (300, 20), (64, 48), (700, 1300)])
def test_a_stamp_fits_or_is_left_out(size: tuple[int, int]) -> None:
    e = explanation(*size, status="no-effect")
    for draw in (figures.overlay, figures.heatmap):
        assert draw(e).shape[2] == 3


def test_a_slide_of_a_classifier_shows_what_the_network_sees() -> None:
    seen = Geometry((100, 300), (50, 50), (0.5, 0.5), (0.0, -50.0))  # the middle third
    e = explanation(100, 300, box=None)
    middle = replace(e.image, geometry=seen, pixels=torch.zeros(3, 50, 50))
    assert slides._window(replace(e, image=middle)) == (100, 0, 200, 100)


# Slides


def curved(hides: tuple[str, int] | None = ("black", 28), alone: float = 0.9) -> tuple[Score, ...]:
    """Curves of ten steps: the first 20 % bring `alone` back and leave 0.1."""
    x = np.linspace(0, 1, 11)
    rising, falling = np.where(x >= 0.2, alone, 0.05), np.where(x >= 0.2, 0.1, 0.9)
    rising[-1], falling[0] = 0.9, 0.9
    return (
        Score("deletion", 0.2, "lower", np.stack([x, falling]), plot="deletion", hides=hides),
        Score("insertion", 0.8, "higher", np.stack([x, rising]), plot="insertion", hides=hides),
    )


def white(**fields: Any) -> Explanation:
    """A white picture, which black hides, seen by a network of 64 x 64."""
    e = explanation(photo=np.full((240, 320, 3), 255, np.uint8), **fields)
    return replace(e, image=replace(e.image, pixels=torch.ones(3, 64, 64)))


def test_a_slide_shows_what_was_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    panels: list[np.ndarray] = []
    told: list[str] = []
    original = slides._sheet

    def sheet(found: list[np.ndarray], under: list[Lettered], sentence: str, columns: int) -> np.ndarray:
        panels.extend(found)
        told.extend([*(t.text for t in under), sentence])
        return original(found, under, sentence, columns)

    monkeypatch.setattr(slides, "_sheet", sheet)
    made = slides.slide(white(scores=curved()))
    assert made is not None and made.shape[1] == 1280 and made.dtype == np.uint8
    assert told[:4] == ["dog 0.90", "iGOS+ NAG", "alone 0.90", "without 0.10"]
    said = "The 20 % of the picture that the map marks first give 0.90 alone, the whole 0.90"
    assert told[4] == f"{said}; without them 0.10 is left."
    _, _, alone, without = panels
    middle = alone.shape[0] // 2, alone.shape[1] // 2
    assert alone[middle].min() > 250 and alone[2, 2].max() < 5, "the hill alone on black"
    assert without[middle].max() < 5 and without[2, 2].min() > 250
    assert np.abs(alone.astype(int) + without - 255).max() <= 1, "each pixel is in one of them"
    assert 0.15 < (alone > 127).mean() < 0.25, "a fifth of it"


def test_the_share_of_a_slide_is_the_least_that_is_enough() -> None:
    assert slides.chosen(*curved()).share == pytest.approx(0.2)
    none = slides.chosen(*curved(alone=0.5))
    assert none.share == pytest.approx(0.1) and none.alone == pytest.approx(0.05), "none is: a tenth"


@pytest.mark.parametrize("scores", [(), measured(), curved(None), curved()[:1], (curved()[0], curved(("blur", 28))[1])])
def test_without_both_curves_over_the_same_cells_there_is_no_slide(scores: tuple[Score, ...]) -> None:
    assert slides.slide(white(scores=scores)) is None
    assert files.figure(white(scores=scores)) is None


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [(400, 30), (20, 500), (240, 320)])
def test_slides_of_any_name_and_shape(name: str, size: tuple[int, int]) -> None:
    for box in (None, (2, 2, 12, 12)):
        made = slides.slide(explanation(*size, name=name, box=box, scores=curved(("blur", 28))))
        assert made is not None and made.shape[1] == 1280 and made.shape[0] < 700


def test_a_slide_of_a_map_that_shows_nothing_says_so() -> None:
    e = white(scores=curved(), status="saturated")
    made, sound = slides.slide(e), slides.slide(replace(e, status="ok"))
    assert made is not None and sound is not None and (made != sound).any()
    assert slides.sentence(e, slides.chosen(*curved()), 0.9) == f"This map shows nothing: {EMPTY['saturated']}."
    unsure = slides.sentence(replace(e, status="unsure"), slides.chosen(*curved()), 0.9)
    assert unsure.endswith("The map is unsure.")


def test_a_small_object_is_shown_with_what_lies_round_it() -> None:
    small = explanation(1000, 2000, box=(100, 100, 140, 180))
    x1, y1, x2, y2 = slides._window(small)
    assert x1 <= 100 and y1 <= 100 and x2 >= 140 and y2 >= 180 and (x2 - x1) * (y2 - y1) < 0.1 * 2_000_000
    assert slides._window(explanation(box=(0, 0, 200, 200))) == (0, 0, 320, 240)


def test_the_strip_says_what_colours_and_lines_are() -> None:
    e = explanation(box=(40, 40, 200, 200))
    made, bare = figures.explained(e), figures.overlay(e)
    strip = made[len(bare) :]
    np.testing.assert_array_equal(made[: len(bare)], bare)
    ramp = figures.colour_table()[[10, 128, 245]]
    assert all(close(strip, tuple(int(v) for v in colour), 12).any() for colour in ramp), "the bar"
    empty = figures.explained(replace(e, status="no-effect"))[len(bare) :]
    assert not close(empty, (252, 255, 164), 20).any(), "no colours where the map shows nothing"
    assert figures.explained(explanation(20, 400, saliency=torch.zeros(7, 7))).shape[1] == 720


def test_heat_in_any_colours_of_matplotlib() -> None:
    e = explanation()
    usual = figures.heatmap(e)
    try:
        figures.use_colours("viridis")
        assert (figures.heatmap(e) != usual).any() and tuple(figures.colour_table()[0].round()) == (68, 1, 84)
        with pytest.raises(ConfigError, match="--set colormap=virdis: .*did you mean viridis"):
            figures.use_colours("virdis")
    finally:
        figures.use_colours(None)
    np.testing.assert_array_equal(figures.heatmap(e), usual)


def test_a_narrow_strip_has_rows_and_says_the_same() -> None:
    """On a tall picture, what has no room at the right stands below."""
    strips = {}
    for width in (960, 427, 200):
        e = explanation(640, width, box=(4, 40, width - 4, 200))
        bare = figures.overlay(e)
        strips[width] = figures.explained(e)[len(bare) :] / layout.thin(bare)
        ink = [np.asarray(row) for row in (strips[width] > 150).all(axis=2)]
        assert not any(row[-3:].any() for row in ink), "nothing is cut at the edge"
    rows = {
        width: int(np.diff((strip > 150).any(axis=(1, 2)).astype(int)).clip(0).sum()) for width, strip in strips.items()
    }
    assert rows == {960: 1, 427: 2, 200: 3}


def test_a_flat_slide_has_two_rows_of_large_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    shapes: dict[int, tuple[int, ...]] = {}
    original = slides._sheet

    def sheet(found: list[np.ndarray], under: list[Lettered], sentence: str, columns: int) -> np.ndarray:
        shapes[columns] = found[0].shape
        return original(found, under, sentence, columns)

    monkeypatch.setattr(slides, "_sheet", sheet)
    flat = slides.slide(explanation(100, 500, scores=curved(("blur", 28))))
    usual = slides.slide(explanation(100, 200, scores=curved(("blur", 28))))
    assert shapes == {2: (124, 622, 3), 4: (152, 305, 3)}
    assert flat is not None and usual is not None and 2 * (124 + 40) < len(flat) < 2 * (124 + 60) + 60
    for i, x in enumerate((12, 646)):  # a line of letters below every panel
        for top in (12 + 124, len(flat) // 2 + 80):
            assert (flat[top + 8 : top + 40, x : x + 622] < 60).any(), (i, top)


def test_the_lines_of_a_sentence_are_about_alike() -> None:
    text = "The 20 % of the picture that the map marks first give 0.99 alone, the whole 1.00. The map is unsure."
    long = slides.font(slides.LETTERS).getlength(text)
    assert slides._wrapped(text, long + 1) == [text]
    first, second = slides._wrapped(text, 0.9 * long)
    assert f"{first} {second}" == text and 0.6 < len(second) / len(first) < 1.4


def test_a_map_of_few_high_cells_keeps_its_shape_where_it_fills_the_picture() -> None:
    """From afar all of a small object's heat is full, so that it shows; close by its colours tell more from less."""
    saliency = torch.zeros(28, 28)
    saliency[13:15, 13:15] = 1.0
    saliency[12, 13:15] = 0.6
    e = explanation(560, 560, saliency=saliency, box=(255, 235, 305, 305))
    far, near = figures._view(e, figures._whole(e), (560, 560)), figures._view(e, (220, 200, 340, 340), (560, 480))
    assert far.full < 0.7 and near.full > 0.9
