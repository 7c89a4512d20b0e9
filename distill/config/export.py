"""What an export is made for: an engine, a precision, and by how much its answers may differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from distill.config import Config, load_config
from distill.config.base import NonNegative
from distill.errors import UsageError
from distill.tasks import Task


class ToleranceConfig(Config):
    """Allowed difference between the artifact and the student, in the parity score of each task."""

    level: Literal["float32", "half", "eight_bit"] = "float32"
    """Row of `distill.tasks.TaskInfo.tolerance` that tasks without a value of their own take."""
    scores_only: bool = False
    """Check scores against labels alone; false also bounds the disagreement pixel by pixel."""
    by_task: dict[Task, NonNegative] = Field(default_factory=dict)
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

    engine: str
    """Row of `ENGINES`."""
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

    @field_validator("engine")
    @classmethod
    def _check_engine(cls, engine: str) -> str:
        if engine not in ENGINES:
            raise ValueError(f"no engine {engine!r}; choose from {', '.join(ENGINES)}")
        return engine

    @model_validator(mode="after")
    def _check_precision_supported(self) -> Self:
        if self.precision == "fp8" and self.engine != "tensorrt":
            raise ValueError(f"precision fp8 is for engine: tensorrt, not {self.engine}")
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """Kind of artifact: how it is built, opened and named; modules are imported when they are needed.

    Attributes:
        build: ``module:function`` that takes (context, target name, config) and returns an `Artifact`.
        runner: ``module:class`` of the runner that opens the file; empty where another machine runs it.
        suffix: Of the file or folder.
        companions: Suffixes of further files that belong to it.
        is_file: Whether it is one file (with its companions) rather than a folder.
        minutes: Estimated duration of building it.
        has_float32_reference: Whether an int8 artifact is timed against the float32 artifact of the same engine.
    """

    build: str
    runner: str = ""
    suffix: str
    companions: tuple[str, ...] = ()
    is_file: bool = True
    minutes: float = 0.5
    has_float32_reference: bool = False


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
    ),
    "tensorrt": Engine(build="distill.export.targets.tensorrt:build", suffix=".kit", is_file=False),
    "triton": Engine(build="distill.export.targets.triton:build", suffix=".repository", is_file=False),
}
"""Engines by name; a new one needs a row here, a build function and, if it runs on this machine, a runner."""

RUNNERS: Mapping[str, str] = {engine.suffix: engine.runner for engine in ENGINES.values() if engine.runner} | {
    ".engine": "distill.export.runners.tensorrt:TensorRtRunner"
}
"""Suffix to runner; an ``.engine`` is built from a TensorRT kit on its own machine."""


def artifact_files(path: Path) -> list[Path]:
    """Files that belong to an artifact: a folder's files, or a file with its companions."""
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
}
"""Targets by name; a YAML file with other values is a target as well."""


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
