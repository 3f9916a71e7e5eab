"""ADAPTERS: every model by name. One family per file; each entry says how to load it and which preset suits it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import torch

from igos.base.vision import torchvision  # before what imports torchvision by itself

# isort: split
from torchvision.models import list_models

from detectors.adapt import adapt as adapt
from detectors.caffe import load_caffe
from detectors.classifier import load_classifier
from detectors.emblem import files_of, load_emblem
from detectors.hugging_face import load_hugging_face
from detectors.hugging_face import preset_of as preset_of_folder
from detectors.look import parity as parity
from detectors.model_file import ENDS, FILES, OWN, check_keys, hub_name, read_model_file, says_its_model
from detectors.onestage import NAMES, load_one_stage
from detectors.rcnn_files import load_rcnn
from detectors.ultralytics import load_ultralytics
from detectors.ultralytics import preset_of as preset_of_checkpoint
from detectors.yolov3 import load_yolo
from igos.base.settings import lookup
from igos.types import Adapter, ConfigError


class Family(NamedTuple):
    """load(name, weights, device, **options) -> Adapter, or where it stands, "module:function", if it needs an extra of
    the package: pip install 'igos[extra]'; preset is a name in configs/.

    Of a bundled model: samples, the pictures in samples/ that it is shown when the user names none, as a pattern;
    files(name), what it is made of.
    """

    load: Callable[..., Adapter] | str
    preset: str
    samples: str | None = None
    files: Callable[[str], list[Path]] = lambda name: []
    extra: str | None = None
    flags: tuple[str, ...] = ()  # of the command, where load names a place; else they are seen in load
    preset_of: Callable[..., str] | str | None = None  # (weights, **options) -> preset, where the file decides

    @property
    def loader(self) -> Callable[..., Adapter]:
        """Raises ConfigError where its extra is not installed."""
        return self._found(self.load)

    def preset_for(self, weights: Any, options: Mapping[str, Any]) -> str:
        """The preset that suits a file of the family, loaded with these options. Raises ConfigError as loader."""
        return self.preset if self.preset_of is None else self._found(self.preset_of)(weights, **options)

    def _found(self, named: Callable[..., Any] | str) -> Callable[..., Any]:
        if not isinstance(named, str):
            return named
        module, _, function = named.partition(":")
        try:
            return getattr(import_module(module), function)
        except ImportError as error:
            raise ConfigError(f"{error.name or error} is not installed: pip install 'igos[{self.extra}]'") from None

    @property
    def options(self) -> list[str]:
        """What the loader takes beside weights and device."""
        known = inspect.signature(self.loader).parameters.values()
        return [p.name for p in known if p.kind is p.KEYWORD_ONLY]


_RCNN, _YOLO = Family(load_rcnn, "detect-rcnn"), Family(load_yolo, "detect-yolo")
_ONE_STAGE = Family(load_one_stage, "detect-dense")
_CLASSIFIER = Family(load_classifier, "classify")
_EMBLEM = Family(load_emblem, "emblem", "scene-*.png", files_of)
_FLAWED = Family(load_emblem, "emblem", "flawed/*.png", files_of)
_EMBLEM_CLASSIFIER = Family(load_emblem, "emblem", "singles/*.png", files_of)

_ONNX = "detectors.onnx_file.load"
_ONNX_FLAGS = ("names", "dataset", "input_size", "fit", "model_layout", "activation")

DEFAULT = "emblem-m-rcnn"
ELSEWHERE = (  # how files of other runtimes end, which are not read
    *(".tflite", ".engine", ".trt", ".plan", ".pb", ".h5", ".keras", ".mlmodel", ".mlpackage", ".torchscript"),
    *(".xml", ".bin", ".param", ".rknn", ".hef", ".pdmodel", ".mnn"),
)

ADAPTERS: dict[str, Family] = {
    "emblem-m-rcnn": _EMBLEM,
    "emblem-f-rcnn": _EMBLEM,
    "emblem-yolov3spp": _EMBLEM,
    "emblem-flawed": _FLAWED,
    "emblem-vgg": _EMBLEM_CLASSIFIER,
    "emblem-resnet": _EMBLEM_CLASSIFIER,
    "m-rcnn": _RCNN,
    "f-rcnn": _RCNN,
    "yolov3spp": _YOLO,
    "darknet": _YOLO,
    "onnx": Family(
        f"{_ONNX}:load_onnx", "detect-dense", extra="onnx", flags=_ONNX_FLAGS, preset_of=f"{_ONNX}:preset_of"
    ),
    "hf": Family(load_hugging_face, "detect-detr", extra="hf", preset_of=preset_of_folder),
    "ultralytics": Family(load_ultralytics, "detect-dense", extra="ultralytics", preset_of=preset_of_checkpoint),
    "vgg16-caffe": Family(load_caffe, "classify"),
    **{n: _RCNN for n in list_models(module=torchvision.models.detection) if n.startswith(("faster", "mask"))},
    **{n: _ONE_STAGE for n in list_models(module=torchvision.models.detection, include=list(NAMES))},
    **{n: _CLASSIFIER for n in list_models(module=torchvision.models)},
}


def is_model_file(name: str) -> bool:
    """Whether a name is no model's but that of a file, or a folder, that says which model it is."""
    return name not in ADAPTERS and says_its_model(name)


