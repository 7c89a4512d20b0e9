"""Antialiased resize as matrix products, which every engine computes alike.

ONNX Runtime supports ONNX's antialiased ``Resize``. TensorRT rejects it, and OpenVINO 2026.4 silently converts it into
a plain bilinear one: 70 to 128 of 255 gray levels wrong wherever an image shrinks. Two products with matrices of
triangle weights, which the graph computes from the image size, give the same sum in every engine.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from distill.errors import DistillError


def antialiased(proto: Any) -> list[Any]:
    """Resize nodes with antialiasing."""
    return [
        node
        for node in proto.graph.node
        if node.op_type == "Resize" and any(entry.name == "antialias" and entry.i for entry in node.attribute)
    ]


def rewrite_resize_as_matmul(proto: Any, size_hw: tuple[int, int]) -> int:
    """Replace each antialiased resize of (n, c, h, w) to this size by products, in place; returns their number.

    Raises:
        DistillError: The graph has a resize of another kind than the student's.
    """
    found = antialiased(proto)
    for node in found:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if attributes["mode"] != b"linear" or attributes["coordinate_transformation_mode"] != b"half_pixel":
            raise DistillError(
                f"{node.name}: only bilinear resizing with half-pixel centers can be written as products"
            )
        maker = _NodeBuilder(proto, node.name)
        rows, columns = maker.weights(node.input[0], 2, size_hw[0]), maker.weights(node.input[0], 3, size_hw[1])
        across = maker.add("Transpose", [columns], perm=[1, 0])
        if _is_fixed(proto):
            # Columns first: OpenVINO 2026.4 converts a last product with constant columns to a fully connected layer,
            # fuses the normalization of the three colors into it as if they were its columns, and fails.
            wide = maker.add("MatMul", [node.input[0], across])
            maker.add("MatMul", [rows, wide], output=node.output[0])
        else:
            # Rows first: the transposed product over columns then covers only the remaining rows.
            tall = maker.add("MatMul", [rows, node.input[0]])
            maker.add("MatMul", [tall, across], output=node.output[0])
        at = list(proto.graph.node).index(node)
        proto.graph.node.remove(node)
        for offset, made in enumerate(maker.nodes):
            proto.graph.node.insert(at + offset, made)
    if found:
        onnx.checker.check_model(proto)
    return len(found)


def _is_fixed(proto: Any) -> bool:
    """Whether images have one fixed size, which makes the weights constants."""
    sides = proto.graph.input[0].type.tensor_type.shape.dim
    return all(side.dim_value > 0 for side in sides[1:3])


class _NodeBuilder:
    """Collects nodes and constants with names that start with one stem."""

    def __init__(self, proto: Any, stem: str) -> None:
        self._proto, self._stem, self.nodes = proto, stem, list[Any]()

    def add(self, kind: str, inputs: list[str], *, output: str = "", **attributes: Any) -> str:
        output = output or f"{self._stem}.{len(self.nodes)}"
        self.nodes.append(
            helper.make_node(kind, inputs, [output], name=f"{self._stem}.{len(self.nodes)}.{kind}", **attributes)
        )
        return output

    def constant(self, value: Any) -> str:
        name = f"{self._stem}.constant.{len(self._proto.graph.initializer)}"
        self._proto.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def weights(self, source: str, axis: int, size: int) -> str:
        """Name of the (size, old size) weights of old rows in new ones; every row sums to 1.

        A triangle as wide as one new pixel if the axis shrinks, as one old pixel if it grows.
        """
        one, half = self.constant(np.float32(1)), self.constant(np.float32(0.5))
        length = self.add("Shape", [source], start=axis, end=axis + 1)
        scalar = self.add("Squeeze", [length])
        old = self.add("Cast", [scalar], to=onnx.TensorProto.FLOAT)
        ratio = self.add("Div", [old, self.constant(np.float32(size))])
        centers = self.add("Mul", [self.constant(np.arange(size, dtype=np.float32)[:, None] + 0.5), ratio])
        index = self.add("Range", [self.constant(np.float32(0)), old, one])
        away = self.add("Abs", [self.add("Sub", [self.add("Add", [index, half]), centers])])
        near = self.add("Sub", [one, self.add("Div", [away, self.add("Max", [ratio, one])])])
        triangle = self.add("Relu", [near])
        total = self.add("ReduceSum", [triangle, self.constant(np.array([1], np.int64))], keepdims=1)
        return self.add("Div", [triangle, total])
