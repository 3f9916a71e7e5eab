"""Detectors of Ultralytics' package, which is AGPL-3.0: YOLO v3u to 26 and RT-DETR (pip install 'igos[ultralytics]').

The package is imported only when such a model is asked for, and nothing of it is copied. A checkpoint is a pickled
network: only the package's own kinds of layers are read from it, unless the user trusts the file.
A row is a cell, or a query of RT-DETR. Detections are those of predict(): suppression by IoU with each cell's best
class; none for RT-DETR, and for v10 and 26 where `end2end` asks for their part that is trained without.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.ops import box_convert

from detectors import labels as names_of
from detectors.checkpoint import check_finite, check_stored
from detectors.dense import CELLS as DENSE
from detectors.dense import QUERIES as DETR
from detectors.dense import DenseAdapter
from detectors.inputs import Input
from detectors.suppress import NMS, Everything
from igos.base.errors import one_line
from igos.types import Candidates, ConfigError, WeightsError

CELLS, QUERIES = (
    ("Detect", "v10Detect", "Segment", "Segment26"),
    ("RTDETRDecoder",),
)  # heads by the names of their classes
REFUSED = {  # heads of other tasks, by the same
    "Pose": "keypoints", "Pose26": "keypoints", "OBB": "turned boxes", "OBB26": "turned boxes",
    "WorldDetect": "classes from a text", "YOLOEDetect": "classes from a text", "YOLOESegment": "classes from a text",
    "YOLOESegment26": "classes from a text", "Classify": "classes of whole pictures", "SemanticSegment": "masks alone",
    "Depth": "depths",
}  # fmt: skip
SIZE, STRIDE = 640, 32  # px, where the checkpoint does not tell
IOU, MOST = 0.7, 300  # of predict()


@dataclass(frozen=True)
class Read:
    """raw of a DenseAdapter: the candidates of a network that `open_ended` has prepared."""

    queries: bool

    def __call__(self, module: nn.Module, pictures: Tensor) -> Candidates:
        answers, parts = module(pictures)
        h, w = pictures.shape[-2:]
        if self.queries:
            boxes, scores = parts[0][-1], parts[1][-1]
            return Candidates(box_convert(boxes, "cxcywh", "xyxy") * boxes.new_tensor([w, h, w, h]), scores)
        rows = answers[0] if isinstance(answers, tuple) else answers  # with the prototypes of masks
        finished = is_finished(module)
        if "one2one" in parts:
            parts = parts["one2one" if finished else "one2many"]
        boxes = rows[..., :4] if finished else box_convert(rows[:, :4].mT, "cxcywh", "xyxy")
        return Candidates(boxes, parts["scores"].mT)


def channels(count: int) -> str:
    return "1 channel (grey)" if count == 1 else f"{count} channels"


def is_ultralytics(model: Any) -> bool:
    """Whether the model is one of the package's networks; nothing is imported to find out."""
    return _is_made(model, "BaseModel", "ultralytics.nn")


def network_of(model: Any) -> Any:
    """The network inside a YOLO(...) or RTDETR(...); any other model as it is. Raises ConfigError without a network."""
    if not _is_made(model, "Model", "ultralytics.engine"):
        return model
    if not isinstance(model.model, nn.Module):
        raise ConfigError(
            f"{type(model).__name__}({str(model.model)!r}) is an exported file; give the .pt, or --model onnx"
        )
    return model.model


