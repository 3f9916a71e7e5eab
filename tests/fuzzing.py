"""Fuzz targets: damaged input of every kind that the command reads, and what is done with it.

TARGETS: name -> Target; `test_fuzz.py` runs some hundred cases, `benchmarks/fuzz.py` as many as are asked for. A case
is accepted, or refused by an IgosError; anything else has escaped: another exception, a hang, or memory beyond MOST.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import pickle
import random
import resource
import shutil
import signal
import struct
import tempfile
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import PIL.Image
import torch
import yaml
from hypothesis import strategies as st
from safetensors.torch import save as save_tensors

from detectors import labels
from detectors.caffe import load_caffe
from detectors.checkpoint import load_into, load_state_dict
from detectors.darknet import Darknet, parse_cfg
from detectors.pictures import read_rgb
from detectors.yolov3 import load_yolo
from igos.base import resources
from igos.base.files import unique
from igos.base.reading import is_file_name
from igos.base.seals import sealed, unsealed
from igos.base.settings import settings_of
from igos.cli import main, text
from igos.cli.main import COMMANDS
from igos.data.annotations import truths_of
from igos.methods import METHODS
from igos.methods.backward.pattern_files import FORMAT
from igos.methods.backward.pattern_files import load as load_patterns
from igos.methods.bottleneck import words as reader
from igos.methods.bottleneck.statistics import TENSORS, read_statistics
from igos.run.plan import resolve
from igos.run.settings import Run
from igos.types import ConfigError, IgosError
from tests import damage, fuzz_folders
from tests.pages import toy_run

SECONDS, MOST = 10.0, 1 << 29  # of one case: time, and memory beyond what was taken before (bytes)
SEEDS = st.integers(0, 2**48)  # of a random.Random: damage is drawn by hand, hypothesis draws its seed
CFG = """[net]
width=32
height=32
channels=3
[convolutional]
batch_normalize=1
filters=4
size=3
stride=2
pad=1
activation=leaky
[convolutional]
filters=4
size=3
pad=1
groups=2
activation=mish
[shortcut]
from=-2
activation=relu
[maxpool]
size=3
stride=1
[route]
layers=-1,0
groups=2
group_id=1
[maxpool]
size=2
stride=2
[upsample]
stride=2
[convolutional]
filters=6
size=1
activation=linear
[yolo]
mask=0
anchors=10,14
classes=1
scale_x_y=1.05
"""
FLOATS = 100_000  # weights up to which a network is not only built but run


class Hang(BaseException):
    """A case that took longer than SECONDS; no handler of errors may take it for one."""


@dataclass(frozen=True)
class Target:
    """cases: what hypothesis draws; work: does with one what the command does, in an empty folder; share of cases."""

    cases: st.SearchStrategy[Any]
    work: Callable[[Any, Path], None]
    share: float = 1.0


def outcome(target: Target, case: Any) -> str:
    """accepted, refused, or what escaped."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        with _limited():
            target.work(case, folder)
        told = "accepted"
    except IgosError as error:
        told = "refused" if str(error).strip() else "escaped: an error without words"
        told = "escaped: out of memory" if "out of memory" in str(error) else told
    except Hang:
        told = f"escaped: longer than {SECONDS:g} s"
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(place.filename).name}:{place.lineno}"
        told = f"escaped: {type(error).__name__} at {where}: {' '.join(str(error).split())[:200]}"
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10
    return f"escaped: {grown >> 20} MB of memory" if grown > MOST else told


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    def stop(*_: Any) -> None:
        raise Hang

    old = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


# --- presets and words of the command line -------------------------------------------------------------

PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12)
NESTED = st.recursive(PLAIN, lambda x: st.lists(x, max_size=3) | st.dictionaries(st.text(max_size=8), x, max_size=3))
KEYS = [f.name for f in fields(Run)]
DUMPER = getattr(yaml, "CSafeDumper", yaml.SafeDumper)  # libyaml's, where it is there, is ten times as fast


@lru_cache
def _presets() -> list[str]:
    return [p.read_text() for p in sorted(resources.folder("configs").glob("*.yaml"))]


