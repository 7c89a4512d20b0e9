"""A workshop for one student: its graph, the pictures that artefacts are compared on, those that ranges come from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from distill.commands.console import Console
from distill.commands.samples import open_samples, trained_on

if TYPE_CHECKING:
    from distill.export.parity import ParitySample
    from distill.export.workshop import Workshop
    from distill.spec import StudentSpec


def open_shop(
    run: Path,
    folder: Path,
    samples: Path | None,
    num_samples: int,
    calibrate: Path | None,
    threads: int | None,
    opset: int | None,
    console: Console,
) -> tuple[Workshop, str]:
    """The student, its float32 graph, the pictures; (workshop, where the pictures are from)."""
    import onnx

    from distill.export.aoti import export_aoti
    from distill.export.onnx import export_onnx
    from distill.export.parity import probe_pictures
    from distill.export.recorded import Recorded
    from distill.export.runners import ModuleRunner
    from distill.export.workshop import Workshop
    from distill.students.checkpoint import load_student

    student, spec = load_student(run)
    samples = samples or trained_on(run)
    pictures = open_samples(samples, spec, num_samples, console)
    compared = list(pictures) if pictures is not None else list(probe_pictures(spec, 8))
    if samples is None:
        console.warn("no --samples given: compared on generated pictures only, without labels")
    drawn = _calibration(calibrate or trained_on(run), samples, compared, spec, num_samples, console)
    shop = Workshop(
        spec,
        None,
        lambda made, path, device: export_aoti(student, made, path, device=device),
        Recorded(ModuleRunner(student, spec, name="the run", threads=threads)),
        compared,
        [sample.rgb for sample in drawn],
        folder,
        spec.name,
        threads,
        console.say,
    )
    console.say(f"exporting {spec.name} ({spec.backbone}) to ONNX")
    shop.graph = onnx.load(export_onnx(student, spec, shop.scratch() / "float.onnx", opset=opset).path)
    return shop, str(samples) if samples else "generated"


def _calibration(
    source: Path | None,
    compared_from: Path | None,
    compared: Sequence[ParitySample],
    spec: StudentSpec,
    count: int,
    console: Console,
) -> list[ParitySample]:
    """Pictures for ranges: not those that are compared on, wherever there are others."""
    if source is None:
        return list(compared)
    skip = len(compared) if source == compared_from else 0
    found = open_samples(source, spec, count + skip, console)
    return list(islice(found or (), skip, None))[:64] or list(compared)
