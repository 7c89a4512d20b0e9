"""`distill export`: a trained student to a file for an engine, and the proof that it gives the same answers."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from distill.commands.console import Console
from distill.commands.samples import open_samples, trained_on
from distill.errors import UsageError

if TYPE_CHECKING:
    from distill.export.parity import ParityResult, ParitySample
    from distill.spec import StudentSpec

_NO_SAMPLES = "no --samples given: compared on generated pictures only, without labels"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that distill train wrote.")],
    to: Annotated[
        str,
        typer.Option(
            help="What to make: onnx, onnx-fp16, onnx-bf16, onnx-int8, openvino, openvino-int8, aoti, tensorrt,"
            " tensorrt-int8, tensorrt-fp8, triton, YAML files of configs/targets, several with commas, or all."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="The file to write, or the folder for several; inside RUN unless given.")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            help="Pictures to compare on: shards (scored against their labels) or photos; the run's shards by default."
        ),
    ] = None,
    num_samples: Annotated[int, typer.Option(min=1, help="How many of them.")] = 50,
    calibrate: Annotated[
        Path | None, typer.Option(help="Shards or photos to draw int8 ranges from; the run's shards by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Several targets: time for each series; 0 times none.")] = 1.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engines; all cores unless given.")] = None,
    opset: Annotated[
        int | None, typer.Option(min=18, help="ONNX operator set; the exporter's own unless given.")
    ] = None,
    max_delta1: Annotated[float, typer.Option(min=0, help="Budget: depth may differ by this share.")] = 0.001,
    max_normals_deg: Annotated[float, typer.Option(min=0, help="Budget: normals may differ by this angle.")] = 0.1,
    max_miou: Annotated[float, typer.Option(min=0, help="Budget: classes may differ by this share.")] = 0.001,
    max_pmf1: Annotated[float, typer.Option(min=0, help="Budget: instances may differ by this share.")] = 0.005,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="int8: measure what each block of layers alone costs.")
    ] = False,
    min_gain: Annotated[
        float | None,
        typer.Option(min=0, help="int8: refused below this many times the images/s of float32; 1.5 unless given."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Write the student as files for engines, and compare each with the original on real pictures.

    A file takes uint8 RGB pictures of any size and gives final values; its contract is inside, and beside it as
    spec.json. Beyond a budget the exit code is 1, and the file is kept under another name (*.rejected.onnx). Several
    targets are also timed side by side; an int8 file that is less than --min-gain times as fast as its float32 sibling
    is refused. The --max options are for --to onnx alone; other targets have budgets of their own (configs/targets).

    Examples:
        distill export runs/nano --to onnx --samples shards

        distill export runs/nano --to onnx,onnx-int8,openvino,aoti,tensorrt --samples held_out --out exported

        distill export runs/nano --out depth.onnx --samples photos/ --num-samples 20
    """
    from distill.export.parity import Budgets

    console = Console(as_json=as_json)
    if to != "onnx":
        from distill.commands.artefacts import plan_exports, run_exports, text_of
        from distill.recipe.target import TARGETS, load_target

        words = list(TARGETS) if to == "all" else [word.strip() for word in to.split(",") if word.strip()]
        targets = dict(load_target(word) for word in words)
        if plan:
            plan_exports(run, targets, out, samples, num_samples, console)
            return
        found = run_exports(
            run,
            targets,
            console,
            out=out,
            samples=samples,
            num_samples=num_samples,
            calibrate=calibrate,
            seconds=seconds,
            threads=threads,
            opset=opset,
            sensitivity=sensitivity,
            min_gain=min_gain,
        )
        console.result(found, text_of(found))
        if not found["passed"]:
            raise typer.Exit(1)
        return
    if plan:
        show_plan(run, out, samples, num_samples, console)
        return
    budgets = Budgets(delta1=max_delta1, normals_deg=max_normals_deg, miou=max_miou, pmf1=max_pmf1)
    result = run_export(run, console, out=out, samples=samples, num_samples=num_samples, opset=opset, budgets=budgets)
    console.result(result, _text(result))
    if not result["parity"]["passed"]:
        raise typer.Exit(1)