@lru_cache
def _parsed(preset: str) -> bytes:
    """The values of a preset, pickled: each case changes some of its own."""
    return pickle.dumps(yaml.safe_load(preset))


@st.composite
def _yaml(pick: st.DrawFn) -> str:
    kind = pick(st.integers(0, 9))
    if kind == 0:
        return pick(st.text(max_size=60))
    if kind == 1:
        keys = st.sampled_from([*KEYS, "methods", "published", "record", "results"])
        return json.dumps(pick(st.dictionaries(keys, NESTED, max_size=4)))
    draw = random.Random(pick(SEEDS))
    preset = draw.choice(_presets())
    if kind < 5:
        return damage.of_text(preset, draw)
    values = pickle.loads(_parsed(preset))
    for key in draw.sample(KEYS, draw.randrange(4)):
        values[key] = damage.any_value(draw)
    method = draw.choice(list(METHODS))
    block = values.setdefault("methods", {}).setdefault(method, {})
    for key in draw.sample(sorted(settings_of(METHODS[method])), draw.randrange(2)):
        block[key] = damage.any_value(draw)
    values["method"] = method
    with contextlib.suppress(yaml.YAMLError, UnicodeError):
        return yaml.dump(damage.of_values(values, draw), Dumper=DUMPER, allow_unicode=True)
    return preset


def _preset(made: str, folder: Path) -> None:
    """A preset that is accepted repeats its run from the run.yaml that it leaves."""
    path = folder / "a.yaml"
    path.write_bytes(made.encode("utf-8", "surrogatepass"))
    plan = resolve({"config": str(path)}, "detect-yolo")
    path.write_text(yaml.safe_dump(plan.as_preset(), sort_keys=False, allow_unicode=True))
    assert resolve({"config": str(path)}, "detect-yolo").method == plan.method


LOADED = "the model would be loaded now"
FLAGS = ["--help", "--list", "--version", "--debug", "--pbar", "--methods", "--results", "--n_patches", "--layer"]
FLAGS += ["--per", "--format", "--out", "--label", "--per_class", "--force", "--half", "--nonsense", "-mn", "-da"]
USUAL = ["emblem-m-rcnn", "emblem-vgg", "darknet", "vgg16", "iGOS++", "IG", "rise", "deletion", "insertion", "a.png"]
USUAL += [".", "out", "out.json", "out.safetensors", "out.html", "coco", "png", "steps=5", "size=9", "deletion.steps=3"]


@st.composite
def _words(pick: st.DrawFn) -> list[str]:
    draw = random.Random(pick(SEEDS))
    made = draw.choice([[], [], [], *([c] for c in COMMANDS)])
    for _ in range(draw.choice((0, 1, 1, 2, 3, 5))):
        flag = draw.choice(FLAGS) if draw.random() < 0.3 else f"--{draw.choice(KEYS)}"
        made = [*made, flag] if draw.random() < 0.95 else made
        for _ in range(draw.choice((0, 1, 1, 1, 2))):
            kind = draw.random()
            made = [*made, draw.choice(USUAL if kind < 0.5 else damage.TEXTS if kind < 0.75 else damage.NUMBERS)]
    if pick(st.integers(0, 9)) == 0:
        made = [*made, pick(st.text(max_size=20))]
    outside = [w for w in made if w.startswith("/") or ".." in w]  # of the case's folder, where nothing is touched
    return [w for w in made if w not in outside and is_file_name(w)]


def _command(words: list[str], folder: Path) -> None:
    """The command, up to the point where it would load the model: exit 0, or one line and exit 2."""

    def load(*_: Any) -> None:
        raise ConfigError(LOADED)

    PIL.Image.new("RGB", (32, 32)).save(folder / "a.png")
    out, error, here = io.StringIO(), io.StringIO(), Path.cwd()
    places = ("igos.cli.session.load_models", "igos.run.models.load_models")
    try:
        os.chdir(folder)
        with contextlib.ExitStack() as stack:
            for place in places:
                stack.enter_context(mock.patch(place, load))
            stack.enter_context(mock.patch("igos.serve.server.serve", load))
            stack.enter_context(mock.patch("torch.set_num_threads"))
            stack.enter_context(contextlib.redirect_stdout(out))
            stack.enter_context(contextlib.redirect_stderr(error))
            try:
                code = main([w for w in words if w != "--debug"])
            except SystemExit as end:  # --help and --version
                code = int(end.code or 0)
    finally:
        os.chdir(here)
    told = error.getvalue().splitlines()
    assert code in (0, 2), f"exit {code}"
    if code == 2:
        assert told and told[-1].startswith("igos: "), told
        assert all(line.startswith("igos: ") for line in told), told
        if LOADED not in told[-1]:
            raise ConfigError(told[-1])


