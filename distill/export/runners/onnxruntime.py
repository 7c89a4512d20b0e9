"""A student in ONNX Runtime: on the CPU, on CUDA, or through TensorRT's execution provider."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import UInt8
from numpy import ndarray

from distill.errors import DistillError
from distill.export.runners.base import Outputs, Runner, TensorOutputs, first_line
from distill.optional import require
from distill.runtime.cpu import usable_cores
from distill.spec import METADATA_KEY, StudentSpec, parse_spec

if TYPE_CHECKING:
    from torch import Tensor

_PROVIDERS = {
    "cpu": ("CPUExecutionProvider",),
    "cuda": ("CUDAExecutionProvider", "CPUExecutionProvider"),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"),
}
_WRONG = ("ReluQuantRewrite",)
"""Rewrites that change answers: ONNX Runtime 1.32 drops a ReLU before a quantization to eight-bit floats, as if 0 were
the least of them. In integers the rewrite gains nothing that could be measured."""
_MAX_RECORDED = 4
"""Shapes whose calls stay recorded: each holds a session, its weights and its maps on the GPU."""
_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(uint16)": "uint16", "tensor(int32)": "int32"}


class OrtRunner(Runner):
    """An ONNX file in ONNX Runtime, on the best processor that is there."""

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
            threads: None takes the cores that this process may use.
            spinning: Whether idle threads wait busily: fastest alone, wasteful beside a decoder and an encoder.
            device: ``cpu``, ``cuda`` or ``tensorrt``; None takes CUDA where it answers, else the CPU.
            cuda_graph: Record one call of each shape and play it back; for torch tensors on a GPU.
            engine_cache: Where TensorRT's provider keeps the engines that it builds.

        Raises:
            DistillError: The file is damaged, no ONNX, no student, or needs what this machine lacks.
        """
        ort = require("onnxruntime", extra="cpu", why=f"run {path.name}")
        _refuse_other_files(path)
        threads = threads or usable_cores()
        providers = _choose_providers(ort, path, device, engine_cache)

        def open_session(sides: Mapping[str, int], recorded: bool) -> Any:
            options = _session_options(ort, threads, allow_spinning)
            for name, side in sides.items():
                options.add_free_dimension_override_by_name(name, side)
            chosen = [("CUDAExecutionProvider", {"enable_cuda_graph": "1"})] if recorded else providers
            try:
                return ort.InferenceSession(
                    str(path), sess_options=options, providers=chosen, disabled_optimizers=list(_WRONG)
                )
            except Exception as error:  # ONNX Runtime's errors share no base class below Exception
                raise _loading_failed(path, error) from error

        session = open_session({}, recorded=False)
        text = session.get_modelmeta().custom_metadata_map.get(METADATA_KEY)
        if text is None:
            raise DistillError(
                f"{path}: an ONNX file, but not a student: it has no {METADATA_KEY} in its metadata",
                hint="write it with distill export; another model needs a config of kind onnx, which distill label and "
                "distill evaluate take in its place (docs/teachers.md)",
            )
        spec = parse_spec(text, str(path))
        _compare_with_spec(session, spec, path)
        used = session.get_providers()[0].removesuffix("ExecutionProvider").lower()
        super().__init__(path.name, f"onnxruntime {used}", spec, threads, session)
        self._names = list(spec.output_names)
        self._io_binding = _IOBinding(session, spec, on_gpu=used != "cpu")
        if cuda_graph and used == "cuda":
            self._io_binding = _CudaGraph(session, spec, lambda sides: open_session(sides, recorded=True))

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
        return DistillError(
            f"{self.name}: ONNX Runtime failed on {tuple(images.shape)}: {first_line(error)}",
            hint="try a smaller --batch; export the student again",
        )

    def close(self) -> None:
        """Free the session and the buffers of recorded calls."""
        self._io_binding.close()
        super().close()


