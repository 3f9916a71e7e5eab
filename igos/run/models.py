"""Models by name, on a device, and a hash of the bytes that they are made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from igos.base import resources
from igos.base.errors import in_python
from igos.base.hashing import digest, identity
from igos.base.memory import keep_freed
from igos.base.settings import coerce
from igos.run.presets import read_preset
from igos.run.settings import MODEL_OPTIONS, RUN_TYPES, Run
from igos.types import Adapter, ConfigError


@in_python()
@torch.inference_mode(False)
def load(name: str, weights: str | Path | None = None, device: Any = None, **options: Any) -> Adapter:
    """A model by its name in detectors.ADAPTERS, or by its model file (.yaml). device: as torch takes it, default cpu.

    options: cfg, names, dataset, input_size, fit, layout, activation, pretrained, as the family takes them. Raises
    ConfigError, WeightsError.

    >>> igos.load("emblem-vgg")
    <emblem-vgg: 7 classes (cross, ring, bars, ...), 96 x 96 px, on cpu>
    """
    return adapters().load(str(name), weights, _there(device), **options)


@in_python()
@torch.inference_mode(False)
def adapt(
    model: Any, labels: Sequence[str] | Mapping[Any, Any] | None = None, device: Any = None, **options: Any
) -> Adapter:
    """A model of your own as an adapter: torchvision's FasterRCNN or MaskRCNN, a classifier, a Darknet network, or a
    black box pictures (N,3,H,W) in [0,1] -> one dict of boxes, scores and labels per picture.

    The model itself is copied and stays as it is. labels: class names in a list, or a dict id -> name or name -> id;
    device: by default the model's own; options: those of the adapter (name; crop, resize, mean, std, activation;
    input_size, fit). activation {softmax, sigmoid, none}: what makes probabilities of a classifier's answers, by
    default as they show it. Raises ConfigError and WeightsError.

    >>> net = torch.nn.Sequential(torch.nn.Conv2d(3, 2, 3), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> igos.adapt(net, ["cat", "dog"], crop=32, name="net")
    <net: 2 classes (cat, dog), 32 x 32 px, on cpu>
    """

    return adapters().adapt(model, labels, _there(device), **options)


def adapters() -> ModuleType:
    """The project's own `detectors` package. Raises ConfigError if another one is in its place."""
    import detectors

    if not hasattr(detectors, "ADAPTERS"):
        place = getattr(detectors, "__file__", None) or list(detectors.__path__)
        raise ConfigError(f"a package named 'detectors' at {place} hides igos's own; remove it")
    return detectors


def pick_model(flags: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """The flags with the model's name, and with its samples where no pictures are named; the model's preset."""
    found = adapters()
    model = flags.get("model") or preset_value(flags, "model")
    if model is None and any(k in flags for k in (*MODEL_OPTIONS, "model_file")):
        raise ConfigError("no model: these flags belong to one; give --model NAME (see --list)")
    kind, family = found.find(str(model or found.DEFAULT))
    made = {**flags, "model": str(model) if found.is_model_file(str(model)) else kind}
    if family.samples and "data" not in flags and not preset_value(flags, "data"):
        made["data"] = [str(resources.folder("samples") / family.samples)]
    asked = {k: flags.get(k) or preset_value(flags, k) for k in ("model_file", *MODEL_OPTIONS)}
    said = {k: coerce(f"--{k}", v, RUN_TYPES[k]) for k, v in asked.items() if v is not None}
    weights = said.pop("model_file", None)
    return made, found.preset_of(str(model or found.DEFAULT), weights, **_options(said))


def preset_value(flags: Mapping[str, Any], key: str) -> Any:
    """What the preset that the flags name says of key, or None."""
    return read_preset(flags["config"]).get(key) if flags.get("config") else None


def load_models(config: Run) -> tuple[Adapter, Adapter | None]:
    """The model that is explained and the judge, if there is one, on the run's device; the process keeps what memory
    their passes free.
    """
    keep_freed()
    found, device = adapters(), pick_device(config.device)
    options = _options({k: getattr(config, k) for k in MODEL_OPTIONS})
    judge = None
    if config.judge:
        its: dict[str, Any] = {"cfg": config.judge_cfg} if config.judge_cfg else {}
        its.update({"pretrained": True} if config.pretrained and not config.judge_file else {})
        its.update({"names": config.names} if config.judge_cfg and config.names else {})
        try:
            judge = found.load(config.judge, config.judge_file, device, **its)
        except ConfigError as error:
            raise ConfigError(f"--judge {config.judge}: {error}") from error
    return found.load(config.model, config.model_file, device, **options), judge


def _options(flags: Mapping[str, Any]) -> dict[str, Any]:
    """What a family's loader is given of the flags that say how a model is loaded."""
    return {k.removeprefix("model_"): v for k, v in flags.items() if v not in (None, False)}


def pick_device(name: str | None) -> torch.device:
    """The named device or the GPU of that number, else a GPU if there is one, else the CPU.

    Raises ConfigError if it is not there.
    """
    if name is None:
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(int(name) if name.isdecimal() else name)
        torch.zeros(1, device=device).cpu()
    except Exception as error:  # each backend refuses in its own way
        reason = str(error).strip().split("\n")[0]
        raise ConfigError(f"--device {name}: not available here ({reason})") from None
    return device


def _there(device: Any) -> torch.device | None:
    """A device as torch takes it. Raises ConfigError if it is not there."""
    return None if device is None else pick_device(str(device))


def rounds_coarsely(device: torch.device) -> bool:
    """Whether float32 is multiplied as TF32 there, with ten bits."""
    tf32 = torch.backends.cudnn.allow_tf32 or torch.backends.cuda.matmul.allow_tf32
    return device.type == "cuda" and bool(tf32)


def weights_of(config: Run) -> str:
    """A hash of the files of the run's model, and of its judge: other weights of the same name have another."""
    model = _digests(config.model, [config.model_file, config.cfg, config.names])
    judge = _digests(config.judge, [config.judge_file, config.judge_cfg]) if config.judge else []
    downloaded = None
    if config.pretrained:
        from igos.base.vision import torchvision

        downloaded = torchvision.__version__
    return identity(model, judge, downloaded)


def _digests(model: str | None, named: Sequence[str | None]) -> list[str | None]:
    """Of the files named, in their places; without weights among them, those that the model comes with."""
    own = [] if named[0] else adapters().files_of_model(str(model))
    return [_digest(Path(f)) if f else None for f in (*named, *own)]


def _digest(path: Path) -> Any:
    """Of a file, or of each file of a folder by its name; None of what is not there."""
    if path.is_dir():
        return {f.name: digest(f) for f in sorted(path.iterdir()) if f.is_file()}
    return digest(path) if path.is_file() else None