# --- pictures ------------------------------------------------------------------------------------------


@lru_cache
def _pictures() -> list[bytes]:
    few = np.random.default_rng(0).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    rgb = PIL.Image.fromarray(few).resize((40, 36), PIL.Image.Resampling.BICUBIC)
    grey16 = PIL.Image.fromarray(np.asarray(rgb.convert("L")).astype(np.uint16) * 257)
    exif = PIL.Image.Exif()
    exif[0x0112] = 6
    made = [(rgb, "JPEG", {"exif": exif}), (rgb, "JPEG", {"progressive": True}), (rgb.convert("CMYK"), "JPEG", {})]
    made += [(rgb, kind, {}) for kind in ("PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM")]
    made += [(rgb.convert("RGBA"), "PNG", {}), (grey16, "PNG", {}), (grey16, "TIFF", {})]
    made += [(rgb.convert("P"), "GIF", {"save_all": True, "append_images": [rgb.rotate(90).convert("P")]})]
    made += [(rgb, "TIFF", {"compression": c}) for c in ("tiff_lzw", "tiff_adobe_deflate", "jpeg", "packbits")]
    made += [(rgb, "WEBP", {"lossless": True}), (rgb, "PNG", {"pnginfo": None, "interlace": 1})]
    files = []
    for picture, kind, options in made:
        out = io.BytesIO()
        picture.save(out, kind, **options)
        files.append(out.getvalue())
    return files


def _picture(data: bytes, folder: Path) -> None:
    path = folder / "a.jpg"
    path.write_bytes(data)
    rgb, _ = read_rgb(path)
    assert rgb.dtype == np.uint8 and rgb.shape[2] == 3


# --- networks ------------------------------------------------------------------------------------------


@lru_cache
def _cfgs() -> list[str]:
    return [p.read_text() for p in sorted(resources.folder("configs").glob("*.cfg"))]


@st.composite
def _cfg(pick: st.DrawFn) -> str:
    kind, draw = pick(st.integers(0, 9)), random.Random(pick(SEEDS))
    if kind == 0:
        return pick(st.text(max_size=80))
    return damage.of_text(draw.choice(_cfgs()) if kind == 1 else CFG, draw)


def _network(made: str, folder: Path) -> None:
    """The network is built, and if it is small it is loaded and sees a picture."""
    cfg, weights = folder / "a.cfg", folder / "a.weights"
    cfg.write_bytes(made.encode("utf-8", "surrogatepass"))
    with torch.device("meta"):
        network = Darknet(parse_cfg(cfg), cfg)
    floats = sum(slot.numel() for slot in network._slots())
    weights.write_bytes(_weights(min(floats, FLOATS)))
    adapter = load_yolo("darknet", weights, cfg=cfg)
    if max(adapter.size) <= 256:
        adapter.detect(adapter.read(np.zeros((40, 40, 3), np.uint8)), 0.0)


def _weights(floats: int) -> bytes:
    return struct.pack("<3iq", 0, 2, 0, 0) + np.full(floats, 0.01, "<f4").tobytes()


def _darknet(data: bytes, folder: Path) -> None:
    cfg, weights = folder / "a.cfg", folder / "a.weights"
    cfg.write_text(CFG)
    weights.write_bytes(data)
    adapter = load_yolo("darknet", weights, cfg=cfg)
    adapter.detect(adapter.read(np.zeros((40, 40, 3), np.uint8)), 0.0)


@lru_cache
def _small() -> tuple[Darknet, int]:
    with tempfile.NamedTemporaryFile("w", suffix=".cfg") as file:
        file.write(CFG)
        file.flush()
        network = Darknet(parse_cfg(file.name))
    return network, sum(slot.numel() for slot in network._slots())


