"""Files and names from strangers: nothing of them is run, nothing is written elsewhere, nothing fills the memory."""

from __future__ import annotations

import ast
import csv
import io
import json
import os
import pickle
import resource
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from torch import nn

from detectors.checkpoint import load_state_dict
from detectors.pictures import read_rgb
from igos import cli
from igos.base import resources, untrusted
from igos.base.files import safe_name
from igos.cli import explain
from igos.cli.report import write_page
from igos.data.annotations import known_of, truths_of
from igos.data.coco import decode
from igos.data.emblems import CLASSES
from igos.results.folder import RunFolder
from igos.results.read import read_rows
from igos.run.presets import read_preset
from igos.types import ConfigError, IgosError, ImageError, WeightsError
from tests.faults import SKETCHES
from tests.fuzzing import CFG, LAUGHS, XML
from tests.pages import rewrite, toy_run
from tests.results.test_page import Opener
from tests.results.test_page import browser as browser
from tests.results.test_page import opened as opened

ROOT = Path(__file__).resolve().parents[2]
SOURCES = [p for folder in ("igos", "detectors", "weights", "samples") for p in sorted((ROOT / folder).rglob("*.py"))]
ABSOLUTE = f"{tempfile.gettempdir()}/escaped"
HOSTILE = (
    "../../../../escaped",
    ABSOLUTE,
    "..",
    "C:\\escaped",
    "a\0b",
    "x" * 5000,
    "é\u202e犬" * 100,
    "CON",
    "<script>window.taken=1</script>",
    "</script><script>window.taken=1</script>",
    "\"'><img src=x onerror=window.taken=1>",
    "javascript:window.taken=1",
    "=cmd|' /C calc'!A0",
    "{{7*7}}",
    "${window.taken=1}",
)


class Trap:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


@pytest.fixture
def trap(tmp_path: Path) -> Iterator[Trap]:
    """A trap that works, and that nothing has sprung at the test's end."""
    made = Trap(tmp_path / "sprung")
    pickle.loads(pickle.dumps(made))
    assert made.path.exists()
    made.path.unlink()
    yield made
    assert not made.path.exists()


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run without --output makes its folder by the second, which another process of the tests would choose too."""
    monkeypatch.chdir(tmp_path)


def refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    """What the command says when it refuses, in one line."""
    capsys.readouterr()
    assert cli.main(words) == 2
    told = [line for line in capsys.readouterr().err.splitlines() if "warning" not in line]
    assert len(told) == 1 and told[0].startswith("igos: "), told
    return told[0]


def grown(work: Callable[[], Any]) -> int:
    """How many bytes the process's peak grew by."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work()
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10


# --- nothing is run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_source_unpickles_evaluates_or_calls_a_shell(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            named = {a.name.split(".")[0] for a in node.names} | {(getattr(node, "module", "") or "").split(".")[0]}
            assert named.isdisjoint({"pickle", "cPickle", "dill", "joblib", "marshal", "shelve", "cloudpickle"})
        if isinstance(node, ast.Call):
            call, flags = ast.unparse(node.func), {k.arg: ast.unparse(k.value) for k in node.keywords}
            assert call not in ("eval", "exec", "os.system", "os.popen", "yaml.load", "yaml.unsafe_load", "np.load"), (
                call
            )
            assert call != "torch.load" or flags.get("weights_only") == "True"
            assert flags.get("shell") != "True" and flags.get("allow_pickle") != "True"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("how", ["trap", "module", "wrapped module", "pickle", "TorchScript"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ".weights"])
