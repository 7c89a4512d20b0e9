"""Small ONNX graphs as a stranger might write them: large tensors and loops."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from onnx import TensorProto, helper

FLOAT, INT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def model(nodes: Sequence[Any], constants: dict[str, Any]) -> bytes:
    tensors = [
        helper.make_tensor(name, {"f": FLOAT, "i": INT, "b": BOOL}[value.dtype.kind], value.shape, value.ravel())
        for name, value in constants.items()
    ]
    values = [helper.make_tensor_value_info(name, FLOAT, None) for name in ("x", "y")]
    values[0] = helper.make_tensor_value_info("x", FLOAT, ["n"])
    graph = helper.make_graph(list(nodes), "g", values[:1], values[1:], tensors)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    data: bytes = proto.SerializeToString()
    return data


def large(nodes: Sequence[Any], **constants: Any) -> bytes:
    """A graph that sums a large tensor."""
    end = [
        helper.make_node("ReduceSum", ["big"], ["sum"], keepdims=0),
        helper.make_node("Add", ["x", "sum"], ["y"]),
    ]
    return model([*nodes, *end], constants)


def loop(rounds: str, condition: Sequence[Any] = (), **constants: Any) -> bytes:
    """A loop that changes nothing; `condition` are the nodes that compute whether it goes on."""
    values = [helper.make_tensor_value_info(name, kind, []) for name, kind in (("i", INT), ("go", BOOL))]
    state = helper.make_tensor_value_info("a", FLOAT, None)
    outputs = [helper.make_tensor_value_info("on", BOOL, []), helper.make_tensor_value_info("b", FLOAT, None)]
    nodes = [*(condition or [helper.make_node("Identity", ["go"], ["on"])]), helper.make_node("Identity", ["a"], ["b"])]
    body = helper.make_graph(nodes, "body", [*values, state], outputs)
    node = helper.make_node("Loop", [rounds, "true", "x"], ["y"], body=body)
    from_input = [helper.make_node("Size", ["x"], ["n"]), helper.make_node("Mul", ["n", "factor"], ["many"])]
    return model([*(from_input if rounds == "many" else []), node], {"true": np.array(True), **constants})