def _odd_tensor(t: torch.Tensor, draw: random.Random) -> Any:
    return draw.choice(
        (
            lambda: t.half(),
            lambda: t.double(),
            lambda: t.bool(),
            lambda: t.to(torch.complex64),
            lambda: t.to_sparse(),
            lambda: t.to("meta"),
            lambda: t[..., None],
            lambda: t.flatten()[:0],
            lambda: t * torch.nan,
            lambda: torch.zeros(1).half().expand(200_000, 200_000),
            lambda: torch.zeros(()).expand(t.shape),
            lambda: torch.nn.Parameter(t.float()),
            lambda: torch.quantize_per_tensor(t.float(), 0.1, 0, torch.quint8),
            lambda: torch.tensor(3),
            lambda: {"a": t},
            lambda: None,
            lambda: "x" * 100,
        )
    )()


@st.composite
def _checkpoint(pick: st.DrawFn) -> tuple[str, bytes]:
    draw = random.Random(pick(SEEDS))
    network, _ = _small()
    state: Any = dict(network.state_dict())
    suffix = draw.choice((".pth", ".pth", ".pt", ".safetensors"))
    if suffix == ".safetensors":
        return suffix, damage.of_bytes(save_tensors({k: v.contiguous() for k, v in state.items()}), draw)
    odd = draw.random() < 0.5
    for key in draw.sample(sorted(state), draw.randrange(1, 4) if odd else 0):
        state[draw.choice((key, key, key + "x", "module." + key))] = _odd_tensor(state[key], draw)
    wrapped = draw.choice((state, state, {"state_dict": state}, {"model": state, "epoch": 3}, list(state.values()), 3))
    out = io.BytesIO()
    torch.save(wrapped, out, _use_new_zipfile_serialization=draw.random() < 0.7)
    return suffix, out.getvalue() if odd and draw.random() < 0.8 else damage.of_bytes(out.getvalue(), draw)


def _state(case: tuple[str, bytes], folder: Path) -> None:
    path = folder / f"a{case[0]}"
    path.write_bytes(case[1])
    load_into(_small()[0], load_state_dict(path), path)


# --- tensors with a description: statistics, patterns, the reader of sentences; arrays --------------------


class _Toy:
    """What pattern files ask of an adapter."""

    name, device = "toy", torch.device("cpu")

    def __init__(self) -> None:
        self.module = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 1), torch.nn.Linear(2, 2))


@lru_cache
def _toy() -> Any:
    return _Toy()


@st.composite
def _described(pick: st.DrawFn) -> tuple[str, bytes]:
    draw = random.Random(pick(SEEDS))
    kind = draw.choice(("stats", "patterns", "text"))
    if kind == "stats":
        tensors = {n: torch.ones(2, 3, 3) for n in TENSORS}
        words = {"model": "toy", "layer": "0", "per": "neuron", "n": "5"}
    elif kind == "patterns":
        tensors = {n: p.detach().clone() for n, p in _toy().module.named_parameters() if "weight" in n}
        tensors = {n.removesuffix(".weight"): t for n, t in tensors.items()}
        facts = json.dumps({n: {"weights": "0" * 16} for n in tensors})
        words = {"format": FORMAT, "model": "toy", "pictures": "3", "layers": facts}
    else:
        model = _reader()
        tensors = {k: v.contiguous() for k, v in model.state_dict().items()}
        words = {"words": json.dumps(model.words), "labels": json.dumps(model.labels)}
    if draw.random() < 0.6:
        for key in draw.sample(sorted(words), 1):
            try:
                inner = json.loads(words[key])
                words[key] = json.dumps(damage.of_values(inner, draw), default=str)
            except ValueError:
                words[key] = str(damage.any_value(draw)) if draw.random() < 0.9 else ""
        if draw.random() < 0.3:
            tensors.pop(draw.choice(sorted(tensors)))
        elif draw.random() < 0.5:
            key = draw.choice(sorted(tensors))
            tensors[key] = draw.choice((tensors[key].bool(), tensors[key].flatten(), torch.zeros(0), torch.zeros(1, 9)))
        with contextlib.suppress(UnicodeError, ValueError):
            return kind, save_tensors(tensors, {k: v.encode(errors="replace").decode() for k, v in words.items()})
    return kind, damage.of_bytes(save_tensors(tensors, words), draw)


