"""Label one shard of a job: photos to samples, tar and statistics."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from distill.errors import DistillError, UsageError, describe_error
from distill.files import write_atomic
from distill.images import Photo
from distill.images.photo_hash import hash_photo
from distill.inputs import UnreadablePhoto
from distill.labels import encode, write_meta
from distill.runtime.parallel import map_ordered
from distill.shards import Sample, ShardEntry, write_shard
from distill.teachers.base import NoAnswer, Teacher, TeacherResult
from distill.teachers.labeling.job import Job
from distill.teachers.labeling.photo_state import find_dependencies, state_before, with_digests
from distill.teachers.labeling.previews import WIDTH_PX, remove_previews, write_preview
from distill.teachers.labeling.shard_plan import STATS_DIR, recipe_digest
from distill.teachers.labeling.shard_stats import ShardStats, ShardStatsBuilder
from distill.teachers.store.records import StoreFull

_ORIGIN = ("frame", "scene", "seed")
"""Keys of a sample's origin; paths of this machine are not handed on."""
_ALIKE = 16
"""A job is stopped if its first photos, this many, all fail in the same way."""
_LEAST_CONFIDENCE = 0.5 / 255
"""Confidence up to this is stored as 0."""


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
    start = job.plan.start(index)
    remove_previews(job.out, range(start, min(start + len(job.plan.shards[index]), job.previews)))
    found = [
        find_dependencies(job.source, position, job.names[position], job.teacher) for position in job.positions(index)
    ]
    before = [state_before(photo, dependencies) for photo, dependencies in found]
    known: dict[Path, str] = {}
    entry: ShardEntry | None = write_shard(path, _samples(job, index, builder, known, advance), job.teacher.tasks)
    if builder.labeled == 0:
        path.unlink()
        entry = None
    states = [with_digests(state, dependencies, known) for state, (_, dependencies) in zip(before, found, strict=True)]
    stats = builder.build(recipe_digest(job.recipe), states, entry)
    write_atomic(job.stats_path(index), stats.model_dump_json(indent=1).encode())
    return stats


def _samples(
    job: Job, index: int, builder: ShardStatsBuilder, known: dict[Path, str], advance: Callable[[int], None]
) -> Iterator[Sample]:
    """The samples of a shard; a few photos are in memory at a time. `known` receives the digests of photo files."""
    photos = job.read_photos(index, _min_size_hw(job.teacher))
    labeled = map_ordered(photos, lambda photo: _label_photo(job, photo), job.teacher.max_parallel)
    for position, (photo, outcome) in enumerate(labeled, job.plan.start(index)):
        advance(1)
        builder.photos += 1
        if isinstance(photo, Photo) and "path" in photo.origin and "frame" not in photo.origin:
            known[Path(str(photo.origin["path"]))] = photo.sha256
        if isinstance(photo, UnreadablePhoto) or isinstance(outcome, str):
            builder.failures.append({"name": photo.name, "reason": str(outcome)})
            if isinstance(outcome, _Fault) and index == 0 and builder.photos == _ALIKE:
                _check_not_all_alike(builder)
            continue
        builder.labeled += any(result.labels for result, _ in outcome)
        for number, (result, sample) in enumerate(outcome, 1):
            builder.add(photo, result)
            if position < job.previews:
                _write_preview(job.out, position, number, photo, result)
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
        for result in results:
            _drop_unusable_labels(result)
        return [
            (result, make_sample(photo, result, number) if result.labels else None)
            for number, result in enumerate(results, 1)
        ]
    except (UsageError, StoreFull):
        raise
    except NoAnswer as error:
        return str(error).removeprefix(f"{photo.name}: ")
    except DistillError as error:
        return _Fault(str(error).removeprefix(f"{photo.name}: "))
    except Exception as error:  # MemoryError as well: one photo must not end the job
        return _Fault(f"{job.teacher.name} failed: {describe_error(error)}")


class _Fault(str):
    """Why the teacher failed on a photo that it has an answer for."""

    __slots__ = ()


def _check_not_all_alike(builder: ShardStatsBuilder) -> None:
    """Raise if every photo so far has the same fault: the config is wrong, not the photos.

    Raises:
        UsageError: No photo is labeled, and the reasons differ in names and numbers only.
    """
    kinds = {frozenset(re.findall(r"[a-z]{4,}", row["reason"].rpartition("/")[2])) for row in builder.failures}
    if len(builder.failures) == builder.photos and len(kinds) == 1:
        first = builder.failures[0]
        raise UsageError(
            f"the first {builder.photos} photos all fail in the same way; {first['name']}: {first['reason']}",
            hint="nothing was labeled; if other photos are right, label them without these",
        )


def _write_preview(out: Path, position: int, number: int, photo: Photo, result: TeacherResult) -> None:
    """Write the preview of a result; one that cannot be drawn is missing in the report.

    Raises:
        DistillError: The file cannot be written.
    """
    try:
        write_preview(out, position, number, photo, result)
    except DistillError:
        raise
    except Exception:  # the label is stored already, and the job goes on
        remove_previews(out, range(position, position + 1))


def _drop_unusable_labels(result: TeacherResult) -> None:
    """Turn each label whose stored map would have no pixel with a confidence above 0 into a failure."""
    for task, label in list(result.labels.items()):
        if (label.valid & (label.confidence > _LEAST_CONFIDENCE)).any():
            continue
        del result.labels[task]
        result.records[:] = [record for record in result.records if record["task"] != str(task)]
        result.failures.append({"task": str(task), "kind": "rejected", "reason": "its map has no usable pixel"})


def make_sample(photo: Photo, result: TeacherResult, number: int = 1) -> Sample:
    """The shard sample of one result; a second result of the same photo gets its own key."""
    meta: dict[str, Any] = {
        "name": photo.name,
        "photo_sha256": photo.sha256,
        "photo_hash": hash_photo(photo.rgb),
        "size_hw": list(photo.size_hw),
        "origin": {key: photo.origin[key] for key in _ORIGIN if key in photo.origin},
        "records": result.records,
        "failures": result.failures,
    }
    files = {photo.suffix: photo.data}
    for label in result.labels.values():
        files |= encode(label)
        meta |= write_meta(label)
    files["json"] = json.dumps(meta, sort_keys=True, ensure_ascii=False).encode()
    return Sample(photo.key if number == 1 else f"{photo.key}--{number}", files)
