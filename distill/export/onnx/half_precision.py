"""Graphs in half precision: float16 or bfloat16 in the network, float32 around it and at single nodes in it.

Each converted graph has two forms. The *real* one is for engines with such arithmetic, mainly GPUs. The *emulated* one
is float32 with weights and outputs of every converted node rounded: it shows the effect of half precision on a CPU. The
real form would not: ONNX Runtime computes it in float32 on a CPU and removes the casts, so that a value of 150,000,
infinite in float16, passes unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, Literal

import ml_dtypes
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from distill.export.onnx.graph import Graph, in_network, lower_ir_version

Precision = Literal["fp16", "bf16"]

TYPES: dict[str, tuple[int, Any, float]] = {
    "fp16": (TensorProto.FLOAT16, np.float16, 65504.0),
    "bf16": (TensorProto.BFLOAT16, ml_dtypes.bfloat16, 3.3895e38),
}
"""ONNX type, numpy type, largest finite value."""
BF16_OPSET = 22
"""First operator set with bfloat16 in convolutions."""
_IN_FLOAT32 = frozenset(
    (
        *("ReduceSum", "ReduceSumSquare", "ReduceL2", "ReduceMean", "Pow", "Exp", "Softmax", "LogSoftmax"),
        *("LayerNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization"),
        *("If", "Loop", "Scan", "Range", "Constant"),
    )
)
"""Sums over many values, exponentials and operators with subgraphs stay in float32."""
_FLOAT_INPUTS = {"Resize": 1}
"""Number of leading inputs in the node's precision; the others (scales) are float32 by definition."""


def convertible_nodes(graph: Graph, float32_nodes: Collection[str] = ()) -> set[str]:
    """Names of the nodes that may be computed in half precision, without `float32_nodes`."""
    return {
        node.name
        for node in graph.proto.graph.node
        if in_network(node)
        and node.op_type not in _IN_FLOAT32
        and node.name not in float32_nodes
        and any(graph.types.get(name) == TensorProto.FLOAT for name in node.output)
    }


def to_half_precision(proto: Any, half_nodes: Collection[str], precision: Precision) -> Any:
    """The real form: casts where precision changes, half-precision weights; graph outputs keep their types."""
    made = _HalfPrecisionRewriter(proto, half_nodes, precision, stored=True)
    for node in proto.graph.node:
        if node.name not in half_nodes:
            made.nodes.append(node)
            continue
        new = made.with_inputs(node, made.cast)
        outputs = made.float_outputs(node)
        for index in outputs:
            new.output[index] = f"{node.output[index]}.{precision}"
        made.nodes.append(new)
        for index in outputs:
            if made.used_in_float32(node.output[index]):
                made.convert(f"{node.output[index]}.{precision}", node.output[index], TensorProto.FLOAT)
    found = made.finish()
    return _raise_opset(found) if precision == "bf16" else found


def emulate_half_precision(proto: Any, half_nodes: Collection[str], precision: Precision) -> Any:
    """The emulated form: all float32, values and weights of converted nodes rounded; values keep their names."""
    made = _HalfPrecisionRewriter(proto, half_nodes, precision, stored=False)
    for node in proto.graph.node:
        if node.name not in half_nodes:
            made.nodes.append(node)
            continue
        new = made.with_inputs(node, made.round)
        outputs = made.float_outputs(node)
        for index in outputs:
            new.output[index] = f"{node.output[index]}.exact"
        made.nodes.append(new)
        for index in outputs:
            made.round_trip(f"{node.output[index]}.exact", node.output[index])
    return made.finish()


class _HalfPrecisionRewriter:
    """Builds the nodes and half-precision weights of a converted graph."""

    def __init__(self, proto: Any, half_nodes: Collection[str], precision: Precision, *, stored: bool) -> None:
        self.elem_type, self.numpy_type, self.largest = TYPES[precision]
        self.proto, self.half_nodes, self.precision, self.stored = proto, half_nodes, precision, stored
        self.graph, self.nodes = Graph(proto), list[Any]()
        self.weights: dict[str, Any] = {}
        self.done: set[str] = set()

    def with_inputs(self, node: Any, convert: Callable[[str], str]) -> Any:
        """Copy of a converted node with half-precision inputs."""
        new = _copy(node)
        for index, name in enumerate(_half_inputs(node)):
            if self.graph.types.get(name) == TensorProto.FLOAT:
                new.input[index] = self.weight(name) if name in self.graph.initializers else convert(name)
        return new

    def weight(self, name: str) -> str:
        wanted = f"{name}.{self.precision}"
        if wanted not in self.weights:
            # A bound such as the largest float32 becomes the largest half, not infinity.
            value = np.clip(numpy_helper.to_array(self.graph.initializers[name]), -self.largest, self.largest)
            value = value.astype(self.numpy_type)
            self.weights[wanted] = numpy_helper.from_array(value if self.stored else value.astype(np.float32), wanted)
        return wanted

    def cast(self, name: str) -> str:
        wanted = f"{name}.{self.precision}"
        if not self.is_half(name) and wanted not in self.done:
            self.done.add(wanted)
            self.convert(name, wanted, self.elem_type)
        return wanted

    def round(self, name: str) -> str:
        wanted = name if self.is_half(name) else f"{name}.rounded"
        if wanted != name and wanted not in self.done:
            self.done.add(wanted)
            self.round_trip(name, wanted)
        return wanted

    def round_trip(self, name: str, into: str) -> None:
        self.convert(name, f"{into}.half", self.elem_type)
        self.convert(f"{into}.half", into, TensorProto.FLOAT)

    def convert(self, name: str, into: str, to: int) -> None:
        self.nodes.append(helper.make_node("Cast", [name], [into], name=f"cast/{into}", to=to))

    def is_half(self, name: str) -> bool:
        producer = self.graph.producers.get(name)
        return producer is not None and producer.name in self.half_nodes

    def float_outputs(self, node: Any) -> list[int]:
        return [index for index, name in enumerate(node.output) if self.graph.types.get(name) == TensorProto.FLOAT]

    def used_in_float32(self, name: str) -> bool:
        users = self.graph.consumers.get(name, ())
        return name in self.graph.outputs or any(
            user.name not in self.half_nodes or name not in _half_inputs(user) for user in users
        )

    def finish(self) -> Any:
        made = _copy(self.proto)
        del made.graph.node[:], made.graph.value_info[:], made.graph.initializer[:]
        made.graph.node.extend(self.nodes)
        used = {name for node in self.nodes for name in node.input} | self.graph.outputs
        weights = (*self.proto.graph.initializer, *self.weights.values())
        made.graph.initializer.extend(entry for entry in weights if entry.name in used)
        onnx.checker.check_model(made)
        return made


def _half_inputs(node: Any) -> list[str]:
    return list(node.input)[: _FLOAT_INPUTS.get(node.op_type, len(node.input))]


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _raise_opset(proto: Any) -> Any:
    version = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    if version >= BF16_OPSET:
        return proto
    converted = onnx.version_converter.convert_version(proto, BF16_OPSET)
    lower_ir_version(converted)
    return converted
