"""ONNX files that a stranger brings: other exporters, precisions and operator sets, other tasks, half of a file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

pytest.importorskip("onnx2torch", reason="the extra [onnx] is not installed")

import onnx  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

import igos  # noqa: E402
from detectors.onnx_file.graph import Session, convert, settle_batch  # noqa: E402
from detectors.onnx_file.source import read_graph  # noqa: E402
from igos.types import ConfigError, IgosError, WeightsError  # noqa: E402
from tests.detectors.test_onnx import Net, v8  # noqa: E402

NEWEST = 23  # operator set


def levels(columns: int, parts: int = 1) -> tuple[Net, list[str]]:
    """The maps (1,columns,h,w) of three strides, a graph of 64 px: 84 places."""
    net = Net()
    return net, [net.conv("picture", columns * parts, stride, stride) for stride in (8, 16, 32)]


def rows_of(net: Net, maps: list[str], parts: list[int]) -> list[str]:
    """(1,part,84) for each part of the columns."""
    shape = net.constant(np.array([1, sum(parts), -1]))
    whole = net.add("Concat", *(net.add("Reshape", m, shape) for m in maps), axis=2)
    return list(net.add("Split", whole, net.constant(np.array(parts)), outputs=len(parts), axis=1))


def cells(path: Path, classes: int, more: int, beyond: float = 1.0, prototypes: bool = False) -> Path:
    """YOLOv8-like rows with `more` columns after the classes, up to `beyond`: keypoints, or parts of masks."""
    net, maps = levels(4 + classes + more)
    box, sure, rest = rows_of(net, maps, [4, classes, more])
    box = net.add("Mul", net.add("Sigmoid", box), net.constant(np.float32(60)))
    rest = net.add("Mul", rest, net.constant(np.float32(beyond)))
    outputs = [net.add("Concat", box, net.add("Sigmoid", sure), rest, axis=1)]
    return net.save(path, [*outputs, *([net.conv("picture", more, 4, 4)] if prototypes else [])])


def test_masks_beside_the_rows_are_left_out(tmp_path: Path) -> None:
    adapter: Any = igos.load("onnx", cells(tmp_path / "seg.onnx", 3, 32, prototypes=True), names=list("abc"))
    assert adapter.notes[:2] == ["layout yolov8", "its masks (32 columns) are left out"]
    c = adapter.candidates(adapter.read(np.full((64, 64, 3), 90, np.uint8)))
    assert c.logits.shape == (1, 84, 3) and adapter.labels == ["a", "b", "c"]
    own = adapter.oracle(torch.full((1, 3, 64, 64), 90 / 255))
    assert torch.allclose(c.scores(), own.scores(), atol=1e-5) and torch.allclose(c.boxes, own.boxes, atol=1e-3)


def test_heads_beside_the_decoded_rows_are_left_alone(tmp_path: Path) -> None:
    """Old exports of YOLOv5 answer the heads of training too."""
    net, maps = levels(7, parts=3)
    heads = [
        net.add("Reshape", m, net.constant(np.array([1, 3, 7, 64 // s, 64 // s])))
        for m, s in zip(maps, (8, 16, 32), strict=True)
    ]
    heads = [net.add("Transpose", h, perm=[0, 1, 3, 4, 2]) for h in heads]
    flat = [net.add("Reshape", net.add("Sigmoid", h), net.constant(np.array([1, -1, 7]))) for h in heads]
    scale = net.constant(np.array([60, 60, 60, 60, 1, 1, 1], np.float32))
    decoded = net.add("Mul", net.add("Concat", *flat, axis=1), scale)
    for outputs in ([decoded, *heads], [*heads, decoded]):
        adapter = igos.load("onnx", net.save(tmp_path / "v5.onnx", outputs), names=["a", "b"])
        assert adapter.notes[0] == "layout yolov5"
        x = adapter.read(np.full((64, 64, 3), 90, np.uint8))
        assert adapter.candidates(x).logits.shape == (1, 252, 2)


def said(path: Path, **words: str) -> Path:
    """The file with what Ultralytics' exports say of themselves."""
    model = onnx.load(str(path))
    helper.set_model_props(model, words)
    onnx.save(model, str(path))
    return path