def ultralytics(
    model: Any,
    labels: Sequence[str] | None,
    device: str | torch.device | None = None,
    name: str = "model",
    *,
    input_size: int | None = None,
    end2end: bool = False,
    what: str = "labels",
) -> DenseAdapter:
    """An adapter of a network of the package, which it owns.

    labels: one per class; None: the network's own. input_size: the longer side in px; None: that of its training.
    end2end: of a network with two heads (v10, 26) the one that needs no suppression, as predict(nms=False) takes it.
    Raises ConfigError.
    """
    head: Any = model.model[-1] if isinstance(getattr(model, "model", None), nn.Sequential) else None
    kind = type(head).__name__
    if kind not in (*CELLS, *QUERIES):
        does = f", which answers {REFUSED[kind]}" if kind in REFUSED else ""
        raise ConfigError(f"{name}: its head is {kind}{does}; {', '.join((*CELLS, *QUERIES))} are explained")
    depth = int(next(p for p in model.parameters() if p.ndim == 4).shape[1])
    if depth != 3:
        raise ConfigError(f"{name} takes pictures of {channels(depth)}; 3 (RGB) are needed")
    queries = kind in QUERIES
    stride = max(int(torch.as_tensor(getattr(model, "stride", STRIDE)).max()), STRIDE)
    size = _size(model, input_size, stride)
    if end2end and getattr(head, "one2one_cv2", None) is None:
        raise ConfigError(f"{name}: end2end: its head {kind} has no part that needs no suppression")
    if kind in CELLS and getattr(head, "cv2", None) is not None:
        head.end2end = end2end  # predict() takes the part with suppression unless it is told otherwise
    open_ended(model, head)
    fit = Input(size, "stretch") if queries else Input(size, "letterbox", multiple=stride)
    suppress: NMS | Everything = NMS(IOU, best=True, most=MOST)
    if queries or is_finished(model):
        suppress = Everything(most=min(MOST, int(getattr(head, "num_queries", MOST))))
    own = names_of.listed(getattr(model, "names", None) or None, "names")
    return DenseAdapter(
        model,
        Read(queries),
        names_of.of_classes(list(labels) if labels is not None else None, int(head.nc), what, own),  # type: ignore
        reader=fit.read,
        suppress=suppress,
        name=name,
        device=device,
        preset=DETR if queries else DENSE,
        notes=_notes(kind, fit, suppress),
    )


@torch.no_grad()
def open_ended(model: Any, head: Any) -> None:
    """Prepare the network: norms folded, all rows answered, nothing kept of other pictures or changed in place."""
    head.shape, head.shapes = None, None  # of the cells, which predict() keeps without gradients
    model.fuse(verbose=False)
    for module in model.modules():
        if getattr(module, "inplace", False):
            module.inplace = False
    head.postprocess = _boxes if type(head).__name__ in QUERIES else _rows


def is_finished(model: Any) -> bool:
    """Whether its rows need no suppression."""
    return bool(getattr(model.model[-1], "end2end", False))


def load_ultralytics(
    name: str,
    weights: str | Path | None = None,
    device: str | torch.device | None = None,
    *,
    names: str | Path | Sequence[str] | None = None,
    dataset: str | None = None,
    input_size: int | None = None,
    end2end: bool = False,
    trust: bool = False,
) -> DenseAdapter:
    """weights: the .pt file of a training; trust: run what code it holds; the rest as `ultralytics` has it.

    Raises ConfigError and WeightsError.
    """
    if weights is None:
        raise ConfigError(f"--model {name} needs --model_file FILE.pt")
    asked = names_of.choose(names, dataset)
    model = read_checkpoint(weights, trust)
    check_finite(model, weights)
    model = model.float().eval().requires_grad_(False)
    what, title = str(names or dataset or weights), Path(weights).stem
    return ultralytics(model, asked, device, title, input_size=input_size, end2end=end2end, what=what)


def preset_of(weights: str | Path | None, **others: Any) -> str:
    """The name of the preset for a checkpoint, by the kinds of layers that it names; nothing of it is run."""
    try:
        with zipfile.ZipFile(str(weights)) as stored:
            named = b"".join(stored.read(n) for n in stored.namelist() if n.endswith("data.pkl"))
    except (OSError, zipfile.BadZipFile, zlib.error, RuntimeError, NotImplementedError):  # told where it is loaded
        return DENSE
    return DETR if any(kind.encode() in named for kind in QUERIES) else DENSE


