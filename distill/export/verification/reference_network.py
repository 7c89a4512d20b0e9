"""A fixed network that is no student: its time says how fast the machine is right now, and other times divide by it.

Two runs of one file on one machine differed by a factor of up to three with what else the machine did. What slows a
network depends on its layers (many small ones wait for threads, few large ones for arithmetic), so the yardstick is
built as students are: depthwise and pointwise convolutions, and as many pictures at once as theirs. A student's own
file in its bare engine is a better one, where it is the same file as then (see `comparing`).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from jaxtyping import Float32
from numpy import ndarray
from onnx import TensorProto, helper, numpy_helper

from distill.optional import require

_SIDES_HW = (48, 64)
_CHANNELS, _WIDE = 16, 64
_BLOCKS = 12


def open_yardstick(threads: int) -> Callable[[int], Callable[[], object]]:
    """From a batch to a call in ONNX Runtime on the CPU; 72 layers, about 3 ms for a picture.

    Raises:
        DistillError: ONNX Runtime is not installed.
    """
    ort = require("onnxruntime", extra="cpu", why="measure how fast the machine is")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(_network().SerializeToString(), options, providers=["CPUExecutionProvider"])

    def call(batch: int) -> Callable[[], object]:
        values = np.random.default_rng(0).normal(size=(batch, _CHANNELS, *_SIDES_HW)).astype(np.float32)
        return lambda: session.run(None, {"x": values})

    return call


def _network() -> onnx.ModelProto:
    maker, name = _Maker(), "x"
    for _ in range(_BLOCKS):
        wide = maker.add("HardSwish", maker.convolve(name, (_WIDE, _CHANNELS, 1, 1)))
        deep = maker.add("HardSwish", maker.convolve(wide, (_WIDE, 1, 3, 3), group=_WIDE, pads=[1, 1, 1, 1]))
        name = maker.add("Add", maker.convolve(deep, (_CHANNELS, _WIDE, 1, 1)), name)
    shape = ["batch", _CHANNELS, *_SIDES_HW]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x", name)]
    graph = helper.make_graph(maker.nodes, "yardstick", ends[:1], ends[1:], maker.weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)


class _Maker:
    """Collects nodes and weights."""

    def __init__(self) -> None:
        self.nodes, self.weights = list[onnx.NodeProto](), list[onnx.TensorProto]()
        self._random = np.random.default_rng(0)

    def add(self, kind: str, *inputs: str, **attributes: int | list[int]) -> str:
        output = f"y{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [output], **attributes))
        return output

    def convolve(self, source: str, shape: tuple[int, int, int, int], **attributes: int | list[int]) -> str:
        scale = (1.0 / np.prod(shape[1:])) ** 0.5
        weight: Float32[ndarray, "o i h w"] = self._random.normal(0.0, scale, shape).astype(np.float32)
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(weight, name))
        return self.add("Conv", source, name, **attributes)