def test_what_a_file_says_of_itself_is_taken(tmp_path: Path) -> None:
    path = v8(tmp_path / "v8.onnx")
    model = onnx.load(str(path))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    onnx.save(model, str(path))
    said(path, names="{0: 'cat', 1: \"dog's\"}", imgsz="[64, 64]", task="detect", stride="32")
    adapter = igos.load("onnx", path)
    assert adapter.labels == ["cat", "dog's"] and not any("names" in note for note in adapter.notes)
    assert adapter.read(np.zeros((40, 40, 3), np.uint8)).geometry.network == (64, 64)
    assert igos.load("onnx", path, names=["a", "b"]).labels == ["a", "b"]
    odd = igos.load("onnx", said(path, names="{0: 'cat', 5: 'dog'}", imgsz="[64, 64]"))
    assert odd.labels == ["class 0", "class 1"]
    for task in ("pose", "obb", "classify"):
        with pytest.raises(ConfigError, match=f"v8.onnx: says that its task is {task}"):
            igos.load("onnx", said(path, task=task, imgsz="[64, 64]"))


def halved(path: Path, out: Path, inside: bool) -> Path:
    """The graph in half precision; inside: its input and output stay single."""
    model = onnx.load(str(path))
    for held in model.graph.initializer:
        values = numpy_helper.to_array(held)
        if values.dtype == np.float32:
            held.CopyFrom(numpy_helper.from_array(values.astype(np.float16), held.name))
    ends = [*model.graph.input, *model.graph.output]
    for value in [] if inside else ends:
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    if inside:
        for node in model.graph.node:
            node.input[:] = ["half" if i == "picture" else i for i in node.input]
        last = model.graph.output[0].name
        model.graph.node.insert(0, helper.make_node("Cast", ["picture"], ["half"], to=TensorProto.FLOAT16))
        model.graph.node.append(helper.make_node("Cast", [last], ["single"], to=TensorProto.FLOAT))
        model.graph.output[0].name = "single"
    onnx.save(model, str(out))
    return out


@pytest.mark.parametrize("inside", [False, True])
def test_half_precision_becomes_single(inside: bool, tmp_path: Path) -> None:
    whole = v8(tmp_path / "v8.onnx")
    adapter: Any = igos.load("onnx", halved(whole, tmp_path / "half.onnx", inside), names=["a", "b"])
    assert adapter.blocked == "" and "scores: sigmoid by the graph; the logits before it are read" in adapter.notes
    image = adapter.read(np.full((64, 64, 3), 90, np.uint8))
    near = igos.load("onnx", whole, names=["a", "b"]).candidates(image)
    assert torch.allclose(adapter.candidates(image).scores(), near.scores(), atol=5e-3)


def test_numbers_in_a_file_of_their_own(tmp_path: Path) -> None:
    model = onnx.load(str(v8(tmp_path / "v8.onnx")))
    path = tmp_path / "out.onnx"
    onnx.save(model, str(path), save_as_external_data=True, location="out.data", size_threshold=0)
    assert igos.load("onnx", path, names=["a", "b"]).labels == ["a", "b"]
    (tmp_path / "out.data").unlink()
    with pytest.raises(WeightsError, match="out.onnx: keeps its numbers in out.data, which must lie beside it"):
        igos.load("onnx", path)


# --- operator sets --------------------------------------------------------------------------------------


def newer(kind: str, net: Net, x: str) -> str:
    """One operator as a newer set has it, after a convolution x (1,4,8,8)."""
    axes = net.constant(np.array([2, 3]))
    if kind == "reduce":
        return net.add("Add", x, net.add("ReduceMean", x, axes, keepdims=1))
    if kind == "reduce all":
        return net.add("Add", x, net.add("ReduceMax", x, keepdims=1))
    if kind == "reduce nothing":
        return net.add("ReduceMean", x, noop_with_empty_axes=1)
    if kind == "split":  # 4 channels in 3 parts: 2, 2 and none is no split; 8 rows in 3: 3, 3, 2
        return net.add("Concat", *reversed(net.add("Split", x, outputs=3, axis=2, num_outputs=3)), axis=2)
    if kind == "resize":
        sizes = net.constant(np.array([1, 1, 2, 2], np.float32))
        return net.add("Resize", x, "", sizes, mode="nearest", coordinate_transformation_mode="asymmetric",
                       nearest_mode="floor", antialias=0)  # fmt: skip
    if kind == "reshape":
        return net.add("Reshape", x, net.constant(np.array([1, 2, 2, 64])), allowzero=1)
    if kind == "group norm":
        scale, bias = (net.constant(net.noise.standard_normal(4).astype(np.float32)) for _ in range(2))
        return net.add("GroupNormalization", x, scale, bias, num_groups=2)
    return net.add(kind, x)


