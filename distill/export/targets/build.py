"""One trained student, many artifacts: each is made, gated on real pictures, and set aside if it fails.

A file lies under its own name only when its answers are within the tolerance; else it is named ``*.rejected_path.*``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import onnx

from distill.config.export import TargetConfig
from distill.errors import DistillError
from distill.export.onnx.int8 import relative_loss
from distill.export.runners import Outputs
from distill.export.targets.artifact import (
    Artifact,
    artifact_files,
    failure_reason,
    move_artifact,
    reject,
    rejected_path,
)
from distill.export.targets.context import ExportContext, PreparedGraph, prepare_graph, save_graph, tolerances_from
from distill.export.targets.openvino import export_openvino
from distill.export.targets.tensorrt import to_tensorrt_onnx, write_kit
from distill.export.targets.triton import write_repository
from distill.export.verification.parity import ParityResult
from distill.export.verification.regression import compare_calls
from distill.export.verification.timing import Timing

_KIT_SAMPLES = 8
"""Pictures with expected outputs in a kit: 2 to 3 MB each."""


def build_artifact(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    """The artifact of one target, gated; what cannot be made is said in it, and stops no other target."""
    try:
        return _BUILDERS[config.engine](context, target, config)
    except DistillError as error:
        return Artifact(
            target, config.engine, config.precision, None, status="not made", reason=str(error), runnable=False
        )


def _build_onnx(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    made = prepare_graph(context, config, "u8s8")
    path = context.scratch_dir() / _file_name(context, target, ".onnx")
    save_graph(made.graph, context.spec_for(target, config.precision), path)
    parity = made.emulated_parity or context.check_parity(path, tolerances_from(config))
    half = config.precision in ("fp16", "bf16")
    return _finalize(context, target, config, path, parity, made, runnable=not half)


def _build_openvino(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    made = prepare_graph(context, config, "u8s8")
    folder = context.scratch_dir()
    onnx.save(made.graph, folder / "source.onnx")
    path = export_openvino(
        folder / "source.onnx",
        context.spec_for(target, config.precision),
        folder / _file_name(context, target, ".xml"),
        compress=config.precision in ("fp16", "bf16"),
    )
    return _finalize(context, target, config, path, context.check_parity(path, tolerances_from(config)), made)


def _build_aoti(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    if config.precision != "fp32":
        raise DistillError(f"{target}: compiled students are float32", hint="precision: fp32, or engine: onnx")
    context.log("compiling ahead of time: a minute or two of g++")
    path = context.scratch_dir() / _file_name(context, target, ".pt2")
    context.compile_student(context.spec_for(target, config.precision), path, config.device)
    return _finalize(
        context, target, config, path, context.check_parity(path, tolerances_from(config)), PreparedGraph(context.graph)
    )


def _build_tensorrt(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    made = prepare_graph(context, config, "s8s8")
    spec, emulated_parity = context.spec_for(target, config.precision), made.emulated_parity
    path = context.scratch_dir() / "kit.onnx"
    save_graph(to_tensorrt_onnx(made.graph, context.spec), spec, path)
    tolerances = tolerances_from(config)
    # Half precision is judged rounded, layer by layer; the file itself must give the answers too, on this CPU.
    on_cpu = context.check_parity(path, tolerances) if config.precision != "bf16" else emulated_parity
    parity = (
        emulated_parity if emulated_parity is not None and not emulated_parity.passed else (on_cpu or emulated_parity)
    )
    assert parity is not None
    samples = [(sample.rgb, _unbatch(context.reference(sample.rgb[None]))) for sample in context.samples[:_KIT_SAMPLES]]
    folder = write_kit(
        onnx.load(path),
        spec,
        config,
        tolerances,
        samples,
        context.calibration[:_KIT_SAMPLES],
        context.scratch_dir() / _file_name(context, target, ".kit"),
    )
    said = "a kit: the engine is built on its GPU, by build.py in the folder; none was built here"
    return _finalize(context, target, config, folder, parity, made, said, runnable=False)


def _build_triton(context: ExportContext, target: str, config: TargetConfig) -> Artifact:
    spec = context.spec_for(target, config.precision)
    folder = context.scratch_dir() / _file_name(context, target, ".repository")
    made = prepare_graph(context, config, "s8s8")
    graph = made.graph
    path = write_repository(lambda file: save_graph(graph, spec, file), graph, spec, config.profile.max_batch, folder)
    parity = made.emulated_parity or context.check_parity(path, tolerances_from(config))
    return _finalize(context, target, config, folder, parity, made, "not served here: no Triton server", runnable=False)


def _unbatch(outputs: Outputs) -> Outputs:
    return {name: value[0] for name, value in outputs.items()}


_BUILDERS: dict[str, Callable[[ExportContext, str, TargetConfig], Artifact]] = {
    "onnx": _build_onnx,
    "openvino": _build_openvino,
    "aoti": _build_aoti,
    "tensorrt": _build_tensorrt,
    "triton": _build_triton,
}


def _file_name(context: ExportContext, target: str, suffix: str) -> str:
    """``nano.onnx``, ``nano.int8.onnx``, ``nano.xml``: the target's name less what the suffix says."""
    extra = target.removeprefix("onnx").removeprefix("openvino").removeprefix("aoti").strip("-")
    return f"{context.stem}.{extra}{suffix}" if extra else f"{context.stem}{suffix}"


def _finalize(
    context: ExportContext,
    target: str,
    config: TargetConfig,
    made: Path,
    parity: ParityResult,
    prepared: PreparedGraph,
    *more: str,
    runnable: bool = True,
) -> Artifact:
    """Move what was made under its name, or under that of the rejected."""
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
    """An int8 artifact is refused if it is slower than its float32 sibling anywhere, or gains too little everywhere."""
    sibling = next((other for other in made if other.engine == artifact.engine and other.precision == "fp32"), None)
    if artifact.precision != "int8" or artifact.status != "passed" or sibling is None:
        return artifact
    found = [
        compare_calls(theirs.calls_ms, ours.calls_ms, f"batch {ours.batch}")
        for ours in timings
        for theirs in timings
        if (ours.model, theirs.model) == (artifact.target, sibling.target) and ours.batch == theirs.batch
    ]
    words = "; ".join(f"{row.new_ms:.2f} ms against {row.base_ms:.2f} ms in float32 at {row.series}" for row in found)
    if any(row.verdict == "slower" for row in found):
        return reject(artifact, f"slower than {sibling.target} on this machine: {words}")
    speedup = max((row.base_ms / row.new_ms for row in found), default=min_speedup)
    if found and (speedup < min_speedup or not any(row.verdict == "faster" for row in found)):
        used = f"; it takes {relative_loss(artifact.parity):.0%} of the accuracy tolerance" if artifact.parity else ""
        return reject(
            artifact,
            f"{speedup:.2f} times the images/s of {sibling.target} at best on this machine, and {min_speedup:g} times are"
            f" asked for (--min-speedup): {words}{used}",
        )
    return replace(artifact, notes=(*artifact.notes, words)) if found else artifact