def run_export(
    run: Path,
    console: Console,
    *,
    out: Path | None = None,
    samples: Path | None = None,
    num_samples: int = 50,
    opset: int | None = None,
    budgets: Any = None,
) -> dict[str, Any]:
    """Export and compare; the result as `--json` prints it. The file lies under its name only when it passed.

    Raises:
        UsageError: No trained student there, or a wrong name to write to.
        DistillError: The student cannot be exported, or nothing can be written.
    """
    from distill.export.card import CARD, write_card
    from distill.export.onnx import export_onnx
    from distill.rundir import machine, open_rundir, versions
    from distill.spec import write_spec
    from distill.students.checkpoint import load_student

    student, spec = load_student(run)
    path = _out_path(run, out, spec)
    samples = samples or trained_on(run)
    pictures = open_samples(samples, spec, num_samples, console)
    open_rundir(path.parent)
    with tempfile.TemporaryDirectory(prefix=f".{path.name}.", dir=path.parent) as folder:
        console.say(f"exporting {spec.name} ({spec.backbone}) to ONNX")
        report = export_onnx(student, spec, Path(folder) / path.name, opset=opset)
        parity = _compare(student, spec, report.path, pictures, num_samples, budgets, console)
        kept = path if parity.passed else path.with_name(f"{path.stem}.rejected{path.suffix}")
        shutil.move(report.path, kept)
    if parity.passed:
        write_spec(path.with_name("spec.json"), spec)
        write_card(path.with_name(CARD), spec, file=path.name, parity=parity.to_dict()["tasks"])
    return {
        "target": "onnx",
        "path": str(kept),
        "size_bytes": report.size_bytes,
        "opset": report.opset,
        "ops": report.ops,
        "seconds": round(report.seconds, 2),
        "samples": str(samples) if samples else "generated",
        "parity": parity.to_dict(),
        "machine": machine(),
        "versions": versions(),
    }


def show_plan(run: Path, out: Path | None, samples: Path | None, num_samples: int, console: Console) -> None:
    """Say what an export would do."""
    from distill.spec import read_spec

    spec = read_spec(run / "spec.json")
    samples = samples or trained_on(run)
    weights = run / "weights.safetensors"
    size_bytes = weights.stat().st_size if weights.is_file() else 0
    tasks = ", ".join(spec.answers)
    values = {
        "target": "onnx",
        "path": str(_out_path(run, out, spec)),
        "tasks": [str(task) for task in spec.answers],
        "backbone": spec.backbone,
        "size_bytes": size_bytes,
        "samples": str(samples) if samples else "generated",
        "num_samples": num_samples,
    }
    text = (
        f"would write {values['path']}: {spec.name} ({spec.backbone}), {tasks}, about"
        f" {size_bytes / 1e6:.1f} MB\nwould compare it with the original on {num_samples} pictures from"
        f" {values['samples']}\nwould take about a minute, and cost nothing"
    )
    console.result(values, text)


def _out_path(run: Path, out: Path | None, spec: StudentSpec) -> Path:
    path = out or run / f"{spec.name}.onnx"
    if path.is_dir():
        path = path / f"{spec.name}.onnx"
    if path.suffix.lower() != ".onnx":
        raise UsageError(
            f"--out {path}: the name of an ONNX file ends in .onnx", hint=f"--out {path.with_suffix('.onnx')}"
        )
    return path


def _compare(
    student: Any,
    spec: StudentSpec,
    path: Path,
    pictures: Iterator[ParitySample] | None,
    num_samples: int,
    budgets: Any,
    console: Console,
) -> ParityResult:
    """Parity over generated pictures of awkward sizes, then over the real ones."""
    from distill.export.parity import Parity, probe_pictures
    from distill.export.runners import ModuleRunner, open_runner

    reference = ModuleRunner(student, spec, name="the run")
    with open_runner(path) as candidate:
        generated = Parity(reference, candidate, budgets)
        for sample in probe_pictures(spec):
            generated.update(sample)
        if pictures is None:
            console.warn(_NO_SAMPLES)
            return generated.result()
        if not generated.result().passed:
            console.warn("the two already differ on generated pictures of unusual sizes")
            return generated.result()
        parity = Parity(reference, candidate, budgets)
        for sample in console.track(pictures, "comparing", num_samples):
            parity.update(sample)
        return parity.result()


def _text(result: dict[str, Any]) -> str:
    """The result for people: one table, one verdict."""
    from distill.commands.tables import text_table

    parity = result["parity"]
    columns = [
        "task",
        "score",
        parity["reference"],
        parity["candidate"],
        "disagreement",
        "largest",
        "budget",
        "verdict",
    ]
    keys = ("task", "measure", "reference", "candidate", "direct", "largest", "budget")
    rows = [[*(row[key] for key in keys), "passed" if row["passed"] else "FAILED"] for row in parity["tasks"]]
    verdict = "gives the same answers" if parity["passed"] else "does NOT give the same answers within the budget"
    return (
        f"{result['path']} ({result['size_bytes'] / 1e6:.1f} MB, opset {result['opset']}) {verdict}\n"
        f"{parity['samples']} pictures from {result['samples']}; disagreement: share of pixels, or mean degrees\n\n"
        + text_table(columns, rows)
    )
