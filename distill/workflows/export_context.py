"""A workshop for one student: its graph, the pictures that artifacts are compared on, those that ranges come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.runtime.progress import Reporter
from distill.workflows.parity_samples import open_parity_samples, training_shards

if TYPE_CHECKING:
    from distill.export.targets.context import ExportContext
    from distill.export.verification.parity import ParitySample
    from distill.spec import StudentSpec


def build_context(
    run: Path,
    folder: Path,
    images: Path | None,
    num_images: int,
    calibrate: Path | None,
    threads: int | None,
    opset: int | None,
    reporter: Reporter,
    size_hw: tuple[int, int] | None = None,
    fixed_size_hw: tuple[int, int] | None = None,
) -> tuple[ExportContext, str]:
    """The student, its float32 graph, the pictures; (workshop, where the pictures are from).

    `size_hw` and `fixed_size_hw` are those of `load_student`.
    """
    import onnx

    from distill.export.onnx.exporter import export_onnx
    from distill.export.runners import ModuleRunner
    from distill.export.targets.aot_inductor import export_aoti
    from distill.export.targets.context import CachedRunner, ExportContext
    from distill.export.verification.parity import generated_samples
    from distill.students.checkpoint import load_student

    student, spec = load_student(run, size_hw=size_hw, fixed_size_hw=fixed_size_hw)
    images = images or training_shards(run)
    pictures = open_parity_samples(images, spec, num_images, reporter)
    compared = list(pictures) if pictures is not None else list(generated_samples(spec, 8))
    if images is None:
        reporter.warn("no --images given: compared on generated pictures only, without labels")
    drawn = _calibration(calibrate or training_shards(run), images, compared, spec, num_images, reporter)
    if fixed_size_hw is not None:
        compared, drawn = ([_resized(sample, fixed_size_hw) for sample in some] for some in (compared, drawn))
    stem = spec.name if size_hw is None else f"{spec.name}.{size_hw[0]}x{size_hw[1]}"
    context = ExportContext(
        spec,
        None,
        lambda made, path, device: export_aoti(student, made, path, device=device),
        CachedRunner(ModuleRunner(student, spec, name="the run", threads=threads)),
        compared,
        [sample.rgb for sample in drawn],
        folder,
        stem,
        threads,
        reporter.info,
    )
    reporter.info(f"exporting {spec.name} ({spec.backbone}) to ONNX")
    context.graph = onnx.load(export_onnx(student, spec, context.scratch_dir() / "float.onnx", opset=opset).path)
    return context, str(images) if images else "generated"


def _resized(sample: ParitySample, size_hw: tuple[int, int]) -> ParitySample:
    """The picture at this size; labels may be finer or coarser than it."""
    import cv2

    rgb = cv2.resize(sample.rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
    return replace(sample, rgb=rgb)


def _calibration(
    source: Path | None,
    compared_from: Path | None,
    compared: Sequence[ParitySample],
    spec: StudentSpec,
    count: int,
    reporter: Reporter,
) -> list[ParitySample]:
    """Pictures for ranges: not those that are compared on, wherever there are others."""
    if source is None:
        return list(compared)
    skip = len(compared) if source == compared_from else 0
    found = open_parity_samples(source, spec, count + skip, reporter)
    return list(islice(found or (), skip, None))[:64] or list(compared)
