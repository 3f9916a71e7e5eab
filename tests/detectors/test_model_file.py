"""A model file says once how a model is loaded; what is wrong in it is named."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import igos
from detectors import ADAPTERS, Family, files_of_model, find, is_model_file, preset_of
from igos import cli
from igos.run.models import weights_of
from igos.run.settings import Run
from igos.types import ConfigError, WeightsError
from tests.conftest import darknet_options, shared_data
from tests.detectors.test_yolov3 import TINY, noise, tiny_network

PHOTO = ("photos", "darknet_dog.jpg")


def tiny_file(tmp_path: Path, more: str = "") -> Path:
    """A model file beside a small Darknet network's weights and cfg."""
    (tmp_path / "net.cfg").write_text(TINY)
    torch.save(tiny_network(tmp_path).state_dict(), tmp_path / "net.pt")
    (tmp_path / "own.names").write_text("a\nb\nc")
    path = tmp_path / "my.yaml"
    path.write_text(f"kind: darknet\nweights: net.pt\ncfg: net.cfg\nnames: own.names\n{more}")
    return path


def test_files_lie_beside_the_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_file(tmp_path, "fit: letterbox\nthreshold: 0.07\n")
    monkeypatch.chdir("/")
    adapter = igos.load(str(path))
    plain = igos.load("darknet", tmp_path / "net.pt", cfg=tmp_path / "net.cfg", names=tmp_path / "own.names")
    assert list(adapter.labels) == ["a", "b", "c"] and adapter.threshold == 0.07 and plain.threshold == 0.4
    assert adapter.read(noise(40, 80)).geometry.offset != plain.read(noise(40, 80)).geometry.offset
    path.write_text(path.read_text().replace("own.names", "[a, b, c]"))
    assert list(igos.load(str(path)).labels) == ["a", "b", "c"]


def test_a_run_knows_the_files_behind_it(tmp_path: Path) -> None:
    path = tiny_file(tmp_path)
    run = Run(model=str(path), data=[])
    before = weights_of(run)
    (tmp_path / "own.names").write_text("a\nb\nd")
    assert weights_of(run) != before


def test_a_run_with_a_model_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options, photo = darknet_options(small=True), shared_data(*PHOTO)
    lines = "\n".join(f"{k}: {v}" for k, v in options.items())
    (tmp_path / "small.yaml").write_text(f"kind: darknet\n{lines}\n")
    words = ["--model", str(tmp_path / "small.yaml"), "--data", str(photo), "--method", "vanilla_grad"]
    assert cli.main([*words, "--target", "top1", "--metrics", "none", "--out", str(tmp_path / "out")]) == 0
    assert (tmp_path / "out" / "run.yaml").read_text().count("small.yaml") >= 1
    assert "dog" in capsys.readouterr().out


CASES: list[tuple[str, str]] = [
    ("kind: darknet\nwieghts: net.pt", "unknown key 'wieghts'; did you mean weights?"),
    ("kind: darknet\nlayout: yolox", "unknown key 'layout'; kind darknet takes: kind, weights, threshold, cfg, names"),
    ("weights: net.pt", "it needs kind: NAME"),
    ("- kind", "it needs kind: NAME"),
    ("kind: darknt", "unknown model 'darknt': did you mean darknet"),
    ("kind: darknet\nthreshold: 3", r"threshold must lie in \[0,1\], got 3"),
    ("kind: darknet\nnames: {a: b}", "names must be a file or a list of words"),
    ("kind: onnx\ninput: {sise: 3}", "input: unknown key 'sise'; did you mean size?"),
    ("kind: onnx\ninput: {size: -3}", r"size must be one side or \[height, width\] in px, got -3"),
    ("kind: onnx\ninput: {mean: [1, 2]}", r"mean must be 3 numbers, got \[1, 2\]"),
    ("kind: onnx\ninput: {fit: 3}", "fit must be a word"),
    ("kind: onnx\ninput: 3", "input needs keys and values"),
    ("kind: onnx\ndecode: {sides: [8]}", "sides must be, per stride, a list"),
    ("kind: onnx\ndecode: {strides: [0]}", "strides must be whole numbers"),
    ("kind: onnx\ndecode: {background: first}", "background must be none, last or the number of a column"),
    ("kind: onnx\ndecode: {offset: .nan}", "offset must be a number"),
    ("kind: [", "not readable as YAML"),
    ("kind: onnx\ninput:\n\tsize: 320\n", "not readable as YAML .*found character .*t.* that cannot start any token"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), CASES)
