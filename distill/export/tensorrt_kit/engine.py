"""Load and run a TensorRT engine file; for TensorRT 10.12 and later, and 11."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from distill.export.tensorrt_kit.cuda import Cuda, KitError


def import_tensorrt() -> Any:
    """The module ``tensorrt``.

    Raises:
        KitError: It is not installed, or older than 10.12.
    """
    try:
        import tensorrt as trt
    except ImportError as error:
        raise KitError(
            "TensorRT is not installed: pip install tensorrt (10.12 or later; on a Jetson it comes with JetPack)"
        ) from error
    major, minor = (int(part) for part in trt.__version__.split(".")[:2])
    if (major, minor) < (10, 12):
        raise KitError(f"TensorRT {trt.__version__} is too old for strongly typed networks: install 10.12 or later")
    return trt


def read_kit(folder: Path) -> dict[str, Any]:
    """Settings of a kit with unchanged files.

    Raises:
        KitError: A file is missing or was changed.
    """
    try:
        kit: dict[str, Any] = json.loads((folder / "kit.json").read_text())
    except (OSError, ValueError) as error:
        raise KitError(f"{folder / 'kit.json'}: missing or damaged: copy the whole kit again") from error
    for name, digest in kit["sha256"].items():
        path = folder / name
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            raise KitError(f"{path}: missing, cut off or changed: copy the whole kit again")
    return kit


def sidecar_of(path: Path) -> Path:
    """Path of the JSON file with facts about an engine, which the engine file itself cannot hold."""
    return path.with_name(path.name + ".json")


class Engine:
    """An engine with one context: uint8 images to maps. One call at a time.

    Attributes:
        facts: Contents of the sidecar file: versions, GPU, profile, spec.
        profile: (min, opt, max) shape of the input.
    """

    def __init__(self, path: Path, trt: Any = None, cuda: Any = None) -> None:
        """Load the file and check that it was built for this machine.

        Raises:
            KitError: Another GPU or version, a damaged file, or a missing one.
        """
        self._trt = trt or import_tensorrt()
        self._cuda = cuda or Cuda()
        self.facts = self._read_facts(path)
        self._check_machine(path)
        self._runtime = self._trt.Runtime(self._trt.Logger(self._trt.Logger.ERROR))
        if self.facts.get("version_compatible"):
            self._runtime.engine_host_code_allowed = True  # the plan carries the lean runtime
        self._engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if self._engine is None:
            raise KitError(f"{path}: TensorRT {self._trt.__version__} cannot read it: build it again on this machine")
        if self.facts.get("weights_stripped"):
            self._refit(path)
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        is_input = {name: self._engine.get_tensor_mode(name) == self._trt.TensorIOMode.INPUT for name in names}
        self._input = next(name for name in names if is_input[name])
        self._outputs = [name for name in names if not is_input[name]]
        self.profile = [
            tuple(int(side) for side in shape) for shape in self._engine.get_tensor_profile_shape(self._input, 0)
        ]
        self._memory: dict[str, tuple[int, int]] = {}

    def run(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Outputs by name.

        Raises:
            KitError: Images outside the profile, or TensorRT failed.
        """
        least, _, most = self.profile
        if any(not low <= side <= high for low, side, high in zip(least, images.shape, most, strict=True)):
            raise KitError(
                f"images of shape {images.shape} are outside the engine's profile, {least} to {most}:"
                " use fewer or other images, or build with another profile"
            )
        self._cuda.enter()
        images = np.ascontiguousarray(images)
        self._context.set_input_shape(self._input, images.shape)
        missing = self._context.infer_shapes()
        if missing:
            raise KitError(f"TensorRT cannot infer the shapes of {', '.join(missing)}: build the engine again")
        pointer = self._buffer(self._input, images.nbytes)
        self._cuda.upload(pointer, images)
        self._context.set_tensor_address(self._input, pointer)
        outputs = {}
        for name in self._outputs:
            shape = tuple(int(side) for side in self._context.get_tensor_shape(name))
            outputs[name] = np.empty(shape, self._numpy_type(name))
            self._context.set_tensor_address(name, self._buffer(name, outputs[name].nbytes))
        if not self._context.execute_async_v3(self._cuda.stream):
            raise KitError("TensorRT failed to run the engine: see its messages above, or build it again")
        self._cuda.synchronize()
        for name, value in outputs.items():
            self._cuda.download(value, self._memory[name][0])
        return outputs

    def close(self) -> None:
        """Release device memory and the engine."""
        for pointer, _ in self._memory.values():
            self._cuda.free(pointer)
        self._memory = {}
        self._context = self._engine = None

    def _buffer(self, name: str, num_bytes: int) -> int:
        pointer, size = self._memory.get(name, (0, -1))
        if size < num_bytes:
            if size >= 0:
                self._cuda.free(pointer)
            pointer, size = self._cuda.allocate(num_bytes), num_bytes
            self._memory[name] = (pointer, size)
        return pointer

    def _numpy_type(self, name: str) -> Any:
        types = {
            self._trt.DataType.FLOAT: np.float32,
            self._trt.DataType.HALF: np.float16,
            self._trt.DataType.UINT8: np.uint8,
            self._trt.DataType.INT32: np.int32,
            self._trt.DataType.INT64: np.int64,
        }
        return types[self._engine.get_tensor_dtype(name)]

    def _refit(self, path: Path) -> None:
        """Restore the weights of a stripped engine from the ONNX file."""
        source = path.parent / self.facts["onnx"]
        if not source.is_file():
            raise KitError(f"{path}: built without weights, and {source} is missing: copy it there")
        logger = self._trt.Logger(self._trt.Logger.ERROR)
        refitter = self._trt.Refitter(self._engine, logger)
        parser = self._trt.OnnxParserRefitter(refitter, logger)
        if not parser.refit_from_file(str(source)) or not refitter.refit_cuda_engine():
            raise KitError(f"{path}: the weights of {source.name} do not fit it: build the engine again")

    def _read_facts(self, path: Path) -> dict[str, Any]:
        sidecar = sidecar_of(path)
        for file in (path, sidecar):
            if not file.is_file():
                raise KitError(f"{file}: no such file: build the engine with build.py, and keep both files together")
        try:
            facts: dict[str, Any] = json.loads(sidecar.read_text())
            return facts
        except ValueError as error:
            raise KitError(f"{sidecar}: damaged: build the engine again") from error

    def _check_machine(self, path: Path) -> None:
        here = {**self._cuda.describe(), "tensorrt": self._trt.__version__}
        if not self.facts.get("version_compatible") and self.facts["tensorrt"] != here["tensorrt"]:
            raise KitError(
                f"{path}: built with TensorRT {self.facts['tensorrt']}, this machine has {here['tensorrt']}: build it"
                " again"
            )
        compared = {"none": ("gpu", "compute_capability"), "same_compute_capability": ("compute_capability",)}
        for key in compared.get(self.facts.get("hardware", "none"), ()):
            if self.facts[key] != here[key]:
                raise KitError(
                    f"{path}: built for {self.facts['gpu']} ({self.facts['compute_capability']}), this"
                    f" machine has {here['gpu']} ({here['compute_capability']}): build it again on this machine"
                )