class _IOBinding:
    """Runs a session on torch tensors where they lie: ONNX Runtime reads and writes their memory."""

    def __init__(self, session: Any, spec: StudentSpec, *, on_gpu: bool) -> None:
        self._session = session
        self._device = "cuda" if on_gpu else "cpu"
        self._input = session.get_inputs()[0]
        by_name = {entry.name: entry for entry in session.get_outputs()}
        self._outputs = [by_name[name] for name in spec.output_names]

    def run(self, images: Tensor) -> TensorOutputs:
        outputs = self._answer(images.detach().to(self._device).contiguous())
        return {name: value.to(images.device) for name, value in outputs.items()}

    def close(self) -> None:
        self._session = None

    def _answer(self, images: Tensor) -> TensorOutputs:
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

            torch.cuda.current_stream().synchronize()  # what fills the input runs on torch's stream, not on ours
        binding.bind_input(self._input.name, self._device, 0, _numpy_type(images), images.shape, images.data_ptr())
        for name, value in outputs.items():
            binding.bind_output(name, self._device, 0, _numpy_type(value), value.shape, value.data_ptr())
        return binding


class _CudaGraph(_IOBinding):
    """Records one call of each shape and plays it back, so that hundreds of kernels cost one launch.

    ONNX Runtime records graphs without CPU nodes alone, and a graph of free sides computes them on the CPU: each shape
    gets a session of its own, in which they are constants.
    """

    def __init__(self, session: Any, spec: StudentSpec, open_fixed: Callable[[Mapping[str, int]], Any]) -> None:
        super().__init__(session, spec, on_gpu=True)
        self._open_fixed = open_fixed
        self._recorded: OrderedDict[tuple[int, ...], tuple[Any, Any, Tensor, TensorOutputs]] = OrderedDict()
        self._lock = threading.Lock()

    def close(self) -> None:
        self._recorded.clear()
        super().close()

    def _answer(self, images: Tensor) -> TensorOutputs:
        import torch

        with self._lock:  # a recorded call has one set of addresses
            session, binding, kept, outputs = self._take(images)
            kept.copy_(images)
            torch.cuda.current_stream().synchronize()
            session.run_with_iobinding(binding)
            return {name: value.clone() for name, value in outputs.items()}

    def _take(self, images: Tensor) -> tuple[Any, Any, Tensor, TensorOutputs]:
        """What plays calls of this shape; made at the first one, and the one that lay idle longest is given up."""
        import torch

        shape = tuple(images.shape)
        if shape not in self._recorded:
            if len(self._recorded) == _MAX_RECORDED:
                self._recorded.popitem(last=False)
            sides = {name: side for name, side in zip(self._input.shape, shape, strict=True) if isinstance(name, str)}
            session, kept, outputs = self._open_fixed(sides), torch.empty_like(images), self._buffers(images)
            self._recorded[shape] = (session, self._bind(session, kept, outputs), kept, outputs)
        self._recorded.move_to_end(shape)
        return self._recorded[shape]


def _numpy_type(value: Tensor) -> Any:
    import numpy as np

    return np.dtype(str(value.dtype).removeprefix("torch.")).type


def _choose_providers(
    ort: Any, path: Path, device: str | None, engine_cache: Path | None
) -> list[tuple[str, dict[str, str]]]:
    there = ort.get_available_providers()
    if device is None:
        device = "cuda" if "CUDAExecutionProvider" in there else "cpu"
    if device not in _PROVIDERS:
        raise DistillError(f"{path}: ONNX Runtime runs on {', '.join(_PROVIDERS)}, not on {device!r}")
    if _PROVIDERS[device][0] not in there:
        raise DistillError(
            f"{path}: this build of ONNX Runtime cannot use {device}; it has {', '.join(there)}",
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


def _session_options(ort: Any, threads: int, allow_spinning: bool) -> Any:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # errors come back as exceptions; the log would say them twice
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if allow_spinning else "0")
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
    text = first_line(error)
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
