"""`distill demo`: run all steps offline with the synthetic teacher."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.workflows.demo import FOLDERS, DemoOptions, run_demo


def demo(
    out: Annotated[Path, typer.Option(help="Folder for all files of the demo.")] = Path("demo"),
    scenes: Annotated[int, typer.Option(min=64, help="Scenes to label and train on.")] = 640,
    held_out: Annotated[
        int, typer.Option(min=4, help="Other scenes to evaluate on, against their exact ground truth.")
    ] = 96,
    minutes: Annotated[float, typer.Option(min=0.02, help="Training time of the student.")] = 2.5,
    frames: Annotated[int, typer.Option(min=2, help="Frames of the video.")] = 96,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the scenes.")] = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Delete the files of an earlier demo in --out first.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")] = False,
) -> None:
    """Label, train, evaluate, export, bench, predict and report, offline.

    A synthetic teacher renders toy scenes and generates images of their depth, normals and classes, with the faults of
    real generators. A nano student is trained on the labels decoded from them, and evaluated on other scenes against
    their exact ground truth. The result is report.html.
    """
    if overwrite:
        for name in FOLDERS:
            shutil.rmtree(out / name, ignore_errors=True)
    console = Console(as_json=as_json)
    result = run_demo(DemoOptions(out, scenes, held_out, minutes, frames, seed), console)
    console.result(result)
    if not result.parity.passed:
        raise typer.Exit(1)