def load(
    name: str, weights: str | Path | None = None, device: str | torch.device | None = None, **options: Any
) -> Adapter:
    """A model by its name in ADAPTERS or by its model file, on a device; options are those of the family.

    Raises ConfigError and WeightsError.
    """
    kind, family = find(name)
    threshold = None
    if weights is not None and Path(weights).suffix in ENDS:
        raise ConfigError(f"--model_file {weights}: a model file says its model itself: give --model {weights}")
    if is_model_file(name):
        values = read_model_file(name)
        check_keys(values, family.options, name)
        if weights is not None and "weights" in values:
            raise ConfigError(f"--model_file {weights}: {name} names its weights already")
        weights, threshold = weights or values.get("weights"), values.get("threshold")
        options = {**{k: v for k, v in values.items() if k not in OWN}, **options}
    for key in options:
        if key not in family.options:
            raise ConfigError(f"--{key} does not belong to the model {name}, which takes: {', '.join(family.options)}")
    adapter: Any = family.loader(kind, weights, device, **options)
    if threshold is not None:
        adapter.threshold = float(threshold)
    return adapter


def draft(adapter: Adapter, weights: str | Path, out: str | Path) -> str:
    """The text of a first model file for the ONNX file of an adapter. Raises ConfigError for any other."""
    if Path(weights).suffix != ".onnx":
        raise ConfigError(f"--out {out}: a first model file is written for an ONNX file alone")
    from detectors.onnx_file.draft import draft as drafted

    return drafted(adapter, weights, out)


def unfinished(error: Exception, weights: str | Path, out: str | Path) -> str | None:
    """The text of a model file for an ONNX file that was refused, but for what only the user knows, marked `# needed`;
    None where it was refused for another reason.
    """
    if not hasattr(error, "columns") or Path(weights).suffix != ".onnx":
        return None
    from detectors.onnx_file.draft import unfinished as drafted

    return drafted(error, weights, out)  # type: ignore[arg-type]


def find(name: str) -> tuple[str, Family]:
    """The entry of ADAPTERS that a name or a model file means. Raises ConfigError."""
    try:
        kind = lookup(read_model_file(name)["kind"] if is_model_file(name) else name, ADAPTERS, "model")
    except ConfigError:
        path = Path(name)
        if is_model_file(name) or not path.exists():
            raise
        if path.suffix.lower() in ELSEWHERE:
            raise ConfigError(
                f"--model {name}: {path.suffix} is of another runtime; export the network to ONNX, "
                "and give --model onnx --model_file PATH"
            ) from None
        what = "a folder without config.json" if path.is_dir() else "a file"
        raise ConfigError(
            f"--model {name}: {what}, not the name of a model: give --model NAME --model_file PATH, NAME of --list"
        ) from None
    return kind, ADAPTERS[kind]


def preset_of(name: str, weights: str | Path | None = None, **options: Any) -> str:
    """The preset that suits a model by its name or model file, and by its weights, loaded with these options, where
    they decide. Raises ConfigError.
    """
    _, family = find(name)
    values = read_model_file(name) if is_model_file(name) else {}
    own = {k: v for k, v in values.items() if k not in OWN}
    return family.preset_for(weights or values.get("weights"), {**own, **options})


def files_of_model(name: str) -> list[Path]:
    """The files of a model beside those that the flags name: a model file and what it names, or a bundled one's."""
    kind, family = find(name)
    if not is_model_file(name):
        return family.files(kind)
    values = read_model_file(name)
    keys = [k for k in FILES if not (k == "weights" and hub_name(values))]
    files = [name, *(values[k] for k in keys if isinstance(values.get(k), str))]
    return [Path(file) for file in dict.fromkeys(files)]
