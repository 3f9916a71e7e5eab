"""Detectors from ONNX files: the real ones see what they must; gradients, batches, layouts, black boxes, refusals."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
import torch

pytest.importorskip("onnx2torch", reason="the extra [onnx] is not installed")

from onnx import TensorProto, helper, numpy_helper, save  # noqa: E402

import igos  # noqa: E402
from detectors import preset_of  # noqa: E402
from detectors.dense import DenseAdapter  # noqa: E402
from detectors.look import differences  # noqa: E402
from detectors.model_file import read_model_file  # noqa: E402
from detectors.onnx_file.draft import draft  # noqa: E402
from detectors.onnx_file.graph import Session, convert, settle_batch, with_logits  # noqa: E402
from detectors.onnx_file.load import Read  # noqa: E402
from detectors.onnx_file.parts import Outputs, corners  # noqa: E402
from detectors.onnx_file.recognise import recognise  # noqa: E402
from detectors.onnx_file.source import read_graph  # noqa: E402
from igos import cli  # noqa: E402
from igos.run.models import pick_model  # noqa: E402
from igos.types import Adapter, ConfigError, IgosError, Target, WeightsError  # noqa: E402
from tests.conftest import shared_data  # noqa: E402

PRIORS = {"strides": [8, 16, 32, 64], "sides": [[10, 16, 24], [32, 48], [64, 96], [128, 192, 256]]}
DOG, GIRAFFE = "photos/darknet_dog.jpg", "photos/darknet_giraffe.jpg"
FACE = "coco/images/000000000370.jpg"
SEEN = {  # file -> photo, threshold, what it must see, by an independent decoder
    "yolox_nano": (DOG, 0.4, {"dog": 0.86, "bicycle": 0.80, "car": 0.80}),
    "picodet_s_320": (GIRAFFE, 0.4, {"giraffe": 0.94, "zebra": 0.86}),
    "nanodet_m_320": (GIRAFFE, 0.4, {"giraffe": 0.86, "zebra": 0.52}),
    "fastestdet": (DOG, 0.6, {"dog": 0.81, "car": 0.76, "bicycle": 0.74}),
    "deimv2_atto_weak": (DOG, 0.5, {"car": 0.55}),
    "ultralight_face_rfb320": (FACE, 0.6, {"face": 1.00}),
}


@cache
def real(name: str) -> Adapter:
    options: dict[str, Any] = {"names": ["face"], "decode": PRIORS} if "face" in name else {}
    return igos.load("onnx", shared_data("detectors", f"{name}.onnx"), **options)


@pytest.mark.parametrize("name", SEEN)
def test_a_real_detector_sees_and_explains_what_it_must(name: str) -> None:
    photo, least, wanted = SEEN[name]
    path, adapter = shared_data(*photo.split("/")), real(name)
    assert isinstance(adapter, DenseAdapter) and isinstance(adapter, Adapter) and adapter.oracle is not None
    image = adapter.read(path)
    seen = adapter.detect(image, least)
    assert {t.name: round(t.score, 2) for t in seen} == pytest.approx(wanted, abs=0.011)
    far, off = differences(adapter.oracle(image.pixels[None]), seen, image.geometry.network)
    assert far < 0.5 and off < 5e-4
    scorer = adapter.scorer(seen)
    x = image.pixels.expand(len(seen), 1, -1, -1, -1)
    assert torch.allclose(scorer(x)[:, 0], torch.tensor([t.score for t in seen]), atol=1e-5)
    with torch.enable_grad():
        pixels = image.pixels[None].clone().requires_grad_(True)
        (g,) = torch.autograd.grad(adapter.scorer(seen[:1], "logit").forward(pixels, torch.tensor([0])).sum(), pixels)
    x1, y1, x2, y2 = (round(float(v)) for v in seen[0].box.clamp(min=0))  # type: ignore[union-attr]
    inside = g[0, :, y1:y2, x1:x2].abs().sum() / g.abs().sum()
    area = (x2 - x1) * (y2 - y1) / (g.shape[-1] * g.shape[-2])
    assert float(inside) > 1.5 * area  # the gradient looks at the object


def test_a_draft_says_how_rows_are_decoded(tmp_path: Path) -> None:
    name, out = "picodet_s_320", tmp_path / "my.yaml"
    out.write_text(draft(real(name), shared_data("detectors", f"{name}.onnx"), out))
    guessed = [line.split(":")[0].strip() for line in out.read_text().splitlines() if line.endswith("# guessed")]
    fed = ["fit", "pad", "color", "range", "mean", "std", "interpolation"]
    assert guessed == ["names", *fed, "offset", "shift", "nms"]  # the strides are seen in the shapes
    adapter, values = real(name), read_model_file(out)
    assert isinstance(adapter, DenseAdapter) and isinstance(adapter.raw, Read)
    assert values["decode"] == {"strides": [8, 16, 32, 64], "offset": 0.5, "shift": 0.0}
    assert replace(adapter.raw.input, **values["input"]) == adapter.raw.input


def test_the_face_of_a_photo_lies_where_it_must() -> None:
    adapter = real("ultralight_face_rfb320")
    image = adapter.read(shared_data(*FACE.split("/")))
    (face,) = adapter.detect(image, 0.6)
    assert face.box is not None
    assert image.geometry.to_source(face.box).tolist() == pytest.approx([132, 74, 318, 298], abs=1)
    assert list(adapter.labels) == ["__background__", "face"]


def test_the_queries_of_a_real_graph_are_pinned() -> None:
    """With a corner of 64 px hidden the query of the target comes from the same place of the encoder."""
    from detectors.pins import choosing, noting

    adapter = real("deimv2_atto_weak")
    image = adapter.read(shared_data(*DOG.split("/")))
    (target, *_) = adapter.detect(image, 0.3)
    assert len(target.pins) == 1 and target.pins[0].shape == (100,)  # not the TopK whose places nobody reads
    hidden = image.pixels.clone()
    hidden[:, :64, :64] = 0.5
    with torch.no_grad(), noting() as free:
        adapter.candidates(igos.types.Image(hidden, image.geometry, image.source))
    assert int((free.pins[0] == target.pins[0]).sum()) < 50  # by itself the network would take others
    with torch.no_grad(), noting() as again, choosing([target.pins]):
        adapter.candidates(igos.types.Image(hidden, image.geometry, image.source))
    assert again.pins == ()  # the choice was made already
    both = adapter.scorer([target])(torch.stack([image.pixels, hidden])[None])
    assert float(both[0, 0]) == pytest.approx(target.score, abs=1e-5) and float(both[0, 1]) > target.score / 2


# --- graphs made here ---------------------------------------------------------------------------------


class Net:
    """A graph node by node: `add` answers the name of the node's output."""

    def __init__(self, size: Any = (64, 64), channels: int = 3) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []
        self.input = helper.make_tensor_value_info("picture", TensorProto.FLOAT, [1, channels, *size])
        self.noise = np.random.default_rng(0)

    def constant(self, value: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value), f"c{len(self.constants)}"))
        return f"c{len(self.constants) - 1}"

    def add(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        names = [f"n{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, name=f"n{len(self.nodes)}", **attributes))
        return names[0] if outputs == 1 else names

    def conv(self, x: str, into: int, side: int, stride: int, given: int = 3) -> str:
        weight = self.constant((self.noise.standard_normal((into, given, side, side)) / side / 2).astype(np.float32))
        return self.add("Conv", x, weight, kernel_shape=[side, side], strides=[stride, stride])

    def rows(self, x: str, columns: int) -> str:
        """(1,columns,h,w) -> (1,h*w,columns)."""
        flat = self.add("Reshape", x, self.constant(np.array([1, columns, -1])))
        return self.add("Transpose", flat, perm=[0, 2, 1])

    def save(self, path: Path, outputs: list[str], opset: int = 13) -> Path:
        made = [helper.make_tensor_value_info(o, TensorProto.FLOAT, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "net", [self.input], made, self.constants)
        save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8), str(path))
        return path


def v8(path: Path, classes: int = 2, sigmoid: bool = True) -> Path:
    """A YOLOv8-like graph of 64 px: (1,4+classes,84), boxes in px."""
    net, levels = Net(), []
    for stride in (8, 16, 32):
        x = net.conv("picture", 4 + classes, stride, stride)
        levels.append(net.add("Reshape", x, net.constant(np.array([1, 4 + classes, -1]))))
    whole = net.add("Concat", *levels, axis=2)
    box, scores = net.add("Split", whole, net.constant(np.array([4, classes])), outputs=2, axis=1)
    box = net.add("Mul", net.add("Sigmoid", box), net.constant(np.float32(60)))
    scores = net.add("Sigmoid", scores) if sigmoid else net.add("Abs", net.add("Tanh", scores))
    return net.save(path, [net.add("Concat", box, scores, axis=1)])


def test_a_graph_answers_what_stands_before_its_activation(tmp_path: Path) -> None:
    path = v8(tmp_path / "v8.onnx")
    adapter = igos.load("onnx", path, names=["a", "b"])
    assert isinstance(adapter, DenseAdapter)
    assert "scores: sigmoid by the graph; the logits before it are read" in adapter.notes
    graph, _ = read_graph(path, None)
    assert len(with_logits(graph).graph.output) == 2
    x = torch.rand(3, 3, 64, 64)
    net = convert(graph)
    settle_batch(net, x[:2])
    made, before = net(x)
    assert net.batched and torch.allclose(made[:, 4:], before[:, 4:].sigmoid(), atol=1e-6)
    assert torch.equal(made[:, :4], before[:, :4])  # the sigmoid of the boxes is multiplied on: it stays
    assert torch.allclose(made, Session(graph)(x)[0], atol=1e-4)
    layout: Any = adapter.raw.layout  # type: ignore[attr-defined]
    c = layout.decode(Outputs([made], [before], (64, 64)))
    assert c.boxes is not None and torch.equal(corners(made[0].T[:, :4]), c.boxes[0])


def test_probabilities_whose_activation_stays_are_clamped_and_told(tmp_path: Path) -> None:
    adapter = igos.load("onnx", v8(tmp_path / "odd.onnx", sigmoid=False), names=["a", "b"])
    assert any("taken to lie in [1e-6, 1 - 1e-6]" in note for note in adapter.notes)
    image = adapter.read(np.full((64, 64, 3), 90, np.uint8))
    c = adapter.candidates(image)
    assert bool(c.scores("logit").isfinite().all()) and bool((c.scores() >= 1e-6 * 0.99).all())


def test_a_path_with_every_kind_of_move_is_followed(tmp_path: Path) -> None:
    """Softmax, then Transpose, Slice, Unsqueeze, Squeeze, Split and Concat; the other half of the Split is used up."""
    net = Net()
    rows = net.rows(net.conv("picture", 9, 8, 8), 9)
    soft = net.add("Softmax", net.add("Slice", rows, *(net.constant(np.array([v])) for v in (4, 9, 2))), axis=2)
    moved = net.add("Squeeze", net.add("Unsqueeze", soft, net.constant(np.array([1]))), net.constant(np.array([1])))
    one, rest = net.add("Split", moved, net.constant(np.array([2, 3])), outputs=2, axis=2)
    boxes = net.add("Sigmoid", net.add("Slice", rows, *(net.constant(np.array([v])) for v in (0, 4, 2))))
    path = net.save(tmp_path / "moves.onnx", [net.add("Concat", one, rest, axis=2), boxes])
    made, unit, before, boxes_before = convert(read_graph(path, None)[0])(torch.rand(1, 3, 64, 64))
    assert torch.allclose(made, before.softmax(-1), atol=1e-6) and not torch.allclose(made, before)
    assert torch.allclose(unit, boxes_before.sigmoid(), atol=1e-6)


@pytest.mark.parametrize("op", ["clip", "grid", "depth", "slice1"])
def test_operators_that_onnx2torch_lacks(op: str, tmp_path: Path) -> None:
    net, opset = Net(), 16
    x = net.conv("picture", 4, 8, 8)
    if op == "clip":
        x = net.add("Clip", net.add("Clip", x, net.constant(np.float32(-0.1))), "", net.constant(np.float32(0.2)))
    elif op == "grid":
        grid = net.constant(net.noise.uniform(-1.1, 1.1, (1, 5, 7, 2)).astype(np.float32))
        x = net.add("GridSample", x, grid, mode="bilinear", padding_mode="zeros")
    elif op == "depth":
        x = net.add("SpaceToDepth", x, blocksize=2)
    else:
        x, opset = net.add("Slice", x, starts=[1, -6], ends=[3, 100], axes=[1, -1]), 9
    path = net.save(tmp_path / "op.onnx", [x], opset)
    graph, _ = read_graph(path, None)
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    made = convert(graph)(picture)[0]
    assert torch.allclose(made, Session(graph)(picture.detach())[0], atol=1e-5)
    (g,) = torch.autograd.grad(made.square().sum(), picture)
    assert float(g.abs().max()) > 0


def test_a_graph_that_takes_one_picture_alone_takes_several(tmp_path: Path) -> None:
    """Its Reshape drops the batch: pictures go through one by one, and still each gets its own answer."""
    net = Net()
    flat = net.add("Reshape", net.conv("picture", 6, 8, 8), net.constant(np.array([6, -1])))
    path = net.save(tmp_path / "one.onnx", [net.add("Transpose", flat, perm=[1, 0])])
    graph, _ = read_graph(path, None)
    one = convert(graph)
    x = torch.rand(3, 3, 64, 64)
    settle_batch(one, x[:2])
    assert not one.batched
    assert one(x)[0].shape == (3, 64, 6) and torch.allclose(one(x)[0], Session(graph)(x)[0], atol=1e-5)


# --- layouts ------------------------------------------------------------------------------------------


def shapes(*sizes: tuple[int, ...], low: float = -1.0, high: float = 1.0) -> Outputs:
    torch.manual_seed(0)
    made = [torch.rand(s) * (high - low) + low for s in sizes]
    return Outputs(made, made, (64, 64))


def cell_maps(classes: int) -> Outputs:
    """As FastestDet answers: objectness, four numbers of the box, classes that add up to 1."""
    (raw,) = shapes((1, 5 + classes, 8, 8)).made
    made = torch.cat([raw[:, :1].sigmoid(), raw[:, 1:5], raw[:, 5:].softmax(1)], 1)
    return Outputs([made], [made], (64, 64))


@pytest.mark.parametrize(
    ("out", "names", "wanted"),
    [
        (shapes((1, 84, 7)), 2, "yolox"),
        (shapes((1, 84, 7), low=0, high=60), 2, "yolov5"),
        (shapes((1, 252, 7), low=0, high=60), 2, "yolov5"),
        (shapes((1, 6, 84), low=0, high=60), 2, "yolov8"),
        (shapes((1, 64, 3), (1, 16, 3), (1, 16, 32), (1, 64, 32)), None, "gfl"),
        (cell_maps(2), None, "fastestdet"),
        (shapes((1, 20, 3), (1, 20, 4), low=0), None, "detr"),
    ],
)
def test_a_layout_is_told_by_its_shapes(out: Outputs, names: int | None, wanted: str) -> None:
    found, _ = recognise(out, None, names, {}, "F.onnx")
    assert found is not None and found.name == wanted
    settled = found.settle(out, None)
    c = settled.decode(out)
    assert c.boxes is not None and c.boxes.shape[:2] == c.logits.shape[:2]


def test_finished_detections_are_a_layout_too() -> None:
    out = shapes((1, 300, 6), low=0, high=60)
    out.made[0][..., 5].round_()
    found, _ = recognise(out, None, None, {}, "F.onnx")
    assert found is None


def test_outputs_that_leave_it_open_are_asked_about() -> None:
    with pytest.raises(ConfigError, match=r"\(1, 6, 84\).* of no known layout"):
        recognise(shapes((1, 6, 84)), None, 9, {}, "F.onnx")
    with pytest.raises(ConfigError, match=r"F.onnx: outputs \(1, 5\) are of no known layout"):
        recognise(shapes((1, 5)), None, None, {}, "F.onnx")
    with pytest.raises(ConfigError, match="not of layout detr"):
        recognise(shapes((1, 6, 84)), "detr", None, {}, "F.onnx")
    with pytest.raises(ConfigError, match="'yolo' is not one of yolox"):
        recognise(shapes((1, 6, 84)), "yolo", None, {}, "F.onnx")
    with pytest.raises(ConfigError, match="look like ssd: it needs the priors"):
        recognise(shapes((1, 4420, 2), (1, 4420, 4)), None, None, {}, "F.onnx")
    either = shapes((1, 84, 6), low=0, high=60)  # an objectness?
    with pytest.raises(ConfigError, match="could be yolov5 or yolov8; say which by --model_layout"):
        recognise(either, None, None, {}, "F.onnx")
    found, _ = recognise(either, "yolov8", None, {}, "F.onnx")
    assert found is not None and found.name == "yolov8"


def test_detrs_last_column_is_no_object_where_the_names_say_so() -> None:
    out = shapes((1, 20, 4), (1, 20, 4), low=0)
    found, guessed = recognise(out, "detr", 3, {}, "F.onnx")
    assert found is not None and [g.split(":")[0] for g in guessed] == ["boxes", "decode"]
    c = found.settle(Outputs([out.made[0] * 5 - 9, out.made[1]], [out.made[0] * 5 - 9, out.made[1]], (64, 64)), None)
    assert c.decode(out).background == 3 and c.decode(out).activation == "softmax"


def queries(path: Path) -> Path:
    """A DETR-like graph of 64 px: 16 queries, 3 classes."""
    net = Net()
    boxes = net.add("Sigmoid", net.rows(net.conv("picture", 4, 16, 16), 4))
    return net.save(path, [net.rows(net.conv("picture", 3, 16, 16), 3), boxes])


def test_rows_that_are_queries_take_the_preset_of_queries(tmp_path: Path) -> None:
    """Before and after the network is loaded."""
    query, cell = queries(tmp_path / "query.onnx"), v8(tmp_path / "cell.onnx")
    cases: list[tuple[Path, dict[str, Any], str]] = [
        (query, {}, "detect-detr"),
        (query, {"layout": "detr", "names": list("abc")}, "detect-detr"),
        (cell, {}, "detect-dense"),
        (cell, {"layout": "yolov8", "input_size": 64}, "detect-dense"),
    ]
    for path, options, wanted in cases:
        assert igos.load("onnx", path, **options).preset == preset_of("onnx", path, **options) == wanted
    (tmp_path / "my.yaml").write_text("kind: onnx\nweights: query.onnx\nnames: [a, b, c]\n")
    assert preset_of(str(tmp_path / "my.yaml")) == "detect-detr"
    flags = {"model": "onnx", "model_file": str(query), "input_size": "64"}
    assert pick_model(flags)[1] == "detect-detr"
    assert preset_of("onnx", tmp_path / "none.onnx") == "detect-dense"  # told where it is loaded


# --- black boxes --------------------------------------------------------------------------------------


def test_finished_detections_are_a_black_box(tmp_path: Path) -> None:
    net = Net()
    rows = net.rows(net.conv("picture", 1, 8, 8), 1)
    light = net.add("Sigmoid", net.add("ReduceMax", rows, axes=[1], keepdims=1))
    box = net.constant(np.array([[[8, 8, 40, 40]]], np.float32))
    label = net.constant(np.array([[[1]]], np.float32))
    path = net.save(tmp_path / "end.onnx", [net.add("Concat", box, light, label, axis=2)])
    adapter = igos.load("onnx", path, names=["a", "b"])
    assert isinstance(adapter, Adapter)
    image = adapter.read(np.full((64, 64, 3), 128, np.uint8))
    (seen,) = adapter.detect(image, 0.1)
    assert seen.name == "b" and seen.box is not None and seen.box.tolist() == [8, 8, 40, 40]
    (e,) = igos.explain(adapter, image, [seen], "rise", metrics=(), n_masks=8)
    assert e.status != "not-finite"
    with pytest.raises(ConfigError, match="take method rise or drise"):
        igos.explain(adapter, image, [seen], "iGOS+", metrics=())


def test_an_operator_without_gradient_is_named_and_the_rest_still_works(tmp_path: Path) -> None:
    net = Net()
    x = net.add("Det", net.add("Reshape", net.conv("picture", 4, 8, 8), net.constant(np.array([1, 64, 2, 2]))))
    rows = net.add("Reshape", x, net.constant(np.array([1, 64, 1])))
    many = net.add("Concat", *([rows] * 6), axis=2)
    path = net.save(tmp_path / "det.onnx", [net.add("Sigmoid", many)])
    options: dict[str, Any] = {"layout": "yolov8", "names": [f"c{i}" for i in range(60)], "input_size": 64}
    adapter = igos.load("onnx", path, **options)
    assert any("no gradients: the operator Det" in note for note in adapter.notes)
    image = adapter.read(np.full((64, 64, 3), 128, np.uint8))
    target = Target(3, "c3", 0.5, torch.tensor([1.0, 1, 30, 30]), index=2)
    (e,) = igos.explain(adapter, image, [target], "rise", metrics=(), n_masks=8)
    assert bool(e.saliency.isfinite().all())
    with pytest.raises(ConfigError, match=r"det has no gradients \(the operator Det .*\): take method rise or drise"):
        igos.explain(adapter, image, [target], "iGOS+", metrics=())
    with pytest.raises(ConfigError, match="black box: it has no layers"):
        igos.explain(adapter, image, [target], "odam", metrics=())


def test_a_quantised_graph_is_a_black_box(tmp_path: Path) -> None:
    net = Net()
    scale, zero = net.constant(np.float32(1 / 255)), net.constant(np.uint8(0))
    x = net.add("DequantizeLinear", net.add("QuantizeLinear", "picture", scale, zero), scale, zero)
    rows = net.add("Sigmoid", net.rows(net.conv(x, 7, 8, 8), 7))
    path = net.save(tmp_path / "int8.onnx", [net.add("Transpose", rows, perm=[0, 2, 1])])
    adapter = igos.load("onnx", path, layout="yolov8", names=["a", "b", "c"])
    assert any(note.startswith("no gradients: it is quantised (") for note in adapter.notes)


# --- bad input ----------------------------------------------------------------------------------------


def test_what_is_no_detector_is_refused_in_one_line(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"\x08\x07 not a graph at all" * 20)
    empty = tmp_path / "empty.onnx"
    empty.write_bytes(b"")
    grey = Net(channels=1)
    one = grey.save(tmp_path / "grey.onnx", [grey.add("Relu", "picture")])
    open_size = Net(size=("h", "w"))
    wide = open_size.save(tmp_path / "open.onnx", [open_size.conv("picture", 7, 8, 8)])
    fine = v8(tmp_path / "fine.onnx")
    cases: list[tuple[Any, dict[str, Any], type[IgosError], str]] = [
        (None, {}, ConfigError, "needs weights=FILE.onnx"),
        (tmp_path / "none.onnx", {}, WeightsError, "no such file"),
        (broken, {}, WeightsError, "not an ONNX file that can be read|onnxruntime cannot run it|takes 0 inputs"),
        (one, {}, ConfigError, r"not \(N,3,H,W\) with 3 channels"),
        (wide, {}, ConfigError, "leaves the size of its pictures open; give input_size"),
        (fine, {"input_size": 96}, ConfigError, "its pictures are 64 x 64 px, not 96 x 96"),
        (tmp_path, {}, WeightsError, "a folder, not a file"),
        (empty, {}, WeightsError, "not an ONNX file that can be read .it holds no graph"),
        (fine, {"names": ["a"]}, ConfigError, r"1 names do not fit outputs \(1, 6, 84\), .*yolov8 they have 2 columns"),
        (fine, {"layout": "yolov8", "names": list("abc")}, ConfigError, "3 names do not fit .* have 2 columns"),
        (
            fine,
            {"decode": {"sides": [[8]]}},
            ConfigError,
            "decode: sides does not belong to layout yolov8: it takes str",
        ),
        (fine, {"fit": "crop"}, ConfigError, "fit 'crop' is not one of"),
    ]
    for path, options, kind, words in cases:
        with pytest.raises(kind, match=words) as told:
            igos.load("onnx", path, **options)
        assert "\n" not in str(told.value)
    adapter = igos.load("onnx", wide, input_size=64, layout="fastestdet")
    assert adapter.read(np.zeros((40, 40, 3), np.uint8)).geometry.network == (64, 64)


def test_the_command_answers_bad_input_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    v8(tmp_path / "v8.onnx")
    (tmp_path / "words.onnx").write_text("no graph")
    (tmp_path / "bert").mkdir()
    (tmp_path / "bert" / "config.json").write_text("[]")
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    (tmp_path / "my.yaml").write_text("kind: onnx\nweights: v8.onnx\ndecode: {sides: [[8]]}\n")
    net = Net()
    pooled = net.save(tmp_path / "pool.onnx", [net.add("GlobalAveragePool", net.conv("picture", 4, 8, 8))])
    hidden = Net()
    hard = hidden.add("Hardmax", hidden.conv("picture", 7, 8, 8), axis=1)
    black = hidden.save(tmp_path / "hard.onnx", [hard])
    photo, out = tmp_path / "grey.png", tmp_path / "out"
    PIL.Image.new("RGB", (64, 64), (90, 90, 90)).save(photo)
    asked = [
        "--model_layout",
        "fastestdet",
        "--data",
        str(photo),
        "--threshold",
        "0",
        "--method",
        "vanilla_grad",
        "--output",
        str(out),
    ]
    cases = [
        (["model", "words.onnx"], "words.onnx: not an ONNX file that can be read"),
        (["model", "onnx", "--model_file", "other.pth"], "other.pth: not an ONNX file that can be read"),
        (["model", "hf", "--model_file", "bert"], "config.json cannot be read"),
        (["model", "ultralytics", "--model_file", "other.pth"], "not a .pt file of Ultralytics"),
        (["model", "pool.onnx"], f"{pooled.name}: outputs (1, 4, 1, 1) are of no known layout (yolox, "),
        (["model", "my.yaml"], "decode: sides does not belong to layout yolov8"),
        (["--model", "onnx", "--model_file", black.name, *asked], "the operator Hardmax has no gradient here): take"),
    ]
    for words, told in cases:
        capsys.readouterr()
        assert cli.main([str(tmp_path / w) if (tmp_path / w).exists() else w for w in words]) == 2
        (line,) = capsys.readouterr().err.strip().split("\n")
        assert line.startswith("igos: ") and told in line


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    for name in [n for n in sys.modules if n.startswith("detectors.onnx_file")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "onnx2torch", None)
    with pytest.raises(ConfigError, match=r"onnx2torch is not installed: pip install 'igos\[onnx\]'"):
        igos.load("onnx", v8(tmp_path / "v8.onnx"))
