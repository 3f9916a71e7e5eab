"""Reading pictures: each kind against numpy, each refusal one line that names the file."""

from __future__ import annotations

import io
import random
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest

from detectors.pictures import FORMATS, read_rgb
from igos.types import ImageError

ORIENTATION = 0x0112


def colours(height: int = 24, width: int = 40, channels: int = 3) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, channels), dtype=np.uint8)


def smooth(height: int = 120, width: int = 200) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([255 * x / width, 255 * y / height, 255 * (x + y) / (height + width)], axis=2).astype(np.uint8)


def refusal(source: Any) -> str:
    with pytest.raises(ImageError) as caught:
        read_rgb(source)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    if isinstance(source, Path):
        assert str(source) in message
    return message


def over_white(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:] / 255
    return rgba[..., :3] * alpha + 255 * (1 - alpha)


# --- kinds of pictures --------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".tif", ".webp", ".ppm"])
@pytest.mark.parametrize("as_text", [True, False])
def test_lossless_colours_come_back(tmp_path: Path, suffix: str, as_text: bool) -> None:
    path = tmp_path / f"a{suffix}"
    PIL.Image.fromarray(colours()).save(path, lossless=True)
    rgb, name = read_rgb(str(path) if as_text else path)
    assert name == str(path) and rgb.dtype == np.uint8 and rgb.shape == (24, 40, 3)
    np.testing.assert_array_equal(rgb, colours())


