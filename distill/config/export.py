"""Export targets: engine, precision, tolerances and build options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from distill.config import Config, load_config
from distill.config.base import NonNegative
from distill.errors import UsageError
from distill.tasks import Task


class ToleranceConfig(Config):
    """Allowed difference between the artifact and the student, in the parity score of each task."""

    level: Literal["float32", "half", "eight_bit"] = "float32"
    """Row of `distill.tasks.TaskInfo.tolerance` for tasks without a value of their own."""
    scores_only: bool = False
    """Check only scores against labels; false: check the mean pixel difference too."""
    by_task: dict[Task, NonNegative] = Field(default_factory=dict)
    """Values for single tasks: fraction of delta1, mIoU or pmF1 (0.001 is 0.1 point), or degrees for normals."""


class ShapeProfileConfig(Config):
    """TensorRT: batch and image sizes of an engine."""

    min_batch: int = Field(1, ge=1)
    opt_batch: int = Field(8, ge=1)
    max_batch: int = Field(32, ge=1)
    min_image_hw: tuple[int, int] = (32, 32)
    opt_image_hw: tuple[int, int] = (720, 1280)
    max_image_hw: tuple[int, int] = (2160, 3840)


class TensorRtBuilderConfig(Config):
    """TensorRT: options of the engine builder."""

    optimization_level: int = Field(3, ge=0, le=5)
    """0 builds fastest, 5 searches longest."""
    workspace_gib: float = Field(2.0, gt=0.0)
    version_compatible: bool = False
    """The engine runs on later versions of TensorRT too; it contains the lean runtime, which is code."""
    hardware: Literal["none", "ampere_plus", "same_compute_capability"] = "none"
    """Other GPUs on which the engine may run."""
    strip_weights: bool = False
    """Build without weights; they are restored from the ONNX file when the engine is opened."""
    tf32: bool = True


class TargetConfig(Config):
    """One exported artifact."""

    engine: str
    """Row of `ENGINES`."""
    precision: Literal["fp32", "fp16", "bf16", "int8", "fp8"] = "fp32"
    """fp8: eight-bit floats (e4m3), for TensorRT on Hopper, Ada and later GPUs."""
    tolerance: ToleranceConfig = ToleranceConfig()
    calibration_method: Literal["minmax", "entropy", "percentile"] = "minmax"
    """int8, fp8: how ranges are computed from the calibration images."""
    calibration_images: int = Field(32, ge=1)
    min_speedup: NonNegative = 1.5
    """int8: required factor of images/s relative to float32, at the better one of the timed batches; a slower file is
    rejected, because eight bits always change outputs. 1: accept any gain."""
    device: Literal["cpu", "cuda"] = "cpu"
    """aoti: device for which the machine code is compiled."""
    profile: ShapeProfileConfig = ShapeProfileConfig()
    builder: TensorRtBuilderConfig = TensorRtBuilderConfig()

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, engine: str) -> str:
        if engine not in ENGINES:
            raise ValueError(f"no engine {engine!r}; choose from {', '.join(ENGINES)}")
        return engine

    @model_validator(mode="after")
    def _check_precision_supported(self) -> TargetConfig:
        if self.precision == "fp8" and self.engine != "tensorrt":
            raise ValueError(f"precision fp8 is for engine: tensorrt, not {self.engine}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Kind of artifact: builder, runner and file names; modules are imported when they are needed.

    Attributes:
        build: ``module:function`` that takes (context, target name, config) and returns an `Artifact`.
        runner: ``module:class`` of the runner that opens the file; empty if it runs on another machine only.
        suffix: Suffix of the file or folder.
        companions: Suffixes of its other files.
        is_file: Whether it is a file (with companions) rather than a folder.
        minutes: Estimated duration of the build.
        has_float32_reference: Whether an int8 artifact is timed against the float32 artifact of the same engine.
        is_native_code: Whether the file holds machine code, which runs with all rights of the user who opens it.
    """

    build: str
    runner: str = ""
    suffix: str
    companions: tuple[str, ...] = ()
    is_file: bool = True
    minutes: float = 0.5
    has_float32_reference: bool = False
    is_native_code: bool = False


ENGINES: Mapping[str, Engine] = {
    "onnx": Engine(
        build="distill.export.targets.onnx:build",
        runner="distill.export.runners.onnxruntime:OrtRunner",
        suffix=".onnx",
        has_float32_reference=True,
    ),
    "openvino": Engine(
        build="distill.export.targets.openvino:build",
        runner="distill.export.runners.openvino:OpenVinoRunner",
        suffix=".xml",
        companions=(".bin",),
        has_float32_reference=True,
    ),
    "aoti": Engine(
        build="distill.export.targets.aot_inductor:build",
        runner="distill.export.runners.aot_inductor:AotiRunner",
        suffix=".pt2",
        minutes=2,
        is_native_code=True,
    ),
    "tensorrt": Engine(build="distill.export.targets.tensorrt:build", suffix=".kit", is_file=False),
    "triton": Engine(build="distill.export.targets.triton:build", suffix=".repository", is_file=False),
    "huggingface": Engine(build="distill.export.targets.huggingface:build", suffix=".huggingface", is_file=False),
}
"""Engines by name; a new one needs a row, a build function and, if it runs on this machine, a runner."""

RUNNERS: Mapping[str, str] = {engine.suffix: engine.runner for engine in ENGINES.values() if engine.runner} | {
    ".engine": "distill.export.runners.tensorrt:TensorRtRunner"
}
"""Suffix to runner; an ``.engine`` is built from a TensorRT kit on its own machine."""

NATIVE_SUFFIXES = frozenset({engine.suffix for engine in ENGINES.values() if engine.is_native_code} | {".engine"})
"""Suffixes of files with machine code."""


def artifact_files(path: Path) -> list[Path]:
    """All files of an artifact: those of a folder, or a file with its companions."""
    if path.is_dir():
        return [file for file in sorted(path.rglob("*")) if file.is_file()]
    companions = next((engine.companions for engine in ENGINES.values() if engine.suffix == path.suffix), ())
    return [path, *(path.with_suffix(suffix) for suffix in companions)]


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
    "huggingface": {"engine": "huggingface"},
}
"""Targets by name; a YAML file with other values is a target too."""


def load_target(name: str) -> tuple[str, TargetConfig]:
    """(name, config) of a target, given by name or as a YAML file.

    Raises:
        UsageError: Neither a known name nor a YAML file.
    """
    if name.endswith((".yaml", ".yml")):
        return Path(name).stem, load_config(TargetConfig, Path(name))
    if name not in TARGETS:
        raise UsageError(
            f"--to {name}: no such target", hint=f"choose from {', '.join(TARGETS)}, all, or a YAML file of a target"
        )
    return name, load_config(TargetConfig, TARGETS[name], name=name)
