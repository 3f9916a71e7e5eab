"""Detectors and classifiers of Hugging Face's transformers, on its own modules (pip install 'igos[hf]').

Carion et al., DETR, https://arxiv.org/abs/2005.12872; Meng et al., Conditional DETR, https://arxiv.org/abs/2108.06152;
Zhu et al., Deformable DETR, https://arxiv.org/abs/2010.04159; Zhao et al., RT-DETR, https://arxiv.org/abs/2304.08069,
https://arxiv.org/abs/2407.17140 (v2); Peng et al., D-FINE, https://arxiv.org/abs/2410.13842; Fang et al., YOLOS,
https://arxiv.org/abs/2106.00666.
A row is a query. DETR and YOLOS have one column more than classes, softmax, the last of which is no object, and a query
counts as its best class; the others have sigmoid, and each class of a query counts for itself. There is no suppression.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from detectors import labels as names_of
from detectors.checkpoint import check_finite
from detectors.classifier import ClassifierAdapter
from detectors.dense import QUERIES, DenseAdapter
from detectors.processor import Numbers, Processor, colours
from detectors.suppress import Everything
from igos.base.errors import one_line
from igos.types import Adapter, Candidates, ConfigError, Image, WeightsError

MOST = 100  # detections that Conditional and Deformable DETR's own post-processing answers at most
FAMILIES: dict[str, str] = {  # detectors by the model_type of their configuration, and what makes their scores
    "detr": "softmax",
    "yolos": "softmax",
    "conditional_detr": "sigmoid",
    "deformable_detr": "sigmoid",
    "rt_detr": "queries",
    "rt_detr_v2": "queries",
    "d_fine": "queries",
}
DETECT, CLASSIFY = QUERIES, "classify"  # presets
DETECTOR, CLASSIFIER = "ForObjectDetection", "ForImageClassification"  # how the names of the classes end


@dataclass(frozen=True)
class Read:
    """raw of a DenseAdapter: colours as the processor makes them, the module run, its boxes on the picture."""

    numbers: Numbers
    none: int | None

    def __call__(self, module: nn.Module, pictures: Tensor) -> Candidates:
        out = module(pixel_values=self.numbers.of(pictures))
        h, w = pictures.shape[-2:]
        boxes = box_convert(out.pred_boxes, "cxcywh", "xyxy") * out.pred_boxes.new_tensor([w, h, w, h])
        return Candidates(boxes, out.logits, activation="sigmoid" if self.none is None else "softmax", none=self.none)


class Logits(nn.Module):
    """A classifier of transformers as pictures -> logits."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        return self.model(pixel_values=x).logits


class HFClassifier(ClassifierAdapter):
    """A classifier that reads pictures as its processor does."""

    def __init__(self, module: nn.Module, labels: Sequence[str], processor: Processor, **more: Any) -> None:
        self.processor = processor
        shape = processor.geometry(512, 512).network
        if shape[0] != shape[1]:
            raise ConfigError(f"its processor makes pictures of {shape[1]} x {shape[0]} px; a square is needed")
        super().__init__(module, labels, crop=shape[0], resize=shape[0], **more)

    @property
    def reader(self) -> Callable[[Any], Image]:
        return self.processor

    def _normalised(self, pictures: Tensor) -> Tensor:
        return self.processor.numbers.of(pictures).contiguous(memory_format=self._format)


def transformers() -> Any:
    """The package. Raises ConfigError where it is not installed."""
    try:
        return import_module("transformers")
    except ImportError as error:
        raise ConfigError(f"{error.name or error} is not installed: pip install 'igos[hf]'") from None


def preset_of(folder: str | Path | None, **others: Any) -> str:
    """The name of the preset for what a folder holds; a detector's where that is not seen."""
    try:
        kinds = json.loads((Path(str(folder)) / "config.json").read_text(encoding="utf-8"))["architectures"]
        return CLASSIFY if str(kinds[0]).endswith(CLASSIFIER) else DETECT
    except (OSError, ValueError, LookupError, TypeError):
        return DETECT


