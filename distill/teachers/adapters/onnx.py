"""Any ONNX model as specialist teacher; its outputs are described in a config."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from jaxtyping import Float, Shaped, UInt8
from numpy import ndarray

from distill.config.adapters import OnnxConfig, OnnxOutputConfig
from distill.errors import DistillError, UsageError, describe_error
from distill.images import Photo
from distill.labels import Label
from distill.optional import require
from distill.runtime.cpu import usable_cores
from distill.runtime.onnx_session import open_session
from distill.shards import file_sha256
from distill.tasks import TASKS, Task
from distill.teachers.adapters.photo_shape import has_shape_of
from distill.teachers.base import Specialist, Teacher
from distill.teachers.builder_options import TeacherContext
from distill.teachers.predictive import PredictiveTeacher
from distill.teachers.registration.align import warp_label
from distill.teachers.tasks import teacher_task

_MAX_PARALLEL = 16
"""Limit of memory: each photo in progress needs the network's activations."""
MODELS_VARIABLE = "DISTILL_MODELS"


class OnnxSpecialist(Specialist):
    """One session, opened for the first photo, so that a plan needs no model."""

    def __init__(self, config: OnnxConfig, folder: Path) -> None:
        self._config = config
        self._path = find_model(config.model, folder)
        self._session: Any = None
        self._opening = threading.Lock()

    @property
    def max_parallel(self) -> int:
        """Photos in parallel: one per core, or per group of `threads` cores."""
        return max(1, min(usable_cores() // max(self._config.threads, 1), _MAX_PARALLEL))

    @property
    def min_size_hw(self) -> tuple[int, int]:
        """Input size (height, width) of the model.

        Raises:
            DistillError: The size is not in the config, and the model cannot be opened.
        """
        return self._input_hw(self._opened())

    def fingerprint(self) -> list[str]:
        """Digest of the model file."""
        return [file_sha256(self._path)]

    def predict(self, photo: Photo) -> list[Label]:
        """One label per output of the config, at the output's own size.

        Raises:
            DistillError: The model cannot be opened, or its tensors differ from the config.
        """
        session = self._opened()
        wanted = self._config.input.name
        entry = next((entry for entry in session.get_inputs() if entry.name == wanted), session.get_inputs()[0])
        feed, image = wanted or entry.name, _cast(self._prepare(photo.rgb, session), entry.type)
        names = [output.name or session.get_outputs()[0].name for output in self._config.outputs]
        try:
            values = session.run(names, {feed: image})
        except DistillError as error:
            raise DistillError(f"{self._path.name}: {error.message}", hint=error.hint) from error
        except Exception as error:  # onnxruntime's exceptions share no base class
            raise DistillError(
                f"{self._path.name}: the model refuses this input: {describe_error(error)}",
                hint="check input.layout, input.size_hw and the output names in the config",
            ) from error
        pairs = zip(values, self._config.outputs, strict=True)
        labels = {Task(output.task): self._read(value, output, photo, session) for value, output in pairs}
        for output in self._config.outputs:
            task = Task(output.task)
            reader = teacher_task(task)
            if reason := reader.contradiction(labels[task], labels, output.frame) or reader.reject(labels[task]):
                raise DistillError(f"{self._path.name}: {reason}", hint="check outputs, such as frame")
        return list(labels.values())

    def _read(self, value: Any, output: OnnxOutputConfig, photo: Photo, session: Any) -> Label:
        """Label of an output tensor, whose shape is that of the input tensor."""
        label = _label_of_tensor(value, output, self._path)
        if output.resize_mode is not None:
            return warp_label(label, photo.size_hw, output.resize_mode)
        input_hw = self._input_hw(session)
        if not has_shape_of(label.size_hw, input_hw):
            raise DistillError(
                f"{self._path.name}: output {output.name or 'one'} has {label.size_hw[1]}x{label.size_hw[0]} px for an "
                f"input of {input_hw[1]}x{input_hw[0]}, which is another shape",
                hint="check the output's name and layout, or state resize_mode: fill if it covers the whole photo",
            )
        return label

    def _opened(self) -> Any:
        with self._opening:
            return self._open()

    def _open(self) -> Any:
        if self._session is None:
            runtime = require("onnxruntime", extra="cpu", why="run an ONNX teacher")
            try:
                self._session = open_session(
                    self._path,
                    why="run an ONNX teacher",
                    threads=max(self._config.threads, 1),
                    providers=runtime.get_available_providers(),
                    allow_loops=True,
                )
            except DistillError as error:
                message = f"{self._path}: {error.message.removeprefix(f'{self._path}: ')}"
                raise UsageError(message, hint=error.hint) from error
            except Exception as error:
                raise UsageError(
                    f"{self._path}: not a model that ONNX Runtime can open: {describe_error(error)[:200]}",
                    hint="check the file with onnx.checker",
                ) from error
        return self._session

    def _prepare(self, rgb: UInt8[ndarray, "h w 3"], session: Any) -> Float[ndarray, "1 a b c"]:
        """Input tensor of a photo."""
        wanted = self._config.input
        height, width = self._input_hw(session)
        # Averaging (no aliasing) pays from half the size on; up to there two taps see every pixel, in a tenth of the
        # time, and to enlarge they serve better.
        shrinks = rgb.shape[0] >= 2 * height or rgb.shape[1] >= 2 * width
        mode = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        image = cv2.resize(rgb, (width, height), interpolation=mode)
        # Plane by plane into the layout of the input: a third of the time of whole-image arithmetic and transposes.
        tensor = np.empty((1, 3, height, width) if wanted.layout == "NCHW" else (1, height, width, 3), np.float32)
        planes = tensor[0] if wanted.layout == "NCHW" else tensor[0].transpose(2, 0, 1)
        channels = range(3) if wanted.color == "RGB" else (2, 1, 0)
        for plane, channel, mean, std in zip(planes, channels, *self._normalization(), strict=True):
            np.multiply(image[..., channel], np.float32(wanted.scale / std), out=plane)
            np.subtract(plane, np.float32(mean / std), out=plane)
        return tensor

    def _input_hw(self, session: Any) -> tuple[int, int]:
        return self._config.input.size_hw or _announced_size(session, self._config.input.layout, self._path)

    def _normalization(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """(mean, std) for each plane of the tensor; the config states them for R, G, B."""
        wanted = self._config.input
        if wanted.color == "RGB":
            return wanted.mean, wanted.std
        return tuple(reversed(wanted.mean)), tuple(reversed(wanted.std))


def build_onnx(config: OnnxConfig, folder: Path, context: TeacherContext) -> Teacher:
    """The teacher of an ONNX config.

    Raises:
        UsageError: The model file does not exist.
    """
    semantic = [output for output in config.outputs if TASKS[Task(output.task)].class_list == "classes"]
    specialist = OnnxSpecialist(config, folder)
    return PredictiveTeacher(
        specialist,
        name=config.name or config.model.stem,
        license=config.license,
        terms=config.terms,
        tasks=tuple(Task(output.task) for output in config.outputs),
        classes=semantic[0].classes if semantic else (),
        quality_filter=context.quality_filter,
        max_parallel=specialist.max_parallel,
    )


def _cast(image: Float[ndarray, "1 a b c"], kind: str) -> Shaped[ndarray, "1 a b c"]:
    """The image in the type of the model's input."""
    if kind == "tensor(uint8)":
        pixels: ndarray = np.clip(np.rint(image), 0, 255).astype(np.uint8)
        return pixels
    return image.astype({"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(kind, np.float32))


def find_model(model: Path, folder: Path) -> Path:
    """Path of the model: as given, next to the config, or in ``$DISTILL_MODELS``.

    Raises:
        UsageError: It is in none of these places.
    """
    places = [Path(), folder, *map(Path, filter(None, os.environ.get(MODELS_VARIABLE, "").split(os.pathsep)))]
    for place in places:
        if (place / model).is_file():
            return place / model
    raise UsageError(
        f"{model}: no such model", hint=f"give its path with --set model=PATH, or its folder in ${MODELS_VARIABLE}"
    )


def _announced_size(session: Any, layout: str, path: Path) -> tuple[int, int]:
    shape = session.get_inputs()[0].shape
    sides = list(shape[2:4] if layout == "NCHW" else shape[1:3]) if len(shape) == 4 else []
    if len(sides) != 2 or not all(isinstance(side, int) for side in sides):
        raise UsageError(f"{path}: the model takes any size ({shape})", hint="state input.size_hw in the config")
    return int(sides[0]), int(sides[1])


def _label_of_tensor(value: Any, output: OnnxOutputConfig, path: Path) -> Label:
    values = np.asarray(value)
    name = f"{path.name}: output {output.name or 'one'}"
    if values.dtype.kind not in "buif":
        raise DistillError(f"{name} holds {values.dtype}, not numbers", hint="check outputs in the config")
    planes = values[0] if values.ndim == 4 and values.shape[0] == 1 else values
    if planes.ndim == 3 and output.layout == "NHWC" and (values.ndim == 4 or planes.shape[0] != 1):
        planes = planes.transpose(2, 0, 1)
    if planes.ndim == 2:
        planes = planes[None]
    if planes.ndim != 3 or not planes.size:
        raise DistillError(
            f"{name} has shape {np.shape(value)} instead of one map per channel", hint="check outputs in the config"
        )
    return teacher_task(Task(output.task)).label_from_planes(planes, output, path.name)