def test_a_checkpoint_of_objects_is_refused_and_never_run(
    trap: Trap, tmp_path: Path, how: str, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """torch.load(weights_only=True) is what holds; the other formats hold no objects at all."""
    path, network = tmp_path / f"a{suffix}", nn.Sequential(nn.Linear(2, 2))
    network.extra = trap  # type: ignore[assignment]
    if how == "pickle":
        path.write_bytes(pickle.dumps(trap))
    elif how == "TorchScript":
        torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), str(path))
    else:
        torch.save({"trap": trap, "module": network, "wrapped module": {"model": network}}[how], path)
    if suffix != ".weights":
        with pytest.raises(WeightsError) as caught:
            load_state_dict(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    (tmp_path / "a.cfg").write_text(CFG)
    words = ["--model", "darknet", "--cfg", str(tmp_path / "a.cfg"), "--model_file", str(path)]
    assert str(path) in refused([*words, "--data", str(sample())], capsys)


def sample() -> Path:
    return resources.folder("samples") / "scene-04.png"


def objects(path: Path, trap: Trap, names: list[str]) -> Path:
    np.savez(path, **{n: np.array([trap], object) for n in names})  # type: ignore[arg-type]
    return path


def test_arrays_of_objects_are_refused(trap: Trap, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As weights, patterns and statistics, and in the folder of a run that someone sent."""
    path = objects(tmp_path / "a.npz", trap, ["A_0", "arr_0", "mean"])
    data = ["--data", str(sample())]
    caffe = ["--model", "vgg16-caffe", "--model_file", str(path), *data]
    assert "Python objects" in refused(caffe, capsys)
    patterns = ["--model", "emblem-vgg", "--method", "pattern_net", "--patterns", str(path), *data]
    assert "Python objects" in refused(patterns, capsys)
    stats = tmp_path / "a.safetensors"
    stats.write_bytes(pickle.dumps(trap))
    iba = ["--model", "emblem-vgg", "--method", "iba", "--stats", str(stats), *data]
    assert "not .safetensors" in refused(iba, capsys)
    run = toy_run(tmp_path / "run", 1)
    objects(run / "picture" / "0" / "explanation.npz", trap, ["saliency", "saliency_source", "geometry", "box"])
    assert "Python objects" in refused(["export", str(run), "--format", "png", "--out", str(tmp_path / "o")], capsys)
    assert cli.main(["report", str(run)]) == 0, "the page shows the row and says why it has no map"
    assert "Python objects" in (run / "report.html").read_text()


LAUGHING_LISTS = "a0: &a0 x\n" + "".join(f"a{i}: &a{i} [{f'*a{i - 1},' * 9}]\n" for i in range(1, 10))
LAUGHING_MERGES = "a0: &a0 {x: 1}\n"
LAUGHING_MERGES += "".join(f"a{i}: &a{i} {{<<: [{f'*a{i - 1},' * 9}]}}\n" for i in range(1, 10))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("model: !!python/object/apply:os.mkdir [sprung]", "could not determine a constructor"),
        ("model: !!python/name:os.system", "could not determine a constructor"),
        (LAUGHING_LISTS, "aliases stand for more"),
        (LAUGHING_MERGES, "aliases stand for more"),
        ("a: &a [*a]", "within itself"),
        ("[" * 500, "nested too deeply"),
        ("model: 0x" + "f" * 9999, "10001 digits"),
        ("model: 2001-99-99", "month must be in"),
        ("model: !!int ''", "YAML"),
        ('names: "a\\0b"', "must be a word"),
        ('data: ["\\ud800"]', "must be a list"),
    ],
)
def test_a_preset_holds_plain_data_and_no_bomb(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").write_text(text)
    assert why in refused(["--config", "a.yaml", "--data", str(sample())], capsys)
    assert not (tmp_path / "sprung").exists()


# --- nothing is written elsewhere, and nothing of a name becomes code ---------------------------------------


def tree(folder: Path) -> set[Path]:
    return {p for p in folder.rglob("*") if not p.is_symlink() or p.is_file()}


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of the command on a bundled detector whose classes, and on pictures whose files, have hostile names.

    The pictures' folder also holds links: out of it, round in a circle, to no picture, to nothing; and a pipe.
    """
    place = tmp_path_factory.mktemp("hostile") / "a" / "b" / "c" / "d"
    data, outside = place / "data", place / "outside"
    for folder in (data / "x..", outside):
        folder.mkdir(parents=True)
    bytes_ = sample().read_bytes()
    for name in ("\"'><img src=x onerror=window.taken=1>.png", "x../..=1+1.png", "a\njavascript:1.png"):
        (data / name).write_bytes(bytes_)
    (outside / "linked.png").write_bytes(bytes_)
    (data / "link.png").symlink_to(outside / "linked.png")
    (data / "passwd.png").symlink_to("/etc/passwd")
    (data / "nothing.png").symlink_to(outside / "gone.png")
    (data / "folder").symlink_to(outside, target_is_directory=True)
    (data / "circle").symlink_to(data, target_is_directory=True)
    os.mkfifo(data / "pipe.png")
    names = place / "a.names"
    names.write_text("\n".join(HOSTILE[i % len(HOSTILE)] for i in range(len(CLASSES))))
    top, before = place.parents[3], tree(place.parents[3])
    weights = resources.folder("weights") / "emblem-yolov3spp.safetensors"
    words = ["--model", "darknet", "--cfg", str(resources.folder("configs") / "emblem-yolov3spp.cfg")]
    words += ["--model_file", str(weights), "--fit", "letterbox", "--input_size", "160", "--names", str(names)]
    words += ["--data", str(data), "--config", "quick", "--metrics", "deletion", "--output", str(place / "out")]
    words += ["--size", "8"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("igos.run.workers.worker.FIGURES", SKETCHES)
        assert cli.main([*words, "--iterations", "1", "--set", "deletion.steps=2", "sure=false"]) == 0
    written = tree(top) - before
    assert written and all(p.is_relative_to(place / "out") for p in written), "nothing beside the output folder"
    assert (outside / "linked.png").read_bytes() == bytes_ and not Path(ABSOLUTE).exists()
    return place / "out"


def test_names_of_folders_are_tame(hostile: Path) -> None:
    rows = [r for r in read_rows(hostile) if r["folder"]]
    assert len(rows) >= 5 and {r["name"] for r in rows} <= set(HOSTILE)
    for path in hostile.rglob("*"):
        assert len(os.fsencode(path.name)) < 255 and not set(path.name) & set("\0\n\\:<>\"'|?*= "), path
    for row in rows:
        assert (hostile / row["folder"] / "overlay.png").is_file()
        assert not any(part.startswith(".") for part in Path(row["folder"]).parts)


def test_tables_hold_every_name_as_text(hostile: Path) -> None:
    rows = read_rows(hostile)
    with open(hostile / "results.csv", newline="", encoding="utf-8") as file:
        table = list(csv.DictReader(file))
    assert len(table) == len(rows)
    for line, row in zip(table, rows, strict=True):
        assert line["name"].removeprefix("'") == (row["name"] or "") and line["image"] == row["image"]
        assert not any(str(cell).startswith(("=", "+", "@", "\t")) for cell in line.values())
    unread = {Path(r["image"]).name: r for r in rows if r["status"] == "unreadable"}
    assert set(unread) == {"passwd.png"} and "root:" not in unread["passwd.png"]["error"]


def test_a_formula_in_a_table_is_text(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    names = ["=1+1", "+1", "-1", "@a", "\t=1", "a=1", "dog"]
    for name in names:
        folder.add({"image": "a.png", "name": name, "score": -0.5, "box": [-0.0, 1, 2, 3]})
    folder.finish()
    lines = list(csv.DictReader((tmp_path / "run" / "results.csv").read_text().splitlines()))
    assert [line["name"] for line in lines] == ["'=1+1", "'+1", "'-1", "'@a", "'\t=1", "a=1", "dog"]
    assert {line["score"] for line in lines} == {"-0.5"} and {line["box"] for line in lines} == {"0 1 2 3"}
    assert [r["name"] for r in read_rows(tmp_path / "run")] == names


def test_the_page_runs_no_name(hostile: Path, opened: Opener) -> None:
    """Every explanation opened, every filter chosen: no script but the page's own, no dialog, no request."""
    shown = opened(hostile / "report.html")
    dialogs: list[str] = []
    shown.on("dialog", lambda d: (dialogs.append(d.message), d.dismiss()))
    names = [r["name"] for r in read_rows(hostile) if r["folder"]]
    for n in sorted({names.index(name) for name in names}):
        shown.goto(f"file://{hostile}/report.html#{n}")
        shown.wait_for_selector("dialog[open]")
    assert shown.evaluate("window.taken") is None and dialogs == []
    assert (
        shown.locator("script:not([type='application/json'])").count() == 1
        and shown.locator("script[src]").count() == 0
    )
    assert shown.locator("img[src=x]").count() == 0
    assert shown.locator("a[href^='javascript']").count() == 0 and "49" not in str(shown.title())


@pytest.mark.parametrize("name", [*HOSTILE, "con.txt", "LPT1", "nul", ".hidden", "a/../b", "a\nb", f"{'a.' * 30}b"])
def test_a_safe_name_is_one_folder_s_on_any_system(tmp_path: Path, name: str) -> None:
    made = safe_name(name)
    (tmp_path / made).mkdir()
    assert [p.name for p in tmp_path.iterdir()] == [made] and len(made) <= 61
    assert made.split(".")[0].lower() not in ("con", "prn", "aux", "nul", "lpt1") and made[0] != "." != made[-1]


@pytest.mark.parametrize("folder", ["../../escaped", ABSOLUTE, "a/../../escaped"])
def test_a_run_from_a_stranger_names_no_folder_outside(
    tmp_path: Path, folder: str, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(tmp_path / "x" / "run", 1)
    rewrite(run, lambda text: text.replace('"folder": "picture/0"', f'"folder": "{folder}"'))
    out = str(tmp_path / "o")
    for words in (["report", str(run)], ["export", str(run), "--format", "fiftyone", "--out", out]):
        assert "outside the run's folder" in refused(words, capsys)
    assert "outside the run's folder" in refused(["evaluate", "--results", str(run), "--output", out], capsys)
    assert not (tmp_path / "escaped").exists() and not Path(ABSOLUTE).exists()


# --- nothing fills the memory -------------------------------------------------------------------------------


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(side: int, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", side, side, 16, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", zlib.compress(bytes(999)))


def gif(side: int) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("P", (32, 32)).save(out, "GIF")
    return out.getvalue()[:6] + struct.pack("<HH", side, side) + out.getvalue()[10:]


def tiff(side: int) -> bytes:
    out = io.BytesIO()
    PIL.Image.new("L", (32, 32)).save(out, "TIFF")
    small, big = (struct.pack("<HHII", tag, 4, 1, 32) for tag in (256, 257))
    data = out.getvalue()
    for tag in (256, 257):
        at = data.index(struct.pack("<H", tag), 8)
        data = data[:at] + struct.pack("<HHII", tag, 4, 1, side) + data[at + 12 :]
    return data


BOMBS = {
    "png": lambda: png(60_000),
    "gif": lambda: gif(65_535),
    "tiff": lambda: tiff(60_000),
    "text": lambda: png(32, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(64 << 20)))),
    "profile": lambda: png(32, chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(64 << 20)))),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_picture_that_unpacks_to_gigabytes_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(BOMBS[kind]())
    told = ""

    def read() -> None:
        nonlocal told
        with pytest.raises(ImageError) as caught:
            read_rgb(path)
        told = str(caught.value)

    assert grown(read) < 300 << 20 and str(path) in told
    if kind in ("png", "gif", "tiff"):
        assert "pixels; make it smaller first" in told


def test_a_picture_s_shape_is_looked_at_before_it_is_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    PIL.Image.new("RGB", (40, 2000)).save(tmp_path / "long.tif")
    monkeypatch.setattr(PIL.Image.Image, "load", lambda self: pytest.fail("decoded"))
    with pytest.raises(ImageError, match="40 x 2000 px; a side may be at most 20 times the other"):
        read_rgb(tmp_path / "long.tif")


@pytest.mark.parametrize("value", ["-Infinity", "NaN", "1e999"])
def test_a_box_without_numbers_is_left_out(tmp_path: Path, value: str) -> None:
    text = (
        '{"images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],'
        ' "categories": [{"id": 3, "name": "dog"}],'
        f' "annotations": [{{"id": 7, "image_id": 1, "category_id": 3, "bbox": [2, {value}, 9, 8],'
        ' "segmentation": [[2, 1, 11, 1, 11, 9, 2, 9]]}]}'
    )
    (tmp_path / "i.json").write_text(text)
    objects, (told,), *_ = known_of(str(tmp_path / "a.png"), str(tmp_path / "i.json"))
    assert objects == [] and "annotation 7 is left out (a box that is not of finite numbers" in told


@pytest.mark.parametrize(("old", "new"), [("metrics:\n", "metrics: 3\nnone:\n"), ("model:", "record: 5\nmodel:")])
def test_a_run_s_settings_of_other_kinds_are_damage(tmp_path: Path, old: str, new: str) -> None:
    run = toy_run(tmp_path / "run", 2)
    text = (run / "run.yaml").read_text()
    assert old in text
    (run / "run.yaml").write_text(text.replace(old, new, 1))
    with pytest.raises(ConfigError, match="damaged"):
        write_page(run)


def test_a_page_takes_whole_numbers_of_any_size_and_a_run_without_metrics(tmp_path: Path) -> None:
    run = toy_run(tmp_path / "run", 2)
    rewrite(run, lambda text: text.replace('"deletion_normalised": null', f'"deletion_normalised": {10**30}'))
    (run / "run.yaml").write_text("model: toy\nmetrics:\n")
    write_page(run)


def test_of_an_animation_one_frame_is_read(tmp_path: Path) -> None:
    frames = [PIL.Image.new("P", (640, 640), n % 2) for n in range(4)]
    two, four = io.BytesIO(), io.BytesIO()
    frames[0].save(two, "GIF", save_all=True, append_images=frames[1:2])
    frames[0].save(four, "GIF", save_all=True, append_images=frames[1:])
    more = four.getvalue()[len(two.getvalue()) - 1 : -1]  # two frames, as the file holds them
    (tmp_path / "a.gif").write_bytes(two.getvalue()[:-1] + 199 * more + b";")
    with PIL.Image.open(tmp_path / "a.gif") as animation:
        assert animation.n_frames == 400
    assert grown(lambda: read_rgb(tmp_path / "a.gif")) < 200 << 20


def test_archives_that_unpack_to_gigabytes_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = toy_run(tmp_path / "run", 1)
    path = run / "picture" / "0" / "explanation.npz"
    words = ["export", str(run), "--format", "png", "--out", str(tmp_path / "o")]
    np.savez_compressed(path, saliency_source=np.zeros((4000, 4000), np.float32))
    monkeypatch.setattr(untrusted, "MOST_BYTES", 32 << 20)
    assert path.stat().st_size < 200_000 and "are the most that is read" in refused(words, capsys)
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": "<f4", "fortran_order": False, "shape": (10**6, 10**6)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("saliency_source.npy", head.getvalue() + b"abcd")
    assert "bytes are not" in refused(words, capsys)


def test_a_checkpoint_that_unpacks_or_expands_to_gigabytes_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(16 << 20)}, tmp_path / "plain.pth")
    plain = zipfile.ZipFile(tmp_path / "plain.pth")
    with plain, zipfile.ZipFile(tmp_path / "packed.pth", "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(WeightsError, match="unpacks to 671"):
        load_state_dict(tmp_path / "packed.pth")
    torch.save({"a": torch.zeros(1).half().expand(10**6, 10**6)}, tmp_path / "wide.pth")
    with pytest.raises(WeightsError, match="does not hold all of its numbers"):
        load_state_dict(tmp_path / "wide.pth")


HEAD = "[convolutional]\nfilters=6"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((HEAD, f"[convolutional]\nfilters=400\nsize=255\npad=1\n{HEAD}"), "not a pair"),
        ((HEAD, f"[convolutional]\nfilters=9999999\n{HEAD}"), "more than 2^29 numbers"),
        (("width=32\nheight=32", "width=99968\nheight=99968"), "more than 2^29 numbers"),
        (("filters=4", "filters=99999999999"), "whole number from 1 to"),
        (("size=3\nstride=1", "size=99999\nstride=1"), "255 are the most"),
        (("pad=1", "padding=ab\ndilation=9999999"), "whole number from 0 to"),
        (("classes=1", "classes=900000000"), "whole number"),
    ],
)
def test_a_network_takes_memory_only_when_it_fits_its_weights(
    tmp_path: Path, change: tuple[str, str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg, weights = tmp_path / "a.cfg", tmp_path / "a.weights"
    cfg.write_text(CFG.replace(*change))
    weights.write_bytes(struct.pack("<3iq", 0, 2, 0, 0) + bytes(400))
    words = ["--model", "darknet", "--cfg", str(cfg), "--model_file", str(weights), "--data", str(sample())]
    told: list[str] = []
    assert grown(lambda: told.append(refused(words, capsys))) < 300 << 20
    assert why in told[0]


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ([[0, 0, 1e12, 0, 1e12, 1e12]], "far outside"),
        ([[0, 0, float("nan"), 0, 5, 5]], "far outside"),
        ([[1, 2, 3, 4]], "three points"),
        ({"size": [20, 30], "counts": [0, 10**12]}, "do not fill"),
        ({"size": [20, 30], "counts": [-5, 605]}, "do not fill"),
        ({"size": [20, 30], "counts": "o" * 50}, "packed run"),
        ({"size": [20, 30], "counts": "\x7f\x01"}, "packed run"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "a mask of"),
    ],
)
def test_a_mask_fills_its_picture_and_no_more(tmp_path: Path, shape: Any, why: str) -> None:
    told = annotated(tmp_path, {"segmentation": shape}, {})
    assert why in told


