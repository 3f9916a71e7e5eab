"""An ONNX graph as a differentiable module: activations noted, batches of any size.

Where a graph applies Sigmoid or Softmax to its scores, the tensor before it is answered too, so that scores near 0 and
1 keep their gradient: an output is followed back through what only moves numbers (MOVES).
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import onnx2torch
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor, nn

from detectors.onnx_file.older import Newer, constants, older
from detectors.onnx_file.ops import register
from igos.base.errors import one_line

MOVES = ("Reshape", "Transpose", "Concat", "Split", "Slice", "Squeeze", "Unsqueeze", "Flatten", "Identity")
ACTIVATIONS = ("Sigmoid", "Softmax")
QUANTISED = ("Quantize", "Dequantize", "QLinear", "Integer")  # in the names of operators
CHOOSING = ("NonMaxSuppression", "NonZero", "Loop", "If", "Scan")  # a graph that decides by itself what it answers
ONE_BY_ONE = 1e-4  # how far, relative to the largest number, a batch may answer otherwise than its pictures alone


class Unconvertible(Exception):
    """The graph has no gradient here; says why, in a few words."""


def session_options() -> Any:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    return options


class Session(nn.Module):
    """The graph as onnxruntime runs it, picture by picture on the CPU: no gradients."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.proto = model.SerializeToString()
        self._session: Any = None

    def forward(self, x: Tensor) -> list[Tensor]:
        if self._session is None:
            self._session = onnxruntime.InferenceSession(
                self.proto, session_options(), providers=["CPUExecutionProvider"]
            )
        name = self._session.get_inputs()[0].name
        each = [self._session.run(None, {name: p[None].detach().cpu().float().numpy()}) for p in x]
        return [
            torch.cat([_with_batch(torch.from_numpy(np.asarray(o))) for o in out]).to(x.device)
            for out in zip(*each, strict=True)
        ]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}


