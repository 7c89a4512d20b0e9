"""Copy chosen samples of a set into new sets, and what an operation says about it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int8, UInt8
from numpy import ndarray

from distill.datasets.shard_set import ShardSet
from distill.datasets.writer import ShardSetWriter, WrittenSet, check_out
from distill.errors import DistillError, UsageError
from distill.labels.sample_digest import has_right_digest
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import Sample
from distill.tasks import Task

_ORDER = tuple(Task)
LEFT_OUT = -1
"""Part of a sample that is not copied."""


@dataclass(frozen=True)
class OperationResult:
    """What an operation on sets wrote, or would write.

    Attributes:
        operation: Name of the sub-command.
        samples: Number that was read.
        sets: The new sets.
        planned: Whether nothing was written.
        notes: What the reader should know, one sentence each.
    """

    operation: str
    samples: int
    sets: tuple[WrittenSet, ...]
    planned: bool = False
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Convert to JSON values."""
        return {
            "operation": self.operation,
            "samples_read": self.samples,
            "planned": self.planned,
            "sets": [written.to_dict() for written in self.sets],
            "notes": list(self.notes),
        }

    def to_text(self) -> str:
        """Format for a terminal."""
        would = "would write" if self.planned else "wrote"
        lines = []
        for written in self.sets:
            tasks = ", ".join(f"{count} {task}" for task, count in written.counts.items())
            size = f", {written.num_bytes / 1e6:.1f} MB" if written.num_bytes else ""
            lines.append(f"{would} {written.folder}: {written.samples} samples{f' ({tasks})' if tasks else ''}{size}")
        lines += [f"note: {note}" for note in self.notes]
        return "\n".join(lines)


def copy_parts(
    shards: ShardSet,
    outs: Sequence[Path],
    part_of: Int8[ndarray, " n"],
    tasks_of: UInt8[ndarray, " n"],
    *,
    operation: str,
    shard_size: int,
    plan: bool,
    reporter: Reporter | None = None,
    edit: Callable[[Sample], Sample | None] | None = None,
    notes: Sequence[str] = (),
) -> OperationResult:
    """Write each sample into the set of its part; all tars of the input are read once, in order.

    Args:
        shards: The samples.
        outs: Folder of each part.
        part_of: Index of each sample's part, or `LEFT_OUT`.
        tasks_of: Tasks of each sample, as of `task_bits`.
        operation: For the result.
        shard_size: Samples in a tar.
        plan: Write nothing.
        reporter: Receives the progress.
        edit: Changes a sample; None leaves it out.
        notes: For the result.

    Raises:
        UsageError: A part would be empty, or its folder is not.
        DistillError: A sample is damaged, or the disk is full.
    """
    counts = np.bincount(part_of[part_of != LEFT_OUT], minlength=len(outs)).tolist()
    for out, count in zip(outs, counts, strict=True):
        check_out(out, [shards.folder])
        if not count:
            raise UsageError(
                f"{out}: would have no sample", hint=f"{shards.folder} has {len(shards)}; choose more of them"
            )
    if plan:
        planned = [WrittenSet(out, count, -(-count // shard_size)) for out, count in zip(outs, counts, strict=True)]
        return OperationResult(operation, len(shards), tuple(planned), planned=True, notes=tuple(notes))
    chosen = np.flatnonzero(part_of != LEFT_OUT)
    parts = part_of[chosen].tolist()
    writers = [
        new_writer(out, shards, shard_size, bit_tasks(int(np.bitwise_or.reduce(tasks_of[part_of == part]))))
        for part, out in enumerate(outs)
    ]
    try:
        with ExitStack() as stack:
            for writer in writers:
                stack.enter_context(writer)
            samples = read_whole(shards.select(chosen))
            for part, sample in zip(
                parts, (reporter or SilentReporter()).track(samples, operation, len(chosen)), strict=True
            ):
                edited = sample if edit is None else edit(sample)
                if edited is not None:
                    writers[part].add(edited, shards.manifest)
    except BaseException:
        for out in outs:
            with contextlib.suppress(OSError):
                out.parent.rmdir()  # only if it is empty
        raise
    return OperationResult(operation, len(shards), tuple(writer.written for writer in writers), notes=tuple(notes))


def task_bits(tasks: Iterable[Task]) -> int:
    """One bit per task: millions of samples need a byte each."""
    return sum(1 << _ORDER.index(task) for task in tasks)


def bit_tasks(bits: int) -> tuple[Task, ...]:
    """Tasks of `task_bits`."""
    return tuple(task for number, task in enumerate(_ORDER) if bits >> number & 1)


def new_writer(out: Path, shards: ShardSet, shard_size: int, tasks: Sequence[Task]) -> ShardSetWriter:
    """A writer with the class lists of a set."""
    manifest = shards.manifest
    return ShardSetWriter(
        out,
        tasks=tasks,
        classes=manifest.classes,
        instance_classes=manifest.instance_classes,
        referring=manifest.referring,
        shard_size=shard_size,
    )


def read_whole(shards: ShardSet) -> Iterator[Sample]:
    """The samples of a set, streamed; one that is not as it was written ends the operation.

    Raises:
        DistillError: A sample or a tar is damaged.
    """
    for sample in shards:
        check_whole(sample, shards.folder)
        yield sample


def check_whole(sample: Sample, folder: Path) -> None:
    """Raise if a sample is not as it was written: a copy of it would look right.

    Raises:
        DistillError: It is damaged.
    """
    if has_right_digest(sample.key, sample.files) is False:
        raise DistillError(
            f"{folder}: sample {sample.key} is not as it was written",
            hint=f"distill data verify {folder} --salvage OUT keeps the samples that are whole",
        )