def test_a_jpeg_is_close(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(smooth()).save(path, quality=95)
    assert np.abs(read_rgb(path)[0].astype(int) - smooth()).mean() < 2


def test_the_suffix_does_not_matter(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(colours()).save(path, format="PNG")
    np.testing.assert_array_equal(read_rgb(path)[0], colours())


@pytest.mark.parametrize("form", ["png", "array", "pil"])
def test_grey(tmp_path: Path, form: str) -> None:
    grey = colours()[..., 0]
    picture = PIL.Image.fromarray(grey)
    picture.save(tmp_path / "a.png")
    source: Any = {"png": tmp_path / "a.png", "array": grey, "pil": picture}[form]
    rgb, name = read_rgb(source)
    assert (name is None) == (form != "png")
    np.testing.assert_array_equal(rgb, np.repeat(grey[..., None], 3, axis=2))


def test_black_and_white(tmp_path: Path) -> None:
    bits = colours()[..., 0] > 127
    PIL.Image.fromarray(bits).save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png")[0], np.repeat(bits[..., None] * np.uint8(255), 3, 2))


def test_grey_with_alpha_lies_over_white(tmp_path: Path) -> None:
    pair = colours(channels=2)
    PIL.Image.fromarray(pair, mode="LA").save(tmp_path / "a.png")
    alpha = pair[..., 1:] / 255
    expected = np.repeat(pair[..., :1] * alpha + 255 * (1 - alpha), 3, axis=2)
    np.testing.assert_allclose(read_rgb(tmp_path / "a.png")[0], expected, rtol=0, atol=1)


@pytest.mark.parametrize("form", ["png", "array", "pil"])
def test_alpha_lies_over_white(tmp_path: Path, form: str) -> None:
    rgba = colours(channels=4)
    rgba[:6, :, 3], rgba[6:12, :, 3] = 0, 255
    picture = PIL.Image.fromarray(rgba)
    picture.save(tmp_path / "a.png")
    source: Any = {"png": tmp_path / "a.png", "array": rgba, "pil": picture}[form]
    rgb, _ = read_rgb(source)
    assert bool((rgb[:6] == 255).all())
    np.testing.assert_array_equal(rgb[6:12], rgba[6:12, :, :3])
    np.testing.assert_allclose(rgb, over_white(rgba), rtol=0, atol=1)


@pytest.mark.parametrize("transparency", [1, bytes([0, 255, 128])])
def test_a_palette_with_transparency(tmp_path: Path, transparency: int | bytes) -> None:
    indices = np.random.default_rng(0).integers(0, 3, (20, 30), dtype=np.uint8)
    table = np.array([[255, 0, 0], [0, 200, 0], [10, 20, 30]])
    picture = PIL.Image.fromarray(indices, mode="P")
    picture.putpalette(table.astype(np.uint8).tobytes())
    picture.save(tmp_path / "a.png", transparency=transparency)
    alphas = [255, 0, 255] if isinstance(transparency, int) else list(transparency)
    rgba = np.concatenate([table, np.array(alphas)[:, None]], axis=1)[indices]
    np.testing.assert_allclose(read_rgb(tmp_path / "a.png")[0], over_white(rgba), rtol=0, atol=1)


@pytest.mark.parametrize(("mode", "key"), [("RGB", (9, 8, 7)), ("L", 9)])
def test_a_transparent_colour_turns_white(tmp_path: Path, mode: str, key: Any) -> None:
    picture = PIL.Image.new(mode, (20, 20), key)
    picture.paste(0, (0, 0, 20, 10))
    picture.save(tmp_path / "a.png", transparency=key)
    rgb = read_rgb(tmp_path / "a.png")[0]
    assert bool((rgb[:10] == 0).all()) and bool((rgb[10:] == 255).all())


def test_a_cmyk_jpeg(tmp_path: Path) -> None:
    cmyk = np.zeros((40, 60, 4), dtype=np.uint8)
    cmyk[:, :30] = (0, 255, 255, 0)  # red
    cmyk[:, 30:] = (255, 0, 0, 51)  # cyan, a fifth black
    PIL.Image.fromarray(cmyk, mode="CMYK").save(tmp_path / "a.jpg", quality=95)
    rgb = read_rgb(tmp_path / "a.jpg")[0]
    np.testing.assert_allclose(rgb[:, 2:28], np.broadcast_to([255, 0, 0], (40, 26, 3)), rtol=0, atol=6)
    np.testing.assert_allclose(rgb[:, 34:58], np.broadcast_to([0, 204, 204], (40, 24, 3)), rtol=0, atol=6)


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_grey_is_scaled_by_1_257(tmp_path: Path, suffix: str) -> None:
    levels = np.arange(256, dtype=np.uint16)
    wide = np.repeat(np.concatenate([257 * levels, [65535, 0, 128, 129, 300]])[None].astype(np.uint16), 20, axis=0)
    PIL.Image.fromarray(wide).save(tmp_path / f"a{suffix}")
    rgb = read_rgb(tmp_path / f"a{suffix}")[0]
    assert bool((rgb == rgb[:1, :, :1]).all())
    np.testing.assert_array_equal(rgb[0, :256, 0], levels)
    assert rgb[0, 256:, 0].tolist() == [255, 0, 0, 1, 1]


def test_a_dark_sixteen_bit_picture_stays_dark(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((20, 20), 200, dtype=np.uint16)).save(tmp_path / "a.png")
    assert bool((read_rgb(tmp_path / "a.png")[0] == 1).all())


def test_sixteen_bit_pgm(tmp_path: Path) -> None:
    levels = np.repeat((257 * np.arange(32, dtype=np.uint16))[None], 16, axis=0)
    (tmp_path / "a.pgm").write_bytes(b"P5 32 16 65535\n" + levels.astype(">u2").tobytes())
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.pgm")[0][0, :, 0], np.arange(32))


def test_the_first_frame_of_an_animation(tmp_path: Path) -> None:
    frames = [PIL.Image.new("RGB", (20, 20), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_rgb(tmp_path / "a.gif")[0][0, 0].tolist() == [255, 0, 0]


def test_a_jpeg_of_several_pictures(tmp_path: Path) -> None:
    """Telephones write them (MPO); the first is the photo."""
    frames = [PIL.Image.new("RGB", (32, 32), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.jpg", format="MPO", save_all=True, append_images=frames[1:])
    np.testing.assert_allclose(read_rgb(tmp_path / "a.jpg")[0][16, 16], [255, 0, 0], rtol=0, atol=4)


TURNS: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # what a viewer does to show it upright (EXIF 2.3, 4.6.4)
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.transpose(1, 0, 2),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).transpose(1, 0, 2),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", TURNS)
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientations(tmp_path: Path, orientation: int, suffix: str) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    PIL.Image.fromarray(colours()).save(tmp_path / f"a{suffix}", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / f"a{suffix}")[0], TURNS[orientation](colours()))


@pytest.mark.parametrize("orientation", TURNS)
def test_exif_orientations_of_a_jpeg(tmp_path: Path, orientation: int) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = orientation
    PIL.Image.fromarray(smooth()).save(tmp_path / "a.jpg", exif=exif, quality=95)
    turned = TURNS[orientation](smooth())
    rgb = read_rgb(tmp_path / "a.jpg")[0]
    assert rgb.shape == turned.shape and np.abs(rgb.astype(int) - turned).mean() < 2
    with PIL.Image.open(tmp_path / "a.jpg") as opened:
        np.testing.assert_array_equal(read_rgb(opened)[0], rgb)


def test_an_exif_orientation_that_does_not_exist_is_ignored(tmp_path: Path) -> None:
    exif = PIL.Image.Exif()
    exif[ORIENTATION] = 99
    PIL.Image.fromarray(colours()).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "a.png")[0], colours())


def test_what_is_given_stays_as_it_was() -> None:
    array, rgba = colours(), colours(channels=4)
    picture = PIL.Image.fromarray(rgba)
    rgb, _ = read_rgb(array)
    rgb[:] = 0
    np.testing.assert_array_equal(array, colours())
    read_rgb(picture)
    assert picture.mode == "RGBA" and np.array_equal(np.asarray(picture), rgba)


def test_a_view_of_an_array() -> None:
    np.testing.assert_array_equal(read_rgb(colours(48, 80)[::-2, ::2])[0], colours(48, 80)[::-2, ::2])


# --- refusals -----------------------------------------------------------------------------------------


def encoded(suffix: str) -> bytes:
    data = io.BytesIO()
    options: dict[str, Any] = {"format": "JPEG", "progressive": True} if suffix == "progressive" else {"format": suffix}
    noisy = smooth() ^ (colours(120, 200) >> 4)
    PIL.Image.fromarray(noisy).save(data, **options)
    return data.getvalue()


@pytest.mark.parametrize("kind", ["JPEG", "progressive", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_a_file_cut_off_is_refused(tmp_path: Path, kind: str) -> None:
    data, path = encoded(kind), tmp_path / "a.jpg"
    path.write_bytes(data)
    read_rgb(path)
    for share in (0.02, 0.25, 0.5, 0.75, 0.97):
        path.write_bytes(data[: int(share * len(data))])
        refusal(path)


def test_a_lazily_opened_picture_cut_off_is_refused() -> None:
    data = encoded("JPEG")
    assert "damaged or cut off" in refusal(PIL.Image.open(io.BytesIO(data[: len(data) // 2])))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0",
        b"this is no picture\n",
        b"<html>404</html>" * 99,
        b"\xff\xd8\xff\xe0",
        b"\x89PNG\r\n\x1a\n",
        b"GIF89a",
    ],
)
def test_text_named_jpg_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    refusal(path)


def test_text_named_jpg_is_told_the_formats(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    path.write_text("hello")
    assert all(name in refusal(path) for name in FORMATS)


def test_a_file_that_would_start_another_program_is_refused(tmp_path: Path) -> None:
    """Pillow gives PostScript to Ghostscript, whatever the file is called."""
    path = tmp_path / "a.jpg"
    path.write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 100 100\n%%EndComments\nshowpage\n")
    assert "format" in refusal(path) and "Ghostscript" not in refusal(path)


@pytest.mark.parametrize("name", ["missing.jpg", "no/such/folder.png", "x" * 300])
def test_a_missing_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ImageError, match="no such file"):
        read_rgb(tmp_path / name)


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert "folder" in refusal(tmp_path)


@pytest.mark.parametrize(("height", "width"), [(15, 16), (16, 15), (1, 1), (15, 200)])
@pytest.mark.parametrize("as_file", [True, False])
def test_a_tiny_picture_is_refused(tmp_path: Path, height: int, width: int, as_file: bool) -> None:
    source: Any = colours(height, width)
    if as_file:
        PIL.Image.fromarray(source).save(tmp_path / "a.png")
        source = tmp_path / "a.png"
    message = refusal(source)
    assert f"{width} x {height} px" in message and "16" in message


@pytest.mark.parametrize(("height", "width"), [(16, 321), (321, 16), (20, 401)])
def test_a_very_long_picture_is_refused(height: int, width: int) -> None:
    message = refusal(colours(height, width))
    assert f"{width} x {height} px" in message and "20" in message


@pytest.mark.parametrize(("height", "width"), [(16, 16), (16, 320), (320, 16), (20, 400)])
def test_the_limits_themselves_are_read(height: int, width: int) -> None:
    assert read_rgb(colours(height, width))[0].shape == (height, width, 3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64, np.uint16, bool])
def test_an_array_of_another_type_is_refused(dtype: Any) -> None:
    message = refusal(np.zeros((20, 20, 3), dtype=dtype))
    assert np.dtype(dtype).name in message and "uint8" in message


@pytest.mark.parametrize("shape", [(20,), (20, 20, 1), (20, 20, 2), (20, 20, 5), (3, 20, 20), (1, 20, 20, 3), ()])
def test_an_array_of_another_shape_is_refused(shape: tuple[int, ...]) -> None:
    message = refusal(np.zeros(shape, dtype=np.uint8))
    assert str(shape) in message and "(H,W,3)" in message


@pytest.mark.parametrize("shape", [(0, 0, 3), (0, 20), (20, 0, 4)])
def test_an_empty_array_is_refused(shape: tuple[int, ...]) -> None:
    refusal(np.zeros(shape, dtype=np.uint8))


@pytest.mark.parametrize("source", [None, 3, [[1, 2]], b"a.jpg", object()])
def test_what_is_no_picture_at_all_is_refused(source: Any) -> None:
    assert ("None" if source is None else type(source).__name__) in refusal(source)


def test_floating_point_pixels_are_refused(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.full((20, 20), 0.5, dtype=np.float32)).save(tmp_path / "a.tif")
    assert "floating-point" in refusal(tmp_path / "a.tif")


@pytest.mark.parametrize("limit", [24 * 40 - 1, 24 * 40 // 3])
def test_a_decompression_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    """Pillow warns beyond its limit and refuses beyond twice that; both are refusals here."""
    PIL.Image.fromarray(colours()).save(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", limit)
    assert f"more than {limit} pixels" in refusal(tmp_path / "a.png")
    monkeypatch.setattr(PIL.Image, "MAX_IMAGE_PIXELS", 24 * 40)
    assert read_rgb(tmp_path / "a.png")[0].shape == (24, 40, 3)


def test_no_file_is_left_open(tmp_path: Path) -> None:
    """Frames stay open in Pillow until told: animations and a broken file."""
    frames = [PIL.Image.new("RGB", (20, 20), c) for c in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "b.jpg").write_bytes(encoded("JPEG")[:3000])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        read_rgb(tmp_path / "a.gif")
        refusal(tmp_path / "b.jpg")
    assert [str(w.message) for w in caught] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP", "PPM"])
def test_damaged_bytes_are_read_or_refused(tmp_path: Path, kind: str) -> None:
    """A decoder may meet anything; nothing but ImageError may come out."""
    chance, data, path = random.Random(0), encoded(kind), tmp_path / "a.jpg"
    refused = 0
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(chance.choice([1, 3, 20])):
            damaged[chance.randrange(chance.choice([64, len(data)]))] = chance.choice([0, 255, chance.randrange(256)])
        path.write_bytes(damaged)
        try:
            assert read_rgb(path)[0].ndim == 3
        except ImageError as error:
            refused += 1
            assert "\n" not in str(error)
    assert refused > 0
