"""Graphs whose answers and inputs are written otherwise: turned, in 0..1, boxes and classes apart, channels last."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

pytest.importorskip("onnx2torch", reason="the extra [onnx] is not installed")

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import igos  # noqa: E402
from detectors.onnx_file.finished import finished  # noqa: E402
from detectors.onnx_file.parts import STRIDES, Outputs, centres, count  # noqa: E402
from detectors.onnx_file.recognise import recognise  # noqa: E402
from igos.types import ConfigError  # noqa: E402
from tests.detectors.test_onnx import Net, v8  # noqa: E402

SIZE = (128, 96)  # height, width


def cells(strides: tuple[int, ...] = STRIDES, each: int = 1, seed: int = 0) -> Tensor:
    """Boxes (1,A,4) as a detector answers them: x1, y1, x2, y2 in px about the centres of their cells."""
    torch.manual_seed(seed)
    place, stride = centres(SIZE, strides, torch.zeros(1))
    middle = ((place + 0.5) * stride).repeat(each, 1)
    far = torch.rand(len(middle), 4) * 2 * stride.repeat(each, 1)
    return torch.cat([middle - far[:, :2], middle + far[:, 2:]], 1)[None]


def centred(box: Tensor) -> Tensor:
    return torch.cat([(box[..., :2] + box[..., 2:]) / 2, box[..., 2:] - box[..., :2]], -1)


def scores(rows: int, classes: int) -> Tensor:
    return torch.rand(1, rows, classes, generator=torch.Generator().manual_seed(1))


def told(*made: Tensor, names: int | None = None, layout: str | None = None, **decode: Any) -> tuple[str, Any, Any]:
    """The layout, its candidates and what was guessed."""
    out = Outputs(made, made, SIZE)
    found, guessed = recognise(out, layout, names, decode, "F.onnx")
    assert found is not None
    return found.name, found.settle(out, None).decode(out), guessed


SCALE = torch.tensor([SIZE[1], SIZE[0]] * 2)
BOX, SURE = cells(), scores(252, 3)  # 252 cells of three strides


# --- one output -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_a_yolo_may_stand_either_way_and_their_boxes_in_0_to_1(turned: bool, unit: bool) -> None:
    box = centred(BOX)
    rows = torch.cat([box / SCALE if unit else box, SURE], -1)
    name, c, _ = told(rows.mT if turned else rows, names=3)
    assert name == "yolov8" and c.logits.shape[2] == 3
    assert torch.allclose(c.boxes, BOX, atol=1e-3) and torch.allclose(c.scores(), SURE, atol=1e-5)


def test_a_row_per_cell_and_no_names_leave_it_open_whether_there_is_an_objectness() -> None:
    rows = torch.cat([centred(BOX), SURE], -1)
    with pytest.raises(ConfigError, match="could be yolov5 or yolov8; say which by --model_layout"):
        told(rows)
    assert told(rows, layout="yolov5")[1].logits.shape[2] == 2
    assert told(rows, names=2)[0] == "yolov5"  # YOLOX with its boxes decoded
    for columns, wanted in ((80, "yolov8"), (81, "yolov5")):  # 80 classes are those of COCO
        name, c, guessed = told(torch.cat([centred(BOX), scores(252, columns)], -1))
        assert name == wanted and c.logits.shape[2] == 80
        assert guessed == [f"layout {wanted}: by it outputs (1, 252, {4 + columns}) have the 80 classes of COCO"]


def test_anchors_that_are_turned_are_no_cells() -> None:
    """(1,5+C,3A) was read as yolov8 with one class more, the objectness."""
    box = cells(each=3)
    rows = torch.cat([centred(box), scores(756, 4)], -1)
    name, c, _ = told(rows.mT)
    assert name == "yolov5" and c.logits.shape[2] == 3 and c.objectness is not None


@pytest.mark.parametrize("strides", [(16, 32), (4, 8, 16, 32)])
def test_other_strides_than_the_usual_three(strides: tuple[int, ...]) -> None:
    box = cells(strides)
    name, c, _ = told(torch.cat([centred(box), scores(count(SIZE, strides), 3)], -1).mT)
    assert name == "yolov8" and torch.allclose(c.boxes, box, atol=1e-3)


@pytest.mark.parametrize("named", [False, True])
def test_classes_and_distributions_in_one_output_are_nanodet_plus(named: bool) -> None:
    strides, bins = (8, 16, 32, 64), 8
    rows = count(SIZE, strides)
    raw = torch.randn(1, rows, 4 * bins, generator=torch.Generator().manual_seed(0)) * 3
    name, c, guessed = told(torch.cat([scores(rows, 3), raw], -1), names=3 if named else None)
    place, stride = centres(SIZE, strides, raw)
    far = raw.unflatten(-1, (4, bins)).softmax(-1) @ torch.arange(float(bins)) * stride
    wanted = torch.cat([place * stride - far[..., :2], place * stride + far[..., 2:]], -1)
    assert name == "gfl" and c.logits.shape[2] == 3
    assert torch.allclose(c.boxes, torch.minimum(wanted.clamp(min=0), SCALE), atol=1e-3)
    assert guessed == ["decode: offset 0 cells, shift 0 px, as NanoDet-Plus has it"]


def test_queries_in_one_output() -> None:
    """As Ultralytics exports RT-DETR."""
    box = torch.rand(1, 300, 4, generator=torch.Generator().manual_seed(0))
    name, c, _ = told(torch.cat([box, scores(300, 3)], -1))
    assert name == "detr" and torch.allclose(centred(c.boxes), box * SCALE, atol=1e-3)
    assert torch.allclose(c.scores(), scores(300, 3), atol=1e-5)


# --- classes and boxes apart --------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["corners", "unit", "centre", "flat", "turned", "first"])
def test_finished_boxes_beside_their_classes(form: str) -> None:
    """YOLO-NAS, DAMO-YOLO, PP-YOLOE, YOLOv4: px were taken for 0..1, so that nothing was seen, and nobody was told."""
    made = {
        "corners": [SURE, BOX],
        "unit": [SURE, BOX / SCALE],
        "centre": [SURE, centred(BOX)],
        "flat": [SURE, BOX[:, :, None]],
        "turned": [SURE.mT, BOX.mT],
        "first": [BOX, SURE],
    }[form]
    name, c, _ = told(*made)
    assert name == "ssd" and torch.allclose(c.boxes, BOX, atol=1e-3)
    assert torch.allclose(c.scores(), SURE, atol=1e-5) and c.background is None


def test_four_classes_are_no_boxes() -> None:
    """Of two outputs with four columns the second is taken, and it is told."""
    sure, box = scores(252, 4), BOX
    _, c, guessed = told(sure, box)
    assert torch.allclose(c.boxes, box, atol=1e-3) and guessed == ["boxes: the second of two outputs with four columns"]


def test_queries_with_corners() -> None:
    name, c, _ = told(scores(100, 3), BOX[:, :100] / SCALE)
    assert name == "detr" and torch.allclose(c.boxes, BOX[:, :100], atol=1e-3)


def test_queries_that_all_see_the_whole_picture_are_centres() -> None:
    """Such boxes are in order, too: a DETR on a made-up picture."""
    box = torch.tensor([0.5, 0.5, 1, 1]) * (1 - 0.01 * torch.rand(1, 100, 4))
    name, c, _ = told(scores(100, 3), box)
    assert name == "detr" and torch.allclose(centred(c.boxes), box * SCALE, atol=1e-3)


# --- finished detections ------------------------------------------------------------------------------------


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("classes_first", [False, True])
@pytest.mark.parametrize("numbered", [False, True])
def test_finished_detections_of_each_form(numbered: bool, classes_first: bool, unit: bool) -> None:
    """YOLOv7's have the class before the score, which was taken for the score."""
    box, score, label = BOX[0, :3] / (SCALE if unit else 1), torch.tensor([0.9, 0.5, 0.0]), torch.tensor([16.0, 1, 0])
    ends = [label, score] if classes_first else [score, label]
    rows = torch.cat([*([torch.zeros(3, 1)] if numbered else []), box, torch.stack(ends, 1)], 1)
    made = finished(rows, SIZE)
    assert torch.allclose(made["boxes"], BOX[0, :2], atol=1e-3)
    assert made["scores"].tolist() == pytest.approx([0.9, 0.5]) and made["labels"].tolist() == [16, 1]