@lru_cache
def _reader() -> reader.Reader:
    torch.manual_seed(0)
    return reader.Reader([reader.UNKNOWN, "a", "b"], ["x", "y"], 4, 3)


def _read_described(case: tuple[str, bytes], folder: Path) -> None:
    path = folder / "a.safetensors"
    path.write_bytes(case[1])
    if case[0] == "stats":
        assert read_statistics(path).mean.shape == read_statistics(path).std.shape
    elif case[0] == "patterns":
        load_patterns(_toy(), path)
    else:
        made = reader.explain(reader.load(path), ["a", "c"], opt_steps=1, copies=2)
        text.html([made])


@st.composite
def _arrays(pick: st.DrawFn) -> tuple[str, bytes]:
    draw = random.Random(pick(SEEDS))
    kind, out = draw.choice(("patterns", "weights")), io.BytesIO()
    parameters = [p.detach().numpy() for p in _toy().module.parameters() if p.ndim > 1]
    sums = [(w**2).sum(axis=tuple(range(1, w.ndim)), keepdims=True) for w in parameters]
    arrays: dict[str, Any] = {f"A_{i}": w / n for i, (w, n) in enumerate(zip(parameters, sums, strict=True))}
    arrays["A_1"] = arrays["A_1"].T
    if kind == "weights":
        arrays = {f"arr_{i}": np.ones((2, 2) if i % 2 == 0 else 2, np.float32) for i in range(32)}
    for key in draw.sample(sorted(arrays), draw.randrange(2)):
        odd = (np.array(["a"]), np.array([{}], object), np.array(3), np.zeros(0), np.zeros(3, "M8[s]"))
        arrays[key] = draw.choice((*odd, np.zeros(2, "c8")))
    draw.choice((np.savez, np.savez_compressed))(out, **arrays)
    if draw.random() < 0.1:
        np.save(out := io.BytesIO(), np.ones(3))
    return kind, damage.of_bytes(out.getvalue(), draw) if draw.random() < 0.8 else out.getvalue()


def _read_arrays(case: tuple[str, bytes], folder: Path) -> None:
    path = folder / "a.npz"
    path.write_bytes(case[1])
    if case[0] == "patterns":
        load_patterns(_toy(), path)
    else:
        with mock.patch("detectors.caffe.network", _no_network):
            load_caffe("vgg16-caffe", path)


