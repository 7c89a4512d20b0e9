"""The antialiased resize of the picture, in a form that every engine computes alike.

ONNX Runtime knows ONNX's own antialiased ``Resize``. TensorRT refuses it, and OpenVINO 2026.4 converts it without a
word into a plain bilinear one: 70 to 128 of 255 gray levels wrong wherever a picture shrinks. As two products with
matrices of triangle weights, which the graph makes from the picture's size, it is the same sum everywhere.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from distill.errors import DistillError


def antialiased(proto: Any) -> list[Any]:
    """The nodes that resize with antialiasing."""
    return [
        node
        for node in proto.graph.node
        if node.op_type == "Resize" and any(entry.name == "antialias" and entry.i for entry in node.attribute)
    ]


def rewrite_resize_as_matmul(proto: Any, size_hw: tuple[int, int]) -> int:
    """Replace each antialiased resize of (n, c, h, w) to this size by products, in place; gives how many there were.

    Raises:
        DistillError: The graph resizes in a way that is not the student's.
    """
    found = antialiased(proto)
    for node in found:
        attributes = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
        if attributes["mode"] != b"linear" or attributes["coordinate_transformation_mode"] != b"half_pixel":
            raise DistillError(f"{node.name}: only bilinear resizing with half-pixel centers can be made of products")
        maker = _Maker(proto, node.name)
        rows, columns = maker.weights(node.input[0], 2, size_hw[0]), maker.weights(node.input[0], 3, size_hw[1])
        across = maker.add("Transpose", [columns], perm=[1, 0])
        if _is_fixed(proto):
            # Columns first: of a last product with constant columns OpenVINO 2026.4 makes a fully connected layer,
            # fuses the normalization of the three colors into it as if they were its columns, and fails.
            wide = maker.add("MatMul", [node.input[0], across])
            maker.add("MatMul", [rows, wide], output=node.output[0])
        else:
            # Rows first: the transposed product over columns then runs over the few rows that are left.
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
    """Whether pictures have one size alone, which makes the weights of the products constants."""
    sides = proto.graph.input[0].type.tensor_type.shape.dim
    return all(side.dim_value > 0 for side in sides[1:3])


class _Maker:
    """Collects nodes and constants under one name."""

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
        """(size, old size): what each old row adds to each new one; every row of weights sums to 1.

        A triangle as wide as one new pixel where the axis shrinks, as one old pixel where it grows.
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
