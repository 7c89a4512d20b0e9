"""Torch modules as runners: the reference for all engines."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import UInt8
from numpy import ndarray

from distill.export.runners.base import Outputs, Runner, TensorOutputs
from distill.runtime.cpu import usable_cores
from distill.spec import StudentSpec

if TYPE_CHECKING:
    from torch import Tensor, nn


class ModuleRunner(Runner):
    """A torch module on its current device."""

    def __init__(
        self, module: nn.Module, spec: StudentSpec, *, name: str = "torch", threads: int | None = None
    ) -> None:
        """Use the module as it is.

        Args:
            module: Takes uint8 (b, h, w, 3), returns a dictionary with `spec.output_names`.
            spec: Its spec.
            name: Name in messages.
            threads: For all of torch in this process; None: all cores that this process may use.
        """
        import torch

        parameter = next(module.parameters(), None)
        self._device = parameter.device if parameter is not None else torch.device("cpu")
        self._lock = threading.Lock()
        threads = threads or usable_cores()
        torch.set_num_threads(threads)
        super().__init__(name, f"torch {self._device.type}", spec, threads, module.eval())

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        import torch

        outputs = self._run_tensor(torch.from_numpy(np.ascontiguousarray(images)))
        return {name: value.numpy() for name, value in outputs.items()}

    def _run_tensor(self, images: Tensor) -> TensorOutputs:
        import torch

        # One call at a time: modules may cache (attention biases), and all calls share torch's threads.
        with self._lock, torch.inference_mode():
            outputs = self._loaded(images.to(self._device))
            return {name: outputs[name].to(images.device) for name in self.spec.output_names}
