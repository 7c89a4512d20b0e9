"""Queries on ONNX graphs: producers, consumers and types of values, and their computed values."""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import onnx
from jaxtyping import UInt8
from numpy import ndarray
from onnx import TensorProto

from distill.runtime.onnx_session import open_session

NETWORK = ("backbone", "neck", "heads")
"""Parts whose layers may be computed below float32; pre- and post-processing may not."""


def lower_ir_version(proto: Any) -> None:
    """State no newer file format than the operators need: older versions of ONNX Runtime refuse newer formats."""
    proto.ir_version = min(proto.ir_version, onnx.helper.find_min_ir_version_for(proto.opset_import))


class Graph:
    """Index of a graph; create a new one after changing the proto."""

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
        """Element type of every value that shape inference finds."""
        inferred = onnx.shape_inference.infer_shapes(self.proto).graph
        known = {
            entry.name: entry.type.tensor_type.elem_type
            for entry in (*inferred.value_info, *inferred.input, *inferred.output)
        }
        return known | {name: entry.data_type for name, entry in self.initializers.items()}

    @cached_property
    def floats(self) -> list[str]:
        """Names of the float32 outputs of nodes, in graph order."""
        return [
            name for node in self.proto.graph.node for name in node.output if self.types.get(name) == TensorProto.FLOAT
        ]

    def run(self, images: UInt8[ndarray, "b h w 3"], names: Sequence[str]) -> dict[str, ndarray]:
        """Values of these names for a batch, computed by ONNX Runtime on the CPU without graph optimization."""
        probed = onnx.ModelProto()
        probed.CopyFrom(self.proto)
        for name in names:
            if name not in self.outputs:
                probed.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
        session = open_session(probed.SerializeToString(), why="read the inner values of a graph", optimize=False)
        found = session.run(list(names), {session.get_inputs()[0].name: images})
        return dict(zip(names, found, strict=True))


@contextlib.contextmanager
def silenced() -> Iterator[None]:
    """Suppress standard output and error, log messages and warnings of exporters and quantizers."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    ignored = io.StringIO()
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(ignored), contextlib.redirect_stderr(ignored):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


def layer_of(node: Any) -> str:
    """Name of the student's module that a node belongs to, such as ``neck.smooths.1.2``."""
    layer: str = node.name.partition("/")[0]
    return layer


def in_network(node: Any) -> bool:
    """Whether a node belongs to the network, not to pre- or post-processing."""
    return layer_of(node).partition(".")[0] in NETWORK


def group_of(node: Any) -> str:
    """Block that a node belongs to: ``backbone.blocks.2``, ``neck.smooths.1``, ``heads.depth``."""
    parts = [part for part in layer_of(node).split(".") if part != "trunk"]
    return ".".join(parts[: 2 if parts[0] == "heads" else 3])
