"""A fixed network that is no student: its time says how fast the machine is right now, and other times divide by it.

Two runs of the same file on the same machine differed by up to 80 % with what else the machine was doing; divided by
the yardstick's time in the turns beside theirs, they agree.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from distill.optional import require

_SHAPE = (1, 32, 48, 64)
_LAYERS = 4


def open_yardstick(threads: int) -> Callable[[], object]:
    """A call of about 2 ms: four convolutions and as many element-wise layers in ONNX Runtime on the CPU.

    Raises:
        DistillError: ONNX Runtime is not installed.
    """
    ort = require("onnxruntime", extra="cpu", why="measure how fast the machine is")
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(_network().SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = {"x": np.random.default_rng(0).normal(size=_SHAPE).astype(np.float32)}
    return lambda: session.run(None, values)


def _network() -> onnx.ModelProto:
    random, nodes, weights, name = np.random.default_rng(0), [], [], "x"
    channels = _SHAPE[1]
    for index in range(_LAYERS):
        weight = random.normal(0.0, (2.0 / (9 * channels)) ** 0.5, (channels, channels, 3, 3)).astype(np.float32)
        weights.append(numpy_helper.from_array(weight, f"w{index}"))
        nodes.append(helper.make_node("Conv", [name, f"w{index}"], [f"c{index}"], pads=[1, 1, 1, 1]))
        nodes.append(helper.make_node("HardSwish", [f"c{index}"], [f"y{index}"]))
        name = f"y{index}"
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, _SHAPE) for end in ("x", name)]
    graph = helper.make_graph(nodes, "yardstick", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
