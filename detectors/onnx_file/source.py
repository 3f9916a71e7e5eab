"""A graph as its file holds it, made ready: for one picture of a size, in float32, its constants folded by onnxruntime;
and what the file says of itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from detectors.onnx_file.graph import session_options
from detectors.onnx_file.older import constants
from igos.base.errors import one_line
from igos.base.untrusted import load_yaml
from igos.types import ConfigError, WeightsError

RUNTIMES = ("com.microsoft", "ai.onnx.ml")  # domains of operators that onnxruntime has beside ONNX's own
BYTES = "igos_bytes"  # what the ready graph says of a file that takes whole numbers
LONGEST_NAMES = 200_000  # characters


def read_graph(path: str | Path, size: tuple[int, int] | None) -> tuple[Any, tuple[int, int]]:
    """The graph of a file for one picture of a size (height, width), its constants folded, and that size.

    size is needed where the file leaves it open. Raises WeightsError and ConfigError.
    """
    if not Path(path).is_file():
        raise WeightsError(f"{path}: {'a folder, not a file' if Path(path).is_dir() else 'no such file'}")
    try:
        model = onnx.load(str(path), load_external_data=False)
        beside = {_place(t) for t in model.graph.initializer if external_data_helper.uses_external_data(t)}
    except Exception as error:  # a damaged file can make the readers raise nearly anything
        raise WeightsError(f"{path}: not an ONNX file that can be read ({one_line(error)})") from None
    lost = sorted(name for name in beside if not (Path(path).parent / name).is_file())
    if lost:
        raise WeightsError(f"{path}: keeps its numbers in {lost[0]}, which must lie beside it")
    try:
        external_data_helper.load_external_data_for_model(model, str(Path(path).parent))
        _widen(model)
    except Exception as error:
        raise WeightsError(f"{path}: its numbers cannot be read ({one_line(error)})") from None
    size = _fix_size(model, path, size or said_by(model).get("imgsz"), asked=size is not None)
    return _folded(model, path), size


def _place(tensor: Any) -> str:
    return str(external_data_helper.ExternalDataInfo(tensor).location)


def _fix_size(model: Any, path: Any, size: tuple[int, int] | None, asked: bool) -> tuple[int, int]:
    """Give the graph's one input the shape (1,3,H,W); asked: the user says the size, else the file may.

    Raises ConfigError where it takes anything else, WeightsError where there is none.
    """
    if not model.graph.node:
        raise WeightsError(f"{path}: not an ONNX file that can be read (it holds no graph)")
    constants = {i.name for i in model.graph.initializer}
    inputs = [i for i in model.graph.input if i.name not in constants]
    if len(inputs) != 1:
        raise ConfigError(
            f"{path}: takes {len(inputs)} inputs ({', '.join(i.name for i in inputs)}), and a picture is one; "
            "export it without what comes after the network, which takes the sizes of pictures"
        )
    kind = inputs[0].type.tensor_type
    if kind.elem_type not in (TensorProto.FLOAT, TensorProto.UINT8):
        what = TensorProto.DataType.Name(kind.elem_type).lower()
        raise ConfigError(f"{path}: takes {what} pictures; export it for float32")
    known = [d.dim_value for d in kind.shape.dim]
    if len(known) == 4 and known[3] == 3 != known[1]:
        known = [known[0], 3, *known[1:3]]
        kind = _channels_first(model, inputs[0])
    if len(known) != 4 or known[1] not in (0, 3):
        raise ConfigError(f"{path}: takes pictures of shape {tuple(known)} (0: open), not (N,3,H,W) with 3 channels")
    if kind.elem_type == TensorProto.UINT8:  # its first node casts them
        kind.elem_type = TensorProto.FLOAT
        model.metadata_props.add(key=BYTES, value="true")
    fixed = (known[2], known[3])
    if not asked and 0 not in fixed:
        size = fixed
    if size is not None and any(f not in (0, s) for f, s in zip(fixed, size, strict=True)):
        raise ConfigError(f"{path}: its pictures are {fixed[1]} x {fixed[0]} px, not {size[1]} x {size[0]}")
    if size is None and 0 in fixed:
        raise ConfigError(
            f"{path}: leaves the size of its pictures open; give --input_size or input: size in a model file"
        )
    made = size or fixed
    if known[0] > 1:
        _for_one(model, known[0])
    for dim, value in zip(kind.shape.dim, (1, 3, *made), strict=True):
        dim.dim_value = value
    for value in (*model.graph.output, *model.graph.value_info):  # what was said of the shapes no longer holds
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    return made


def _for_one(model: Any, many: int) -> None:
    """Reshapes and Expands of a graph for `many` pictures to that many become those of one, in place."""
    shapes, moving = constants(model), {i.name for i in model.graph.input}
    for node in model.graph.node:
        if moving.isdisjoint(node.input):
            continue
        moving.update(node.output)
        shape = shapes.get(node.input[1]) if node.op_type in ("Reshape", "Expand") else None
        if shape is not None and shape.ndim == 1 and len(shape) > 1 and shape[0] == many:
            name = f"{node.output[0]}::one"
            model.graph.initializer.append(numpy_helper.from_array(np.array([1, *shape[1:]], np.int64), name))
            node.input[1] = name


def _channels_first(model: Any, given: Any) -> Any:
    """The type of a new input (N,3,H,W), of which the graph's own (N,H,W,3) is made."""
    nodes = list(model.graph.node)
    made = helper.make_tensor_value_info(f"{given.name}::first", given.type.tensor_type.elem_type, [1, 3, 0, 0])
    turn = helper.make_node("Transpose", [made.name], [given.name], perm=[0, 2, 3, 1], name=made.name)
    del model.graph.node[:]
    model.graph.node.extend([turn, *nodes])
    others = [i for i in model.graph.input if i.name != given.name]
    del model.graph.input[:]
    model.graph.input.extend([made, *others])
    return model.graph.input[0].type.tensor_type


