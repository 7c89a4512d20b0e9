"""Export as a function: build, compare and time the artifacts of several targets."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from distill.runtime.folder_lock import hold_output
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task
from distill.workflows.arguments import StrPath, to_path
from distill.workflows.export.options import ExportOptions, Size, check_input_size, read_targets
from distill.workflows.export.parity_samples import training_shards
from distill.workflows.export.result import (
    TORCH,
    ExportPlan,
    ExportResult,
    Performance,
    PlannedTarget,
    TargetResult,
)

if TYPE_CHECKING:
    from distill.config.export import TargetConfig
    from distill.export.runners import Runner
    from distill.export.targets.artifact import Artifact
    from distill.export.targets.context import ExportContext
    from distill.export.verification.parity import ParityResult
    from distill.export.verification.timing import Timing

_BATCHES = (1, 8)


def export(
    run: StrPath,
    *,
    to: str | Iterable[str] = "onnx",
    out: StrPath | None = None,
    images: StrPath | None = None,
    num_images: int = 50,
    calibrate: StrPath | None = None,
    tolerance: Mapping[Task | str, float] | None = None,
    input_size: Size | None = None,
    fixed_size: Size | None = None,
    seconds: float = 1.0,
    threads: int | None = None,
    opset: int | None = None,
    sensitivity: bool = False,
    min_speedup: float | None = None,
    verify: bool = False,
    reporter: Reporter | None = None,
) -> ExportResult:
    """Export a student for inference engines, and compare each artifact with the original on real images.

    An artifact takes uint8 RGB images of any size and returns final values; its spec is inside, and in ``spec.json``.
    An artifact beyond a tolerance is renamed to ``*.rejected.*``; an int8 artifact is also rejected if it is less than
    `min_speedup` times as fast as float32. All artifacts are timed in turns.

    Args:
        run: Run folder that `distill.train` wrote.
        to: Target or targets: ``onnx``, ``onnx-fp16``, ``onnx-bf16``, ``onnx-int8``, ``openvino``, ``openvino-int8``,
            ``aoti``, ``tensorrt``, ``tensorrt-int8``, ``tensorrt-fp8``, ``triton``, ``huggingface``, ``all``, or YAML
            files of targets.
        out: Folder, or the file of a single target; ``RUN/export`` unless given.
        images: Shards (scored against their labels) or photos to compare on; the shards of the run unless given.
        num_images: Number of images to compare on.
        calibrate: Shards or photos for int8 calibration; the shards of the run unless given.
        tolerance: Tolerance by task, for all targets, such as ``{"normals": 0.1}``; the targets' own unless given.
            Depth, semantic and instance: fraction of pixels and difference of the score; normals: degrees.
        input_size: (height, width) at which the network works; the training size unless given.
        fixed_size: (height, width) of the only images that the artifacts take, for engines without free sizes.
        seconds: Duration of each timing series; 0 skips the timing.
        threads: Threads of the engines; all cores unless given.
        opset: ONNX operator set; that of the exporter unless given.
        sensitivity: int8: measure the accuracy loss of each block of layers.
        min_speedup: int8: smallest accepted speed-up over float32; 1.5 unless given.
        verify: Compare every shard of `images` and `calibrate` with its checksum before it is used.
        reporter: Receives messages and progress; silent unless given.

    Returns:
        One result per target; ``.path`` is the file of the first that passed.

    Raises:
        UsageError: `run` holds no trained student, or a target is unknown.
        DistillError: The student cannot be exported.

    Example:
        >>> result = distill.export("runs/nano", to=["onnx", "openvino"], images="held_out")
        >>> result.targets["openvino"].performance.images_per_s
    """
    targets = read_targets([to] if isinstance(to, str) else to, tolerance)
    return run_export(
        ExportOptions(
            run=Path(run),
            targets=targets,
            out=to_path(out),
            images=to_path(images),
            num_images=num_images,
            calibrate=to_path(calibrate),
            seconds=seconds,
            threads=threads,
            opset=opset,
            sensitivity=sensitivity,
            min_speedup=min_speedup,
            size_hw=check_input_size(input_size),
            fixed_size_hw=fixed_size,
            verify=verify,
        ),
        reporter,
    )


def plan_export(options: ExportOptions) -> ExportPlan:
    """Estimate sizes and durations; writes no file."""
    from distill.config.export import ENGINES
    from distill.spec import read_spec

    spec = read_spec(options.run / "spec.json")
    weights = options.run / "weights.safetensors"
    size_bytes = weights.stat().st_size if weights.is_file() else 0
    ratios = {"fp32": 1.0, "fp16": 0.5, "bf16": 0.5, "int8": 0.3, "fp8": 1.1}
    rows = [
        PlannedTarget(
            name,
            config.engine,
            config.precision,
            int(size_bytes * ratios[config.precision]),
            max(ENGINES[config.engine].minutes, 2 if config.precision == "int8" else 0),
        )
        for name, config in options.targets.items()
    ]
    images = str(options.images or training_shards(options.run) or "generated")
    return ExportPlan(f"{spec.name} ({spec.backbone})", options.folder, images, options.num_images, tuple(rows))


def run_export(options: ExportOptions, reporter: Reporter | None = None) -> ExportResult:
    """Build, compare and time all targets; also writes ``export.json``.

    Raises:
        UsageError: There is no trained student, or --out does not fit the targets.
        DistillError: The student cannot be exported, or another process writes the same output.
    """
    file = options.file
    with hold_output(file or options.folder, "export", is_file=file is not None):
        return _export_held(options, reporter or SilentReporter())


def _export_held(options: ExportOptions, reporter: Reporter) -> ExportResult:
    from distill.export.targets.build_and_verify import build_artifact, reject_if_slow
    from distill.files import write_atomic
    from distill.run_dir import machine, open_run_dir, versions
    from distill.shards import MANIFEST, check_digests
    from distill.workflows.export.context import build_context

    for images in (options.images or training_shards(options.run), options.calibrate) if options.verify else ():
        if images is not None and (images / MANIFEST).is_file():
            check_digests(images)
    file, folder, requested = options.file, options.folder, set(options.targets)
    options = replace(options, out=folder, targets=_with_float32_references(options.targets, reporter))
    context, source = build_context(options, reporter)
    try:
        made = []
        for name, config in options.targets.items():
            reporter.info(f"{name}: building and comparing")
            made.append(build_artifact(context, name, config))
        timings = _time(context, made, options, reporter) if options.seconds else []
    finally:
        context.close()
    speedups = {
        name: config.min_speedup if options.min_speedup is None else options.min_speedup
        for name, config in options.targets.items()
    }
    made = [reject_if_slow(artifact, made, timings, speedups[artifact.target]) for artifact in made]
    made = [_rename(artifact, file) if artifact.target in requested else artifact for artifact in made]
    _write_spec_and_card(context, made)
    reference = next((artifact.parity for artifact in made if artifact.parity), None)
    result = ExportResult(
        folder=folder,
        images=source,
        num_images=len(context.samples),
        input_size_hw=context.spec.input.size_hw,
        passed=all(artifact.status in ("passed", "refused") for artifact in made)
        and any(artifact.status == "passed" for artifact in made if artifact.target in requested),
        torch=_performance(TORCH, reference, "reference", timings),
        targets={
            artifact.target: TargetResult(
                artifact, _performance(artifact.target, artifact.parity, "candidate", timings)
            )
            for artifact in made
        },
        machine=machine(),
        versions=versions(),
    )
    open_run_dir(folder)
    write_atomic(folder / "export.json", json.dumps(result.to_dict(), indent=2, default=str).encode())
    return result


def _with_float32_references(targets: Mapping[str, TargetConfig], reporter: Reporter) -> dict[str, TargetConfig]:
    """Insert before each int8 target the float32 target of the same engine, which it must be faster than."""
    from distill.config.export import ENGINES, load_target

    found: dict[str, TargetConfig] = {}
    for name, config in targets.items():
        sibling = config.engine
        has_one = any(other.engine == sibling and other.precision == "fp32" for other in targets.values())
        if config.precision == "int8" and ENGINES[sibling].has_float32_reference and not has_one:
            reporter.info(f"{sibling}: built as well, for comparison with {name}")
            found.setdefault(*load_target(sibling))
        found[name] = config
    return found


def _rename(artifact: Artifact, file: Path | None) -> Artifact:
    """Give an artifact the name of --out, a rejected one with ``.rejected`` in it."""
    from distill.export.targets.artifact import move_artifact, rejected_path

    if file is None or artifact.path is None:
        return artifact
    path = file if artifact.status == "passed" else rejected_path(file)
    return artifact if path == artifact.path else replace(artifact, path=move_artifact(artifact.path, path))


def _write_spec_and_card(context: ExportContext, made: Sequence[Artifact]) -> None:
    """Write ``spec.json`` and the model card of the first artifact that passed."""
    from distill.export.targets.model_card import MODEL_CARD, write_model_card
    from distill.spec import write_spec

    first = next((artifact for artifact in made if artifact.status == "passed" and artifact.path), None)
    if first is not None and first.path is not None:
        write_spec(context.folder / "spec.json", context.spec)
        parity = first.parity.to_dict()["tasks"] if first.parity else ()
        write_model_card(
            context.folder / MODEL_CARD, context.spec, file=first.path.name, parity=parity, scores=context.scores
        )


def _time(context: ExportContext, made: Sequence[Artifact], options: ExportOptions, reporter: Reporter) -> list[Timing]:
    """Time the student and all artifacts that passed and run on this machine, in turns."""
    from distill.export.runners import open_runner
    from distill.export.verification.timing import time_runners

    with ExitStack() as stack:
        runners: dict[str, Runner] = {TORCH: context.reference.wrapped}
        for artifact in made:
            if artifact.status == "passed" and artifact.runnable and artifact.path is not None:
                runners[artifact.target] = stack.enter_context(
                    open_runner(artifact.path, threads=options.threads, allow_native=True)  # built by this call
                )
        with reporter.progress("timing", len(_BATCHES)) as progress:
            return time_runners(
                runners,
                _BATCHES,
                [context.spec.input.default_hw],
                seconds=options.seconds,
                advance=progress.advance,
                scope=("engine",),
            )


def _performance(model: str, parity: ParityResult | None, side: str, timings: Sequence[Timing]) -> Performance:
    """Scores of one side of the comparison, and the speed of the model."""
    rows = parity.tasks if parity is not None else ()
    by_batch = {timing.batch: timing for timing in timings if timing.model == model}
    single, batched = by_batch.get(_BATCHES[0]), by_batch.get(_BATCHES[-1])
    return Performance(
        scores={f"{row.task} {row.measure}": getattr(row, side) for row in rows},
        p50_ms=round(single.percentile_ms(50), 3) if single else None,
        images_per_s=round(batched.images_per_s, 1) if batched else None,
    )
