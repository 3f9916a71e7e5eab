"""Statistics of a layer: Welford against numpy, the command, its files and refusals; data laid out in two sets."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import igos
from detectors.classifier import ClassifierAdapter
from igos import cli
from igos.base import resources
from igos.data.annotations import truths_of
from igos.data.emblems import scene
from igos.data.pictures import find_pictures
from igos.methods.bottleneck.estimation import estimate, shipped_layer, statistics_for
from igos.methods.bottleneck.statistics import Running, fingerprint, read_statistics, same_weights, write_statistics
from igos.results.read import read_rows
from igos.types import ConfigError

BUNDLED = ("emblem-m-rcnn", "emblem-f-rcnn", "emblem-yolov3spp", "emblem-vgg", "emblem-resnet")
SHIPPED = resources.folder("weights") / "statistics"


@settings(max_examples=25, deadline=None)
@given(st.lists(st.integers(1, 5), min_size=1, max_size=5), st.integers(0, 99), st.sampled_from(["neuron", "channel"]))
def test_welford_is_numpys_in_any_order(batches: list[int], seed: int, per: str) -> None:
    g = torch.Generator().manual_seed(seed)
    x = 1e3 + torch.randn(sum(batches), 3, 2, 4, generator=g, dtype=torch.float64)  # a large mean, where sums fail
    x[torch.rand(x.shape, generator=g) < 0.5] = 0
    running, turned = Running(per), Running(per)
    for part in x.split(batches):
        running.add(part)
    for part in x.flip(0).split(batches[::-1]):
        turned.add(part)
    values = x.numpy() if per == "neuron" else x.movedim(1, 0).reshape(3, 1, 1, -1).movedim(-1, 0).numpy()
    spread = values.std(axis=0, ddof=1) if len(values) > 1 else np.zeros(values.shape[1:])
    for found in (running, turned):
        assert found.n == len(values)
        np.testing.assert_allclose(found.mean, values.mean(axis=0), rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(found.std, spread, rtol=1e-5, atol=1e-5)
        assert np.array_equal(found.active, (values != 0).mean(axis=0) > 0.01)


def network(seed: int = 0) -> ClassifierAdapter:
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 2))
    return ClassifierAdapter(net, ["a", "b"], name="net", crop=16, resize=16)


def pictures(count: int = 6, size: tuple[int, int] = (20, 24)) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 255, (*size, 3), np.uint8) for _ in range(count)]


def test_the_estimate_is_that_of_the_layers_output_and_stops_there(tmp_path: Path) -> None:
    adapter, seen = network(), pictures()
    whole: list[str] = []
    handle = adapter.module[3].register_forward_hook(lambda *_: whole.append("a pass that went on beyond the layer"))
    estimate(adapter, "0", seen[:2])
    few = len(whole)
    made = estimate(adapter, "0", seen)
    handle.remove()
    assert len(whole) == 2 * few, "those that see whether the layer cuts, of one picture"
    x = torch.stack([adapter.read(p).pixels for p in seen])
    with torch.no_grad():
        r = adapter.module[0]((x - adapter._mean) / adapter._std)
    assert (made.layer, made.per, made.n, made.model) == ("0", "neuron", 6, "net")
    assert torch.allclose(made.mean, r.mean(0), atol=1e-5) and torch.allclose(made.std, r.std(0), atol=1e-5)
    assert r.min() < 0, "before the ReLU that follows in place"
    assert torch.allclose(made.pixel_mean[:, 0, 0], x.mean(dim=(0, 2, 3)), atol=1e-5)
    write_statistics(tmp_path / "s.safetensors", made)
    read = read_statistics(tmp_path / "s.safetensors")
    assert torch.equal(read.mean, made.mean) and torch.equal(read.active, made.active) and read.n == 6
    assert [p.name for p in tmp_path.iterdir()] == ["s.safetensors"]
    assert statistics_for(adapter, str(tmp_path / "s.safetensors")).layer == "0"


def test_models_that_keep_the_aspect_have_statistics_per_channel() -> None:
    adapter = igos.load("emblem-m-rcnn")
    made = estimate(adapter, "layer1", pictures(2, (40, 60)) + pictures(2, (60, 40)))
    assert made.per == "channel" and made.mean.shape == (48, 1, 1) and made.n == 4
    with pytest.raises(ConfigError, match="--per channel"):
        estimate(adapter, "layer1", pictures(1, (40, 60)) + pictures(1, (60, 40)), per="neuron")


@pytest.mark.parametrize(("layer", "words"), [("9", "near"), ("3", "no map")])
def test_layers_without_a_map_are_refused(layer: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        estimate(network(), layer, pictures(2))


def test_a_layer_that_the_score_goes_round_is_refused_before_the_work() -> None:
    adapter = igos.load("emblem-m-rcnn")
    scenes = [scene(3, i).picture() for i in range(3)]
    with pytest.raises(ConfigError, match=r"\d+% of the gradient goes round it; these cut it"):
        estimate(adapter, "layer3.0.conv1", scenes)
    empty = np.full((160, 160, 3), 128, np.uint8)
    assert estimate(adapter, "layer1", [empty, empty]).n == 2, "nothing found that could tell"


def test_pictures_that_cannot_be_read_are_left_out() -> None:
    adapter = network()
    assert estimate(adapter, "0", ["no such file", *pictures(2)]).n == 2
    with pytest.raises(ConfigError, match="at least 2 pictures.*got 1 of 2"):
        estimate(adapter, "0", ["no such file", *pictures(1)])


def test_statistics_of_something_else_are_refused_by_name(tmp_path: Path) -> None:
    adapter, place = network(), tmp_path / "s.safetensors"
    made = estimate(adapter, "0", pictures())

    def refusal(**change: Any) -> str:
        write_statistics(place, replace(made, **change))
        with pytest.raises(ConfigError) as told:
            statistics_for(adapter, str(place))
        return str(told.value)

    elsewhere = refusal(model="other", layer="features.3")
    assert "layer features.3 of other" in elsewhere and "net has no such layer" in elsewhere
    assert "other weights" in refusal(weights=fingerprint(network(1).module))
    write_statistics(place, made)
    with pytest.raises(ConfigError, match="of layer 0, not of --layer 1"):
        statistics_for(adapter, str(place), "1")
    with pytest.raises(ConfigError, match=r"igos estimate --model net --layer 0 --data DIR --out FILE.safetensors"):
        statistics_for(adapter, None, "0")
    place.write_bytes(place.read_bytes()[:50])
    with pytest.raises(ConfigError, match="damaged"):
        read_statistics(place)
    with pytest.raises(ConfigError, match="no such file"):
        read_statistics(tmp_path / "t.safetensors")
    with pytest.raises(ConfigError, match="lacks mean"):
        read_statistics(resources.folder("weights") / "emblem-vgg.safetensors")


def test_weights_are_known_again_after_rounding_but_not_after_training() -> None:
    net = network().module
    own = fingerprint(net)
    with torch.no_grad():
        net[0].weight.mul_(1 + 1e-6)
        assert same_weights(own, fingerprint(net))
        net[0].weight.mul_(1.01)
    assert not same_weights(own, fingerprint(net))


@pytest.mark.parametrize("name", BUNDLED)
def test_statistics_of_the_bundled_models_fit_them(name: str) -> None:
    """Scenes of another series lie where the statistics say; the layer cuts the network for every target."""
    adapter = igos.load(name)
    made = statistics_for(adapter)
    single = adapter.default_target == "top1"
    z = []
    for i in range(3):
        image = adapter.read(scene(1, i, 96 if single else 160, single).picture())
        score = adapter.scorer(targets := adapter.detect(image)[:3])
        x, rows = image.pixels.expand(len(targets), -1, -1, -1), torch.arange(len(targets))
        score.cuts(made.layer, x, rows)
        with torch.no_grad():
            r = score.split(made.layer)[0](x[:1])
        z.append(((r - made.mean) / made.std.clamp(min=0.01))[..., made.active.expand(r.shape[1:])])
    assert abs(torch.cat(z).mean()) < 0.15 and 0.7 < torch.cat(z).std() < 1.3


def test_shipped_statistics_are_small_and_not_for_other_weights() -> None:
    assert {p.stem for p in SHIPPED.iterdir()} == set(BUNDLED)
    assert sum(p.stat().st_size for p in SHIPPED.iterdir()) <= 5e6
    adapter = igos.load("emblem-vgg")
    with torch.no_grad():
        adapter.module.features[0].weight.mul_(2)
    with pytest.raises(ConfigError, match="other weights"):
        statistics_for(adapter)


# --- the commands -------------------------------------------------------------------------------------


def photos(folder: Path, classes: int = 2, count: int = 5) -> Path:
    for c in range(classes):
        (folder / f"n{c:04d}").mkdir(parents=True)
        for i in range(count):
            picture = scene(1, 10 * c + i, 96, single=True).picture()
            PIL.Image.fromarray(picture).save(folder / f"n{c:04d}" / f"p{c}{i}.JPEG", format="PNG")
    return folder


def xml(name: str = "n0000") -> str:
    box = "<xmin>10</xmin><ymin>20</ymin><xmax>60</xmax><ymax>70</ymax>"
    size = "<size><width>96</width><height>96</height></size>"
    return f"<annotation>{size}<object><name>{name}</name><bndbox>{box}</bndbox></object></annotation>"


def test_split_estimate_and_explain(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The whole way of the earlier work: two sets, statistics of one, maps of the other with its folders."""
    val, data, stats = photos(tmp_path / "val"), tmp_path / "data", tmp_path / "s.safetensors"
    notes = tmp_path / "xml"
    notes.mkdir()
    for file in val.rglob("*.JPEG"):
        (notes / f"{file.stem}.xml").write_text(xml(file.parent.name))
    words = ["split", "--data", str(val), "--per_class", "2", "--out", str(data), "--annotations", str(notes)]
    assert cli.main(words) == 0
    (data / "imagenet_class_index.json").write_text(json.dumps({"0": ["n0000", "great_star"]}))
    both = [{p.name for p in (data / "images" / part).rglob("*.JPEG")} for part in ("estimation", "attribution")]
    assert [len(s) for s in both] == [4, 4] and not both[0] & both[1]
    assert {Path(path).name for path, _ in find_pictures([str(data)])} == both[1]
    picture = next((data / "images" / "attribution" / "n0000").iterdir())
    (truth,) = truths_of(str(picture))
    assert (truth.name, truth.box.tolist(), int(truth.mask.sum())) == ("great star", [9, 19, 60, 70], 51 * 51)
    assert cli.main(words) == 2 and "holds images already" in capsys.readouterr().err

    words = ["estimate", "--model", "emblem-vgg", "--layer", "features.3", "--data", str(data), "--out", str(stats)]
    assert cli.main(words) == 0
    assert "48 x 48 x 48 per neuron" in (told := capsys.readouterr().out) and "4 pictures; fewer than 100" in told
    assert cli.main(words) == 2 and "--force" in capsys.readouterr().err
    (tmp_path / "subset.txt").write_text(f"{picture.stem}\n")
    out = tmp_path / "out"
    words = ["--model", "emblem-vgg", "--method", "InputIBA", "--stats", str(stats), "--data", str(data)]
    quick = ["--metrics", "none", "--set", "opt_steps=2", "gan_steps=2", "gan_batch=2", "feat_steps=2", "copies=2"]
    more = ["--work-dir", str(out), "--subset-file", str(tmp_path / "subset.txt"), "--pbar"]
    assert cli.main([*words, *quick, *more]) == 0
    assert "1 map of" in capsys.readouterr().err
    (row,) = read_rows(out)
    for kind in ("feat", "input"):
        grey = np.array(PIL.Image.open(out / f"{kind}_masks" / f"{row['folder']}.png"))
        with np.load(out / row["folder"] / "explanation.npz", allow_pickle=False) as arrays:
            values = arrays[f"{kind}_mask"]
        assert grey.shape == values.shape == (96, 96)
        white = values.max() if kind == "feat" else 1
        np.testing.assert_allclose(grey / 255, values.clip(min=0) / white, atol=0.003)