def read_checkpoint(path: str | Path, trust: bool = False) -> Any:
    """The network in a .pt file, which is never built from the text of a description. Raises WeightsError."""
    if not Path(path).is_file():
        raise WeightsError(f"{path}: no such file")
    if Path(path).suffix != ".pt":
        raise WeightsError(f"{path}: not a .pt file of Ultralytics; a state dict does not say of what network it is")
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path}: damaged, or no checkpoint that torch.save has written")
    if _is_script(path):
        raise WeightsError(f"{path}: a TorchScript archive; give the .pt of the training, or export it to ONNX")
    tasks = package("nn.tasks")
    try:
        check_stored(path)
        found, _ = tasks.torch_safe_load(str(Path(path).absolute()), safe_only=not trust)
    except Exception as error:  # a file of a stranger
        raise WeightsError(f"{path}: {_why(error, trust)}") from None
    made: Any = (found.get("ema") or found.get("model")) if isinstance(found, dict) else None
    if not is_ultralytics(made):
        kind = "a state dict" if isinstance(found, dict) and made is None else f"a {type(made).__name__}"
        raise WeightsError(f"{path}: holds {kind}, not a network of Ultralytics")
    if getattr(made, "args", None) is None:
        made.args = found.get("train_args")
    return made


def _is_script(path: str | Path) -> bool:
    """Whether torch.jit.save has written an archive."""
    try:
        with zipfile.ZipFile(path) as stored:
            return any(name.endswith("/constants.pkl") for name in stored.namelist())
    except (OSError, zipfile.BadZipFile):  # told where it is loaded
        return False


def package(part: str) -> Any:
    """A module of the package, which then neither installs nor downloads. Raises ConfigError without it."""
    os.environ.setdefault("YOLO_AUTOINSTALL", "false")
    os.environ.setdefault("YOLO_OFFLINE", "true")
    try:
        return import_module(f"ultralytics.{part}")
    except ImportError as error:
        raise ConfigError(f"{error.name or error} is not installed: pip install 'igos[ultralytics]'") from None


def _why(error: Exception, trust: bool) -> str:
    text = " ".join(str(error).split())
    if "outside the supported" in text and not trust:
        return "holds code beside the layers of Ultralytics; --trust runs it, if you know where the file is from"
    if "not forwards compatible" in text or "NOT forwards" in text:
        return "a file of the old yolov5 repository; export it to ONNX and take --model onnx"
    return f"Ultralytics cannot load it ({one_line(error)})"


def _is_made(model: Any, kind: str, package: str) -> bool:
    return any(k.__name__ == kind and k.__module__.startswith(package) for k in type(model).__mro__)


def _size(model: Any, asked: int | None, stride: int) -> tuple[int, int]:
    """Height and width of its pictures, multiples of the stride as predict() takes them."""
    args = getattr(model, "args", None)
    told = args.get("imgsz") if isinstance(args, dict) else getattr(args, "imgsz", None)
    sides = asked or told or SIZE
    sides = list(sides) if isinstance(sides, (list, tuple)) else [sides]
    if len(sides) not in (1, 2) or not all(isinstance(s, int) and 0 < s <= 8192 for s in sides):
        raise ConfigError(f"its imgsz {sides} is no size of a picture; give --input_size")
    height, width = (max(-(-s // stride) * stride, stride) for s in (sides * 2)[:2])
    return height, width


def _rows(rows: Tensor) -> Tensor:
    return rows


def _boxes(boxes: Tensor, scores: Tensor) -> Tensor:
    return boxes


def _notes(kind: str, fit: Input, suppress: NMS | Everything) -> list[str]:
    how = f"one of boxes that overlap by more than {IOU}" if isinstance(suppress, NMS) else "no suppression"
    h, w = fit.size
    brought = "stretch" if fit.multiple is None else f"letterbox to multiples of {fit.multiple} px"
    task = "; its masks are left out" if kind.startswith("Segment") else ""
    return [
        f"head {kind}{task}",
        f"input {w} x {h} px, {brought}, rgb, range 1",
        f"{how}, at most {suppress.most} detections",
    ]
