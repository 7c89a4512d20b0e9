"""`distill data import` and `export`: formats of other tools."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from distill.commands.data.content import AsJson, ShardFolder
from distill.commands.data.operations import Plan, ShardSize
from distill.console import Console

DepthScale = Annotated[
    float, typer.Option(help="Stored levels per meter of 16-bit depth: 1000 as NYU and TUM, 256 as KITTI.")
]
Format = Annotated[
    str,
    typer.Argument(
        help="coco, coco-panoptic, indexed-png, yolo, yolo-semantic, yolo-depth, depth-png, cvat, fiftyone, parquet, "
        "edit-pairs, edit-pair-folders.",
        metavar="FORMAT",
    ),
]


def export(
    shards: ShardFolder,
    format: Format,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set; must be new or empty.")],
    depth_scale: DepthScale = 1000.0,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Write a set in the format of another tool; what the format cannot hold is listed (docs/data_formats.md).

    Examples:
        distill data export shards coco --out coco

        distill data export shards yolo-depth --out yolo --depth-scale 256
    """
    from distill.workflows.data import export as export_set

    console = Console(as_json=as_json)
    console.result(export_set(shards, format, out=out, depth_scale=depth_scale, plan=plan, reporter=console))


def import_(
    path: Annotated[Path, typer.Argument(help="Folder of the data set, or its annotation file.", metavar="PATH")],
    format: Format,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new set; must be new or empty.")],
    license: Annotated[str, typer.Option(help="License of the labels, such as CC-BY-4.0.")] = "unknown",
    images: Annotated[
        Path | None, typer.Option(help="Folder of the photos, if it is not where the format puts it.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="File of class names, one a line, if it is not where the format puts it.")
    ] = None,
    depth_scale: DepthScale = 1000.0,
    shard_size: ShardSize = 256,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Read a data set of another tool into a new set of shards.

    Examples:
        distill data import coco/annotations/instances_val2017.json coco --out shards --license CC-BY-4.0
    """
    from distill.workflows.data import import_ as import_set

    console = Console(as_json=as_json)
    result = import_set(
        path,
        format,
        out=out,
        license=license,
        images=images,
        classes=classes,
        depth_scale=depth_scale,
        shard_size=shard_size,
        plan=plan,
        reporter=console,
    )
    console.result(result)
