"""What an export is made for: an engine, a precision, and by how much its answers may differ."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from distill.config import Config, load_config
from distill.errors import UsageError
from distill.tasks import Task

NonNegative = Annotated[float, Field(ge=0.0)]


class ToleranceConfig(Config):
    """Allowed difference between the artifact and the student, in the parity score of each task."""

    level: Literal["float32", "half", "eight_bit"] = "float32"
    """Row of `distill.tasks.TaskInfo.tolerance` that tasks without a value of their own take."""
    scores_only: bool = False
    """Check scores against labels alone; false also bounds the disagreement pixel by pixel."""
    by_task: dict[Task, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]] = Field(default_factory=dict)
    """Values for single tasks: part of delta1, mIoU or pmF1 (0.001 is 0.1 point), or degrees for normals."""


class ShapeProfileConfig(Config):
    """TensorRT: for which batches an engine is made, and for which size of pictures."""

    min_batch: int = Field(1, ge=1)
    opt_batch: int = Field(8, ge=1)
    max_batch: int = Field(32, ge=1)
    min_image_hw: tuple[int, int] = (32, 32)
    opt_image_hw: tuple[int, int] = (720, 1280)
    max_image_hw: tuple[int, int] = (2160, 3840)


class TensorRtBuilderConfig(Config):
    """TensorRT: how an engine is built."""

    optimization_level: int = Field(3, ge=0, le=5)
    """Builder optimization optimization_level: 0 builds fastest, 5 searches longest."""
    workspace_gib: float = Field(2.0, gt=0.0)
    version_compatible: bool = False
    """Runs on later versions of TensorRT too; carries the lean runtime, which is code."""
    hardware: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    """On which other GPUs it may run."""
    strip_weights: bool = False
    """Leave the weights out; they are put back from the ONNX file when the engine is opened."""
    tf32: bool = True


class TargetConfig(Config):
    """One artifact."""

    engine: Literal["onnx", "openvino", "aoti", "tensorrt", "triton"]
    precision: Literal["fp32", "fp16", "bf16", "int8", "fp8"] = "fp32"
    """fp8: eight-bit floats (e4m3), for TensorRT on Hopper, Ada and later."""
    tolerance: ToleranceConfig = ToleranceConfig()
    calibration_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    """int8, fp8: how ranges are drawn from the pictures."""
    calibration_images: int = Field(32, ge=1)
    min_speedup: NonNegative = 1.5
    """int8: how many times the images/s of float32 it must make to be handed out, at the best of the batches that are
    timed. Eight bits always change answers; 1 takes any gain for that."""
    device: Literal["cpu", "cuda"] = "cpu"
    """aoti: the processor that the machine code is for."""
    profile: ShapeProfileConfig = ShapeProfileConfig()
    builder: TensorRtBuilderConfig = TensorRtBuilderConfig()

    @model_validator(mode="after")
    def _check_precision_supported(self) -> Self:
        if self.precision == "fp8" and self.engine != "tensorrt":
            raise ValueError(f"precision fp8 is for engine: tensorrt, not {self.engine}")
        return self


_HALF = {"level": "half"}
_EIGHT_BITS = {"level": "eight_bit", "scores_only": True}

TARGETS: Mapping[str, Mapping[str, Any]] = {
    "onnx": {"engine": "onnx"},
    "onnx-fp16": {"engine": "onnx", "precision": "fp16", "tolerance": _HALF},
    "onnx-bf16": {"engine": "onnx", "precision": "bf16", "tolerance": _EIGHT_BITS},
    "onnx-int8": {"engine": "onnx", "precision": "int8", "tolerance": _EIGHT_BITS},
    "openvino": {"engine": "openvino"},
    "openvino-int8": {"engine": "openvino", "precision": "int8", "tolerance": _EIGHT_BITS},
    "aoti": {"engine": "aoti"},
    "tensorrt": {"engine": "tensorrt", "precision": "fp16", "tolerance": _HALF},
    "tensorrt-int8": {"engine": "tensorrt", "precision": "int8", "tolerance": _EIGHT_BITS},
    "tensorrt-fp8": {"engine": "tensorrt", "precision": "fp8", "tolerance": _EIGHT_BITS},
    "triton": {"engine": "triton"},
}
"""Targets by name; `configs/targets/*.yaml` spell the same values out."""


def load_target(word: str) -> tuple[str, TargetConfig]:
    """(name, config) of a known target, or of a YAML file.

    Raises:
        UsageError: Neither.
    """
    if word.endswith((".yaml", ".yml")):
        return Path(word).stem, load_config(TargetConfig, Path(word))
    if word not in TARGETS:
        raise UsageError(
            f"--to {word}: no such target", hint=f"choose from {', '.join(TARGETS)}, all, or a YAML file of a target"
        )
    return word, load_config(TargetConfig, TARGETS[word], name=word)
