"""Files of patterns and the command that fits them: what is bundled, what is refused, and that explaining follows."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor

import igos
from detectors.classifier import ClassifierAdapter
from detectors.darknet import Darknet, parse_cfg
from detectors.emblem import FILES, PATTERNS, SlimResNet, SlimVGG
from detectors.yolov3 import YOLOAdapter
from igos import cli
from igos.base import resources
from igos.data.emblems import scene
from igos.methods.backward import pattern_files
from igos.methods.backward.pattern_fit import fit
from igos.methods.backward.substitute import substitutable
from igos.results.read import read_rows
from igos.run.plan import resolve
from igos.types import Adapter, ConfigError, IgosError, WeightsError
from tests.conftest import toy_image
from tests.detectors.test_darknet import SMALL, enliven

METHODS = ("pattern_net", "pattern_vanilla_grad", "pattern_integrate_grad")
BUNDLED = ("emblem-m-rcnn", "emblem-f-rcnn", "emblem-vgg", "emblem-resnet")
SAMPLES = resources.folder("samples")
HALF = 0.01  # how far float16 may move w . a from 1 in a bundled file, before it is restored


def gains(adapter: Adapter, patterns: dict[str, Tensor]) -> Tensor:
    """w . a of every unit that is not dead."""
    made = []
    for name, a in patterns.items():
        w = substitutable(adapter.module)[name].weight.double().flatten(1)
        a = a.double().flatten(1)
        made.append((w * a).sum(1)[a.any(1)])
    return torch.cat(made)


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_patterns_have_unit_gain_and_say_where_they_come_from(name: str) -> None:
    adapter = igos.load(name)
    path = resources.folder("weights") / f"{FILES.get(name, name)}{PATTERNS}"
    with safe_open(str(path), framework="pt") as f:
        raw = {n: f.get_tensor(n) for n in f.keys() if n in substitutable(adapter.module)}  # noqa: SIM118
        facts: dict[str, Any] = json.loads(f.metadata()["layers"])
    assert all(v.dtype == torch.float16 for v in raw.values()) and set(raw) == set(substitutable(adapter.module))
    assert float((gains(adapter, raw) - 1).abs().max()) < HALF
    made = pattern_files.load(adapter)
    assert float((gains(adapter, made) - 1).abs().max()) < 5e-6
    for layer, a in made.items():
        fact = facts[layer]
        assert int((~a.flatten(1).any(1)).sum()) == fact["unused"] + fact["flat"] + fact["negative"]
        assert fact["samples"] >= 500 and fact["estimator"] in ("linear", "positive")


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_patterns_serve_every_method_at_once(name: str) -> None:
    adapter = igos.load(name)
    singles = adapter.default_target == "top1"
    image = adapter.read(sorted((SAMPLES / "singles" if singles else SAMPLES).glob("*.png"))[0])
    targets = adapter.detect(image)[:1]
    for method in METHODS:
        settings = {"n_steps": 2} if method == "pattern_integrate_grad" else {}
        (e,) = igos.explain(adapter, image, targets, method, metrics=(), **settings)
        assert e.status == "ok" and e.saliency.isfinite().all()


@pytest.mark.parametrize("name", ["emblem-m-rcnn", "emblem-yolov3spp", "emblem-resnet"])
def test_patterns_of_ones_are_the_gradient_of_a_fixed_detection(name: str) -> None:
    adapter = igos.load(name)
    singles = adapter.default_target == "top1"
    image = adapter.read(sorted((SAMPLES / "singles" if singles else SAMPLES).glob("*.png"))[0])
    targets = adapter.detect(image)[:2]
    ones = {n: torch.ones_like(m.weight) for n, m in substitutable(adapter.module).items()}
    settings: dict[str, Any] = {"patterns": ones, "metrics": (), "backward_seed": "one", "score": "logit"}
    ours = igos.explain(adapter, image, targets, "pattern_vanilla_grad", **settings)
    plain = igos.explain(adapter, image, targets, "vanilla_grad", score="logit", metrics=())
    for a, b in zip(ours, plain, strict=True):
        assert a.attribution is not None and b.attribution is not None
        assert torch.allclose(a.attribution, b.attribution, rtol=1e-3, atol=1e-4 * float(b.attribution.abs().max()))


def test_half_precision_explains_alike() -> None:
    adapter = igos.load("emblem-vgg")
    image = adapter.read(sorted((SAMPLES / "singles").glob("*.png"))[0])
    targets = adapter.detect(image)[:1]
    whole, half = (
        igos.explain(adapter, image, targets, "pattern_vanilla_grad", metrics=(), precision=p)[0].saliency.flatten()
        for p in ("float32", "bfloat16")
    )
    assert float(torch.corrcoef(torch.stack([whole, half]))[0, 1]) > 0.95 and not torch.equal(whole, half)


def test_a_part_that_passes_another_layer_with_parameters_is_refused() -> None:
    adapter = igos.load("emblem-m-rcnn")
    image = adapter.read(sorted(SAMPLES.glob("scene-*.png"))[0])
    target = replace(adapter.detect(image)[0], part="mask")
    with pytest.raises(ConfigError, match=r"mask_predictor.conv5_mask \(ConvTranspose2d\)"):
        igos.explain(adapter, image, [target], "pattern_net", metrics=())


def test_the_signal_of_a_class_lies_on_its_emblem() -> None:
    adapter = igos.load("emblem-vgg")
    shares = {}
    for method in ("pattern_vanilla_grad", "vanilla_grad"):
        found = []
        for path in sorted((SAMPLES / "singles").glob("*.png")):
            image = adapter.read(path)
            (e,) = igos.explain(adapter, image, adapter.detect(image)[:1], method, metrics=("evidence_share",))
            found += [s.value for s in e.scores if s.name == "evidence_share" and np.isfinite(s.value)]
        shares[method] = float(np.mean(found))
    assert shares["pattern_vanilla_grad"] > max(0.5, shares["vanilla_grad"])


@pytest.fixture(scope="module")
def small() -> ClassifierAdapter:
    torch.manual_seed(0)
    return ClassifierAdapter(SlimResNet(3), list("abc"), name="small", crop=32, resize=32)


@pytest.fixture(scope="module")
def file(small: ClassifierAdapter, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("p") / "small.safetensors"
    made = fit(small, [toy_image(32, 32, seed=i) for i in range(4)])
    pattern_files.write(path, small, made, 4, half=False)
    return path


def test_a_file_gives_back_what_was_fitted(small: ClassifierAdapter, file: Path) -> None:
    made = fit(small, [toy_image(32, 32, seed=i) for i in range(4)])
    read = pattern_files.load(small, file)
    assert read.keys() == made.keys()
    for name, a in read.items():
        assert torch.allclose(a.double(), made[name].values, rtol=1e-5, atol=1e-6 * float(a.abs().max()))


def other(kind: Any, seed: int, classes: int = 3) -> ClassifierAdapter:
    torch.manual_seed(seed)
    return ClassifierAdapter(kind(classes), [f"c{i}" for i in range(classes)], name="other", crop=32, resize=32)


def test_another_network_s_file_is_refused_by_name(small: ClassifierAdapter, file: Path, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="patterns of small; other has no layer"):
        pattern_files.load(other(SlimVGG, 0), file)
    with pytest.raises(WeightsError, match="patterns of small with other weights: conv1 of other differs"):
        pattern_files.load(other(SlimResNet, 1), file)
    wide = other(SlimResNet, 0)
    wide.module.fc = torch.nn.Linear(160, 5)
    with pytest.raises(WeightsError, match=r"patterns of small do not fit other: layer fc needs .*\(5, 160\).*holds"):
        pattern_files.load(wide, file)
    save_file({"conv1": torch.zeros(2)}, tmp_path / "weights.safetensors")
    with pytest.raises(WeightsError, match="not a file of patterns"):
        pattern_files.load(small, tmp_path / "weights.safetensors")
    for name, data in (("cut.safetensors", file.read_bytes()[:500]), ("no.npz", b"x"), ("empty.safetensors", b"")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(WeightsError, match=f"{name}: damaged"):
            pattern_files.load(small, tmp_path / name)
    with pytest.raises(WeightsError, match="no such file"):
        pattern_files.load(small, tmp_path / "none.safetensors")


def published(adapter: ClassifierAdapter, path: Path, change: float = 1.0, **more: Any) -> Path:
    """A file as that of VGG16: A_i in the layers' order, dense ones (inputs, outputs)."""
    made = fit(adapter, [toy_image(32, 32, seed=i) for i in range(4)])
    arrays = [p.values.float().numpy() * change for p in made.values()]
    np.savez(path, **{f"A_{i}": a.T if a.ndim == 2 else a for i, a in enumerate(arrays)}, **more)
    return path


