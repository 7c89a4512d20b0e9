"""Build of one artifact: parity check on real images, final name, comparison of speed.

A file gets its name only if its outputs are within the tolerance; otherwise it is named ``*.rejected.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from importlib import import_module
from pathlib import Path

from distill.config.export import ENGINES, TargetConfig, artifact_files
from distill.errors import DistillError
from distill.export.onnx.quantization import relative_loss
from distill.export.targets.artifact import Artifact, failure_reason, move_artifact, reject, rejected_path
from distill.export.targets.context import ExportContext, PreparedGraph
from distill.export.verification.parity import ParityResult
from distill.export.verification.speed_regression import compare_calls
from distill.export.verification.timing import Timing


def build_artifact(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """Build and check one target; an error becomes an artifact with status ``not made``."""
    try:
        return _open(ENGINES[config.engine].build)(context, target, config)
    except DistillError as error:
        return Artifact(
            target, config.engine, config.precision, None, status="not made", reason=str(error), runnable=False
        )


def _open(entry: str) -> Callable[[ExportContext, str, TargetConfig], Artifact]:
    module, _, name = entry.partition(":")
    build: Callable[[ExportContext, str, TargetConfig], Artifact] = getattr(import_module(module), name)
    return build


def file_name(context: ExportContext, target: str, suffix: str) -> str:
    """File name of a target, such as ``nano.onnx``, ``nano.int8.onnx`` or ``nano.xml``."""
    extra = target
    for engine in (name for name, info in ENGINES.items() if info.is_file):
        extra = extra.removeprefix(engine)
    extra = extra.strip("-")
    return f"{context.stem}.{extra}{suffix}" if extra else f"{context.stem}{suffix}"


def finalize(
    context: ExportContext,
    target: str,
    config: TargetConfig,
    made: Path,
    parity: ParityResult,
    prepared: PreparedGraph,
    *more: str,
    runnable: bool = True,
) -> Artifact:
    """Move a built file or folder to its final path, or to its rejected path."""
    path = context.folder / made.name
    status, reason = ("passed", "") if parity.passed else ("failed", failure_reason(parity))
    path = move_artifact(made, path if parity.passed else rejected_path(path))
    size_bytes = sum(file.stat().st_size for file in artifact_files(path))
    return Artifact(
        target,
        config.engine,
        config.precision,
        path,
        size_bytes,
        parity,
        status,
        reason,
        (*prepared.notes, *more),
        runnable,
        prepared.sensitivity,
    )


def reject_if_slow(
    artifact: Artifact, made: Sequence[Artifact], timings: Sequence[Timing], min_speedup: float
) -> Artifact:
    """Reject an int8 artifact that is slower than its float32 version at any batch, or gains too little at all."""
    float32 = next((other for other in made if other.engine == artifact.engine and other.precision == "fp32"), None)
    if artifact.precision != "int8" or artifact.status != "passed" or float32 is None:
        return artifact
    found = [
        compare_calls(theirs.calls_ms, ours.calls_ms, f"batch {ours.batch}")
        for ours in timings
        for theirs in timings
        if (ours.model, theirs.model) == (artifact.target, float32.target) and ours.batch == theirs.batch
    ]
    numbers = "; ".join(f"{row.new_ms:.2f} ms, {row.base_ms:.2f} ms in float32 at {row.series}" for row in found)
    if any(row.verdict == "slower" for row in found):
        return reject(artifact, f"slower than {float32.target} on this machine: {numbers}")
    speedup = max((row.base_ms / row.new_ms for row in found), default=min_speedup)
    if found and (speedup < min_speedup or not any(row.verdict == "faster" for row in found)):
        used = f"; it uses {relative_loss(artifact.parity):.0%} of the accuracy tolerance" if artifact.parity else ""
        return reject(
            artifact,
            f"{speedup:.2f} times the images/s of {float32.target} at best on this machine, below the required"
            f" {min_speedup:g} (--min-speedup): {numbers}{used}",
        )
    return replace(artifact, notes=(*artifact.notes, numbers)) if found else artifact
