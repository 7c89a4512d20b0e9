"""One ONNX file of a student, compared with it on real pictures."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from distill.errors import UsageError
from distill.runtime.progress import Reporter
from distill.workflows.parity_samples import open_parity_samples, training_shards

if TYPE_CHECKING:
    from distill.export.verification.parity import ParityResult, ParitySample
    from distill.spec import StudentSpec

_NO_SAMPLES = "no --images given: compared on generated pictures only, without labels"


def run_export(
    run: Path,
    reporter: Reporter,
    *,
    out: Path | None = None,
    images: Path | None = None,
    num_images: int = 50,
    opset: int | None = None,
    tolerances: Any = None,
) -> dict[str, Any]:
    """Export and compare; the result as `--json` prints it. The file lies under its name only when it passed.

    Raises:
        UsageError: No trained student there, or a wrong name to write to.
        DistillError: The student cannot be exported, or nothing can be written.
    """
    from distill.export.onnx.exporter import export_onnx
    from distill.export.targets.model_card import MODEL_CARD, write_model_card
    from distill.run_dir import machine, open_run_dir, versions
    from distill.spec import write_spec
    from distill.students.checkpoint import load_student

    student, spec = load_student(run)
    path = _out_path(run, out, spec)
    images = images or training_shards(run)
    pictures = open_parity_samples(images, spec, num_images, reporter)
    open_run_dir(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        reporter.info(f"exporting {spec.name} ({spec.backbone}) to ONNX")
        report = export_onnx(student, spec, Path(folder) / path.name, opset=opset)
        parity = _compare(student, spec, report.path, pictures, num_images, tolerances, reporter)
        kept = path if parity.passed else path.with_name(f"{path.stem}.rejected{path.suffix}")
        shutil.move(report.path, kept)
    if parity.passed:
        write_spec(path.with_name("spec.json"), spec)
        write_model_card(path.with_name(MODEL_CARD), spec, file=path.name, parity=parity.to_dict()["tasks"])
    return {
        "target": "onnx",
        "path": str(kept),
        "size_bytes": report.size_bytes,
        "opset": report.opset,
        "ops": report.ops,
        "seconds": round(report.seconds, 2),
        "images": str(images) if images else "generated",
        "parity": parity.to_dict(),
        "machine": machine(),
        "versions": versions(),
    }


def show_plan(run: Path, out: Path | None, images: Path | None, num_images: int, reporter: Reporter) -> None:
    """Say what an export would do."""
    from distill.spec import read_spec

    spec = read_spec(run / "spec.json")
    images = images or training_shards(run)
    weights = run / "weights.safetensors"
    size_bytes = weights.stat().st_size if weights.is_file() else 0
    tasks = ", ".join(spec.tasks)
    values = {
        "target": "onnx",
        "path": str(_out_path(run, out, spec)),
        "tasks": [str(task) for task in spec.tasks],
        "backbone": spec.backbone,
        "size_bytes": size_bytes,
        "images": str(images) if images else "generated",
        "num_images": num_images,
    }
    text = (
        f"would write {values['path']}: {spec.name} ({spec.backbone}), {tasks}, about"
        f" {size_bytes / 1e6:.1f} MB\nwould compare it with the original on {num_images} pictures from"
        f" {values['images']}\nwould take about a minute, and cost nothing"
    )
    reporter.result(values, text)


def _out_path(run: Path, out: Path | None, spec: StudentSpec) -> Path:
    path = out or run / f"{spec.name}.onnx"
    if path.is_dir():
        path = path / f"{spec.name}.onnx"
    if path.suffix.lower() != ".onnx":
        raise UsageError(
            f"--out {path}: the name of an ONNX file ends in .onnx",
            hint=f"--out {shlex.quote(str(path.with_suffix('.onnx')))}",
        )
    return path


def _compare(
    student: Any,
    spec: StudentSpec,
    path: Path,
    pictures: Iterator[ParitySample] | None,
    num_images: int,
    tolerances: Any,
    reporter: Reporter,
) -> ParityResult:
    """Parity over generated pictures of awkward sizes, then over the real ones."""
    from distill.export.runners import ModuleRunner, open_runner
    from distill.export.verification.parity import Parity, generated_samples

    reference = ModuleRunner(student, spec, name="the run")
    with open_runner(path) as candidate:
        generated = Parity(reference, candidate, tolerances)
        for sample in generated_samples(spec):
            generated.update(sample)
        if pictures is None:
            reporter.warn(_NO_SAMPLES)
            return generated.result()
        if not generated.result().passed:
            reporter.warn("the two already differ on generated pictures of unusual sizes")
            return generated.result()
        parity = Parity(reference, candidate, tolerances)
        for sample in reporter.track(pictures, "comparing", num_images):
            parity.update(sample)
        return parity.result()


def format_result(result: dict[str, Any]) -> str:
    """The result for people: one table, one verdict."""
    from distill.report.markdown import text_table

    parity = result["parity"]
    columns = [
        "task",
        "score",
        parity["reference"],
        parity["candidate"],
        "disagreement",
        "largest",
        "tolerance",
        "verdict",
    ]
    keys = ("task", "measure", "reference", "candidate", "pixel_difference", "max_abs_difference", "tolerance")
    rows = [[*(row[key] for key in keys), "passed" if row["passed"] else "FAILED"] for row in parity["tasks"]]
    verdict = "gives the same answers" if parity["passed"] else "does NOT give the same answers within the tolerance"
    return (
        f"{result['path']} ({result['size_bytes'] / 1e6:.1f} MB, opset {result['opset']}) {verdict}\n"
        f"{parity['samples']} pictures from {result['images']}; disagreement: share of pixels, or mean degrees\n\n"
        + text_table(columns, rows)
    )
