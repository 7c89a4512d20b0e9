"""`distill export`: export a trained student for inference engines."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.commands.bench import parse_size
from distill.console import Console
from distill.errors import UsageError
from distill.tasks import Task
from distill.workflows.export.options import ExportOptions, check_input_size, read_targets
from distill.workflows.export.run import plan_export, run_export

_COMPARISON, _MODEL, _INT8, _TIMING = "Comparison with the original", "The model", "Eight bits", "Timing"


def export(
    run: Annotated[Path, typer.Argument(help="Run folder that distill train wrote.")],
    to: Annotated[
        str,
        typer.Option(
            help="Targets, separated by commas: onnx, onnx-fp16, onnx-bf16, onnx-int8, openvino, openvino-int8, aoti,"
            " tensorrt, tensorrt-int8, tensorrt-fp8, triton, all, or YAML files of targets."
        ),
    ] = "onnx",
    out: Annotated[
        Path | None, typer.Option(help="Folder, or the file of a single target. [default: RUN/export]")
    ] = None,
    images: Annotated[
        Path | None,
        typer.Option(
            "--images",
            "--samples",
            rich_help_panel=_COMPARISON,
            help="Images to compare on: shards (scored against their labels) or photos; the shards of the run unless"
            " given.",
        ),
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, rich_help_panel=_COMPARISON, help="Number of these images.")] = 50,
    tolerance: Annotated[
        list[str] | None,
        typer.Option(
            rich_help_panel=_COMPARISON,
            help="Tolerance of a task for all targets, such as normals=0.1 (degrees) or depth=0.001 (fraction of"
            " pixels, difference of the score); can be given several times.",
        ),
    ] = None,
    input_size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_MODEL,
            help="HEIGHTxWIDTH at which the network works; the training size unless given.",
        ),
    ] = None,
    fixed_size: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_MODEL,
            help="HEIGHTxWIDTH of the only images that the artifacts take, for engines without free sizes.",
        ),
    ] = None,
    opset: Annotated[
        int | None,
        typer.Option(min=18, rich_help_panel=_MODEL, help="ONNX operator set; that of the exporter unless given."),
    ] = None,
    calibrate: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_INT8, help="Shards or photos for calibration; the shards of the run unless given."
        ),
    ] = None,
    sensitivity: Annotated[
        bool,
        typer.Option("--sensitivity", rich_help_panel=_INT8, help="Measure the loss of each block of layers."),
    ] = False,
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, rich_help_panel=_INT8, help="Smallest accepted speed-up over float32; 1.5 unless given."),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=0, rich_help_panel=_TIMING, help="Duration of each series; 0 skips the timing.")
    ] = 1.0,
    threads: Annotated[
        int | None,
        typer.Option(min=1, rich_help_panel=_TIMING, help="Threads of the engines; all cores unless given."),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", rich_help_panel=_COMPARISON, help="Compare every shard with its checksum first.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Estimate sizes and durations, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Export a student for inference engines, and compare each artifact with the original on real images.

    An artifact takes uint8 RGB images of any size and returns final values; its spec is inside, and in spec.json. An
    artifact beyond a tolerance is renamed to *.rejected.*, and the exit code is 1. All artifacts are timed in turns; an
    int8 artifact that is less than --min-speedup times as fast as float32 is refused. The exit code is also 1 if every
    requested target is refused.

    Examples:
        distill export runs/nano --to onnx --images shards

        distill export runs/nano --to onnx,onnx-int8,openvino,aoti,tensorrt --images held_out --out exported

        distill export runs/nano --to onnx-int8 --input-size 256x192 --images photos/

        distill export runs/nano --out depth.onnx --images photos/ --num-images 20 --tolerance depth=0.002
    """
    console = Console(as_json=as_json)
    options = ExportOptions(
        run=run,
        targets=read_targets([to], _read_tolerances(tolerance or [])),
        out=out,
        images=images,
        num_images=num_images,
        calibrate=calibrate,
        seconds=seconds,
        threads=threads,
        opset=opset,
        sensitivity=sensitivity,
        min_speedup=min_speedup,
        size_hw=check_input_size(parse_size(input_size, "--input-size")) if input_size is not None else None,
        fixed_size_hw=parse_size(fixed_size, "--fixed-size") if fixed_size is not None else None,
        verify=verify,
    )
    if plan:
        console.result(plan_export(options))
        return
    result = run_export(options, console)
    console.result(result)
    if not result.passed:
        raise typer.Exit(1)


def _read_tolerances(words: list[str]) -> dict[Task | str, float]:
    """Tolerance by task, from words such as ``normals=0.1``."""
    found: dict[Task | str, float] = {}
    for word in words:
        name, _, number = word.partition("=")
        try:
            found[Task(name.strip())] = float(number)
        except ValueError as error:
            raise UsageError(
                f"--tolerance {word}: not of the form TASK=VALUE", hint=f"TASK is one of {', '.join(Task)}"
            ) from error
        if not found[Task(name.strip())] >= 0:
            raise UsageError(f"--tolerance {word}: a tolerance is not negative")
    return found