KINDS = ("reduce", "reduce all", "reduce nothing", "split", "resize", "reshape", "group norm", "Gelu", "Mish",
         "HardSwish", "GlobalMaxPool", "GlobalAveragePool", "Identity")  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_operators_of_the_newest_sets_have_gradients(kind: str, tmp_path: Path) -> None:
    net = Net()
    path = net.save(tmp_path / "new.onnx", [newer(kind, net, net.conv("picture", 4, 8, 8))], NEWEST)
    graph, _ = read_graph(path, None)
    x = torch.rand(2, 3, 64, 64, requires_grad=True)
    module = convert(graph)
    settle_batch(module, x.detach())
    made = module(x)[0]
    assert torch.allclose(made, Session(graph)(x.detach())[0], atol=1e-5)
    (g,) = torch.autograd.grad(made.square().sum(), x)
    assert float(g.abs().max()) > 0


@pytest.mark.parametrize("opset", [9, 11, 18, 20, NEWEST])
def test_a_detector_of_any_set_is_explained_with_gradients(opset: int, tmp_path: Path) -> None:
    if opset < 13:  # its Split has the sizes as an attribute
        net, maps = levels(6)
        shape = net.constant(np.array([1, 6, -1]))
        whole = net.add("Concat", *(net.add("Reshape", m, shape) for m in maps), axis=2)
        box, scores = net.add("Split", whole, outputs=2, axis=1, split=[4, 2])
        box = net.add("Mul", net.add("Sigmoid", box), net.constant(np.float32(60)))
        path = net.save(tmp_path / "v8.onnx", [net.add("Concat", box, net.add("Sigmoid", scores), axis=1)], opset)
    else:
        model = onnx.load(str(v8(tmp_path / "v8.onnx")))
        model.opset_import[0].version, path = opset, tmp_path / "v8.onnx"
        onnx.save(model, str(path))
    adapter: Any = igos.load("onnx", path, names=["a", "b"])
    assert adapter.blocked == "" and adapter.module.batched
    assert "scores: sigmoid by the graph; the logits before it are read" in adapter.notes


def test_upsampling_of_old_exports(tmp_path: Path) -> None:
    for opset in (7, 9):
        net, scales = Net(), [1.0, 1.0, 2.0, 2.0]
        x = net.conv("picture", 4, 8, 8)
        given: dict[str, Any] = {"scales": scales} if opset == 7 else {}
        inputs = [] if opset == 7 else [net.constant(np.array(scales, np.float32))]
        path = net.save(tmp_path / "up.onnx", [net.add("Upsample", x, *inputs, mode="nearest", **given)], opset)
        graph, _ = read_graph(path, None)
        picture = torch.rand(1, 3, 64, 64)
        assert torch.allclose(convert(graph)(picture)[0], Session(graph)(picture)[0], atol=1e-6)


def test_what_only_a_newer_set_can_say_is_named(tmp_path: Path) -> None:
    net, maps = levels(6)
    sizes = net.constant(np.array([1, 1, 0.5, 0.5], np.float32))
    small = net.add("Resize", "picture", "", sizes, mode="linear", antialias=1)
    maps[1] = net.conv(small, 6, 8, 8)
    rows = net.add("Sigmoid", rows_of(net, maps, [6, 0])[0])
    path = net.save(tmp_path / "anti.onnx", [rows], NEWEST)
    adapter: Any = igos.load("onnx", path, names=["a", "b"], layout="yolov8")
    assert adapter.blocked == "the operator Resize with antialias has no gradient here"


def test_the_shape_of_a_weight_has_no_batch(tmp_path: Path) -> None:
    """(4,) -> (1,-1,1,1) by a Reshape that nobody has folded."""
    net = Net()
    x = net.conv("picture", 4, 8, 8)
    held = net.add("Reshape", net.add("Cast", net.constant(np.arange(4, dtype=np.float32)), to=1),
                   net.constant(np.array([1, -1, 1, 1])))  # fmt: skip
    from detectors.onnx_file.graph import with_free_batch

    model = onnx.load(str(net.save(tmp_path / "held.onnx", [net.add("Mul", x, held)])))
    x2 = torch.rand(2, 3, 64, 64)
    import onnx2torch

    made = onnx2torch.convert(with_free_batch(model))(x2)
    assert made.shape == (2, 4, 8, 8) and torch.allclose(made, Session(model)(x2)[0], atol=1e-5)