class _Last(torch.nn.Sequential):
    """Layers of which the last one alone runs."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self[-1](x.mean((1, 2, 3))[:, None].expand(-1, 2))


def _no_network(classes: int) -> torch.nn.Module:
    """Thirty-two parameters, as VGG16 has."""
    return _Last(*(torch.nn.Linear(2, 2 if i < 15 else min(classes, 9)) for i in range(16)))


# --- annotations and names --------------------------------------------------------------------------------

INSTANCES = {
    "images": [{"id": 1, "file_name": "a.png", "height": 20, "width": 30}],
    "categories": [{"id": 3, "name": "dog"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 3, "bbox": [2, 1, 9, 8], "segmentation": [[2, 1, 11, 1, 11, 9, 2, 9]]},
        {"id": 2, "image_id": 1, "category_id": 3, "bbox": [2, 1, 4, 3], "segmentation": []},
        {"id": 3, "image_id": 1, "category_id": 3, "bbox": [0, 0, 1, 3], "iscrowd": 1,
         "segmentation": {"size": [20, 30], "counts": [0, 3, 597]},
         "evidence": [{"size": [20, 30], "counts": "03aT3"}]},
    ],
}  # fmt: skip
XML = """<annotation>
<filename>a.jpg</filename>
<size>
<width>30</width>
<height>20</height>
</size>
<object>
<name>dog</name>
<difficult>0</difficult>
<bndbox>
<xmin>3</xmin>
<ymin>2</ymin>
<xmax>11</xmax>
<ymax>9</ymax>
</bndbox>
</object>
</annotation>
"""
LAUGHS = "<!DOCTYPE x [<!ENTITY a0 'ha'>{}]>\n" + XML.replace("dog", "&a9;")
LAUGHS = LAUGHS.format("".join(f"<!ENTITY a{i} '{f'&a{i - 1};' * 10}'>" for i in range(1, 10)))


@st.composite
def _instances(pick: st.DrawFn) -> bytes:
    kind, draw = pick(st.integers(0, 9)), random.Random(pick(SEEDS))
    if kind == 0:
        return json.dumps(pick(NESTED)).encode()
    if kind == 1:
        return damage.of_bytes(json.dumps(INSTANCES).encode(), draw)
    if kind == 2 and draw.random() < 0.1:
        return b"[" * 100_000
    sys_default: Callable[[Any], Any] = str
    return json.dumps(damage.of_values(INSTANCES, draw), default=sys_default).encode("utf-8", "replace")


def _annotated(suffix: str) -> Callable[[bytes, Path], None]:
    def work(data: bytes, folder: Path) -> None:
        path = folder / f"a{suffix}"
        path.write_bytes(data)
        for t in truths_of(str(folder / "a.png"), str(path), (20, 30)):
            assert t.mask.shape == (20, 30) and t.box.shape == (4,) and np.isfinite(t.box).all()

    return work


@st.composite
def _xml(pick: st.DrawFn) -> bytes:
    kind, draw = pick(st.integers(0, 9)), random.Random(pick(SEEDS))
    if kind == 0:
        return pick(st.binary(max_size=60))
    made = damage.of_text(LAUGHS if kind == 1 else XML, draw)
    if kind == 2:
        deep = draw.choice((10, 100, 1000, 1000, 20_000))
        made = made.replace("<name>", f"{'<a>' * deep}{'</a>' * deep}<name>", 1)
    encoding = draw.choice(("utf-8", "utf-8", "utf-16", "latin-1"))
    return made.encode(encoding, "xmlcharrefreplace" if encoding == "latin-1" else "surrogatepass")


YOLO_SET = """path: .
train: images
names: {0: dog, 1: cat}
===
0 0.5 0.5 0.2 0.4
1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5
"""


@st.composite
def _yolo(pick: st.DrawFn) -> bytes:
    return damage.of_text(YOLO_SET, random.Random(pick(SEEDS))).encode(errors="replace")


def _labelled(data: bytes, folder: Path) -> None:
    """What stands before === is data.yaml, what stands behind it are the labels."""
    told, _, lines = data.partition(b"===")
    (folder / "labels").mkdir(exist_ok=True)
    (folder / "data.yaml").write_bytes(told)
    (folder / "labels" / "a.txt").write_bytes(lines)
    for t in truths_of(str(folder / "images" / "a.png"), str(folder / "data.yaml"), (20, 30)):
        assert t.mask.shape == (20, 30) and t.mask.any() and np.isfinite(t.box).all()


@st.composite
def _names(pick: st.DrawFn) -> bytes:
    if pick(st.booleans()):
        return pick(st.binary(max_size=40))
    return "\n".join(pick(st.lists(st.sampled_from(damage.TEXTS) | st.text(max_size=30)))).encode(errors="replace")


def _named(data: bytes, folder: Path) -> None:
    """Every name is fit for a folder's: one below, which can be made."""
    path = folder / "a.names"
    path.write_bytes(data)
    taken: set[str] = set()
    for n, name in enumerate(labels.read_names(path)):
        for word in (f"{n}-{name}", name):
            made = folder / unique(word, taken)
            assert made.resolve().parent == folder.resolve()
            made.mkdir()


# --- the folder of a run ----------------------------------------------------------------------------------


@lru_cache
def _run_files() -> dict[str, bytes]:
    """A run of one explanation, its photo gone."""
    with tempfile.TemporaryDirectory() as place:
        run = toy_run(Path(place) / "run", 1)
        return {str(p.relative_to(run)): p.read_bytes() for p in sorted(run.rglob("*")) if p.is_file()}


