"""Run any exported student. Knows arrays and ``spec.json``; knows nothing of recipes and training.

All engines stand behind one door: uint8 RGB (batch, height, width, 3) in, the spec's named outputs as numpy out.
"""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from jaxtyping import Shaped, UInt8
from numpy import ndarray

from distill.errors import DistillError, UsageError
from distill.optional import require
from distill.spec import METADATA_KEY, StudentSpec, parse_spec

if TYPE_CHECKING:
    from torch import nn

Outputs = dict[str, Shaped[ndarray, "..."]]


class Runner(ABC):
    """A student, ready to run; a context manager. May be called from several threads.

    Attributes:
        name: How to name it to a person.
        engine: What computes: ``onnxruntime cpu``, ``torch cpu``, ...
        spec: The student's contract.
        threads: Threads that one call uses.
    """

    def __init__(self, name: str, engine: str, spec: StudentSpec, threads: int, loaded: Any) -> None:
        self.name, self.engine, self.spec, self.threads = name, engine, spec, threads
        self._loaded = loaded

    def __call__(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        """The outputs by name (`StudentSpec.output_names`), at the size of the pictures.

        Raises:
            DistillError: Not uint8 (batch, height, width, 3), or the engine failed.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3 or 0 in images.shape:
            raise DistillError(
                f"{self.name}: pictures are {images.dtype} {images.shape}, not uint8 (batch, height, width, 3)",
                hint="give RGB pictures of equal size, stacked",
            )
        return self._run(images)

    @abstractmethod
    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs: ...

    def close(self) -> None:
        """Free what the engine holds; calling the runner afterwards is a mistake."""
        self._loaded = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class OrtRunner(Runner):
    """An ONNX file in ONNX Runtime, on the best processor that is there."""

    def __init__(self, path: Path, *, threads: int | None = None, spinning: bool = True) -> None:
        """Load the file.

        Args:
            path: Written by ``distill export``.
            threads: None takes the cores that this process may use.
            spinning: Whether idle threads wait busily: fastest alone, wasteful beside a decoder and an encoder.

        Raises:
            DistillError: The file is damaged, no ONNX, no student, or needs what this machine lacks.
        """
        ort = require("onnxruntime", extra="cpu", why=f"run {path.name}")
        _refuse_other_files(path)
        threads = threads or num_cores()
        providers = [name for name in _PROVIDERS if name in ort.get_available_providers()]
        try:
            session = ort.InferenceSession(
                str(path), sess_options=_session_options(ort, threads, spinning), providers=providers
            )
        except Exception as error:  # ONNX Runtime's errors share no base class below Exception
            raise _loading_failed(path, error) from error
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise DistillError(
                f"{path}: an ONNX file, but not a student: it has no {METADATA_KEY} in its metadata",
                hint="write it with distill export; other models serve as teachers (--teacher onnx)",
            )
        spec = parse_spec(text, str(path))
        _compare_with_spec(session, spec, path)
        used = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        super().__init__(path.name, f"onnxruntime {used}", spec, threads, session)
        self._names = list(spec.output_names)

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        try:
            found = self._loaded.run(self._names, {self.spec.input.name: images})
        except Exception as error:
            raise DistillError(
                f"{self.name}: ONNX Runtime failed on {images.shape}: {_first_line(error)}",
                hint="try a smaller --batch; export the student again",
            ) from error
        return dict(zip(self._names, found, strict=True))


class ModuleRunner(Runner):
    """A torch module behind the same door: the reference that every engine is compared with."""

    def __init__(
        self, module: nn.Module, spec: StudentSpec, *, name: str = "torch", threads: int | None = None
    ) -> None:
        """Take the module as it is, on the device where it is.

        Args:
            module: Takes uint8 (b, h, w, 3), gives a dictionary with `spec.output_names`.
            spec: Its contract.
            name: How to name it to a person.
            threads: For all of torch in this process; None takes the cores that this process may use.
        """
        import torch

        parameter = next(module.parameters(), None)
        self._device = parameter.device if parameter is not None else torch.device("cpu")
        self._lock = threading.Lock()
        threads = threads or num_cores()
        torch.set_num_threads(threads)
        super().__init__(name, f"torch {self._device.type}", spec, threads, module.eval())

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        import torch

        # One call at a time: modules may cache (attention biases), and torch's threads are shared anyway.
        with self._lock, torch.inference_mode():
            outputs = self._loaded(torch.from_numpy(np.ascontiguousarray(images)).to(self._device))
            return {name: outputs[name].cpu().numpy() for name in self.spec.output_names}


def open_runner(path: Path, *, threads: int | None = None, spinning: bool = True) -> Runner:
    """The exported student in this file, in the engine that its suffix calls for.

    Raises:
        UsageError: No such file, or a suffix that no engine reads.
        DistillError: The file is damaged or not a student.
    """
    if not path.is_file():
        raise UsageError(f"{path}: no such file", hint="check the path")
    opener = _ENGINES.get(path.suffix.lower())
    if opener is None:
        raise UsageError(
            f"{path}: no engine reads {path.suffix or 'files without a suffix'}; exported students end in"
            f" {', '.join(_ENGINES)}",
            hint="write one with distill export RUN --to onnx",
        )
    return opener(path, threads=threads, spinning=spinning)


_ENGINES: Mapping[str, Callable[..., Runner]] = {".onnx": OrtRunner}
_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")


def num_cores() -> int:
    """The cores that this process may use, which containers and taskset make fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _session_options(ort: Any, threads: int, spinning: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come back as exceptions; the log would say them twice
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if spinning else "0")
    return options


def _refuse_other_files(path: Path) -> None:
    """Tell apart what ONNX Runtime calls by one name: an empty file, and one that was never ONNX."""
    head = path.open("rb").read(2)
    if not head:
        raise DistillError(f"{path}: the file is empty", hint="export it again, or copy it again")
    # Protobuf field 1, a varint: every ONNX file begins with its IR version, at least 3.
    if head[0] != 0x08 or not 3 <= head[-1] < 0x40:
        raise DistillError(f"{path}: not an ONNX file", hint="write one with distill export RUN --to onnx")


def _loading_failed(path: Path, error: Exception) -> DistillError:
    text = _first_line(error)
    if "INVALID_PROTOBUF" in text or "Protobuf parsing failed" in text or "ModelProto does not have a graph" in text:
        return DistillError(f"{path}: the ONNX file is cut off or damaged", hint="copy it again, or export it again")
    if "external" in text.lower() and ("data" in text.lower()):
        return DistillError(
            f"{path}: its weights lie in another file that is missing", hint="copy the .data file beside it"
        )
    return DistillError(f"{path}: ONNX Runtime cannot load it: {text}", hint="export it again, or update onnxruntime")


def _compare_with_spec(session: Any, spec: StudentSpec, path: Path) -> None:
    inputs, outputs = [entry.name for entry in session.get_inputs()], {entry.name for entry in session.get_outputs()}
    if inputs != [spec.input.name] or not outputs.issuperset(spec.output_names):
        raise DistillError(
            f"{path}: its graph has {', '.join([*inputs, *sorted(outputs)])}, its spec says"
            f" {', '.join([spec.input.name, *spec.output_names])}",
            hint="export it again with distill export",
        )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n")[0]