# --- what is no detector, or not yet ---------------------------------------------------------------------


def plugin(path: Path) -> Path:
    net = Net()
    rows = net.rows(net.conv("picture", 6, 8, 8), 6)
    return net.save(path, net.add("EfficientNMS_TRT", rows, rows, outputs=4))


def suppressed(path: Path) -> Path:
    net = Net()
    rows = net.rows(net.conv("picture", 7, 8, 8), 7)
    box, scores = (
        net.add("Slice", rows, *(net.constant(np.array([v])) for v in cut)) for cut in ((0, 4, 2), (4, 7, 2))
    )
    scores = net.add("Transpose", net.add("Sigmoid", scores), perm=[0, 2, 1])
    kept = net.add("NonMaxSuppression", box, scores, net.constant(np.array([10])))
    return net.save(path, [net.add("Cast", kept, to=1), box, scores])


def wide(path: Path) -> Path:
    """YOLOv8-like, of any size."""
    model = onnx.load(str(v8(path)))
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "side"
    onnx.save(model, str(path))
    return path


def maps(path: Path, columns: int, strides: tuple[int, ...], kind: str | None = None) -> Path:
    net = Net()
    made = [net.conv("picture", columns, s, s) for s in strides]
    return net.save(path, [m if kind is None else net.add(kind, m, axis=1) for m in made])


def pooled(path: Path) -> Path:
    net = Net()
    return net.save(path, [net.add("Flatten", net.add("GlobalAveragePool", net.conv("picture", 9, 8, 8)))])


CASES: list[tuple[Any, dict[str, Any], type[IgosError], str]] = [
    (lambda p: maps(p, 21, (1,)), {}, ConfigError, r"\(1, 21, 64, 64\) are of no known layout .*segmentation"),
    (lambda p: maps(p, 21, (8,), "Softmax"), {}, ConfigError, "no known layout .*segmentation"),
    (lambda p: maps(p, 125, (32,)), {}, ConfigError, "heads before they are decoded"),  # YOLOv2
    (lambda p: maps(p, 255, (8, 16, 32)), {}, ConfigError, "heads before they are decoded"),
    (lambda p: cells(p, 1, 51, beyond=60), {}, ConfigError, r"look like yolov8, but its 52 classes hold .*keypoints"),
    (pooled, {}, ConfigError, "9 numbers for a picture are those of a classifier: take igos.adapt"),
    (plugin, {}, ConfigError, "has the operator EfficientNMS_TRT, which only the runtime it was made for knows"),
    (suppressed, {}, ConfigError, "as of a suppression in the graph: export it without"),
    (wide, {"input_size": 100}, ConfigError, "100 x 100 px is no multiple of 32: try 128 x 128"),
]


@pytest.mark.parametrize(("make", "options", "kind", "words"), CASES)
def test_what_is_not_explained_says_what_to_do(
    make: Any, options: dict[str, Any], kind: type[IgosError], words: str, tmp_path: Path
) -> None:
    with pytest.raises(kind, match=words) as told:
        igos.load("onnx", make(tmp_path / "odd.onnx"), **options)
    assert "\n" not in str(told.value)


def test_logits_in_place_of_probabilities_are_taken_where_the_user_says_so(tmp_path: Path) -> None:
    net, every = levels(6)
    box, scores = rows_of(net, every, [4, 2])
    box = net.add("Mul", net.add("Sigmoid", box), net.constant(np.float32(60)))
    path = net.save(tmp_path / "raw.onnx", [net.add("Concat", box, scores, axis=1)])
    with pytest.raises(ConfigError, match="if they are logits, say layout yolov8"):
        igos.load("onnx", path)
    for options in ({"layout": "yolov8"}, {"names": ["a", "b"]}):
        adapter = igos.load("onnx", path, **options)  # type: ignore[arg-type]
        assert "scores: logits, of which sigmoid makes probabilities" in adapter.notes