def test_what_is_wrong_is_named(text: str, words: str, tmp_path: Path) -> None:
    if "onnx" in text:
        pytest.importorskip("onnx2torch", reason="the extra [onnx] is not installed")
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=words) as told:
        igos.load(str(path))
    assert "\n" not in str(told.value)


def test_a_name_of_the_hub_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[Any]()

    def loader(name: str, weights: Any, device: Any, *, pretrained: bool = False, names: Any = None) -> Any:
        asked.append((str(weights), pretrained))
        raise ConfigError("seen")

    monkeypatch.setitem(ADAPTERS, "hf", ADAPTERS["hf"]._replace(load=loader))
    path = tmp_path / "my.yaml"
    for more, weights in (("pretrained: true\n", "facebook/detr"), ("", str(tmp_path / "facebook" / "detr"))):
        path.write_text(f"kind: hf\nweights: facebook/detr\n{more}")
        with pytest.raises(ConfigError, match="seen"):
            igos.load(str(path))
        assert asked.pop() == (weights, bool(more))
        assert files_of_model(str(path)) == [path] + [Path(weights)] * (not more)


def test_weights_that_say_their_model_stand_for_a_model_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tiny_file(tmp_path)
    adapter = igos.load(str(path))
    (tmp_path / "net.pt").rename(tmp_path / "net.weights")
    asked = []

    def loader(name: str, weights: Any, device: Any, *, cfg: Any = None, names: Any = None) -> Any:
        asked.append((name, weights, cfg, names))
        return adapter

    for kind in ("darknet", "onnx", "ultralytics", "hf"):
        monkeypatch.setitem(ADAPTERS, kind, Family(loader, "detect-yolo"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "resnet50.onnx").touch()  # called as a model is
    (tmp_path / "best.PT").touch()
    for folder in ("detr", "darknet"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "config.json").touch()
    (tmp_path / "net.names").write_text("a\n")
    for name, kind in {"resnet50.onnx": "onnx", "best.PT": "ultralytics", "detr": "hf"}.items():
        igos.load(name)
        assert asked.pop() == (kind, name, None, None) and files_of_model(name) == [Path(name)]
    igos.load("net.weights")
    assert asked.pop() == ("darknet", "net.weights", "net.cfg", "net.names")
    assert files_of_model("net.weights") == [Path("net.weights"), Path("net.cfg"), Path("net.names")]
    igos.load("net.weights", cfg="other.cfg")
    assert asked.pop() == ("darknet", "net.weights", "other.cfg", "net.names")
    assert find("darknet")[0] == "darknet" and not is_model_file("darknet")  # a model's name comes first
    with pytest.raises(ConfigError, match="net.weights names its weights already"):
        igos.load("net.weights", "other.weights")
    with pytest.raises(ConfigError, match=r"model none.onnx: no such file"):
        igos.load("none.onnx")
    with pytest.raises(ConfigError, match=r"a model file says its model itself: give model my.yaml"):
        igos.load("onnx", "my.yaml")


def test_a_file_in_place_of_a_name_is_told_how_to_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "f.pth").touch()
    (tmp_path / "net").mkdir()
    (tmp_path / "darknet").mkdir()  # a folder that is called as a model is
    for name, what in {"f.pth": "a file", "net": "a folder without config.json"}.items():
        with pytest.raises(ConfigError, match=f"model {name}: {what}, not the name of a model: give model=NAME"):
            igos.load(name)
    for name in ("f.tflite", "f.engine", "openvino.xml"):
        (tmp_path / name).touch()
        with pytest.raises(ConfigError, match=r"another runtime; export the network to ONNX, and give model onnx"):
            igos.load(name)
    (tmp_path / "f.mlpackage").mkdir()
    with pytest.raises(ConfigError, match=".mlpackage is of another runtime"):
        igos.load("f.mlpackage")
    assert find("darknet")[0] == "darknet"


def test_the_layers_that_a_checkpoint_names_say_its_preset(tmp_path: Path) -> None:
    for kind, wanted in (("RTDETRDecoder", "detect-detr"), ("Detect", "detect-dense")):
        with zipfile.ZipFile(tmp_path / "best.pt", "w") as stored:
            stored.writestr("best/data.pkl", f"ultralytics.nn.modules.head\n{kind}\n")
        assert preset_of("ultralytics", tmp_path / "best.pt") == wanted
    for odd in (tmp_path / "none.pt", tmp_path, None):
        assert preset_of("ultralytics", odd) == "detect-dense"