def is_hugging_face(model: Any) -> bool:
    """Whether the model is one of transformers'; nothing is imported to find out."""
    kinds = type(model).__mro__
    return any(k.__name__ == "PreTrainedModel" and k.__module__.partition(".")[0] == "transformers" for k in kinds)


def hugging_face(
    model: Any,
    labels: Sequence[str] | None,
    device: str | torch.device | None = None,
    name: str = "model",
    *,
    processor: Any = None,
    activation: str | None = None,
    what: str = "labels",
) -> Adapter:
    """An adapter of a detector or classifier of transformers, which it owns.

    processor: its image processor; None: the one that transformers has for a detector of this kind. labels: as many as
    columns, or one fewer where a column is no object; None: the configuration's id2label. activation: of a classifier.
    Raises ConfigError.
    """
    kind = str(getattr(model.config, "model_type", ""))
    if not type(model).__name__.endswith((DETECTOR, CLASSIFIER)):
        raise ConfigError(f"{name}: a {type(model).__name__}; ...{DETECTOR} or ...{CLASSIFIER} is needed")
    detector = type(model).__name__.endswith(DETECTOR)
    if detector and kind not in FAMILIES:
        raise ConfigError(f"{name}: detectors of kind {kind!r} are not among {', '.join(FAMILIES)}")
    if processor is None and not detector:
        raise ConfigError(f"{name}: processor=AutoImageProcessor.from_pretrained(...) is needed; it says how it reads")
    reader = Processor(_processor(processor, kind, name))
    usual = named(model.config)
    notes = [f"{kind}, {type(model).__name__}", f"read as {type(reader.processor).__name__} does"]
    notes[1] += f", {colours(reader.numbers)}" + ("" if processor is not None else ", the default of its kind")
    if not detector:
        several = getattr(model.config, "problem_type", None) == "multi_label_classification"
        known = names_of.of_classifier(list(labels) if labels is not None else None, len(usual), what, usual)
        activation = activation or ("sigmoid" if several else None)
        made = HFClassifier(Logits(model), known, reader, name=name, device=device, activation=activation)
        made.notes = notes
        return made
    if activation is not None:
        raise ConfigError("activation belongs to classifiers; a detector's is known")
    scores = FAMILIES[kind]
    none, most = (-1 if scores == "softmax" else None), None
    if scores != "softmax":
        most = model.config.num_queries if scores == "queries" else MOST
    columns = len(usual) + (none is not None)
    notes.append("each query counts as its best class" if none is not None else f"at most {most} detections")
    return DenseAdapter(
        model,
        Read(reader.numbers, none),
        names_of.of_columns(labels, columns, none, what, usual),
        reader=reader,
        suppress=Everything(best=none is not None, most=most),
        name=name,
        device=device,
        preset=DETECT,
        batch=2,
        notes=notes,
    )


