"""Result of one target: a file or folder, and its parity with the student."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from distill.config.export import artifact_files
from distill.export.onnx.quantization import Sensitivity
from distill.export.verification.parity import ParityResult


@dataclass(frozen=True, slots=True)
class Artifact:
    """Result of one target.

    Attributes:
        target: Name of the target.
        engine: ``onnx``, ``openvino``, ...
        precision: ``fp32``, ``fp16``, ``bf16``, ``int8`` or ``fp8``.
        path: The file or folder; named ``*.rejected.*`` unless `status` is ``passed``.
        size_bytes: Size of all its files.
        parity: Comparison with the student; None if the artifact could not be built.
        status: ``passed``, ``failed`` (beyond the tolerance), ``refused`` (too slow here) or ``not made``.
        reason: Reason for another status than ``passed``, with the numbers.
        notes: Remarks for the report, such as layers kept in float32.
        runnable: Whether this machine can run it as intended, so that timing it is meaningful.
        sensitivity: int8: loss per quantized block, worst first; empty if it was not measured.
    """

    target: str
    engine: str
    precision: str
    path: Path | None
    size_bytes: int = 0
    parity: ParityResult | None = None
    status: str = "passed"
    reason: str = ""
    notes: tuple[str, ...] = ()
    runnable: bool = True
    sensitivity: tuple[Sensitivity, ...] = ()


def failure_reason(parity: ParityResult) -> str:
    """Tasks beyond the tolerance, with the numbers."""
    return "; ".join(
        f"{task.task} changes by {task.change:.4g} in {task.measure}, the tolerance is {task.tolerance:g}"
        for task in parity.tasks
        if not task.passed
    )


def rejected_path(path: Path) -> Path:
    """Path of a rejected file."""
    return path.with_name(f"{path.stem}.rejected{path.suffix}")


def move_artifact(made: Path, path: Path) -> Path:
    """Move an artifact; of several files, the main one last."""
    if made.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        made.replace(path)
        return path
    for file in reversed(artifact_files(made)):
        file.replace(path.with_suffix(file.suffix))
    return path


def reject(artifact: Artifact, reason: str) -> Artifact:
    """The artifact with status ``refused``, renamed to its rejected path."""
    assert artifact.path is not None
    return replace(
        artifact, path=move_artifact(artifact.path, rejected_path(artifact.path)), status="refused", reason=reason
    )
