"""Write ``dataset.json`` over the finished shards of a labeling job, at its end or at any moment before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from distill.datasets.dataset_card import write_card
from distill.errors import DistillError, UsageError
from distill.files import read_json, write_atomic, writer_runs
from distill.shards import MANIFEST, Manifest, file_sha256, read_manifest, write_manifest
from distill.tasks import TASKS, DepthKind, Task
from distill.teachers.labeling.job import Job, is_whole
from distill.teachers.labeling.shard_plan import STATS_DIR, plan_lock, read_plan
from distill.teachers.labeling.shard_stats import FORMAT, ShardStats

_OUTDATED = Path(STATS_DIR, "outdated.json")
"""Indices of shards whose photos or files have changed since, to the digest of their statistics."""


class Sealed(NamedTuple):
    """A set over the finished shards of a job.

    Attributes:
        manifest: As in ``dataset.json``; None if no shard is finished, so that there is no set.
        done: Finished shards, those without a usable photo included.
        planned: Shards of the job.
    """

    manifest: Manifest | None
    done: int
    planned: int

    @property
    def is_complete(self) -> bool:
        """Whether the job has finished."""
        return self.done == self.planned


def write_dataset_manifest(job: Job) -> tuple[Manifest, list[ShardStats]] | None:
    """Write ``dataset.json`` if every shard is done; returns it with all statistics, or None if shards are missing.

    Raises:
        DistillError: The depth maps have different depth kinds.
    """
    with plan_lock(job.out):
        all_stats = [job.read_stats(index) for index in range(job.num_shards)]
        done = [stats for stats in all_stats if stats is not None]
        if len(done) < len(all_stats):
            return None
        has_classes = any(TASKS[task].class_list == "classes" for task in job.teacher.tasks)
        manifest = _combine(done, job.teacher.classes if has_classes else ())
        if not manifest.teachers:  # no photo has a label
            manifest = manifest.model_copy(update={"teachers": (job.teacher.name,), "licenses": (job.teacher.license,)})
        _publish(job.out, manifest)
        (job.out / _OUTDATED).unlink(missing_ok=True)
    return manifest, done


def find_outdated(job: Job) -> dict[int, str]:
    """What has changed since each outdated shard was done; sets leave them out until they are labeled again.

    Raises:
        DistillError: The folder cannot be written.
    """
    with plan_lock(job.out):
        changes = {index: change for index in range(job.num_shards) if (change := job.change(index))}
        known = {str(index): digest for index in changes if (digest := _stats_digest(job.out, index))}
        if known:
            # A manifest of before has digests of shards that are about to change.
            (job.out / MANIFEST).unlink(missing_ok=True)
            write_atomic(job.out / _OUTDATED, json.dumps(known).encode())
        else:
            (job.out / _OUTDATED).unlink(missing_ok=True)
    return changes


def _stats_digest(out: Path, index: int) -> str:
    try:
        return file_sha256(out / STATS_DIR / f"shard-{index:06d}.json")
    except OSError:
        return ""


def seal_shards(out: Path, *, plan_only: bool = False) -> Sealed:
    """Write ``dataset.json`` over the shards that are finished now; the job may run or continue later.

    A set that states these shards already stays as it is. Does not need the photos or the teacher.

    Args:
        out: Folder of the job.
        plan_only: Write nothing.

    Raises:
        UsageError: The folder has no labeling job of this version of distill.
        DistillError: The depth maps have different depth kinds, or the folder cannot be written.
    """
    if read_plan(out) is None:
        raise UsageError(f"{out}: has no labeling job", hint="give the --out of a distill label that has started")
    with plan_lock(out):
        plan = read_plan(out)
        assert plan is not None
        outdated = _read_outdated(out)
        done = [
            stats
            for index in range(len(plan.shards))
            if (stats := _read_finished(out, index)) is not None
            and outdated.get(str(index)) != _stats_digest(out, index)
        ]
        manifest = _combine(done, plan.classes)
        if not any(TASKS[task].class_list == "classes" for task in manifest.tasks):
            manifest = manifest.model_copy(update={"classes": ()})
        if not manifest.shards:
            return Sealed(None, len(done), len(plan.shards))
        if (out / MANIFEST).is_file() and _states(out, manifest):
            manifest = read_manifest(out)
        elif not plan_only:
            _publish(out, manifest)
    return Sealed(manifest, len(done), len(plan.shards))


def _read_outdated(out: Path) -> dict[str, Any]:
    try:
        values = read_json(out / _OUTDATED)
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}


def _states(out: Path, manifest: Manifest) -> bool:
    """Whether the folder's ``dataset.json`` has the shards of this manifest."""
    try:
        return read_manifest(out).shards == manifest.shards
    except UsageError:  # damaged
        return False


def _read_finished(out: Path, index: int) -> ShardStats | None:
    """Statistics of a shard whose tar is whole; None for any other."""
    try:
        values = read_json(out / STATS_DIR / f"shard-{index:06d}.json")
        stats = ShardStats.model_validate(values) if values.get("format") == FORMAT else None
    except (OSError, ValueError, AttributeError):
        return None
    whole = stats is not None and (stats.shard is None or is_whole(out / stats.shard.name, stats.shard))
    return stats if whole else None


def _combine(done: Sequence[ShardStats], classes: tuple[str, ...]) -> Manifest:
    """Manifest of finished shards.

    Raises:
        DistillError: The depth maps have different depth kinds.
    """
    depth_kinds = list(dict.fromkeys(depth_kind for stats in done for depth_kind in stats.depth_kinds))
    if len(depth_kinds) > 1:
        raise DistillError(
            f"the labels have different depth kinds ({', '.join(depth_kinds)}), and a student learns only one",
            hint="label each depth kind into its own --out",
        )
    counts: dict[str, int] = {}
    for stats in done:
        for task, count in stats.counts.items():
            counts[task] = counts.get(task, 0) + count
    return Manifest(
        tasks=tuple(task for task in Task if task in counts),
        counts=counts,
        depth_kind=depth_kinds[0] if depth_kinds else DepthKind.METRIC,
        classes=classes,
        referring=tuple(dict.fromkeys(name for stats in done for name in stats.referring)),
        instance_classes=tuple(dict.fromkeys(name for stats in done for name in stats.instance_classes)),
        shards=tuple(stats.shard for stats in done if stats.shard is not None),
        teachers=tuple(dict.fromkeys(name for stats in done for name in stats.teachers)),
        licenses=tuple(dict.fromkeys(name for stats in done for name in stats.licenses)),
        terms={name: link for stats in done for name, link in stats.licenses.items() if link},
        prompts={key: text for stats in done for key, text in stats.prompts.items()},
    )


def _publish(out: Path, manifest: Manifest) -> None:
    """Write manifest and card, and remove tars of processes that were killed while they wrote them."""
    write_manifest(out, manifest)
    write_card(out, manifest)
    for part in out.glob(".shard-*.part"):
        if not writer_runs(part):
            part.unlink(missing_ok=True)
