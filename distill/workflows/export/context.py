"""The export context of one student: its graph, the images to compare on, the images for calibration."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.runtime.progress import Reporter
from distill.workflows.export.parity_samples import open_parity_samples, training_shards

if TYPE_CHECKING:
    from distill.export.targets.context import ExportContext
    from distill.export.verification.parity import ParitySample
    from distill.spec import StudentSpec
    from distill.workflows.export.options import ExportOptions

_MAX_CALIBRATION_IMAGES = 64


def build_context(options: ExportOptions, reporter: Reporter) -> tuple[ExportContext, str]:
    """Build the context in the folder of the options; return it with the source of the images.

    Raises:
        UsageError: There is no trained student, or there are no images.
    """
    import onnx

    from distill.export.onnx.exporter import export_onnx
    from distill.export.runners import ModuleRunner
    from distill.export.targets.aot_inductor import export_aoti
    from distill.export.targets.context import CachedRunner, ExportContext
    from distill.export.verification.parity import generated_samples
    from distill.run_dir import open_run_dir
    from distill.students.checkpoint import load_student

    size_hw, fixed_size_hw = options.size_hw, options.fixed_size_hw
    student, spec = load_student(options.run, size_hw=size_hw, fixed_size_hw=fixed_size_hw)
    images = options.images or training_shards(options.run)
    found = open_parity_samples(images, spec, options.num_images, reporter)
    compared = list(found) if found is not None else list(generated_samples(spec, 8))
    if images is None:
        reporter.warn("no --images given: compared on generated images only, without labels")
    source = options.calibrate or training_shards(options.run)
    drawn = _calibration_samples(source, images, compared, spec, options.num_images, reporter)
    if fixed_size_hw is not None:
        compared, drawn = ([_resized(sample, fixed_size_hw) for sample in some] for some in (compared, drawn))
    context = ExportContext(
        spec,
        None,
        lambda made, path, device: export_aoti(student, made, path, device=device),
        CachedRunner(ModuleRunner(student, spec, name="the run", threads=options.threads)),
        compared,
        [sample.rgb for sample in drawn],
        open_run_dir(options.folder),
        spec.name if size_hw is None else f"{spec.name}.{size_hw[0]}x{size_hw[1]}",
        options.threads,
        reporter.info,
        options.sensitivity,
        options.run,
        _validation_scores(options.run),
    )
    reporter.info(f"exporting {spec.name} ({spec.backbone}) to ONNX")
    path = context.scratch_dir() / "float.onnx"
    context.graph = onnx.load(export_onnx(student, spec, path, opset=options.opset).path)
    return context, str(images) if images else "generated"


def _validation_scores(run: Path) -> dict[str, float]:
    """Scores of the best validation of the run; empty if it is not finished."""
    from distill.workflows.train.result import read_result

    found = read_result(run)
    best = found.best.items() if found is not None else ()
    return {name.removeprefix("val_"): float(value) for name, value in best if name.startswith("val_")}


def _resized(sample: ParitySample, size_hw: tuple[int, int]) -> ParitySample:
    """Resize the image of a sample; labels keep their size."""
    import cv2

    rgb = cv2.resize(sample.rgb, size_hw[::-1], interpolation=cv2.INTER_AREA)
    return replace(sample, rgb=rgb)


def _calibration_samples(
    source: Path | None,
    compared_from: Path | None,
    compared: Sequence[ParitySample],
    spec: StudentSpec,
    count: int,
    reporter: Reporter,
) -> list[ParitySample]:
    """Images for calibration: other images than those to compare on, where there are any."""
    if source is None:
        return list(compared)
    skip = len(compared) if source == compared_from else 0
    found = open_parity_samples(source, spec, count + skip, reporter)
    return list(islice(found or (), skip, None))[:_MAX_CALIBRATION_IMAGES] or list(compared)
