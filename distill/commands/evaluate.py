"""`distill evaluate`: score predictors against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.console import Console
from distill.evaluation.protocol import Crop
from distill.metrics import Alignment
from distill.tasks import Task
from distill.workflows.evaluate import run as workflow

DATASET_NAMES = ("nyuv2", "kitti", "diode", "scannet", "cityscapes", "camvid", "ade20k")
"""Keys of `distill.evaluation.datasets.DATASETS`, repeated so that --help need not import it; a test compares them."""
_PROTOCOL, _COMPARED, _OUTPUT = "Protocol", "Further measurements", "Output"


def evaluate(
    predictors: Annotated[
        list[Path],
        typer.Argument(
            help="Run folders, exported files, folders of shards (labels of a teacher), or configs of ONNX models."
        ),
    ],
    truth: Annotated[Path, typer.Option(help="Folder of shards with the ground truth, or of the data set.")],
    dataset: Annotated[
        str | None,
        typer.Option(
            rich_help_panel=_PROTOCOL, help=f"Read --truth in the official layout of {', '.join(DATASET_NAMES)}."
        ),
    ] = None,
    task: Annotated[list[Task] | None, typer.Option(help="Only this task; can be given several times.")] = None,
    alignment: Annotated[
        Alignment | None,
        typer.Option(
            rich_help_panel=_PROTOCOL,
            help="Of depth. Default: none for meters, otherwise as the depth kind requires, for all predictors.",
        ),
    ] = None,
    crop: Annotated[
        Crop | None,
        typer.Option(
            rich_help_panel=_PROTOCOL,
            help="Part of the image that is scored: eigen (NYU), garg, eigen-kitti, kb (KITTI). Default: none.",
        ),
    ] = None,
    min_depth: Annotated[
        float | None,
        typer.Option(rich_help_panel=_PROTOCOL, help="Ignore truth nearer than this, in meters. Default: 0.001."),
    ] = None,
    max_depth: Annotated[
        float | None,
        typer.Option(rich_help_panel=_PROTOCOL, help="Ignore truth farther than this, in meters. Default: 90."),
    ] = None,
    map_classes: Annotated[
        Path | None,
        typer.Option(
            rich_help_panel=_PROTOCOL, help="YAML of 'predictor class: truth class' pairs, for names that differ."
        ),
    ] = None,
    baseline: Annotated[
        Path | None, typer.Option(rich_help_panel=_COMPARED, help="Training shards; adds the mean baseline.")
    ] = None,
    train_shards: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel=_COMPARED,
            help="Training shards, searched for near-duplicates of the test images; --baseline unless given.",
        ),
    ] = None,
    temporal: Annotated[
        list[Path] | None,
        typer.Option(
            rich_help_panel=_COMPARED,
            help="A video, or shards of consecutive frames: measure the temporal consistency of students.",
        ),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Stop after this many images.")] = None,
    worst: Annotated[
        int, typer.Option(min=0, rich_help_panel=_OUTPUT, help="Number of worst images in the report, per task.")
    ] = 8,
    out: Annotated[
        Path | None,
        typer.Option(rich_help_panel=_OUTPUT, help="Folder for evaluate.html, evaluate.md and evaluate.json."),
    ] = None,
    allow_native: Annotated[
        bool,
        typer.Option(
            "--allow-native", help="Open model files with machine code (.pt2, .engine), which runs with your rights."
        ),
    ] = False,
    verify: Annotated[bool, typer.Option("--verify", help="Compare every shard with its checksum first.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", rich_help_panel=_OUTPUT, help="Print the result as one JSON object.")
    ] = False,
) -> None:
    """Score predictors against the same ground truth, side by side.

    The first predictor is compared with the others: give the student first, then the labels of its teacher. Depth is
    scored where the truth is valid and not sky. Invalid pixels of a predictor do not enter its scores; their fraction
    is reported. Scores have 95 % intervals over images, pairs of predictors a test whether they differ by chance.
    --dataset sets the crop and the depth range of its papers.

    Examples:
        distill evaluate runs/nano teacher-shards/ --truth truth-shards/ --baseline train-shards/ --out evaluation

        distill evaluate student.onnx --truth nyu-shards/ --task depth --crop eigen --max-depth 10

        distill evaluate student.onnx other-model.yaml --dataset cityscapes --truth cityscapes/
    """
    console = Console(as_json=as_json)
    result = workflow.evaluate(
        predictors,
        truth,
        dataset=dataset,
        task=task or (),
        alignment=alignment,
        crop=crop,
        min_depth=min_depth,
        max_depth=max_depth,
        map_classes=map_classes,
        baseline=baseline,
        train_shards=train_shards or (),
        temporal=temporal or (),
        limit=limit,
        worst=worst,
        out=out,
        allow_native=allow_native,
        verify=verify,
        reporter=console,
    )
    console.result(result)