def test_detections_that_are_none_are_refused() -> None:
    rows = torch.cat([BOX[0, :3], torch.full((3, 2), 0.5)], 1)
    with pytest.raises(ConfigError, match="hold no column of whole numbers"):
        finished(rows, SIZE)
    rows = torch.cat([torch.tensor([[50.0, 50, 20, 20]]), torch.tensor([[0.5, 1]])], 1)
    with pytest.raises(ConfigError, match="not x1, y1, x2, y2"):
        finished(rows, SIZE)


def test_pictures_with_unlike_numbers_of_detections(tmp_path: Path) -> None:
    """(n,7) of a graph with a suppression: a batch of such answers is no tensor."""
    net = Net()
    bright = net.add("GreaterOrEqual", net.add("ReduceMax", net.conv("picture", 1, 8, 8), axes=[1], keepdims=1),
                     net.constant(np.float32(0)))  # fmt: skip
    at = net.add("Transpose", net.add("NonZero", bright), perm=[1, 0])  # (n,4): how many are bright
    one = net.add("Slice", at, *(net.constant(np.array([v])) for v in (0, 1, 1)))
    zero = net.add("Mul", net.add("Cast", one, to=1), net.constant(np.float32(0)))
    row = net.constant(np.array([[0, 8, 8, 40, 40, 1, 0.5]], np.float32))
    adapter: Any = igos.load("onnx", net.save(tmp_path / "v7.onnx", [net.add("Add", row, zero)]), names=["a", "b"])
    assert adapter.notes[0] == "layout end2end"
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    many = [len(d[0]) for d in adapter.detections(x)]
    assert len(set(many)) > 1
    image = adapter.read(np.full((64, 64, 3), 128, np.uint8))
    assert all(t.name == "b" and round(t.score, 3) == 0.5 for t in adapter.detect(image, 0.1))