def _folded(model: Any, path: Any) -> Any:
    """The graph with its constants folded by onnxruntime, by rules that keep to ONNX's own operators."""
    options = session_options()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
            made = onnx.load(options.optimized_model_filepath)
            del made.metadata_props[:]
            made.metadata_props.extend(model.metadata_props)
            return made
        except Exception as error:
            odd = next(_strangers(model), None)
            if odd is not None:
                raise ConfigError(
                    f"{path}: has the operator {odd}, which only the runtime it was made for knows; export it without "
                    "(a TensorRT export: without its suppression)"
                ) from None
            raise ConfigError(f"{path}: onnxruntime cannot run it ({one_line(error)})") from None


def said_by(model: Any) -> dict[str, Any]:
    """What Ultralytics' exports say of themselves: names, in the order of their ids, task, imgsz [height, width]; and
    bytes: whether it takes whole numbers 0..255.

    A value that is not of its kind is left out.
    """
    said: dict[str, Any] = {}
    for entry in model.metadata_props:
        try:
            said[entry.key] = load_yaml(entry.value[:LONGEST_NAMES])
        except ValueError:
            continue
    made: dict[str, Any] = {}
    names = said.get("names")
    if isinstance(names, dict) and names and sorted(names, key=str) == sorted(range(len(names)), key=str):
        made["names"] = [str(names[i]) for i in range(len(names))]
    if isinstance(said.get("task"), str):
        made["task"] = said["task"]
    made |= {"bytes": True} if said.get(BYTES) is True else {}
    size = said.get("imgsz")
    if isinstance(size, list) and len(size) == 2 and all(isinstance(s, int) and 0 < s <= 8192 for s in size):
        made["imgsz"] = tuple(size)
    return made


def _widen(model: Any) -> None:
    """Half precision becomes single, in place: numbers, casts and what is said of types."""
    half, single = (TensorProto.FLOAT16, TensorProto.BFLOAT16), TensorProto.FLOAT

    def tensor(t: Any) -> None:
        if t.data_type in half:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))

    def graph(g: Any) -> None:
        for t in g.initializer:
            tensor(t)
        for value in (*g.input, *g.output, *g.value_info):
            if value.type.tensor_type.elem_type in half:
                value.type.tensor_type.elem_type = single
        for node in g.node:
            for a in node.attribute:
                if a.HasField("t"):
                    tensor(a.t)
                if a.HasField("g"):
                    graph(a.g)
                if a.name in ("to", "dtype") and a.i in half:
                    a.i = single

    graph(model.graph)


def _strangers(model: Any) -> Iterator[str]:
    """Operators that neither ONNX nor onnxruntime knows."""
    own = {f.name for f in model.functions}
    for node in model.graph.node:
        if node.op_type not in own and node.domain not in RUNTIMES and not onnx.defs.has(node.op_type, node.domain):
            yield node.op_type
