"""ONNX Runtime on torch tensors without copies, and recorded CUDA graphs."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from distill.export.runners.base import TensorOutputs
from distill.spec import StudentSpec

if TYPE_CHECKING:
    from torch import Tensor

_MAX_RECORDED = 4
"""Recorded shapes; each holds a session, its weights and its maps on the GPU."""
_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(int32)": "int32"}


class IoBinding:
    """Runs a session on torch tensors in place: ONNX Runtime reads and writes their memory."""

    def __init__(self, session: Any, spec: StudentSpec, *, on_gpu: bool) -> None:
        self._session = session
        self._device = "cuda" if on_gpu else "cpu"
        self._input = session.get_inputs()[0]
        by_name = {entry.name: entry for entry in session.get_outputs()}
        self._outputs = [by_name[name] for name in spec.output_names]

    def run(self, images: Tensor) -> TensorOutputs:
        """Outputs on the device of the images."""
        outputs = self._run(images.detach().to(self._device).contiguous())
        return {name: value.to(images.device) for name, value in outputs.items()}

    def close(self) -> None:
        """Release the session."""
        self._session = None

    def _run(self, images: Tensor) -> TensorOutputs:
        outputs = self._buffers(images)
        self._session.run_with_iobinding(self._bind(self._session, images, outputs))
        return outputs

    def _buffers(self, images: Tensor) -> TensorOutputs:
        import torch

        sizes = dict(zip(self._input.shape, images.shape, strict=True))
        return {
            entry.name: torch.empty(
                [sizes.get(side, side) for side in entry.shape],
                dtype=getattr(torch, _TYPES[entry.type]),
                device=self._device,
            )
            for entry in self._outputs
        }

    def _bind(self, session: Any, images: Tensor, outputs: TensorOutputs) -> Any:
        binding = session.io_binding()
        if images.is_cuda:
            import torch

            torch.cuda.current_stream().synchronize()  # the input is written on torch's stream, not on ours
        binding.bind_input(self._input.name, self._device, 0, _numpy_type(images), images.shape, images.data_ptr())
        for name, value in outputs.items():
            binding.bind_output(name, self._device, 0, _numpy_type(value), value.shape, value.data_ptr())
        return binding


class CudaGraphBinding(IoBinding):
    """Records one call of each shape and replays it, so that hundreds of kernels cost one launch.

    ONNX Runtime records only graphs without CPU nodes, and computes symbolic dimensions on the CPU: each shape gets a
    session of its own, in which they are constants.
    """

    def __init__(self, session: Any, spec: StudentSpec, open_fixed: Callable[[Mapping[str, int]], Any]) -> None:
        super().__init__(session, spec, on_gpu=True)
        self._open_fixed = open_fixed
        self._recorded: OrderedDict[tuple[int, ...], tuple[Any, Any, Tensor, TensorOutputs]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        """Release all sessions and buffers."""
        self._recorded.clear()
        super().close()

    def _run(self, images: Tensor) -> TensorOutputs:
        import torch

        with self._lock:  # a recorded call has one set of addresses
            session, binding, fixed_input, outputs = self._call_of_shape(images)
            fixed_input.copy_(images)
            torch.cuda.current_stream().synchronize()
            session.run_with_iobinding(binding)
            return {name: value.clone() for name, value in outputs.items()}

    def _call_of_shape(self, images: Tensor) -> tuple[Any, Any, Tensor, TensorOutputs]:
        """(session, binding, input, outputs) of this shape; the least recently used one is replaced."""
        import torch

        shape = tuple(images.shape)
        if shape not in self._recorded:
            if len(self._recorded) == _MAX_RECORDED:
                self._recorded.popitem(last=False)
            sides = {name: side for name, side in zip(self._input.shape, shape, strict=True) if isinstance(name, str)}
            session, fixed_input, outputs = self._open_fixed(sides), torch.empty_like(images), self._buffers(images)
            self._recorded[shape] = (session, self._bind(session, fixed_input, outputs), fixed_input, outputs)
        self._recorded.move_to_end(shape)
        return self._recorded[shape]


def _numpy_type(value: Tensor) -> Any:
    return np.dtype(str(value.dtype).removeprefix("torch.")).type
