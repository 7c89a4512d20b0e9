"""Verify a set of shards: every byte against SHA-256, every member decoded, all parts in agreement; keep what is whole.

Tars that are intact keep their names and bytes in the set of whole samples.
"""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from distill.datasets.dataset_card import write_card
from distill.datasets.listing import job_classes
from distill.datasets.manifest_builder import ManifestBuilder
from distill.datasets.shard_checks import Verification
from distill.datasets.verify_report import Fault, VerifyReport
from distill.datasets.writer import check_out, remove_stale_parts, write_errors
from distill.errors import DistillError, UsageError
from distill.runtime.progress import Reporter, SilentReporter
from distill.shards import MANIFEST, Sample, ShardEntry, read_manifest, write_manifest, write_shard
from distill.tasks import Task


def verify(
    folder: str | Path,
    *,
    quick: bool = False,
    salvage: str | Path | None = None,
    plan: bool = False,
    reporter: Reporter | None = None,
) -> VerifyReport:
    """Verify every byte of a set of shards; the memory that it needs does not depend on the number of samples.

    Args:
        folder: Folder of shards.
        quick: Compare lengths and digests of the tars only; samples of a tar that differs are still examined.
        salvage: Folder for a new set of all whole samples; it must not exist, or be empty.
        plan: Count what `salvage` would keep, and write nothing.
        reporter: Receives progress.

    Returns:
        Faults, with tar, member and byte range.

    Raises:
        UsageError: Not a folder of shards, or `salvage` has files.
        DistillError: A file cannot be written.

    Example:
        >>> report = distill.data.verify("shards", salvage="rescued")
        >>> report.num_faults, report.kept
    """
    folder, reporter = Path(folder), reporter or SilentReporter()
    if plan and salvage is None:
        raise UsageError("--plan shows what --salvage would keep", hint="give --salvage OUT as well, or leave it out")
    try:
        check = Verification(folder, read_manifest(folder), quick=quick)
    except UsageError as error:
        if salvage is not None or not (folder / MANIFEST).is_file():
            raise
        fault = Fault(MANIFEST, error.message.removeprefix(f"{folder / MANIFEST}: "))
        return VerifyReport(folder, quick, 0, 0, 0, 1, (fault,), 0)
    if salvage is None:
        for shard in check.shards(reporter):
            for _ in check.whole_samples(shard):
                pass
        return check.report()
    kept = _write_whole_samples(check, Path(salvage), reporter, plan=plan)
    return check.report(Path(salvage), kept, planned=plan)


def _write_whole_samples(check: Verification, out: Path, reporter: Reporter, *, plan: bool) -> int:
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