@pytest.mark.parametrize(
    ("image", "own", "why"),
    [
        ({"height": 10**6, "width": 10**6}, (20, 30), "1000000 x 1000000 px in the file"),
        ({"height": 10**6, "width": 10**6}, None, "no picture is"),
        ({"height": 40}, (20, 30), "30 x 20 px in the picture"),
        ({"height": -1}, None, "states no size"),
    ],
)
def test_annotations_tell_of_the_picture_s_own_size(
    tmp_path: Path, image: dict[str, int], own: tuple[int, int] | None, why: str
) -> None:
    with pytest.raises(ConfigError, match=why):
        annotated(tmp_path, {}, image, own)


def annotated(
    folder: Path, change: dict[str, Any], image: dict[str, Any], own: tuple[int, int] | None = (20, 30)
) -> str:
    """What is said of the object of a COCO JSON with these changes, which is left out."""
    data = {
        "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30, **image}],
        "categories": [{"id": 1, "name": "dog"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 1, 5, 5], **change}],
    }
    (folder / "a.json").write_text(json.dumps(data))
    objects, (told,), *_ = known_of(str(folder / "a.png"), str(folder / "a.json"), own)
    assert objects == []
    return told


def test_packed_runs_are_read_as_pycocotools_reads_them() -> None:
    from pycocotools import mask as rle

    draw = np.random.default_rng(0)
    for _ in range(200):
        h, w = draw.integers(1, 40, 2)
        m = draw.random((h, w)) < draw.choice([0.0, 0.03, 0.5, 1.0])
        packed = rle.encode(np.asfortranarray(m, np.uint8))
        assert (decode({"size": [h, w], "counts": packed["counts"].decode()}, (h, w)) == m).all()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_entities_are_refused(tmp_path: Path, encoding: str) -> None:
    """A billion laughs, and a file of the system by way of an entity."""
    file = '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///etc/passwd">]>\n' + XML.replace("dog", "&e;")
    for text in (LAUGHS, file):
        (tmp_path / "a.xml").write_text(text, encoding=encoding)
        with pytest.raises(ConfigError, match="declares an entity"):
            truths_of("a.png", str(tmp_path / "a.xml"))


@pytest.mark.parametrize("text", ["[" * 100_000, '{"images": ' * 5000, "9" * 5000])
def test_json_without_end_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ConfigError, match="not COCO"):
        truths_of("a.png", str(tmp_path / "a.json"))


@pytest.mark.parametrize("flag", ["input_size", "size", "threads"])
def test_numbers_that_no_memory_holds_are_refused(flag: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"--{flag} must be at most" in refused(["--model", "emblem-vgg", f"--{flag}", "99999999"], capsys)


def test_running_out_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")):
        monkeypatch.setattr(explain, "run", lambda *_, e=error: (_ for _ in ()).throw(e))
        assert "out of memory" in refused(["--metrics", "none"], capsys)


def test_presets_that_ship_are_read() -> None:
    for path in resources.folder("configs").glob("*.yaml"):
        assert read_preset(str(path))
    assert issubclass(ConfigError, IgosError)
