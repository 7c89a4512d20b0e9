"""Copy the samples that satisfy a condition, with the labels of all or of some tasks."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np

from distill.datasets.operations.copying import LEFT_OUT, OperationResult, copy_parts, task_bits
from distill.datasets.operations.expression import parse
from distill.datasets.operations.fields import SampleView, sample_fields
from distill.datasets.operations.sample_edits import keep_tasks
from distill.datasets.shard_set import open
from distill.datasets.writer import DEFAULT_SHARD_SIZE
from distill.errors import UsageError
from distill.runtime.progress import Reporter, SilentReporter
from distill.tasks import Task


def filter(
    shards: str | Path,
    where: str = "",
    *,
    out: str | Path,
    tasks: Sequence[Task | str] = (),
    shard_size: int = DEFAULT_SHARD_SIZE,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> OperationResult:
    """Copy the samples for which a condition is true into a new set.

    Args:
        shards: Folder of shards.
        where: Condition over the fields of a sample, such as ``quality.depth > 0.6 and 'car' in classes``; empty: all.
            A sample that lacks a field, such as the quality of a label that it does not have, is not kept.
        out: Folder of the new set.
        tasks: Keep the labels of these tasks only, and no sample without one; empty: all labels.
        shard_size: Samples in a tar.
        plan: Count, and write nothing.
        reporter: Receives the progress.

    Raises:
        UsageError: The condition is wrong, no sample satisfies it, or `out` has files.
        DistillError: A sample is damaged, or the disk is full.

    Example:
        >>> distill.data.filter("shards", "quality.depth > 0.6 and license != 'noncommercial'", out="good")
    """
    source, reporter = open(shards), reporter or SilentReporter()
    wanted = tuple(Task(task) for task in tasks) or source.manifest.tasks
    for task in wanted:
        if task not in source.manifest.tasks:
            raise UsageError(
                f"{source.folder}: has no {task} labels", hint=f"it has {', '.join(source.manifest.tasks)}"
            )
    expression = parse(where, sample_fields(source.manifest)) if where.strip() else None
    if expression is None and not tasks:
        raise UsageError("nothing to filter by", hint="give a condition, or tasks to keep")
    part_of = np.full(len(source), LEFT_OUT, np.int8)
    tasks_of = np.zeros(len(source), np.uint8)
    unknown = unlabeled = 0
    for info in reporter.track(source.infos(), "filter: read", len(source)):
        kept = expression.condition(SampleView(source, info)) if expression is not None else True
        unknown += kept is None
        if kept and not set(info.tasks) & set(wanted):
            unlabeled += 1
        elif kept:
            part_of[info.position] = 0
            tasks_of[info.position] = task_bits(set(info.tasks) & set(wanted))
    notes = []
    if unknown and expression is not None:
        names = ", ".join(sorted(expression.fields))
        notes.append(f"{unknown} samples lack a value of {names}, and were not kept")
    if unlabeled:
        notes.append(f"{unlabeled} samples have no label of {', '.join(wanted)}, and were not kept")
    return copy_parts(
        source,
        [Path(out)],
        part_of,
        tasks_of,
        operation="filter",
        shard_size=shard_size,
        plan=plan,
        reporter=reporter,
        edit=partial(keep_tasks, tasks=wanted) if tasks else None,
        notes=notes,
    )
