"""Base class of all runners: checks of the input, and conversion between numpy and torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, overload

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.spec import StudentSpec
from distill.tasks import TASKS

if TYPE_CHECKING:
    from torch import Tensor

_EXPORT_AGAIN = "export the student again with distill export, or use another file"
Outputs = dict[str, Shaped[ndarray, "..."]]
TensorOutputs = dict[str, "Tensor"]


class Runner(ABC):
    """A loaded student; a context manager. Thread-safe.

    Attributes:
        name: Name in messages.
        engine: Engine and device: ``onnxruntime cpu``, ``openvino cpu``, ``torch cpu``, ...
        spec: The student's spec.
        threads: Threads per call.
        must_be_numbers: Whether a confidence that is not a number is an error; a comparison of precisions counts it.
    """

    must_be_numbers = True

    def __init__(self, name: str, engine: str, spec: StudentSpec, threads: int, loaded: Any) -> None:
        self.name, self.engine, self.spec, self.threads = name, engine, spec, threads
        self._loaded = loaded
        self._is_closed = False
        self._accepted: tuple[Any, Any] | None = None

    @overload
    def __call__(self, images: Tensor) -> TensorOutputs: ...
    @overload
    def __call__(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs: ...
    def __call__(self, images: Any) -> Any:
        """Outputs by name (`StudentSpec.output_names`), at the size of the images.

        Args:
            images: A numpy array or a torch tensor; outputs have the same type and device.

        Raises:
            DistillError: Not uint8 (batch, height, width, 3), the runner is closed, the engine failed, or its outputs
                for the first images of a size are not what the spec says.
        """
        # A network evicts Python's data from the processor's caches, so the full check takes 0.1 ms; comparing with the
        # last accepted type and shape avoids that.
        try:
            kind = (images.dtype, images.shape)
        except AttributeError:
            raise DistillError(
                f"{self.name}: images are a {type(images).__name__}, not a numpy array or a torch tensor",
                hint="stack images of equal size: numpy.stack(images)",
            ) from None
        if kind == self._accepted:
            return self._run(images) if isinstance(images, ndarray) else self._run_tensor(images)
        self._check(images)
        outputs = self._run(images) if isinstance(images, ndarray) else self._run_tensor(images)
        check_outputs(outputs, self.spec, tuple(images.shape[:3]), self.name, must_be_numbers=self.must_be_numbers)
        self._accepted = kind
        return outputs

    @abstractmethod
    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs: ...

    def _run_tensor(self, images: Tensor) -> TensorOutputs:
        """Through numpy: without copies on a CPU, with one copy each way on a GPU; some engines override it."""
        import torch

        outputs = self._run(np.asarray(images.detach().cpu()))
        return {name: torch.from_numpy(value).to(images.device) for name, value in outputs.items()}

    def close(self) -> None:
        """Release the engine; the runner cannot be called afterwards."""
        self._loaded = self._accepted = None
        self._is_closed = True

    def __enter__(self) -> Runner:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _check(self, images: Any) -> None:
        if self._is_closed:
            raise DistillError(f"{self.name}: the runner is closed", hint="open it again with open_runner")
        shape, kind = tuple(images.shape), str(images.dtype).removeprefix("torch.")
        if kind != "uint8" or len(shape) != 4 or shape[-1] != 3 or 0 in shape:
            raise DistillError(
                f"{self.name}: images are {kind} {shape}, not uint8 (batch, height, width, 3)",
                hint="give RGB images of equal size, stacked",
            )
        wanted, most = self.spec.input.fixed_size_hw, self.spec.input.max_batch
        if wanted is not None and shape[1:3] != wanted:
            raise DistillError(
                f"{self.name}: exported for images of {wanted[0]}x{wanted[1]} px only, these are {shape[1]}x{shape[2]}",
                hint="resize the images, or export the student again for images of any size",
            )
        if most is not None and shape[0] > most:
            raise DistillError(
                f"{self.name}: exported for at most {most} images per call, these are {shape[0]}",
                hint="choose a smaller --batch",
            )


def check_outputs(
    outputs: Any, spec: StudentSpec, shape: tuple[int, ...], name: str, *, must_be_numbers: bool = True
) -> None:
    """Check shapes, types and ids of outputs; a file of others may answer anything under the names of its spec.

    Raises:
        DistillError: They differ from the spec.
    """
    for task in spec.tasks:
        channels = TASKS[task].channels
        for output, wanted in ((str(task), (*shape, *channels)), (f"{task}_confidence", shape)):
            found = tuple(outputs[output].shape)
            if found != wanted:
                raise DistillError(f"{name}: its output {output} has shape {found}, not {wanted}", hint=_EXPORT_AGAIN)
        values, confidence = outputs[str(task)], outputs[f"{task}_confidence"]
        if must_be_numbers and bool((confidence != confidence).any()):  # noqa: PLR0124 - NaN, of numpy and torch alike
            raise DistillError(f"{name}: its confidence of {task} is not a number everywhere", hint=_EXPORT_AGAIN)
        entry = getattr(spec, task)
        most = getattr(entry, "max_instances", None) or len(getattr(entry, "classes", ())) - 1
        if most < 0:
            continue
        ignored = getattr(entry, "ignore", most)
        if not bool((((values >= 0) & (values <= most)) | (values == ignored)).all()):
            raise DistillError(
                f"{name}: its output {task} has ids beyond {most}, the last of its spec", hint=_EXPORT_AGAIN
            )


def first_line(error: Exception) -> str:
    """First line of an engine's error message."""
    return (str(error).strip() or type(error).__name__).split("\n")[0]


def compare_with_spec(inputs: Sequence[str], outputs: Collection[str], spec: StudentSpec, path: Path) -> None:
    """Check the tensor names of a graph.

    Raises:
        DistillError: They differ from the names of the spec.
    """
    if list(inputs) != [spec.input.name] or not set(outputs).issuperset(spec.output_names):
        raise DistillError(
            f"{path}: its graph has {', '.join([*inputs, *sorted(outputs)])}, its spec has"
            f" {', '.join([spec.input.name, *spec.output_names])}",
            hint="export it again with distill export",
        )
