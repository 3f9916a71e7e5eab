"""A graph of a newer operator set in the words of set 17, which onnx2torch knows: sets 18 to 28.

https://onnx.ai/onnx/operators: most operators of the newer sets took in further types and nothing else. What means
something else since is written anew here (the axes of Reduce*) or refused (REFUSED). A Reshape that need not keep to
zeros, as torch's own exporter says of every one, is one that may not.
"""

from __future__ import annotations

from typing import Any

import onnx
from onnx import helper, numpy_helper

SET = 17
REFUSED: dict[str, dict[str, Any]] = {  # operator -> newer attributes, and what changes nothing of them
    "Resize": {"antialias": 0, "axes": None, "keep_aspect_ratio_policy": b"stretch"},
    "AveragePool": {"dilations": None},
}
NO_MORE_INPUTS = {"Pad": 3}  # Pad took axes as its fourth input


class Newer(Exception):
    """An operator means what set 17 cannot say; in a few words."""


def older(model: Any) -> Any:
    """A copy in the words of set 17, of a graph whose constants are folded. Raises Newer."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    sets, held = [s for s in made.opset_import if s.domain in ("", "ai.onnx")], constants(made)
    newer = any(s.version > SET for s in sets)
    for node in made.graph.node:
        if node.op_type == "Reshape":
            _zeros(node, held)
        if not newer:
            continue
        _check(node)
        if node.op_type.startswith("Reduce") and node.op_type != "ReduceSum":
            _axes(node, held)
    for s in sets:
        s.version = min(s.version, SET)
    return made


def constants(model: Any) -> dict[str, Any]:
    """Initializers and the outputs of Constant nodes by name, as arrays; None for a Constant that holds no tensor."""
    held: dict[str, Any] = {i.name: numpy_helper.to_array(i) for i in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            value = next((a.t for a in node.attribute if a.name == "value"), None)
            held[node.output[0]] = None if value is None else numpy_helper.to_array(value)
    return held


def _check(node: Any) -> None:
    """Refuse what only a newer set can say."""
    usual = REFUSED.get(node.op_type, {})
    for attribute in node.attribute:
        if attribute.name in usual and _value(attribute) != usual[attribute.name]:
            raise Newer(f"{node.op_type} with {attribute.name}")
    most = NO_MORE_INPUTS.get(node.op_type)
    if most is not None and any(node.input[most:]):
        raise Newer(f"{node.op_type} with axes")


def _value(attribute: Any) -> Any:
    value = helper.get_attribute_value(attribute)
    return None if attribute.name == "dilations" and set(value) == {1} else value


def _zeros(node: Any, held: dict[str, Any]) -> None:
    """Without `allowzero`, where the shape has no zero that it could speak of."""
    shape = held.get(node.input[1])
    if shape is not None and 0 not in shape:
        kept = [a for a in node.attribute if a.name != "allowzero"]
        del node.attribute[:]
        node.attribute.extend(kept)


def _axes(node: Any, held: dict[str, Any]) -> None:
    """The axes of a Reduce*, an input since set 18, as the attribute that they were."""
    kept = [a for a in node.attribute if a.name != "noop_with_empty_axes"]
    idle = any(a.name == "noop_with_empty_axes" and a.i for a in node.attribute)
    name = node.input[1] if len(node.input) > 1 else ""
    axes = held.get(name) if name else ()
    if axes is None:
        raise Newer(f"{node.op_type} with axes that the graph computes")
    given = [int(a) for a in axes]
    del node.input[1:]
    del node.attribute[:]
    if not given and idle:
        node.op_type = "Identity"
        return
    node.attribute.extend(kept)
    if given:
        node.attribute.append(helper.make_attribute("axes", given))