# --- inputs -------------------------------------------------------------------------------------------------


def fed(path: Path, out: Path, last: bool, whole: bool, free: bool) -> Path:
    """The graph with its channels last, with pictures of whole numbers 0..255, of any size."""
    model = onnx.load(str(path))
    side: Any = "side" if free else 64
    shape = ["n", side, side, 3] if last else ["n", 3, side, side]
    kind = TensorProto.UINT8 if whole else TensorProto.FLOAT
    model.graph.input[0].CopyFrom(helper.make_tensor_value_info("given", kind, shape))
    nodes = [helper.make_node("Cast", ["given"], ["cast"], to=TensorProto.FLOAT)]
    if last:
        nodes.append(helper.make_node("Transpose", ["cast"], ["first"], perm=[0, 3, 1, 2]))
    scale = numpy_helper.from_array(np.float32(1 / 255 if whole else 1), "scale")
    model.graph.initializer.append(scale)
    nodes.append(helper.make_node("Mul", [nodes[-1].output[0], "scale"], ["picture"]))
    rest = list(model.graph.node)
    del model.graph.node[:]
    model.graph.node.extend([*nodes, *rest])
    onnx.save(model, str(out))
    return out


@pytest.mark.parametrize(
    ("last", "whole", "free"), [(True, False, False), (True, False, True), (False, True, False), (True, True, True)]
)
def test_channels_last_and_whole_numbers(last: bool, whole: bool, free: bool, tmp_path: Path) -> None:
    plain: Any = igos.load("onnx", v8(tmp_path / "v8.onnx"), names=["a", "b"])
    path = fed(tmp_path / "v8.onnx", tmp_path / "odd.onnx", last, whole, free)
    if free:
        with pytest.raises(ConfigError, match="leaves the size of its pictures open"):
            igos.load("onnx", path)
    adapter: Any = igos.load("onnx", path, names=["a", "b"], input_size=64 if free else None)
    assert adapter.blocked == "" and adapter.raw.input.range == (255 if whole else 1)
    image = plain.read(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    assert torch.allclose(adapter.candidates(image).scores(), plain.candidates(image).scores(), atol=1e-5)
    pixels = image.pixels[None].clone().requires_grad_(True)
    with torch.enable_grad():
        (g,) = torch.autograd.grad(adapter.raw(adapter.module, pixels).logits.sum(), pixels)
    assert float(g.abs().max()) > 0


def test_a_graph_for_four_pictures_takes_one(tmp_path: Path) -> None:
    """Its Reshapes say four, too."""
    plain: Any = igos.load("onnx", v8(tmp_path / "v8.onnx"), names=["a", "b"])
    model = onnx.load(str(tmp_path / "v8.onnx"))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 4
    for held in model.graph.initializer:
        values = numpy_helper.to_array(held)
        if values.shape == (3,) and values[0] == 1:
            held.CopyFrom(numpy_helper.from_array(np.array([4, *values[1:]]), held.name))
    onnx.save(model, str(tmp_path / "four.onnx"))
    adapter: Any = igos.load("onnx", tmp_path / "four.onnx", names=["a", "b"])
    x = torch.rand(3, 3, 64, 64)
    assert adapter.blocked == "" and adapter.module.batched
    assert torch.allclose(adapter.raw(adapter.module, x).logits, plain.raw(plain.module, x).logits, atol=1e-5)