def test_without_a_layer_it_is_that_of_the_statistics_that_ship(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["estimate", "--model", "emblem-vgg", "--data", str(photos(tmp_path / "val"))]
    assert cli.main([*words, "--out", str(tmp_path / "s.safetensors")]) == 0
    shipped = read_statistics(resources.folder("weights") / "statistics" / "emblem-vgg.safetensors")
    assert read_statistics(tmp_path / "s.safetensors").layer == shipped.layer == shipped_layer("emblem-vgg")
    assert f"layer {shipped.layer}" in capsys.readouterr().out
    assert shipped_layer("resnet50") is None
    monkeypatch.setattr("igos.methods.bottleneck.estimation._shipped", lambda model: tmp_path / "none")
    assert cli.main([*words, "--out", str(tmp_path / "t.safetensors")]) == 2
    assert "estimate needs --layer NAME: no statistics ship with emblem-vgg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["estimate", "--layer", "x", "--data", "d", "--model", "emblem-vgg", "--out", "s.pt"], "ends in .safetensors"),
        (["estimate", "--layer", "zz", "--data", "{val}", "--model", "emblem-vgg", "--out", "s.safetensors"], "near"),
        (["estimate", "--data", "d", "--out", "s.safetensors"], "estimate needs --model"),
        (["split", "--data", "{val}", "--per_class", "3", "--out", "o"], "class n0000 has 5 pictures"),
        (["split", "--data", "none", "--out", "o"], "no such folder"),
        (["split", "--data", "{val}/n0000", "--out", "o"], "folder of pictures per class"),
        (["--model", "emblem-vgg", "--subset-file", "none.txt"], "--subset_file none.txt"),
        (["--model", "emblem-vgg", "--method", "IBA", "--layer", "features.3"], "igos estimate --model emblem-vgg"),
        (["--gpu-id", "97"], "--device 97"),
    ],
)  # fmt: skip
def test_mistakes_are_one_line_and_leave_nothing(
    words: list[str], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    val = photos(tmp_path / "val")
    monkeypatch.chdir(tmp_path)
    assert cli.main([w.format(val=val) for w in words]) == 2
    error = capsys.readouterr().err
    assert told in error and error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir() if p.name != "Output"] == ["val"]
    assert not [p for p in tmp_path.rglob("*") if p.is_file() and "val" not in p.parts]


def test_a_damaged_annotation_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.xml").write_text("<annotation><size>")
    with pytest.raises(ConfigError, match=r"a\.xml: cannot be read as XML"):
        truths_of(str(tmp_path / "a.png"), str(tmp_path))
    assert truths_of(str(tmp_path / "b.png"), str(tmp_path)) == []