class Converted(nn.Module):
    """The graph in torch: pictures (N,3,H,W) -> its outputs, each with a batch, then the tensors before activations."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self.batched = net, True

    def forward(self, x: Tensor) -> list[Tensor]:
        if self.batched or len(x) == 1:
            return [_with_batch(o) for o in _listed(self.net(x))]
        each = [[_with_batch(o) for o in _listed(self.net(p[None]))] for p in x]
        return [torch.cat(outs) for outs in zip(*each, strict=True)]


def convert(model: Any) -> Converted:
    """The graph as a module. Raises Unconvertible, naming the operator that stands in the way."""
    register()
    kinds = {n.op_type for n in model.graph.node}
    odd = [k for k in sorted(kinds) if any(q in k for q in QUANTISED)]
    if odd:
        raise Unconvertible(f"it is quantised ({odd[0]})")
    odd = [k for k in sorted(kinds) if k in CHOOSING]
    if odd:
        raise Unconvertible(f"it decides by itself what it answers ({odd[0]})")
    try:
        made = with_free_batch(with_logits(older(model)))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of arrays that torch may not write into: nobody does
            net = onnx2torch.convert(made)
    except Newer as error:
        raise Unconvertible(f"the operator {error} has no gradient here") from None
    except NotImplementedError as error:
        kind = _operator(error)
        refused = f"the operator {kind} has no gradient here" if kind else f"onnx2torch refuses it: {one_line(error)}"
        raise Unconvertible(refused) from None
    except Exception as error:
        raise Unconvertible(f"onnx2torch refuses it: {one_line(error)}") from None
    return Converted(net.eval().requires_grad_(False))


@torch.no_grad()
def settle_batch(net: Converted, pictures: Tensor) -> None:
    """Take pictures (2,3,H,W) one by one from now on where the graph answers a batch otherwise than its pictures.

    Raises Unconvertible for a graph that fails.
    """
    try:
        alone = [net(p[None]) for p in pictures]
    except Exception as error:  # what onnx2torch has made of an operator can fail in any way
        raise Unconvertible(f"it fails in torch: {one_line(error)}") from None
    try:
        both = net(pictures)
    except Exception:  # a graph made for one picture can fail anywhere
        both = []
    for outs in zip(both, *alone, strict=bool(both)):
        same = torch.cat(outs[1:])
        if outs[0].shape != same.shape or (outs[0] - same).abs().max() > ONE_BY_ONE * same.abs().max().clamp(min=1):
            both = []
            break
    net.batched = bool(both)


def with_logits(model: Any) -> Any:
    """A copy that answers, after its outputs, for each the same tensor without the Sigmoids and Softmaxes that end it.

    Where there is none on the way, that is the output itself once more.
    """
    made = onnx.ModelProto()
    made.CopyFrom(model)
    graph = made.graph
    makers = {o: n for n in graph.node for o in n.output}
    known: dict[str, str] = {}
    extra: list[Any] = []

    def before(name: str) -> str:
        if name in known:
            return known[name]
        node = makers.get(name)
        known[name] = name
        if node is not None and node.op_type in ACTIVATIONS:
            known[name] = node.input[0]
        elif node is not None and (node.op_type in MOVES or _to_single(node)):
            data = list(node.input) if node.op_type == "Concat" else [node.input[0]]
            moved = [before(i) for i in data]
            if moved != data:
                twin = onnx.NodeProto()
                twin.CopyFrom(node)
                del twin.input[: len(data)]
                rest = list(twin.input)
                del twin.input[:]
                twin.input.extend([*moved, *rest])
                for i, out in enumerate(node.output):
                    twin.output[i] = f"{out}::before"
                    known[out] = twin.output[i]
                twin.name = f"{node.name or node.op_type}::before"
                extra.append(twin)
        return known[name]

    outputs = [o.name for o in graph.output]
    ends = [before(name) for name in outputs]
    graph.node.extend(extra)
    del graph.output[:]
    for i, name in enumerate([*outputs, *ends]):  # each by a node of its own, whatever made it
        graph.node.append(helper.make_node("Identity", [name], [f"answer_{i}"], name=f"answer_{i}"))
        graph.output.append(helper.make_tensor_value_info(f"answer_{i}", TensorProto.FLOAT, None))
    return made


def _to_single(node: Any) -> bool:
    """A Cast to float32, which changes no number of half precision that has become single."""
    return node.op_type == "Cast" and any(a.name == "to" and a.i == TensorProto.FLOAT for a in node.attribute)


def with_free_batch(model: Any) -> Any:
    """A copy whose Reshapes to a fixed first side take it from the input: an export for one picture takes several."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    shapes, moving = constants(made), {i.name for i in made.graph.input}
    for node in made.graph.node:
        moves = not moving.isdisjoint(node.input)
        moving.update(node.output if moves else ())
        if (
            node.op_type != "Reshape"
            or not moves  # a weight's first side is no batch
            or node.input[1] not in shapes
            or any(a.name == "allowzero" and a.i for a in node.attribute)
        ):
            continue
        shape = shapes[node.input[1]]
        if shape is None or shape.ndim != 1 or len(shape) < 2 or shape[0] < 1:
            continue
        shape = shape.astype(np.int64)
        if -1 not in shape:
            shape[0] = -1
        elif shape[0] == 1:
            shape[0] = 0
        else:
            continue
        name = f"{node.output[0]}::shape"
        made.graph.initializer.append(numpy_helper.from_array(shape, name))
        node.input[1] = name
    return made


def pinned_choices(model: Any) -> Iterator[str]:
    """Names of the TopKs whose places the graph goes on to use."""
    used = {i for n in model.graph.node for i in n.input} | {o.name for o in model.graph.output}
    for node in model.graph.node:
        if node.op_type == "TopK" and len(node.output) > 1 and node.output[1] in used:
            yield node.name or node.output[1]


def _with_batch(out: Tensor) -> Tensor:
    """Rows (A,C) of one picture -> (1,A,C)."""
    return out[None] if out.ndim == 2 else out


def _listed(out: Any) -> list[Tensor]:
    return list(out) if isinstance(out, (list, tuple)) else [out]


def _operator(error: Exception) -> str | None:
    """The operator that onnx2torch says it has no converter of; None where it says something else."""
    text = str(error)
    return text.split("operation_type='")[1].split("'")[0] if "operation_type='" in text else None
