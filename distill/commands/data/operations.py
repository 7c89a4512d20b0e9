"""`distill data merge`, `split`, `filter`, `sample`, `dedupe`, `relabel-classes`, `apply`: new sets from sets."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from distill.commands.data.content import AsJson, ShardFolder
from distill.console import Console
from distill.tasks import Task

Out = Annotated[Path, typer.Option("--out", "-o", help="Folder of the new set; must be new or empty.")]
Plan = Annotated[bool, typer.Option("--plan", help="Show what would be written, and write nothing.")]
ShardSize = Annotated[int, typer.Option(min=1, help="Samples in a tar.")]
_SHARD_SIZE = 256


class By(StrEnum):
    """What stays together in a split."""

    AUTO = "auto"
    CLIP = "clip"
    FOLDER = "folder"
    NEAR_DUPLICATES = "near-duplicates"
    TIME = "time"


def merge(
    shards: Annotated[list[Path], typer.Argument(help="Two or more folders of shards.", metavar="SHARDS...")],
    out: Out,
    classes: Annotated[
        Path | None,
        typer.Option(help="YAML or JSON file with old: new class names, before the lists are united; null drops one."),
    ] = None,
    keep_first: Annotated[
        bool,
        typer.Option(help="Of two different labels of one photo and task, keep that of the earlier set."),
    ] = False,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Merge sets: labels of different tasks about the same photos, and sets of different photos.

    Samples whose photos have the same bytes become one sample with the labels of all sets; the others are appended.
    Class lists are united by name.

    Examples:
        distill data merge depth_shards class_shards --out both

        distill data merge monday tuesday --out week --classes names.yaml
    """
    from distill.workflows.data import merge as merge_sets

    console = Console(as_json=as_json)
    result = merge_sets(
        shards, out=out, classes=classes, keep_first=keep_first, shard_size=shard_size, plan=plan, reporter=console
    )
    console.result(result)


def split(
    shards: ShardFolder,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the parts; must be new or empty.")],
    parts: Annotated[
        str | None, typer.Option(help="Parts and their fractions; train=0.8,val=0.2 if nothing is given.")
    ] = None,
    folds: Annotated[int, typer.Option(min=0, help="Write this number of equal parts instead, fold-1 to fold-k.")] = 0,
    by: Annotated[
        By,
        typer.Option(
            help="What stays in one part: clips (by name), folders, near-duplicates, or (auto) near-duplicates and "
            "clips whose neighbors look alike; time: the earliest photos in the first part, the latest in the last."
        ),
    ] = By.AUTO,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Split a set into parts or folds; frames of one video are never in two parts.

    Examples:
        distill data split shards --out parts --parts train=0.7,val=0.15,test=0.15

        distill data split shards --out folds --folds 5 --by folder
    """
    from distill.datasets.operations.split import parse_parts
    from distill.workflows.data import split as split_set

    console = Console(as_json=as_json)
    result = split_set(
        shards,
        out=out,
        parts=parse_parts(parts) if parts is not None else None,
        folds=folds,
        by=by.value,
        shard_size=shard_size,
        plan=plan,
        reporter=console,
    )
    console.result(result)


def filter(
    shards: ShardFolder,
    out: Out,
    where: Annotated[
        str, typer.Argument(help="Condition over the fields of a sample (docs/data_formats.md).", metavar="[CONDITION]")
    ] = "",
    tasks: Annotated[
        str, typer.Option(help="Keep the labels of these tasks only, such as depth,normals, and no sample without one.")
    ] = "",
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Copy the samples that satisfy a condition, with the labels of all or of some tasks.

    Fields: key, name, folder, video, frame, width, height, bytes, tasks, classes, instances, license, licenses,
    teachers, depth_kind, quality.TASK, expected_error.TASK, valid.TASK, confidence.TASK, share['CLASS'].

    Examples:
        distill data filter shards "quality.depth > 0.6 and 'car' in classes and license != 'noncommercial'" --out good

        distill data filter shards --tasks depth,normals --out geometry
    """
    from distill.workflows.data import filter as filter_set

    console = Console(as_json=as_json)
    wanted = [task.strip() for task in tasks.split(",") if task.strip()]
    result = filter_set(
        shards, where, out=out, tasks=_tasks(wanted), shard_size=shard_size, plan=plan, reporter=console
    )
    console.result(result)


def sample(
    shards: ShardFolder,
    amount: Annotated[float, typer.Argument(help="Number of samples, or a fraction such as 0.1.", metavar="AMOUNT")],
    out: Out,
    seed: Annotated[int, typer.Option(help="Another number gives another choice.")] = 0,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Copy a random choice of the samples.

    Examples:
        distill data sample shards 500 --out few

        distill data sample shards 0.1 --out tenth --seed 1
    """
    from distill.workflows.data import sample as sample_set

    console = Console(as_json=as_json)
    result = sample_set(shards, amount, out=out, seed=seed, shard_size=shard_size, plan=plan, reporter=console)
    console.result(result)


def dedupe(
    shards: ShardFolder,
    out: Out,
    max_bits: Annotated[
        int, typer.Option(min=0, max=30, help="Different bits of 128 in the hashes of two photos that look the same.")
    ] = 10,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Copy the samples without near-duplicates: saved again, resized, or frames that hardly differ.

    Examples:
        distill data dedupe shards --out different
    """
    from distill.workflows.data import dedupe as dedupe_set

    console = Console(as_json=as_json)
    result = dedupe_set(shards, out=out, max_bits=max_bits, shard_size=shard_size, plan=plan, reporter=console)
    console.result(result)


def relabel_classes(
    shards: ShardFolder,
    classes: Annotated[
        Path, typer.Argument(help="YAML or JSON file with old: new class names; null drops a class.", metavar="FILE")
    ],
    out: Out,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Rename, join and drop classes.

    Pixels of a dropped class are ignored, its instances become background.

    Examples:
        distill data relabel-classes shards names.yaml --out renamed
    """
    from distill.workflows.data import relabel_classes as relabel

    console = Console(as_json=as_json)
    console.result(relabel(shards, classes, out=out, shard_size=shard_size, plan=plan, reporter=console))


def apply(
    shards: ShardFolder,
    verdicts: Annotated[Path, typer.Argument(help="verdicts.json of a review page.", metavar="VERDICTS")],
    out: Out,
    rejected_weight: Annotated[
        float,
        typer.Option(min=0, max=1, help="Keep rejected labels with this part of their confidence; 0: leave them out."),
    ] = 0.0,
    calibration: Annotated[
        Path | None,
        typer.Option(help="File of distill label --calibrate: new quality scores from the parts that the set holds."),
    ] = None,
    shard_size: ShardSize = _SHARD_SIZE,
    plan: Plan = False,
    as_json: AsJson = False,
) -> None:
    """Copy a set as its review says: without rejected labels, with ignored classes and regions invalid.

    Examples:
        distill data apply shards verdicts.json --out reviewed

        distill data apply shards verdicts.json --out weighed --rejected-weight 0.2
    """
    from distill.workflows.data import apply as apply_verdicts

    console = Console(as_json=as_json)
    result = apply_verdicts(
        shards,
        verdicts,
        out=out,
        rejected_weight=rejected_weight,
        calibration=calibration,
        shard_size=shard_size,
        plan=plan,
        reporter=console,
    )
    console.result(result)


def _tasks(names: list[str]) -> list[Task]:
    from distill.errors import UsageError

    known = [str(task) for task in Task]
    for name in names:
        if name not in known:
            raise UsageError(f"--tasks {name}: no such task", hint=f"the tasks are {', '.join(known)}")
    return [Task(name) for name in names]
