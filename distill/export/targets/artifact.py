"""What came of one target: a file or a folder, under its own name only if its answers are within the tolerance."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path

from distill.config.export import artifact_files
from distill.export.onnx.int8 import Sensitivity
from distill.export.verification.parity import ParityResult


@dataclass(frozen=True, slots=True)
class Artifact:
    """What came of one target.

    Attributes:
        target: Its name.
        engine: ``onnx``, ``openvino``, ...
        precision: ``fp32``, ``fp16``, ``bf16`` or ``int8``.
        path: The file or folder; under its own name only if `status` is ``passed``.
        size_bytes: Of all that belongs to it.
        parity: How it compares; None if it could not be made.
        status: ``passed``, ``failed`` (beyond the tolerance), ``refused`` (of no use here) or ``not made``.
        reason: Why not, with the numbers.
        notes: What was done on the way: layers kept in float32, where it was gated.
        runnable: Whether this machine runs it as it is meant to be run, so that its time means something.
        sensitivity: int8: what each block alone costs, worst first; empty if nobody had to know.
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
    """What is beyond the tolerance, with the numbers."""
    return "; ".join(
        f"{task.task} changes by {task.change:.4g} in {task.measure}, the tolerance is {task.tolerance:g}"
        for task in parity.tasks
        if not task.passed
    )


def rejected_path(path: Path) -> Path:
    """The name under which a file that failed is kept."""
    return path.with_name(f"{path.stem}.rejected{path.suffix}")


def move_artifact(made: Path, path: Path) -> Path:
    """Move an artifact, the file that is opened last."""
    if made.is_dir():
        shutil.rmtree(path, ignore_errors=True)
        made.replace(path)
        return path
    for file in reversed(artifact_files(made)):
        file.replace(path.with_suffix(file.suffix))
    return path


def reject(artifact: Artifact, reason: str) -> Artifact:
    """The artifact under the name of the rejected, refused for this reason."""
    assert artifact.path is not None
    return replace(
        artifact, path=move_artifact(artifact.path, rejected_path(artifact.path)), status="refused", reason=reason
    )
