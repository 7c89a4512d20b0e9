"""Label one shard of a job: photos to samples, tar and statistics."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

from distill.errors import DistillError, UsageError
from distill.files import write_atomic
from distill.images import Photo
from distill.inputs import UnreadablePhoto
from distill.labels import encode, write_meta
from distill.runtime.parallel import map_ordered
from distill.shards import Sample, ShardEntry, write_shard
from distill.teachers.base import Teacher, TeacherResult
from distill.teachers.labeling.job import STATS_DIR, Job
from distill.teachers.labeling.previews import WIDTH_PX, write_preview
from distill.teachers.labeling.shard_stats import ShardStats, ShardStatsBuilder
from distill.teachers.store.records import StoreFull


def label_shard(job: Job, index: int, advance: Callable[[int], None] = lambda count: None) -> ShardStats:
    """Label one shard and write tar and statistics; returns the statistics.

    Raises:
        DistillError: The disk is full, or the teacher cannot be opened; no partial file has a final name.
    """
    builder = ShardStatsBuilder()
    path = job.out / f"shard-{index:06d}.tar"
    try:
        (job.out / STATS_DIR).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DistillError(
            f"{job.out / STATS_DIR}: cannot be created: {error.strerror}", hint="move it away, or choose another --out"
        ) from error
    entry: ShardEntry | None = write_shard(path, _samples(job, index, builder, advance))
    if builder.labeled == 0:
        path.unlink()
        entry = None
    stats = builder.build(job.identity(index), entry)
    write_atomic(job.stats_path(index), stats.model_dump_json(indent=1).encode())
    return stats


def _samples(job: Job, index: int, builder: ShardStatsBuilder, advance: Callable[[int], None]) -> Iterator[Sample]:
    """The samples of a shard; a few photos are in memory at a time."""
    start, stop = job.photo_range(index)
    photos = job.source.read(start, stop, _min_size_hw(job.teacher))
    labeled = map_ordered(photos, lambda photo: _label_photo(job, photo), job.teacher.max_parallel)
    for position, (photo, outcome) in enumerate(labeled, start):
        advance(1)
        builder.photos += 1
        if isinstance(photo, UnreadablePhoto) or isinstance(outcome, str):
            builder.failures.append({"name": photo.name, "reason": str(outcome)})
            continue
        builder.labeled += any(result.labels for result, _ in outcome)
        for number, (result, sample) in enumerate(outcome, 1):
            builder.add(photo, result)
            if position < job.previews:
                write_preview(job.out, position, number, photo, result)
            if sample is not None:
                yield sample


def _min_size_hw(teacher: Teacher) -> tuple[int, int] | None:
    """Smallest size (height, width) for the teacher and for previews; None: full size."""
    wanted = teacher.min_size_hw
    return None if wanted is None else (max(wanted[0], WIDTH_PX), max(wanted[1], WIDTH_PX))


def _label_photo(job: Job, photo: Photo | UnreadablePhoto) -> list[tuple[TeacherResult, Sample | None]] | str:
    """Each result of a photo, with its sample if it has labels; or the reason why the photo is unusable.

    Raises:
        UsageError: The job is wrong, not the photo.
        StoreFull: A generated image cannot be stored.
    """
    if isinstance(photo, UnreadablePhoto):
        return photo.reason
    try:
        results = job.teacher.label(photo)
    except (UsageError, StoreFull):
        raise
    except DistillError as error:
        return str(error).removeprefix(f"{photo.name}: ")
    return [
        (result, make_sample(photo, result, number) if result.labels else None)
        for number, result in enumerate(results, 1)
    ]


def make_sample(photo: Photo, result: TeacherResult, number: int = 1) -> Sample:
    """The shard sample of one result; a second result of the same photo gets its own key."""
    meta: dict[str, Any] = {
        "name": photo.name,
        "photo_sha256": photo.sha256,
        "size_hw": list(photo.size_hw),
        # Paths of this machine are not handed on.
        "origin": {key: value for key, value in photo.origin.items() if key != "path"},
        "records": result.records,
    }
    files = {photo.suffix: photo.data}
    for label in result.labels.values():
        files |= encode(label)
        meta |= write_meta(label)
    if result.failures:
        meta["failures"] = result.failures
    files["json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return Sample(photo.key if number == 1 else f"{photo.key}--{number}", files)
