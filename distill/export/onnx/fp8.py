"""Students in eight-bit floats (e4m3) for Hopper, Ada and later GPUs: pairs around the inputs of their tensor cores.

An eight-bit float has the same relative precision over fifteen powers of two, so ranges need no clipping and weights no
zero point; one scale per tensor, and one per channel of weights, map the largest value to 448. Layers that tensor cores
do not support stay in float32: depthwise layers, and channel counts that are not multiples of 16.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from jaxtyping import UInt8
from numpy import ndarray
from onnx import TensorProto, helper, numpy_helper

from distill.errors import DistillError
from distill.export.onnx.calibration import Method, calibrate_ranges
from distill.export.onnx.graph import group_of, in_network
from distill.optional import require

_OPS = ("Conv", "MatMul", "Gemm")
_LARGEST = 448.0
_STEP = 16
"""Channel counts must be multiples of this."""
_OPSET = 19
"""First operator set with eight-bit floats."""


class Fp8Quantizer:
    """A float32 graph with the ranges of its values, of which any set of blocks can be quantized to fp8."""

    def __init__(self, proto: Any, images: Iterable[UInt8[ndarray, "1 h w 3"]], method: Method = "minmax") -> None:
        """Measure the range of every value over the images.

        Raises:
            DistillError: No images, an operator set without eight-bit floats, or ONNX Runtime cannot calibrate.
        """
        require("onnxruntime", extra="cpu", why="calibrate")
        if next((entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx")), 0) < _OPSET:
            raise DistillError("fp8 needs ONNX operators of set 19 or later", hint="export with --opset 19")
        self.proto = proto
        self._weights = {tensor.name: tensor for tensor in proto.graph.initializer}
        self.nodes = [node for node in proto.graph.node if in_network(node) and self._is_supported(node)]
        self.groups = list(dict.fromkeys(group_of(node) for node in self.nodes))
        with tempfile.TemporaryDirectory() as folder:
            found = calibrate_ranges(proto, images, _OPS, method, Path(folder))
        self._largest = {name: float(np.abs(found[name].range_value).max()) for name in found}

    def _is_supported(self, node: Any) -> bool:
        if node.op_type not in _OPS or len(node.input) < 2 or node.input[1] not in self._weights:
            return False
        groups = next((entry.i for entry in node.attribute if entry.name == "group"), 1)
        sides = self._weights[node.input[1]].dims[:2]
        return groups == 1 and all(side % _STEP == 0 for side in sides)

    def quantize(self, groups: Collection[str]) -> Any:
        """Copy of the graph with these blocks in eight-bit floats."""
        made = onnx.ModelProto()
        made.CopyFrom(self.proto)
        chosen = {node.name for node in self.nodes if group_of(node) in groups}
        pairs = _Pairs(made)
        del made.graph.node[:]
        for node in self.proto.graph.node:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            if node.name in chosen and node.input[0] in self._largest:
                copy.input[0] = pairs.of_value(node.input[0], self._largest[node.input[0]])
                copy.input[1] = pairs.of_weight(self._weights[node.input[1]], node)
            made.graph.node.append(copy)
        onnx.checker.check_model(made)
        return made

    def fraction(self, groups: Collection[str]) -> float:
        """Part of the quantizable nodes that is in these blocks."""
        return sum(group_of(node) in groups for node in self.nodes) / max(1, len(self.nodes))


class _Pairs:
    """Adds pairs of QuantizeLinear and DequantizeLinear, one per value, in graph order."""

    def __init__(self, proto: Any) -> None:
        self._graph = proto.graph
        self._made: dict[str, str] = {}

    def of_value(self, name: str, largest: float) -> str:
        return self._made.get(name) or self._pair(name, np.float32(_scale(largest)), None)

    def of_weight(self, tensor: Any, node: Any) -> str:
        if tensor.name in self._made:
            return self._made[tensor.name]
        values = np.abs(numpy_helper.to_array(tensor))
        transposed = any(entry.name == "transB" and entry.i for entry in node.attribute)
        axis = 0 if node.op_type == "Conv" or transposed else 1  # of the output channels
        largest = values.max(axis=tuple(other for other in range(values.ndim) if other != axis))
        scales = np.array([_scale(float(value)) for value in largest], np.float32)
        return self._pair(tensor.name, scales, axis)

    def _pair(self, name: str, scale: Any, axis: int | None) -> str:
        shape = list(np.shape(scale))
        zeros = bytes(int(np.prod(shape, dtype=np.int64)))  # a zero of this type is a byte of zeros
        self._graph.initializer.extend(
            [
                numpy_helper.from_array(np.asarray(scale), f"{name}.fp8.scale"),
                helper.make_tensor(f"{name}.fp8.zero", TensorProto.FLOAT8E4M3FN, shape, zeros, raw=True),
            ]
        )
        about = [f"{name}.fp8.scale", f"{name}.fp8.zero"]
        where: dict[str, Any] = {} if axis is None else {"axis": axis}
        quantized, back = f"{name}.fp8", f"{name}.fp8.float"
        self._graph.node.append(
            helper.make_node("QuantizeLinear", [name, *about], [quantized], name=f"{quantized}.quantize", **where)
        )
        self._graph.node.append(
            helper.make_node("DequantizeLinear", [quantized, *about], [back], name=f"{quantized}.dequantize", **where)
        )
        self._made[name] = back
        return back


def _scale(largest: float) -> float:
    return max(largest, 1e-6) / _LARGEST
