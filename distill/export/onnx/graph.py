"""An ONNX graph to look into: who makes a value, who uses it, of which type it is, what it is when the graph runs."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import onnx
from jaxtyping import UInt8
from numpy import ndarray
from onnx import TensorProto

from distill.optional import require

NETWORK = ("backbone", "neck", "heads")
"""The parts whose layers may be computed in less than float32; what prepares pictures and finishes values may not."""


class Graph:
    """One graph, as it is now; build another one after changing the proto."""

    def __init__(self, proto: Any) -> None:
        self.proto = proto
        self.initializers = {entry.name: entry for entry in proto.graph.initializer}
        self.outputs = {entry.name for entry in proto.graph.output}
        self.producers = {name: node for node in proto.graph.node for name in node.output if name}
        self.consumers: dict[str, list[Any]] = defaultdict(list)
        for node in proto.graph.node:
            for name in dict.fromkeys(node.input):
                self.consumers[name].append(node)

    @cached_property
    def types(self) -> dict[str, int]:
        """The element type of every value that shape inference knows."""
        inferred = onnx.shape_inference.infer_shapes(self.proto).graph
        known = {
            entry.name: entry.type.tensor_type.elem_type
            for entry in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        return known | {name: entry.data_type for name, entry in self.initializers.items()}

    @cached_property
    def floats(self) -> list[str]:
        """The float32 values that nodes make, in the order in which they are made."""
        return [
            name for node in self.proto.graph.node for name in node.output if self.types.get(name) == TensorProto.FLOAT
        ]

    def run(self, images: UInt8[ndarray, "b h w 3"], names: Sequence[str]) -> dict[str, ndarray]:
        """These values for these pictures, computed by ONNX Runtime on the CPU with nothing fused or left out."""
        ort = require("onnxruntime", extra="cpu", why="look into a graph")
        probed = onnx.ModelProto()
        probed.CopyFrom(self.proto)
        for name in names:
            if name not in self.outputs:
                probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        session = ort.InferenceSession(probed.SerializeToString(), options, providers=["CPUExecutionProvider"])
        found = session.run(list(names), {session.get_inputs()[0].name: images})
        return dict(zip(names, found, strict=True))


def layer_of(node: Any) -> str:
    """The student's layer that a node belongs to, in the student's own words: ``neck.smooths.1.2``."""
    return node.name.partition("/")[0]


def in_network(node: Any) -> bool:
    """Whether a node is a layer of the network proper."""
    return layer_of(node).partition(".")[0] in NETWORK


def group_of(node: Any) -> str:
    """The block that a layer belongs to: ``backbone.blocks.2``, ``neck.smooths.1``, ``heads.depth``."""
    parts = [part for part in layer_of(node).split(".") if part != "trunk"]
    return ".".join(parts[: 2 if parts[0] == "heads" else 3])
