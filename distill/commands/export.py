"""`distill export`: a trained student to a file for an engine, and the proof that it gives the same answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from distill.commands.bench import parse_size
from distill.console import Console
from distill.errors import UsageError

_STRIDE, _LARGEST = 32, 4096
"""Of nearly all backbones the coarsest stride; and what memory allows."""
_OF_ONE = ("max_delta1", "max_normals_deg", "max_miou", "max_pmf1")
_OF_SEVERAL = ("calibrate", "seconds", "threads", "sensitivity", "min_speedup")
"""Options that only the plain ``--to onnx`` knows, and those that it does not."""


def export(
    context: typer.Context,
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
    images: Annotated[
        Path | None,
        typer.Option(
            help="Pictures to compare on: shards (scored against their labels) or photos; the run's shards by default."
        ),
    ] = None,
    num_images: Annotated[int, typer.Option(min=1, help="How many of them.")] = 50,
    calibrate: Annotated[
        Path | None, typer.Option(help="Shards or photos to draw int8 ranges from; the run's shards by default.")
    ] = None,
    seconds: Annotated[float, typer.Option(min=0, help="Several targets: time for each series; 0 times none.")] = 1.0,
    threads: Annotated[int | None, typer.Option(min=1, help="Threads of the engines; all cores unless given.")] = None,
    input_size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH that the network works at; the size it was trained at unless given."),
    ] = None,
    fixed_size: Annotated[
        str | None,
        typer.Option(help="HEIGHTxWIDTH: the only pictures that files take, for engines without free sizes."),
    ] = None,
    opset: Annotated[
        int | None, typer.Option(min=18, help="ONNX operator set; the exporter's own unless given.")
    ] = None,
    max_delta1: Annotated[float, typer.Option(min=0, help="Tolerance: depth may differ by this share.")] = 0.001,
    max_normals_deg: Annotated[float, typer.Option(min=0, help="Tolerance: normals may differ by this angle.")] = 0.1,
    max_miou: Annotated[float, typer.Option(min=0, help="Tolerance: classes may differ by this share.")] = 0.001,
    max_pmf1: Annotated[float, typer.Option(min=0, help="Tolerance: instances may differ by this share.")] = 0.005,
    sensitivity: Annotated[
        bool, typer.Option("--sensitivity", help="int8: measure what each block of layers alone costs.")
    ] = False,
    min_speedup: Annotated[
        float | None,
        typer.Option(min=0, help="int8: refused below this many times the images/s of float32; 1.5 unless given."),
    ] = None,
    plan: Annotated[bool, typer.Option("--plan", help="Say what would be done, and stop.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Write the student as files for engines, and compare each with the original on real pictures.

    A file takes uint8 RGB pictures of any size and gives final values; its spec is inside, and beside it as
    spec.json. Beyond a tolerance the exit code is 1, and the file is kept under another name (*.rejected.onnx). Several
    targets are also timed side by side; an int8 file that is less than --min-speedup times as fast as its float32 sibling
    is refused. The exit code is 1, too, where every target that was asked for is refused. The --max options are for
    --to onnx alone; other targets have tolerances of their own (configs/targets).

    Examples:
        distill export runs/nano --to onnx --images shards

        distill export runs/nano --to onnx,onnx-int8,openvino,aoti,tensorrt --images held_out --out exported

        distill export runs/nano --to onnx-int8 --input-size 256x192 --images photos/

        distill export runs/nano --out depth.onnx --images photos/ --num-images 20
    """
    from distill.export.verification.parity import Tolerances

    console = Console(as_json=as_json)
    is_plain = to == "onnx" and input_size is None and fixed_size is None
    _say_unused(context, console, _OF_SEVERAL if is_plain else _OF_ONE, "onnx alone" if is_plain else to)
    size_hw = parse_input_size(input_size) if input_size is not None else None
    if is_plain:
        from distill.workflows.exporting import format_result as format_onnx_result
        from distill.workflows.exporting import run_export, show_plan

        if plan:
            show_plan(run, out, images, num_images, console)
            return
        tolerances = Tolerances(delta1=max_delta1, normals_deg=max_normals_deg, miou=max_miou, pmf1=max_pmf1)
        made = run_export(
            run, console, out=out, images=images, num_images=num_images, opset=opset, tolerances=tolerances
        )
        console.result(made, format_onnx_result(made))
        if not made["parity"]["passed"]:
            raise typer.Exit(1)
        return
    from distill.config.export import TARGETS, load_target
    from distill.workflows.export import format_result, plan_exports, run_exports

    words = [word.strip() for word in to.split(",") if word.strip()]
    if "all" in words:
        words = list(dict.fromkeys([*TARGETS, *(word for word in words if word != "all")]))
    targets = dict(load_target(word) for word in words)
    if plan:
        plan_exports(run, targets, out, images, num_images, console)
        return
    options: dict[str, Any] = {
        "out": out,
        "images": images,
        "num_images": num_images,
        "calibrate": calibrate,
        "seconds": seconds,
        "threads": threads,
        "opset": opset,
        "sensitivity": sensitivity,
        "min_speedup": min_speedup,
        "size_hw": size_hw,
        "fixed_size_hw": parse_size(fixed_size, "--fixed-size") if fixed_size is not None else None,
    }
    found = run_exports(run, targets, console, **options)
    console.result(found, format_result(found))
    if not found["passed"]:
        raise typer.Exit(1)


def _say_unused(context: typer.Context, console: Console, names: tuple[str, ...], to: str) -> None:
    """Warn of those of these options that were given although this target does not look at them."""
    given = [name for name in names if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    if given:
        words = ", ".join("--" + name.replace("_", "-") for name in given)
        console.warn(f"{words}: not used by --to {to}")


def parse_input_size(word: str) -> tuple[int, int]:
    """The size in this word.

    Raises:
        UsageError: None, or one that no backbone can work at.
    """
    size_hw = parse_size(word, "--input-size")
    if any(side % _STRIDE or side > _LARGEST for side in size_hw):
        raise UsageError(
            f"--input-size {word}: sides are multiples of {_STRIDE} up to {_LARGEST}",
            hint="such as --input-size 256x192",
        )
    return size_hw
