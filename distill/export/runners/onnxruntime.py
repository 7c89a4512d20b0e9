"""Students in ONNX Runtime: on the CPU, on CUDA, or through TensorRT's execution provider."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner, TensorOutputs, compare_with_spec, first_line
from distill.export.runners.io_binding import CudaGraphBinding, IoBinding
from distill.optional import require
from distill.runtime.cpu import usable_cores
from distill.runtime.onnx_session import open_session
from distill.spec import METADATA_KEY, StudentSpec, parse_spec

if TYPE_CHECKING:
    from torch import Tensor

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_INCORRECT_REWRITES = ("ReluQuantRewrite",)
"""Rewrites that change outputs: ONNX Runtime 1.32 removes a ReLU before a quantization to eight-bit floats, as if 0
were their minimum. For integers the rewrite has no measurable gain."""


class OrtRunner(Runner):
    """An ONNX file in ONNX Runtime, by default on the best available processor."""

    def __init__(
        self,
        path: Path,
        *,
        threads: int | None = None,
        allow_spinning: bool = True,
        device: str | None = None,
        cuda_graph: bool = False,
        engine_cache: Path | None = None,
    ) -> None:
        """Load the file.

        Args:
            path: Written by ``distill export``.
            threads: Threads per call; None: all cores that this process may use.
            allow_spinning: Whether idle threads wait busily: fastest alone, wasteful next to a decoder and an encoder.
            device: ``cpu``, ``cuda`` or ``tensorrt``; None: CUDA if available, else the CPU.
            cuda_graph: Record one call of each shape and replay it; for torch tensors on a GPU.
            engine_cache: Folder for the engines that TensorRT's provider builds.

        Raises:
            DistillError: The file is damaged, not ONNX, not a student, or needs hardware that is not available.
        """
        ort = require("onnxruntime", extra="cpu", why=f"run {path.name}")
        _check_header(path)
        threads = threads or usable_cores()
        providers = _choose_providers(ort, path, device, engine_cache)

        def open_with(sides: Mapping[str, int], recorded: bool) -> Any:
            try:
                return open_session(
                    path,
                    why=f"run {path.name}",
                    threads=threads,
                    providers=[("CUDAExecutionProvider", {"enable_cuda_graph": "1"})] if recorded else providers,
                    allow_spinning=allow_spinning,
                    fixed_dimensions=sides,
                    disabled_optimizers=_INCORRECT_REWRITES,
                )
            except DistillError as error:
                raise DistillError(f"{path}: {error.message.removeprefix(f'{path}: ')}", hint=error.hint) from error
            except Exception as error:  # ONNX Runtime's errors share no base class below Exception
                raise _loading_error(path, error) from error

        session = open_with({}, recorded=False)
        spec = _read_spec(session, path)
        used = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        super().__init__(path.name, f"onnxruntime {used}", spec, threads, session)
        self._names = list(spec.output_names)
        self._io_binding = IoBinding(session, spec, on_gpu=used != "cpu")
        if cuda_graph and used == "cuda":
            self._io_binding = CudaGraphBinding(session, spec, lambda sides: open_with(sides, recorded=True))

    def _run(self, images: UInt8[ndarray, "b h w 3"]) -> Outputs:
        try:
            found = self._loaded.run(self._names, {self.spec.input.name: images})
        except Exception as error:
            raise self._failed(images, error) from error
        return dict(zip(self._names, found, strict=True))

    def _run_tensor(self, images: Tensor) -> TensorOutputs:
        try:
            return self._io_binding.run(images)
        except Exception as error:
            raise self._failed(images, error) from error

    def _failed(self, images: Any, error: Exception) -> DistillError:
        reason = error.message if isinstance(error, DistillError) else first_line(error)
        return DistillError(
            f"{self.name}: ONNX Runtime failed on {tuple(images.shape)}: {reason}",
            hint=getattr(error, "hint", "") or "try a smaller --batch; export the student again",
        )

    def close(self) -> None:
        """Release the session and the buffers of recorded calls."""
        self._io_binding.close()
        super().close()


def _read_spec(session: Any, path: Path) -> StudentSpec:
    text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
    if text is None:
        raise DistillError(
            f"{path}: an ONNX file, but not a student: it has no {METADATA_KEY} in its metadata",
            hint="write it with distill export; another model needs a config of kind onnx, which distill label and "
            "distill evaluate take in its place (docs/teachers.md)",
        )
    spec = parse_spec(text, str(path))
    inputs, outputs = ([entry.name for entry in entries] for entries in (session.get_inputs(), session.get_outputs()))
    compare_with_spec(inputs, outputs, spec, path)
    return spec


def _choose_providers(
    ort: Any, path: Path, device: str | None, engine_cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    available = ort.get_available_providers()
    if device is None:
        device = "cuda" if "CUDAExecutionProvider" in available else "cpu"
    if device not in _PROVIDERS:
        raise DistillError(f"{path}: ONNX Runtime runs on {', '.join(_PROVIDERS)}, not on {device!r}")
    if _PROVIDERS[device][0] not in available:
        raise DistillError(
            f"{path}: this build of ONNX Runtime cannot use {device}; it has {', '.join(available)}",
            hint="pip install 'distill[gpu]' in place of 'distill[cpu]'",
        )
    options: dict[str, dict[str, str]] = {}
    if engine_cache is not None:
        options["TensorrtExecutionProvider"] = {
            "trt_engine_cache_enable": "1",
            "trt_engine_cache_path": str(engine_cache),
            "trt_timing_cache_enable": "1",
            "trt_timing_cache_path": str(engine_cache),
        }
    return [(name, options.get(name, {})) for name in _PROVIDERS[device]]


def _check_header(path: Path) -> None:
    """Refuse empty files and files of other formats, which ONNX Runtime reports with the same error."""
    with path.open("rb") as file:
        head = file.read(2)
    if not head:
        raise DistillError(f"{path}: the file is empty", hint="export it again, or copy it again")
    # Protobuf field 1, a varint: every ONNX file begins with its IR version, at least 3.
    if head[0] != 0x08 or not 3 <= head[-1] < 0x40:
        raise DistillError(f"{path}: not an ONNX file", hint="write one with distill export RUN --to onnx")


def _loading_error(path: Path, error: Exception) -> DistillError:
    text = first_line(error)
    if "INVALID_PROTOBUF" in text or "Protobuf parsing failed" in text or "ModelProto does not have a graph" in text:
        return DistillError(f"{path}: the ONNX file is cut off or damaged", hint="copy it again, or export it again")
    if "external" in text.lower() and ("data" in text.lower()):
        return DistillError(
            f"{path}: its weights are in another file that is missing", hint="copy the .data file to the same folder"
        )
    return DistillError(f"{path}: ONNX Runtime cannot load it: {text}", hint="export it again, or update onnxruntime")