def test_the_published_arrays_are_read_in_order_and_dense_ones_turned(tmp_path: Path) -> None:
    vgg = other(SlimVGG, 2)
    read = pattern_files.load(vgg, published(vgg, tmp_path / "vgg.npz", mask=np.zeros(2)))
    made = fit(vgg, [toy_image(32, 32, seed=i) for i in range(4)])
    assert [*read] == [*made] and read["classifier.0"].shape == (256, 1440)
    for name, a in read.items():
        assert torch.allclose(a.double(), made[name].values, rtol=1e-4, atol=1e-5 * float(a.abs().max()))


def test_published_arrays_of_other_weights_or_that_would_run_code_are_refused(tmp_path: Path) -> None:
    vgg = other(SlimVGG, 2)
    with pytest.raises(WeightsError, match=r"not fitted for these weights of other: in layer features.0 w . a is 2"):
        pattern_files.load(vgg, published(vgg, tmp_path / "double.npz", 2.0))
    with pytest.raises(WeightsError, match="17 layers: not a pair"):
        pattern_files.load(other(SlimResNet, 0), published(vgg, tmp_path / "vgg.npz"))
    np.savez(tmp_path / "code.npz", A_0=np.array([Path()], dtype=object))
    with pytest.raises(WeightsError, match="code.npz: damaged .*allow_pickle"):
        pattern_files.load(vgg, tmp_path / "code.npz")