@st.composite
def _run(pick: st.DrawFn) -> tuple[str, str, bytes]:
    """What to do, the file that is damaged, and its bytes."""
    draw = random.Random(pick(SEEDS))
    files = _run_files()
    name = draw.choice(("results.jsonl", "results.jsonl", "run.yaml", "picture/0/explanation.npz"))
    made = damage.of_bytes(files[name], draw)
    if name == "results.jsonl" and draw.random() < 0.8:
        row = damage.of_values(unsealed(json.loads(files[name])), draw)
        plain = json.loads(json.dumps(row, default=str))
        plain = sealed(plain) if isinstance(plain, dict) else plain  # by whoever means to deceive
        made = (json.dumps(plain) + "\n").encode() + (files[name] if draw.random() < 0.3 else b"")
    elif name == "run.yaml" and draw.random() < 0.8:
        made = damage.of_text(files[name].decode(), draw).encode("utf-8", "replace")
    elif name.endswith(".npz") and draw.random() < 0.7:
        with np.load(io.BytesIO(files[name])) as file:
            arrays: dict[str, Any] = dict(file)
        key = draw.choice(("saliency", "saliency", "saliency_source", "geometry", "deletion_curve", "box", "masks"))
        odd = (np.zeros(0), np.zeros((3, 0)), np.zeros((1, 1)), np.full((14, 14), np.nan), np.zeros((2, 2, 2)), "a", 3)
        more = (np.full((4, 2), 1e30), np.zeros((4, 2)), np.zeros((2, 11), "c8"), np.array([{}], object), None)
        new = draw.choice((*odd, *more))
        arrays = {k: v for k, v in arrays.items() if k != key} | ({} if new is None else {key: new})
        np.savez(out := io.BytesIO(), **arrays)
        made = out.getvalue()
    return draw.choice(("report", "report", "coco", "png", "fiftyone", "compare")), name, made


def _use_run(case: tuple[str, str, bytes], folder: Path) -> None:
    what, name, data = case
    for file, content in _run_files().items():
        path = folder / "run" / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data if file == name else content)
    words = ["report", str(folder / "run")]
    if what == "compare":
        shutil.copytree(folder / "run", folder / "other")
        words = ["compare", str(folder / "run"), str(folder / "other"), "--out", str(folder / "a.html")]
    elif what != "report":
        out = folder / ("out.json" if what == "coco" else "out")
        words = ["export", str(folder / "run"), "--format", what, "--out", str(out)]
    error = io.StringIO()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        code = main(words)
    if code:
        told = [line for line in error.getvalue().splitlines() if not line.startswith("igos: warning: ")]
        assert len(told) == 1 and told[0].startswith("igos: "), error.getvalue()
        raise ConfigError(told[0])


TARGETS: dict[str, Target] = {
    "preset": Target(_yaml(), _preset, 1),
    "command line": Target(_words(), _command, 1),
    "picture": Target(SEEDS.map(lambda s: _damaged(_pictures(), s)), _picture, 4),
    "cfg": Target(_cfg(), _network, 0.6),
    "weights": Target(SEEDS.map(lambda s: _damaged([_weights(_small()[1])], s)), _darknet, 0.6),
    "checkpoint": Target(_checkpoint(), _state, 1),
    "safetensors": Target(_described(), _read_described, 1.5),
    "npz": Target(_arrays(), _read_arrays, 1),
    "COCO JSON": Target(_instances(), _annotated(".json"), 3),
    "VOC XML": Target(_xml(), _annotated(".xml"), 2),
    "YOLO labels": Target(_yolo(), _labelled, 1),
    "names": Target(_names(), _named, 0.5),
    "run folder": Target(_run(), _use_run, 0.5),
    "stranger": Target(SEEDS, fuzz_folders.stranger, 0.4),
    "flipped bits": Target(SEEDS, fuzz_folders.flipped, 0.3),
    "hostile names": Target(SEEDS, fuzz_folders.named, 0.1),
    "threads": Target(SEEDS, fuzz_folders.storm, 0.1),
}


def _damaged(files: list[bytes], seed: int) -> bytes:
    draw = random.Random(seed)
    return damage.of_bytes(draw.choice(files), draw)


def cases(total: int) -> dict[str, int]:
    """How many cases each target gets of so many."""
    whole = sum(t.share for t in TARGETS.values())
    return {name: max(round(total * t.share / whole), 1) for name, t in TARGETS.items()}