def load_hugging_face(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | Sequence[str] | None = None,
    dataset: str | None = None,
    pretrained: bool = False,
    activation: str | None = None,
) -> Adapter:
    """weights: a folder that save_pretrained has written, or with pretrained a name of the hub. names or dataset name
    the classes, in place of the folder's.

    Nothing is looked for online without pretrained, and no code of a folder is run. Raises ConfigError, WeightsError.
    """
    if weights is None:
        raise ConfigError(f"--model {name} needs --model_file PATH, a folder, or a hub's name with --pretrained")
    if not pretrained:
        _check_folder(Path(weights), weights)
    t = transformers()
    where, asked = str(weights), names_of.choose(names, dataset)
    only: dict[str, Any] = {"local_files_only": not pretrained, "trust_remote_code": False}
    with _quiet(), _refusals(where):
        config = t.AutoConfig.from_pretrained(where, **only)
    kinds = [str(k) for k in getattr(config, "architectures", None) or []]
    if not any(k.endswith((DETECTOR, CLASSIFIER)) for k in kinds):
        found = ", ".join(kinds) or "nothing named"
        raise ConfigError(f"{where}: holds {found}; ...{DETECTOR} or ...{CLASSIFIER} is needed")
    detector = any(k.endswith(DETECTOR) for k in kinds)
    auto = t.AutoModelForObjectDetection if detector else t.AutoModelForImageClassification
    with _quiet(), _refusals(where):
        model, told = auto.from_pretrained(
            where, output_loading_info=True, ignore_mismatched_sizes=True, dtype=torch.float32, **only
        )
    _check_told(told, where)
    check_finite(model, where)
    processor = None
    if pretrained or (Path(where) / "preprocessor_config.json").is_file():
        with _quiet(), _refusals(where):
            processor = t.AutoImageProcessor.from_pretrained(where, **only)
    elif not detector:
        raise ConfigError(f"{where}: holds no preprocessor_config.json, which says how it reads pictures")
    what = str(names or dataset or "labels")
    title = Path(where).name
    return hugging_face(model.eval(), asked, device, title, processor=processor, activation=activation, what=what)


def named(config: Any) -> list[str]:
    """The configuration's class names, in order; a number without a name is a number."""
    count = int(config.num_labels)
    by_id = {int(k): str(v) for k, v in (config.id2label or {}).items()}
    return [by_id.get(i, f"class {i}") for i in range(count)]


def _processor(processor: Any, kind: str, name: str) -> Any:
    """The user's, or the family's own with its defaults. Raises ConfigError."""
    if processor is not None:
        if not callable(processor):
            raise ConfigError(f"{name}: processor must be an image processor, got a {type(processor).__name__}")
        return getattr(processor, "image_processor", processor)
    from transformers.models.auto.image_processing_auto import IMAGE_PROCESSOR_MAPPING_NAMES

    return getattr(transformers(), IMAGE_PROCESSOR_MAPPING_NAMES[kind]["torchvision"])()


def _check_folder(folder: Path, given: Any) -> None:
    """Raises WeightsError for what is no folder of save_pretrained."""
    if not folder.is_dir():
        why = "a file; give its folder" if folder.is_file() else "no such folder; a hub's name needs --pretrained"
        raise WeightsError(f"{given}: {why}")
    try:
        if not isinstance(json.loads((folder / "config.json").read_text(encoding="utf-8")), dict):
            raise ValueError("no dict")
    except FileNotFoundError:
        raise WeightsError(f"{given}: holds no config.json; give a folder that save_pretrained has written") from None
    except (OSError, ValueError) as error:
        raise WeightsError(f"{given}: config.json cannot be read ({one_line(error)})") from None


def _check_told(told: dict[str, Any], where: str) -> None:
    """Refuse weights that leave a part of the network random. Raises WeightsError."""
    lost = sorted(str(k) for k in told.get("missing_keys") or ())
    odd = sorted(str(k[0] if isinstance(k, (tuple, list)) else k) for k in told.get("mismatched_keys") or ())
    faults = {"missing": lost, "of another shape": odd}
    parts = [f"{len(k)} {kind} ({k[0]}{', ...' * (len(k) > 1)})" for kind, k in faults.items() if k]
    if parts:
        raise WeightsError(f"{where}: its weights do not fit its config.json: {'; '.join(parts)}")


@contextmanager
def _refusals(where: str) -> Iterator[None]:
    """What transformers refuses, in one line."""
    try:
        yield
    except (ConfigError, WeightsError):
        raise
    except Exception as error:  # a folder may hold anything
        raise WeightsError(f"{where}: transformers cannot load it ({one_line(error)})") from None


@contextmanager
def _quiet() -> Iterator[None]:
    """Without transformers' bars and remarks; what matters of them is refused."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