def test_a_script_is_told_from_a_checkpoint_without_the_package(tmp_path: Path) -> None:
    torch.jit.save(torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)), str(tmp_path / "best.pt"))
    with pytest.raises(
        WeightsError, match="best.pt: a TorchScript archive; give the .pt of the training, or export it"
    ):
        igos.load("ultralytics", tmp_path / "best.pt")


def test_weights_are_named_once(tmp_path: Path) -> None:
    path = tiny_file(tmp_path)
    with pytest.raises(ConfigError, match="my.yaml names its weights already"):
        igos.load(str(path), tmp_path / "net.pt")
    with pytest.raises(ConfigError, match="model .*nowhere.yaml: no such file"):
        igos.load(str(tmp_path / "nowhere.yaml"))


# --- igos model ---------------------------------------------------------------------------------------


def test_igos_model_shows_what_a_model_sees(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rgb = tmp_path / "noise.png"
    import PIL.Image

    PIL.Image.fromarray(noise(48, 64)).save(rgb)
    path = tiny_file(tmp_path, "threshold: 0.0\n")
    assert cli.main(["model", str(path), "--data", str(rgb), "--drawn", str(tmp_path / "seen")]) == 0
    told = capsys.readouterr().out
    assert "darknet: darknet, preset detect-yolo, parts class, box, class_box" in told and "3 classes: a, b, c" in told
    assert "read: 64 x 48 px ->" in told and "layer of" in told
    (off,) = re.findall(r"the score that is explained differs from the detection's by (\S+)", told)
    assert float(off) < 1e-6
    assert np.asarray(PIL.Image.open(tmp_path / "seen" / "noise-seen.png")).shape == (48, 64, 3)
    assert cli.main(["model", str(path), "--out", str(tmp_path / "new.yaml")]) == 2
    assert "for an ONNX file alone" in capsys.readouterr().err
    assert cli.main(["model", "emblem-vgg", "--data", str(rgb), "--drawn", str(tmp_path / "seen")]) == 0


@pytest.mark.parametrize("name", ["fastestdet", "ultralight_face_rfb320"])
def test_a_drafted_model_file_sees_the_same(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx2torch", reason="the extra [onnx] is not installed")
    file, out = shared_data("detectors", f"{name}.onnx"), tmp_path / "my.yaml"
    options: dict[str, Any] = {}
    words = ["model", str(file), "--out", str(out)]
    if "face" in name:  # its priors are known to nobody else
        first = tmp_path / "first.yaml"
        assert cli.main(["model", str(file), "--out", str(first)]) == 2
        told, begun = capsys.readouterr().err, first.read_text()
        assert "it needs the priors" in told and "first.yaml is begun: fill in what is marked `# needed`" in told
        assert begun.count("# needed") == 2 and begun.count("# guessed") == 11
        with pytest.raises(ConfigError, match="decode: strides must be a list of numbers"):
            igos.load(str(first))
        begun = begun.replace("strides: []", "strides: [8, 16, 32, 64]").replace("class 1", "face")
        first.write_text(begun.replace("sides: []", "sides: [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]"))
        photo = shared_data("coco", "images", "000000000294.jpg")
        assert cli.main(["model", str(first), "--data", str(photo), "--drawn", str(tmp_path)]) == 0
        told = capsys.readouterr().out
        assert "onnxruntime's own answer differs by" in told and "  1 class: face\n" in told
        return
    assert cli.main(words) == 0
    assert "# guessed" in capsys.readouterr().err and out.read_text().count("# guessed") >= 8
    drafted, plain = igos.load(str(out)), igos.load("onnx", file, **options)
    image = drafted.read(shared_data(*PHOTO))
    assert torch.equal(image.pixels, plain.read(shared_data(*PHOTO)).pixels)
    for a, b in zip(drafted.detect(image), plain.detect(image), strict=True):
        assert (a.name, a.score, a.index) == (b.name, b.score, b.index)
    assert not any("guessed" in note for note in drafted.notes)
    assert cli.main(words) == 2 and "exists already" in capsys.readouterr().err