def test_a_model_without_patterns_says_how_to_fit_them(small: ClassifierAdapter) -> None:
    image = toy_image(32, 32)
    targets = small.detect(image, 0.0)[:1]
    for method in METHODS:
        with pytest.raises(ConfigError, match=r"small has no patterns; .*fit-patterns"):
            igos.explain(small, image, targets, method)
    with pytest.raises(ConfigError, match="emblem-yolov3spp has no patterns"):
        pattern_files.load(igos.load("emblem-yolov3spp"))


def test_own_weights_of_a_bundled_network_do_not_take_its_patterns() -> None:
    weights = resources.folder("weights") / "emblem-resnet.safetensors"
    assert igos.load("emblem-resnet", weights).patterns is None


def test_a_darknet_detection_is_explained_through_fitted_patterns(tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(SMALL)
    torch.manual_seed(0)
    network = enliven(Darknet(parse_cfg(tmp_path / "net.cfg"), tmp_path / "net.cfg"))
    adapter = YOLOAdapter(network, ["thing"], size=(32, 32))
    made = fit(adapter, [toy_image(32, 32, seed=i) for i in range(5)])
    assert made.keys() == substitutable(adapter.module).keys()
    pattern_files.write(tmp_path / "net.safetensors", adapter, made, 5, half=True)
    image = toy_image(32, 32)
    target = igos.Target(0, "thing", 0.5, torch.tensor([4.0, 4, 20, 28]), index=3)
    (e,) = igos.explain(adapter, image, [target], "pattern_net", patterns=tmp_path / "net.safetensors", metrics=())
    assert e.status == "ok"


def test_the_command_fits_and_explain_takes_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data, out = tmp_path / "data", tmp_path / "new" / "p.safetensors"
    data.mkdir()
    for i in range(3):
        PIL.Image.fromarray(scene(9, i, 96, single=True).picture()).save(data / f"{i}.png")
    (data / "broken.png").write_bytes(b"no picture")
    words = ["fit-patterns", "--model", "emblem-vgg", "--data", str(data), "--out", str(out), "--half"]
    assert cli.main(words) == 0
    said = capsys.readouterr()
    assert "classifier.3" in said.out and "3 pictures" in said.out and "broken.png" in said.err
    assert [p.name for p in out.parent.iterdir()] == ["p.safetensors"]
    run = tmp_path / "run"
    words = ["--model", "emblem-vgg", "--method", "pattern_vanilla_grad", "--patterns", str(out), "--num_samples", "1"]
    assert cli.main([*words, "--metrics", "none", "--output", str(run)]) == 0
    assert [r["status"] for r in read_rows(run)] == ["ok"]
    own = tmp_path / "own"
    without = [w for w in words if w not in ("--patterns", str(out))]
    assert cli.main([*without, "--metrics", "none", "--output", str(own)]) == 0
    maps = [np.load(next(p.rglob("explanation.npz")))["saliency"] for p in (run, own)]
    assert not np.allclose(*maps), "three pictures give other patterns than the bundled ones"
    assert resolve({"config": str(run / "run.yaml")}, "emblem").run.patterns == str(out)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--data", "x", "--out", "y.safetensors"], "needs --model"),
        (["--model", "emblem-vgg", "--out", "y.safetensors"], "needs --data"),
        (["--model", "emblem-vgg", "--data", "x"], "needs --out"),
        (["--model", "emblem-vgg", "--data", "x", "--out", "y.npz"], "ends in .safetensors"),
        (["--model", "emblem-vgg", "--data", "missing", "--out", "y.safetensors"], "--data missing"),
        (["--model", "emblm-vgg", "--data", "x", "--out", "y.safetensors"], "did you mean emblem-vgg"),
        (["--modell", "emblem-vgg"], "did you mean --model"),
    ],
)
def test_the_command_refuses_in_one_line(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["fit-patterns", *words]) == 2
    told = capsys.readouterr().err
    assert said in told and told.count("\n") == 1


def test_the_flag_is_refused_where_nothing_goes_back_through_patterns() -> None:
    with pytest.raises(IgosError, match="--patterns: none of integrated_gradients"):
        resolve({"method": "IG", "patterns": "x"}, "classify")
