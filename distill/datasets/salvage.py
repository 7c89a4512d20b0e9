"""Write a new set of all whole samples of a damaged one; tars that are intact keep their names and bytes."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from distill.datasets.dataset_card import write_card
from distill.datasets.listing import job_classes
from distill.datasets.manifest_builder import ManifestBuilder
from distill.datasets.verification import Verification
from distill.datasets.writer import check_out, remove_stale_parts, write_errors
from distill.errors import DistillError
from distill.runtime.progress import Reporter
from distill.shards import MANIFEST, Sample, ShardEntry, write_manifest, write_shard
from distill.tasks import Task


def write_whole_samples(check: Verification, out: Path, reporter: Reporter, *, plan: bool) -> int:
    """Write the set and return the number of its samples; `out` appears when it is complete.

    Raises:
        UsageError: `out` has files, or is in the damaged set.
        DistillError: No sample is whole, or a file cannot be written.
    """
    check_out(out, [check.folder])
    _check_class_names(check)
    # A manifest that has changed is not handed on: all but the class names is in the samples.
    builder = ManifestBuilder(check.manifest.classes)
    counts: Counter[Task] = Counter()

    def counted(samples: Iterator[Sample]) -> Iterator[Sample]:
        for sample in samples:
            counts.update(sample.tasks)
            if not check.is_trusted:
                builder.add(sample)
            yield sample

    if plan:
        return sum(1 for shard in check.shards(reporter) for _ in counted(check.whole_samples(shard, needed=True)))
    remove_stale_parts(out)
    part = out.parent / f".{out.name}.{os.getpid()}.part"
    entries: list[ShardEntry] = []
    try:
        with write_errors(out):
            part.mkdir(parents=True)
        for shard in check.shards(reporter):
            whole = counted(check.whole_samples(shard, needed=True))
            entry = write_shard(part / shard.name, whole, check.manifest.tasks)
            if not entry.samples:
                (part / shard.name).unlink()
                continue
            if check.is_intact and entry != shard:  # another program's tar
                with write_errors(out):
                    shutil.copyfile(check.folder / shard.name, part / shard.name)
                entry = shard
            entries.append(entry)
        if not entries:
            raise DistillError(f"{check.folder}: no sample is whole, so there is nothing to salvage")
        manifest = builder.build(entries)
        if check.is_trusted:
            stated = {str(task): counts[task] for task in Task if task in counts}
            update = {"shards": tuple(entries), "tasks": tuple(map(Task, stated)), "counts": stated}
            manifest = check.manifest.model_copy(update=update)
        write_manifest(part, manifest)
        write_card(part, manifest)
        with write_errors(out):
            part.rename(out)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return manifest.samples


def _check_class_names(check: Verification) -> None:
    """Raise if the class names may be wrong: the manifest has changed, and they are nowhere else.

    Raises:
        DistillError: They differ from those of the labeling job, or the job is not in the folder.
    """
    if check.is_trusted or not check.manifest.classes or job_classes(check.folder) == list(check.manifest.classes):
        return
    raise DistillError(
        f"{check.folder / MANIFEST}: has changed since it was written, so its class names may be wrong",
        hint="copy it again from the original; where the set was labeled, delete it and run distill data seal",
    )
